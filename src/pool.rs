//! Sandboxes that are made ahead, each given out once: a start without the making.
//!
//! What they have in common, and what each gets, is plan/ahead.rs's to decide; what a waiting one does is init's.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use launch_init::exit::Outcome;
use launch_init::handoff::{Limit, SignalState, Task};
use launch_init::parse::LIMITS;
use launch_init::signals;
use launch_init::sys::open_null;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::stat;

use crate::command::{Child, Command, First, copy_above_stdio, first_of, signal_state, working_directory};
use crate::error::Error;
use crate::plan::Plan;
use crate::plan::ahead::{self, Defaults, Present, Request};
use crate::sandbox::{Resources, Sandbox};
use crate::sys;

/// How long nobody has been given one when more are made, as long as half of them wait.
const QUIET: Duration = Duration::from_millis(10);

/// Sandboxes that are made ahead and wait, to be given out one by one: what starts in one starts sooner, and otherwise as by
/// [`Command::spawn`], with the same walls. Each is used once.
///
/// A waiting sandbox is a process, PID 1, with its namespaces made and everything mounted, and nobody else inside. Dropping
/// the pool ends those that wait; the [`Child`]ren that were given out are their owners'. They also end with the calling
/// process, however that ends. One that has been killed is never given out, but replaced.
///
/// A workload gets
///
/// - from the moment of its spawn: the caller's environment, working directory, signal mask, stdin, stdout and stderr;
/// - from [`Pool::new`]: everything that the template says (a relative path in it is one from the directory of then), and
///   the caller's umask and resource limits, but no higher ones than the caller may still have;
/// - from the moment at which its sandbox was made, as every process from its parent: ignored signals, nice value,
///   oom_score_adj, cgroup, processors. Who changes one of these says so in the template, or makes a new pool.
///
/// The caller's directory is gone to by its name, which may lead elsewhere inside: then the workload starts in `/`, with a
/// warning in the log, and so it does where a directory above it may not be searched, or it has no name.
///
/// ```standalone_crate
/// launch::become_init_if_asked();
///
/// let mut template = launch::Command::template();
/// template.read_only().network(launch::Network::None);
/// let pool = launch::Pool::new(&template, 2)?;
///
/// let mut child = pool.command("sh").args(["-c", "exit $CODE"]).env("CODE", "7").spawn()?;
/// assert_eq!(child.wait()?, launch::Outcome::Exited(7));
/// pool.fill()?; // when there is time for it
/// assert_eq!(pool.spawn(["true"])?.wait()?, launch::Outcome::Exited(0));
/// # Ok::<(), launch::Error>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    filler: Option<JoinHandle<()>>,
}

impl Pool {
    /// Makes `size` sandboxes by the template ([`Command::template`]) and returns when all of them wait. The template names no
    /// program, no descriptors to keep or to mount, and no directory of `--keep`; its stdin, stdout and stderr are those of
    /// every command that has none of its own.
    ///
    /// # Errors
    /// As [`Command::spawn`], but for those of a workload; [`Error::Option`] for what only one sandbox can have.
    pub fn new(template: &Command, size: usize) -> Result<Self, Error> {
        Self::make(template, size, limits()?, false)
    }

    /// The same, to be given away: the caller's terminal is not the workloads', and these are the limits that they get, as far as the
    /// caller has them still.
    pub(crate) fn for_others(template: &Command, size: usize, limits: Vec<Limit>) -> Result<Self, Error> {
        Self::make(template, size, limits, true)
    }

    fn make(template: &Command, size: usize, limits: Vec<Limit>, for_others: bool) -> Result<Self, Error> {
        let mut template = template.try_clone()?;
        template.options.umask = template.options.umask.or_else(umask);
        let caller = template.caller()?;
        let plan = ahead::common(&template.options, &caller)?;
        plan.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        let shared = Shared {
            defaults: Defaults::of(&template.options, &caller)?,
            limits,
            for_others,
            null: open_null().map_err(Error::Channel)?,
            template,
            plan,
            size,
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        };
        shared.fill()?;
        Ok(Self { shared: Arc::new(shared), filler: None })
    }

