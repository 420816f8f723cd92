//! Sandboxes that are made ahead, each given out once: a start without the making.
//!
//! What they have in common, and what each gets, is plan/ahead.rs's to decide; which ones wait, and when more are made, stock.rs's;
//! what a waiting one does, init's.

#![forbid(unsafe_code)]

mod stock;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use launch_init::exit::Outcome;
use launch_init::handoff::{Limit, SignalState, Task};
use launch_init::parse::LIMITS;
use launch_init::signals;
use nix::errno::Errno;
use nix::sys::stat::stat;

pub(crate) use self::stock::Filling;
use self::stock::Stock;
use crate::command::{Child, Command, signal_state, working_directory};
use crate::error::Error;
use crate::plan::ahead::{self, Defaults, Present, Request};
use crate::sandbox::Sandbox;
use crate::sys;

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
    stock: Arc<Stock>,
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
        let pool = Self::unfilled(template, size, limits()?, false)?;
        pool.fill()?;
        Ok(pool)
    }

    /// The same, to be given away: the caller's terminal is not the workloads', and these are the limits that they get, as far as the
    /// caller has them still. They are made in the background, from now on.
    ///
    /// # Errors
    /// As [`Self::new`], but for those of the sandboxes, and as [`Self::fill_in_background`].
    pub(crate) fn for_others(template: &Command, size: usize, limits: Vec<Limit>) -> Result<Self, Error> {
        let mut pool = Self::unfilled(template, size, limits, true)?;
        pool.fill_in_background()?;
        Ok(pool)
    }

    fn unfilled(
        template: &Command,
        size: usize,
        limits: Vec<Limit>,
        for_others: bool,
    ) -> Result<Self, Error> {
        let mut template = template.try_clone()?;
        template.options.umask = template.options.umask.or_else(umask);
        let caller = template.caller()?;
        let plan = ahead::common(&template.options, &caller)?;
        plan.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        let defaults = Defaults::of(&template.options, &caller)?;
        let stock = Stock::new(template, plan, defaults, limits, size, for_others)?;
        Ok(Self { stock: Arc::new(stock), filler: None })
    }

    /// A command for one of the sandboxes.
    pub fn command(&self, program: impl AsRef<OsStr>) -> PoolCommand<'_> {
        let request = Request { command: vec![program.as_ref().into()], ..Request::default() };
        PoolCommand { pool: &self.stock, request, stdio: [None, None, None], signals: None }
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
        PoolCommand { pool: &self.stock, request, stdio: [None, None, None], signals: None }.spawn()
    }

    /// Makes as many as are missing, in place of those that were given out or have been killed, and returns when they wait, and those
    /// that somebody else is making.
    /// Nobody does it but who calls this, or [`Self::fill_in_background`].
    ///
    /// # Errors
    /// As [`Self::new`]. Those that could be made wait.
    pub fn fill(&self) -> Result<(), Error> {
        self.stock.fill()
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
        let stock = Arc::clone(&self.stock);
        let mask = signals::block_all().map_err(Error::Signals)?;
        let is_there = self.stock.expect_thread();
        let started = std::thread::Builder::new()
            .name("launch-pool".into())
            .spawn(move || stock.keep_filled())
            .map_err(|error| {
                Error::Pool("thread", Errno::from_raw(error.raw_os_error().unwrap_or(libc::EAGAIN)))
            });
        signals::set_mask(mask).map_err(Error::Signals)?;
        let started = started?;
        std::mem::forget(is_there);
        self.filler = Some(started);
        Ok(())
    }

    /// What of the template concerns the tasks, for those who have been given a sandbox.
    pub(crate) fn defaults(&self) -> &Defaults {
        &self.stock.defaults
    }

    /// One that waits, if any does, to be given away ([`Sandbox::hand_over`]), and when its making began.
    pub(crate) fn take(&self) -> Option<(Sandbox, Instant)> {
        let one = self.stock.take_waiting()?;
        self.stock.is_given_out();
        Some((one.sandbox, one.begun))
    }

    /// So many have asked for one and wait, which are made as soon as possible.
    pub(crate) fn are_asked_for(&self, number: usize) {
        self.stock.are_asked_for(number);
    }

    /// Readable when more wait, and when [`Self::last_filling`] has something to say. Of a pool for others.
    pub(crate) fn news(&self) -> Option<BorrowedFd<'_>> {
        self.stock.news.as_ref().map(AsFd::as_fd)
    }

    /// How the thread's last making of some has ended, if that has not been asked yet; first, whether the pool could be filled. Nothing
    /// more is made before this has been asked, and [`Self::are_asked_for`] said.
    pub(crate) fn last_filling(&self) -> Option<Filling> {
        // EAGAIN: nothing has been told.
        if let Some(news) = &self.stock.news {
            let _ = news.read();
        }
        self.stock.last_filling()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.stock.waiting()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.stock.end()
            && let Some(filler) = self.filler.take()
        {
            // It has panicked, which it has said.
            let _ = filler.join();
        }
    }
}

/// A command that is given to a sandbox of a [`Pool`], in the manner of [`Command`]. What it does not name is the template's.
#[derive(Debug)]
pub struct PoolCommand<'a> {
    pool: &'a Stock,
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