    /// A command for one of the sandboxes.
    pub fn command(&self, program: impl AsRef<OsStr>) -> PoolCommand<'_> {
        let request = Request { command: vec![program.as_ref().into()], ..Request::default() };
        PoolCommand { pool: &self.shared, request, stdio: [None, None, None], signals: None }
    }

    /// Runs a program with its arguments in one of the sandboxes; short for [`Self::command`].
    ///
    /// # Errors
    /// As [`PoolCommand::spawn`].
    pub fn spawn(&self, command: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Child, Error> {
        let request = Request {
            command: command.into_iter().map(|argument| argument.as_ref().into()).collect(),
            ..Request::default()
        };
        PoolCommand { pool: &self.shared, request, stdio: [None, None, None], signals: None }.spawn()
    }

    /// Makes as many as are missing, in place of those that were given out or have been killed, and returns when they wait, and those
    /// that somebody else is making.
    /// Nobody does it but who calls this, or [`Self::fill_in_background`].
    ///
    /// # Errors
    /// As [`Self::new`]. Those that could be made wait.
    pub fn fill(&self) -> Result<(), Error> {
        self.shared.fill()
    }

    /// From now on a thread does it, when one has been given out: as soon as half of them do not wait any more, or else when nobody has
    /// been given one for 10 ms. It has every signal blocked. What it cannot make, for
    /// which it says why in the log, is tried again when the next one is given out.
    ///
    /// # Errors
    /// [`Error::Pool`], [`Error::Signals`]
    pub fn fill_in_background(&mut self) -> Result<(), Error> {
        if self.filler.is_some() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let mask = signals::block_all().map_err(Error::Signals)?;
        let started = std::thread::Builder::new()
            .name("launch-pool".into())
            .spawn(move || shared.keep_filled())
            .map_err(|error| {
                Error::Pool("thread", Errno::from_raw(error.raw_os_error().unwrap_or(libc::EAGAIN)))
            });
        signals::set_mask(mask).map_err(Error::Signals)?;
        self.filler = Some(started?);
        Ok(())
    }

    /// What of the template concerns the tasks, for those who have been given a sandbox.
    pub(crate) fn defaults(&self) -> &Defaults {
        &self.shared.defaults
    }

    /// Gives one of the sandboxes away: its channel and its pidfd, as [`Sandbox::hand_over`], and whether it was made for this.
    ///
    /// # Errors
    /// As [`Self::new`], where none waits.
    pub(crate) fn give_away(&self) -> Result<((OwnedFd, OwnedFd), bool), Error> {
        let taken = self.shared.take();
        self.shared.is_given_out();
        let (one, is_new) = taken?;
        Ok((one.sandbox.hand_over()?, is_new))
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        let mut state = self.shared.state();
        state.drop_the_dead();
        state.waiting.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.shared.state();
            state.is_over = true;
            std::mem::take(&mut state.waiting)
        };
        self.shared.changed.notify_all();
        end(waiting);
        if let Some(filler) = self.filler.take() {
            // It has panicked, which it has said.
            let _ = filler.join();
        }
    }
}

/// Each takes a while to end: all do so at the same time.
fn end(waiting: VecDeque<Waiting>) {
    for one in &waiting {
        // What is dropped below is ended for sure.
        let _ = one.sandbox.signal(libc::SIGKILL);
    }
}

/// What a pool and its thread have in common.
#[derive(Debug)]
struct Shared {
    template: Command,
    plan: Plan,
    /// What of the template concerns the tasks.
    defaults: Defaults,
    /// The caller's resource limits when the pool was made.
    limits: Vec<Limit>,
    /// Whether they are given away.
    for_others: bool,
    /// /dev/null, which waiting ones have as stdio: nobody waits for an end of file for their sake.
    null: OwnedFd,
    size: usize,
    state: Mutex<State>,
    /// There is something to do for the thread.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// How many are being made.
    in_making: usize,
    /// Whether one has been given out since the thread has looked.
    has_given_out: bool,
    /// Whether the pool is no more.
    is_over: bool,
}

/// A sandbox that has been made ahead.
#[derive(Debug)]
struct Waiting {
    sandbox: Sandbox,
    terminal: Option<OwnedFd>,
}

impl State {
    fn drop_the_dead(&mut self) {
        self.waiting.retain_mut(Waiting::is_alive);
    }
}

impl Waiting {
    /// It has nothing to say before it has been given something to run, but log lines.
    fn is_alive(&mut self) -> bool {
        match self.sandbox.try_next_event() {
            Ok(None) => true,
            Ok(Some(_)) | Err(_) => {
                log::info!("pool: PID 1 of a waiting sandbox (pid {}) has ended", self.sandbox.pid());
                false
            }
        }
    }
}

impl Shared {
    /// Whoever panicked meanwhile has left it whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self) -> Result<(), Error> {
        let missing = {
            let mut state = self.state();
            state.drop_the_dead();
            let missing = self.size.saturating_sub(state.waiting.len() + state.in_making);
            state.in_making += missing;
            missing
        };
        let mut unmade = InMaking { shared: self, number: missing };
        let mut begun = VecDeque::with_capacity(missing);
        let mut error = None;
        for _ in 0..missing {
            match self.begin_one() {
                Ok(one) => begun.push_back(one),
                Err(because) => {
                    error = Some(because);
                    break;
                }
            }
        }
        // While they set themselves up, side by side.
        for mut one in begun {
            match wait_until_set_up(&mut one) {
                Ok(()) => unmade.is_made(one),
                Err(because) => error = error.or(Some(because)),
            }
        }
        drop(unmade);
        drop(self.changed.wait_while(self.state(), |state| state.in_making > 0));
        error.map_or(Ok(()), Err)
    }

    /// Until the pool is over.
    fn keep_filled(&self) {
        loop {
            {
                let idle = |state: &mut State| !state.has_given_out && !state.is_over;
                let state = self.changed.wait_while(self.state(), idle);
                let mut state = state.unwrap_or_else(PoisonError::into_inner);
                // Who has just been given one has better use for the processors.
                while state.waiting.len() > self.size / 2 && !idle(&mut state) && !state.is_over {
                    state.has_given_out = false;
                    let waited = self.changed.wait_timeout_while(state, QUIET, idle);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                if state.is_over {
                    return;
                }
                state.has_given_out = false;
            }
            if let Err(error) = self.fill() {
                log::warn!("pool: not filled: {error}");
            }
        }
    }

    /// Makes one that sets itself up, without waiting for that.
    fn begin_one(&self) -> Result<Waiting, Error> {
        let mut plan = self.plan.clone();
        plan.init.workload.limits.extend(ahead::limits(&self.limits, &limits()?, &plan.init.workload.limits));
        let null = || copy_above_stdio(&self.null).map(Some);
        let stdio = [null()?, null()?, null()?];
        let init = self.template.open_init_file(&plan)?;
        let resources =
            Resources { init, stdio, lock: None, leads_session: self.for_others, is_of_launch: false };
        let mut sandbox = Sandbox::start(&plan, resources)?;
        sandbox.release()?;
        Ok(Waiting { sandbox, terminal: None })
    }

    /// One that waits, or else a new one, which the second value says.
    fn take(&self) -> Result<(Waiting, bool), Error> {
        loop {
            let Some(mut one) = self.state().waiting.pop_front() else { break };
            if one.is_alive() {
                return Ok((one, false));
            }
        }
        let mut one = self.begin_one()?;
        wait_until_set_up(&mut one)?;
        Ok((one, true))
    }

    /// There may be fewer that wait than there shall be, also where none did: they were killed, or could not be made.
    fn is_given_out(&self) {
        self.state().has_given_out = true;
        self.changed.notify_all();
    }

    /// Has the task run in one that waits. Where that has ended without having read the task, nothing has run, and there are
    /// others.
    fn give_out(&self, task: &Task, stdio: &[BorrowedFd<'_>]) -> Result<Child, Error> {
        loop {
            let (Waiting { mut sandbox, mut terminal }, is_new) = self.take()?;
            let assigned = sandbox.assign(task, stdio, wait_for_room);
            self.is_given_out();
            match assigned {
                Err(Error::Handoff(Errno::EPIPE | Errno::ECONNRESET)) if !is_new => continue,
                assigned => assigned?,
            }
            match first_of(&mut sandbox, &mut terminal) {
                Ok(First::Started(started)) => return Ok(Child::new(sandbox, started, terminal)),
                // It has said so already.
                Ok(First::SetUp) => return Err(Error::InitDied(None)),
                Err(Error::InitDied(_)) if !is_new && sandbox.left_unread() => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// So many are being made, unless it is dropped before.
struct InMaking<'a> {
    shared: &'a Shared,
    number: usize,
}

impl InMaking<'_> {
    fn is_made(&mut self, one: Waiting) {
        self.number -= 1;
        let mut state = self.shared.state();
        state.in_making -= 1;
        if !state.is_over {
            state.waiting.push_back(one);
        }
    }
}

impl Drop for InMaking<'_> {
    fn drop(&mut self) {
        self.shared.state().in_making -= self.number;
        self.shared.changed.notify_all();
    }
}

fn wait_for_room(channel: BorrowedFd<'_>) -> Result<(), Error> {
    match poll(&mut [PollFd::new(channel, PollFlags::POLLOUT)], PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::Wait(errno)),
    }
}

fn wait_until_set_up(one: &mut Waiting) -> Result<(), Error> {
    match first_of(&mut one.sandbox, &mut one.terminal)? {
        First::SetUp => Ok(()),
        First::Started(_) => Err(Error::InitDied(None)),
    }
}

/// A command that is given to a sandbox of a [`Pool`], in the manner of [`Command`]. What it does not name is the template's.
#[derive(Debug)]
pub struct PoolCommand<'a> {
    pool: &'a Shared,
    request: Request,
    stdio: [Option<OwnedFd>; 3],
    signals: Option<SignalState>,
}

impl PoolCommand<'_> {
    /// Adds an argument; any bytes but NUL.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.request.command.push(argument.as_ref().into());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.request.command.extend(arguments.into_iter().map(|argument| OsString::from(argument.as_ref())));
        self
    }

    /// Sets a variable. All that are set are set after all that are removed.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.request.set.push((key.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Removes a variable that the caller has, or that the template sets.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.request.unset.push(key.as_ref().into());
        self
    }

    /// Starts from an empty environment: without the caller's and the template's.
    pub fn env_clear(&mut self) -> &mut Self {
        self.request.clear_environment = true;
        self
    }

    /// Starts in this directory, as it is found inside.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.request.directory = Some(directory.as_ref().into());
        self
    }

    /// Ends the workload after this time; see [`Command::timeout`].
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// Its stdin.
    pub fn stdin(&mut self, stdin: impl Into<OwnedFd>) -> &mut Self {
        self.stdio[0] = Some(stdin.into());
        self
    }

    /// Its stdout.
    pub fn stdout(&mut self, stdout: impl Into<OwnedFd>) -> &mut Self {
        self.stdio[1] = Some(stdout.into());
        self
    }

    /// Its stderr.
    pub fn stderr(&mut self, stderr: impl Into<OwnedFd>) -> &mut Self {
        self.stdio[2] = Some(stderr.into());
        self
    }

    /// The signal state that it gets; see [`Command::signal_state`].
    pub fn signal_state(&mut self, signals: SignalState) -> &mut Self {
        self.signals = Some(signals);
        self
    }

    /// Gives it to a waiting sandbox, or where none waits, to a new one, and returns when the workload runs. May be called by
    /// many threads at once.
    ///
    /// # Errors
    /// As [`Command::spawn`]; nothing is left behind. The sandbox is used up.
    pub fn spawn(&self) -> Result<Child, Error> {
        let template = &self.pool.template;
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let callers = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let stdio: Vec<Option<BorrowedFd<'_>>> = (0..3)
            .map(|number| {
                let own = self.stdio[number].as_ref().or(template.stdio[number].as_ref()).map(AsFd::as_fd);
                own.or_else(|| Some(callers[number]).filter(|fd| sys::is_open(fd.as_raw_fd())))
            })
            .collect();
        let signals = signal_state(self.signals.or(template.signals))?;
        let present = present(signals, [0, 1, 2].map(|number: usize| stdio[number].is_some()));
        let task = task(&self.pool.defaults, &self.request, &present)?;
        let stdio: Vec<_> = stdio.into_iter().flatten().collect();
        self.pool.give_out(&task, &stdio)
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// As [`Self::spawn`] and [`Child::wait`].
    pub fn status(&self) -> Result<Outcome, Error> {
        self.spawn()?.wait()
    }
}

/// What a task depends on in this process, now.
pub(crate) fn present(signals: SignalState, stdio: [bool; 3]) -> Present {
    let directory = working_directory();
    Present {
        here: match &directory {
            Ok(Some(_)) => stat(".").ok().map(|status| (status.st_dev, status.st_ino)),
            _ => None,
        },
        directory,
        environment: launch_init::sys::environment(),
        signals,
        stdio,
    }
}

/// As [`ahead::task`], with a warning where it cannot start where it should.
pub(crate) fn task(defaults: &Defaults, request: &Request, present: &Present) -> Result<Task, Error> {
    let task = ahead::task(defaults, request, present)?;
    if task.directory.is_none() {
        log::warn!("working directory: has no name to find it by inside, starting in /");
    }
    Ok(task)
}

/// The caller's; none where there is no /proc to say it. To ask by umask(2) would change it for all threads.
fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(mask.trim(), 8).ok()
}

/// The caller's.
pub(crate) fn limits() -> Result<Vec<Limit>, Error> {
    let limit = |(_, resource): &(&str, u32)| {
        let (soft, hard) = sys::limit(*resource).map_err(|errno| Error::Pool("limits", errno))?;
        Ok(Limit { resource: *resource, soft, hard })
    };
    LIMITS.iter().map(limit).collect()
}
