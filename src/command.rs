//! The library's builder and handle, in the manner of `std::process::Command`.

#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use launch_init::exit::Outcome;
use launch_init::handoff::{Account, Group, Limit, SignalState, Step};
use launch_init::signals;
use launch_init::supervisor::Restart;
use launch_init::sys::came_closed;
use nix::errno::Errno;
use nix::unistd::{getegid, geteuid};

use crate::error::Error;
use crate::executable::{self, Executable};
use crate::plan::{
    self, Caller, Capabilities, HealthCheck, Identity, Network, Options, Plan, Proc, Ready, RootDirectory,
    Seccomp, Share, Tmp, Volatile,
};
use crate::sandbox::{Event, Resources, Sandbox, Started, above_stdio};
use crate::volatile::Tree;
use crate::{kept, seccomp, subids, sys, text_file, tree};

/// A command to be run in namespaces of its own, under a real PID 1.
///
/// The defaults are those of `launch -- CMD`: new user, mount, UTS, IPC, PID and cgroup namespaces, the caller as
/// root inside, the host name `container`, a fresh /proc and /tmp, and the caller's network, directory,
/// environment, stdin, stdout and stderr.
///
/// PID 1 is this very program, executed again, if [`become_init_if_asked`] stands at the start of its `main`;
/// else the file that [`Command::init_file`] names, or `launch-init` from the PATH.
///
/// ```standalone_crate
/// // The first line of main: in a sandbox this program is the PID 1.
/// launch::become_init_if_asked();
///
/// let mut sandbox = launch::Command::new("sh").args(["-c", "test $(hostname) = here; exit 7"])
///     .host_name("here")
///     .spawn()?;
/// assert!(sandbox.id() > 1);
/// assert_eq!(sandbox.wait()?, launch::Outcome::Exited(7));
/// # Ok::<(), launch::Error>(())
/// ```
#[derive(Debug)]
pub struct Command {
    pub(crate) options: Options,
    init_file: Option<PathBuf>,
    pub(crate) stdio: [Option<OwnedFd>; 3],
    pub(crate) signals: Option<SignalState>,
    is_of_launch: bool,
}

impl Command {
    /// The same again, with copies of its descriptors.
    ///
    /// # Errors
    /// [`Error::Channel`], where there are too many descriptors.
    pub(crate) fn try_clone(&self) -> Result<Self, Error> {
        let Self { options, init_file, stdio, signals, is_of_launch } = self;
        let [stdin, stdout, stderr] = stdio;
        let copy = |fd: &Option<OwnedFd>| fd.as_ref().map(copy_above_stdio).transpose();
        Ok(Self {
            options: options.clone(),
            init_file: init_file.clone(),
            stdio: [copy(stdin)?, copy(stdout)?, copy(stderr)?],
            signals: *signals,
            is_of_launch: *is_of_launch,
        })
    }

    /// Runs `program`, which is looked for in the PATH that it will have.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::from_options(Options { command: vec![program.as_ref().into()], ..Options::default() })
    }

    /// A sandbox without a program, for a [`Pool`](crate::Pool), which is told the program of each.
    pub fn template() -> Self {
        Self::from_options(Options::default())
    }

    /// Runs what `options` say.
    pub fn from_options(options: Options) -> Self {
        Self { options, init_file: None, stdio: [None, None, None], signals: None, is_of_launch: false }
    }

    /// Adds an argument; any bytes but NUL.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.options.command.push(argument.as_ref().into());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.options.command.extend(arguments.into_iter().map(|argument| argument.as_ref().into()));
        self
    }

    /// Sets a variable. All that are set are set after all that are removed.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.options.set.push((key.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Removes an inherited variable.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.options.unset.push(key.as_ref().into());
        self
    }

    /// Starts from an empty environment.
    pub fn env_clear(&mut self) -> &mut Self {
        self.options.clear_environment = true;
        self
    }

    /// Starts in this directory, as it is found inside.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.options.directory = Some(directory.as_ref().into());
        self
    }

    /// The host name: 1 to 64 bytes without NUL.
    pub fn host_name(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.options.host_name = Some(name.as_ref().into());
        self
    }

    /// The NIS domain name: 1 to 64 bytes without NUL.
    pub fn domain_name(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.options.domain_name = Some(name.as_ref().into());
        self
    }

    /// The network; see network_namespaces(7).
    pub fn network(&mut self, network: Network) -> &mut Self {
        self.options.network = network;
        self
    }

    /// A time namespace of its own, where the kernel has them; see time_namespaces(7).
    pub fn time_namespace(&mut self) -> &mut Self {
        self.options.time_namespace = true;
        self
    }

    /// Keeps one of the caller's namespaces.
    pub fn share(&mut self, kind: Share) -> &mut Self {
        self.options.share.push(kind);
        self
    }

    /// Who the caller appears as inside.
    pub fn identity(&mut self, identity: Identity) -> &mut Self {
        self.options.identity = identity;
        self
    }

    /// Whom the workload runs as: by numbers, or by names of the inside's own passwd(5) and group(5). It is in its groups
    /// and no others, and no environment variable changes. `"1000:100,27".parse()` makes one, as `--user` reads it. Who is
    /// not root inside has only the capabilities that [`Self::capabilities`] adds.
    pub fn user(&mut self, account: Account) -> &mut Self {
        self.options.user = Some(account);
        self
    }

    /// Lets nobody inside make further user namespaces, through which a kernel's less tested parts can be reached.
    pub fn no_user_namespaces(&mut self) -> &mut Self {
        self.options.no_user_namespaces = true;
        self
    }

    /// What is added to and taken from [`plan::DEFAULT_CAPABILITIES`].
    pub fn capabilities(&mut self, capabilities: Capabilities) -> &mut Self {
        self.options.capabilities = capabilities;
        self
    }

    /// Which system calls are refused; the built-in profile's by default.
    pub fn seccomp(&mut self, seccomp: Seccomp) -> &mut Self {
        self.options.seccomp = seccomp;
        self
    }

    /// Limits a resource; see setrlimit(2). The last limit of a resource counts.
    pub fn limit(&mut self, limit: Limit) -> &mut Self {
        self.options.limits.push(limit);
        self
    }

    /// Its oom_score_adj, -1000 to 1000; less than the caller's takes CAP_SYS_RESOURCE outside of every sandbox.
    pub fn oom_score_adj(&mut self, score: i32) -> &mut Self {
        self.options.oom_score = Some(score);
        self
    }

    /// Its nice value, -20 to 19; less than the caller's takes CAP_SYS_NICE outside of every sandbox, or RLIMIT_NICE.
    pub fn niceness(&mut self, value: i32) -> &mut Self {
        self.options.niceness = Some(value);
        self
    }

    /// Its umask, 0 to 0o777.
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.options.umask = Some(mask);
        self
    }

    /// A root file system of its own, in place of the caller's `/`.
    pub fn root(&mut self, root: RootDirectory) -> &mut Self {
        self.options.root = Some(root);
        self
    }

    /// Makes all of `/` read-only, but what is mounted for the sandbox.
    pub fn read_only(&mut self) -> &mut Self {
        self.options.read_only = true;
        self
    }

    /// Makes all of `/` writable, on layers above it.
    pub fn volatile(&mut self, volatile: Volatile) -> &mut Self {
        self.options.volatile = Some(volatile);
        self
    }

    /// Adds a mount, a directory, a link, a mask or a remount; they are carried out in their order. A relative source is
    /// one of the caller's directory.
    pub fn step(&mut self, step: Step) -> &mut Self {
        self.options.files.push(step);
        self
    }

    /// How /proc is mounted; see proc(5).
    pub fn proc(&mut self, proc: Proc) -> &mut Self {
        self.options.proc = proc;
        self
    }

    /// What is on /tmp.
    pub fn tmp(&mut self, tmp: Tmp) -> &mut Self {
        self.options.tmp = tmp;
        self
    }

    /// Hands on the descriptor of this number, which must be open at [`Self::spawn`], whether or not it is
    /// close-on-exec; 0, 1 and 2 always are.
    pub fn keep_fd(&mut self, fd: RawFd) -> &mut Self {
        self.options.keep.push(fd);
        self
    }

    /// How long those whom the workload leaves over have between SIGTERM and SIGKILL; 2 s by default.
    pub fn grace(&mut self, grace: Duration) -> &mut Self {
        self.options.grace = grace;
        self
    }

    /// Ends the workload after this time: SIGTERM, the grace, SIGKILL; [`Outcome::TimedOut`].
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// The SIGKILL for everybody, so long after the first signal that asks to stop, if they are still there.
    pub fn kill_after(&mut self, patience: Duration) -> &mut Self {
        self.options.kill_after = Some(patience);
        self
    }

    /// What the workload gets when it is asked to stop, 1 to 64; SIGTERM by default.
    pub fn stop_signal(&mut self, signal: i32) -> &mut Self {
        self.options.stop_signal = signal;
        self
    }

    /// Whether a new run of the workload follows when one has ended, in the same namespaces. [`Child::signal`] with SIGTERM
    /// stops it then: no new run follows.
    pub fn restart(&mut self, restart: Restart) -> &mut Self {
        self.options.restart = restart;
        self
    }

    /// The most that a further run waits for: 30 s by default. The first one waits for 100 ms, each further one twice as long,
    /// until one has lasted 10 s.
    pub fn longest_delay(&mut self, delay: Duration) -> &mut Self {
        self.options.longest_delay = delay;
        self
    }

    /// When a run counts as ready: [`Event::Happened`] says so then. By default when it has been executed.
    pub fn ready(&mut self, ready: Ready) -> &mut Self {
        self.options.ready = ready;
        self
    }

    /// How long a run may take until it is ready. One that takes longer is ended, as a failure.
    pub fn ready_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.options.ready_timeout = Some(timeout);
        self
    }

    /// How often the workload has to say that it is alive (sd_notify(3), WATCHDOG=1). A run that does not is ended, as a
    /// failure.
    pub fn watchdog(&mut self, interval: Duration) -> &mut Self {
        self.options.watchdog = Some(interval);
        self
    }

    /// Checks its health.
    pub fn health(&mut self, check: HealthCheck) -> &mut Self {
        self.options.health = Some(check);
        self
    }

    /// Has all that happens in its life told, as [`Event::Happened`].
    pub fn tell(&mut self) -> &mut Self {
        self.options.tells = true;
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

    /// Which process group it is in: one of its own by default, never in a terminal's foreground.
    pub fn process_group(&mut self, group: Group) -> &mut Self {
        self.options.group = group;
        self
    }

    /// Gives the sandbox a terminal of its own, which is the workload's stdin, stdout and stderr, and the controlling
    /// one of its session; no other terminal has a name inside. [`Child::take_terminal`] has its other end.
    pub fn terminal(&mut self) -> &mut Self {
        self.options.group = Group::Session;
        self
    }

    /// The signal state that it gets; by default the calling thread's mask at [`Self::spawn`]; SIGPIPE as it was
    /// when this program was executed, since Rust's runtime changes it; and everything else as it is ignored now.
    pub fn signal_state(&mut self, signals: SignalState) -> &mut Self {
        self.signals = Some(signals);
        self
    }

    /// For the program `launch` alone. Relies on what holds of it, and saves what else had to be asked: every signal stays
    /// blocked from [`signals::take_over`] on, and this process's ids are those that it was executed with.
    #[doc(hidden)]
    pub fn rely_on_being_launch(&mut self) -> &mut Self {
        self.is_of_launch = true;
        self
    }

    /// Asks for the namespaces' inode numbers in [`Started`].
    pub fn report_namespaces(&mut self) -> &mut Self {
        self.options.report_namespaces = true;
        self
    }

    /// The file that becomes PID 1: `launch-init`, `launch`, or a program that calls [`become_init_if_asked`]
    /// first of all.
    pub fn init_file(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.init_file = Some(path.as_ref().into());
        self
    }

    /// Starts the sandbox and returns when the workload runs.
    ///
    /// May be called from a program with threads: between clone and exec the child makes only async-signal-safe
    /// calls and allocates nothing. Descriptors that are not kept stay the caller's; a fork of the calling
    /// program that does not exec, however, holds the sandbox's channel open, and the end of the caller is then
    /// only noticed with the end of that fork.
    ///
    /// # Errors
    /// Any [`Error`]; there is no workload then, and nothing is left behind.
    pub fn spawn(&mut self) -> Result<Child, Error> {
        let mut sandbox = self.start()?;
        sandbox.release()?;
        let mut terminal = None;
        match first_of(&mut sandbox, &mut terminal)? {
            First::Started(started) => Ok(Child::new(sandbox, started, terminal)),
            // Nothing was made ahead here.
            First::SetUp => Err(Error::InitDied(None)),
        }
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// As [`Self::spawn`] and [`Child::wait`].
    pub fn status(&mut self) -> Result<Outcome, Error> {
        self.spawn()?.wait()
    }

    /// What [`Self::start`] would do now. Nothing of it is done, nor is it looked whether it can be; `explain` has it in
    /// words. Whether the calling thread may use all processors is tried for a moment (sched_setaffinity(2)).
    ///
    /// # Errors
    /// As [`plan::plan`]; [`Error::Signals`].
    pub fn plan(&self) -> Result<Plan, Error> {
        let plan = plan::plan(&self.options, &self.caller()?)?;
        plan.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        Ok(plan)
    }

    /// Starts the sandbox and returns when init is held back for want of its plan ([`Sandbox::release`]); whether the
    /// workload runs is the first of [`Sandbox::next_event`]. For those who have an event loop of their own.
    ///
    /// # Errors
    /// As [`Self::spawn`], but for what comes as an event.
    pub fn start(&mut self) -> Result<Sandbox, Error> {
        // Before anything of ours is opened and could have one of these numbers.
        check_open(&self.options.descriptors())?;
        let plan = self.plan()?;
        self.carry_out(&plan)
    }

    /// [`Self::start`] by a plan that [`Self::plan`] has made.
    ///
    /// # Errors
    /// As [`Self::start`], but for those of the plan.
    pub fn carry_out(&self, plan: &Plan) -> Result<Sandbox, Error> {
        let lock = match &plan.kept {
            Some(layers) => Some(kept::prepare(&layers.kept, &layers.manifest, &layers.layout)?),
            None => None,
        };
        let mut stdio = [None, None, None];
        for (taken, given) in stdio.iter_mut().zip(&self.stdio) {
            // A copy, so that a command can be spawned again.
            *taken = given.as_ref().map(copy_above_stdio).transpose()?;
        }
        let init = self.open_init_file(plan)?;
        let is_of_launch = self.is_of_launch;
        Sandbox::start(plan, Resources { init, stdio, lock, leads_session: false, is_of_launch })
    }

    /// What layers above `/` stand on. Nothing is read where there are none.
    fn tree(&self, directory: &Result<Option<PathBuf>, Errno>) -> Result<Option<Tree>, Error> {
        let kept = match &self.options.volatile {
            None => return Ok(None),
            Some(Volatile::Discard) => None,
            Some(Volatile::Keep(directory)) => Some(kept::look_before_use(directory)?),
        };
        let root = self.options.root.as_ref().map(|root| root.path.as_path());
        let mut own = Vec::new();
        // Root's rights are those of its ids in the sandbox, and an ordinary user's layers would be in its way.
        if root.is_none() && !geteuid().is_root() {
            own.extend(directory.clone().ok().flatten());
            own.extend(std::env::var_os("HOME").map(PathBuf::from));
            own.push("/var/tmp".into());
        }
        tree::read(root.unwrap_or(Path::new("/")), &own, plan::fresh(&self.options), kept).map(Some)
    }

    pub(crate) fn caller(&self) -> Result<Caller, Error> {
        let signals = signal_state(self.signals)?;
        let directory = working_directory();
        let tree = self.tree(&directory)?;
        let (uid, gid) =
            if self.is_of_launch { sys::ids_at_exec() } else { (geteuid().as_raw(), getegid().as_raw()) };
        Ok(Caller {
            tree,
            uid,
            gid,
            capabilities: launch_init::sys::capabilities().map_or(0, |sets| sets.effective),
            subordinate_ids: match self.options.identity {
                Identity::Auto | Identity::Maps { .. } => subordinate_ids(),
                _ => subids::Files::default(),
            },
            directory,
            environment: launch_init::sys::environment(),
            signals,
            log_level: log::max_level() as u8,
            terminal: match self.options.group {
                Group::Session => nix::unistd::ttyname(std::io::stdin()).ok(),
                _ => None,
            },
            kernel: match &self.options.seccomp {
                Seccomp::File(_) => kernel_version(),
                _ => (0, 0),
            },
            seccomp: match &self.options.seccomp {
                Seccomp::Default => seccomp::Choice::Default,
                Seccomp::Off => seccomp::Choice::Off,
                Seccomp::File(path) => seccomp::Choice::Profile(text_file::read(path).map_err(|reason| {
                    Error::Option("--seccomp".into(), format!("{}: {reason}", path.display()))
                })?),
            },
        })
    }

    pub(crate) fn open_init_file(&self, plan: &Plan) -> Result<Executable, Error> {
        let hidden = plan.hides_only();
        let is_own = self.init_file.is_none() && CAN_BE_INIT.load(Ordering::Relaxed);
        if let (true, Some(hidden)) = (is_own, &hidden)
            && let Some(own) = Executable::own(hidden)
        {
            return Ok(own);
        }
        let path = match &self.init_file {
            Some(path) => path.clone(),
            None if is_own => OsStr::from_bytes(executable::OWN.to_bytes()).into(),
            None => find_in_path(launch_init::NAME).ok_or_else(|| {
                Error::InitFile(format!("{} (in PATH)", launch_init::NAME).into(), Errno::ENOENT)
            })?,
        };
        let failed = |errno| Error::InitFile(path.clone().into(), errno);
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
        sys::open_path(&name)
            .and_then(above_stdio)
            .and_then(|file| Executable::for_sandbox(file, hidden.as_deref().filter(|_| !is_own)))
            .map_err(failed)
    }
}

/// Whether descriptors of these numbers are open. [`Command::start`] asks first of all whether those to be kept are, but
/// a caller who opens others before that has to ask earlier: one of those might have got the number.
///
/// # Errors
/// [`Error::Descriptor`], of the first that is not.
pub fn check_open(descriptors: &[RawFd]) -> Result<(), Error> {
    let closed = descriptors.iter().find(|fd| came_closed(**fd) || !sys::is_open(**fd));
    closed.map_or(Ok(()), |fd| Err(Error::Descriptor(*fd, Errno::EBADF)))
}

/// What was asked for, or else that of the calling thread.
pub(crate) fn signal_state(asked: Option<SignalState>) -> Result<SignalState, Error> {
    if let Some(signals) = asked {
        return Ok(signals);
    }
    let mask = signals::block_all().map_err(Error::Signals)?;
    signals::set_mask(mask).map_err(Error::Signals)?;
    Ok(signals::callers_state(mask))
}

/// Above 2, so that none is overwritten by another.
pub(crate) fn copy_above_stdio(fd: &OwnedFd) -> Result<OwnedFd, Error> {
    let copy = fd.try_clone().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EMFILE)));
    copy.and_then(above_stdio).map_err(Error::Channel)
}

/// What comes first of a sandbox that was released.
pub(crate) enum First {
    /// It was made ahead, and is.
    SetUp,
    /// The workload runs.
    Started(Started),
}

/// Waits for it. The terminal, if there is one, comes before.
///
/// # Errors
/// As [`Sandbox::next_event`].
pub(crate) fn first_of(sandbox: &mut Sandbox, terminal: &mut Option<OwnedFd>) -> Result<First, Error> {
    loop {
        match sandbox.next_event()? {
            Event::Terminal(master) => *terminal = Some(master),
            Event::SetUp => return Ok(First::SetUp),
            Event::Started(started) => return Ok(First::Started(started)),
            Event::Happened(_) | Event::MainPid(_) => {}
            // Neither comes before the start.
            Event::Stopped(_) | Event::Ended(_) => return Err(Error::InitDied(None)),
        }
    }
}

/// See getcwd(3). A directory can lack a name without having been deleted: too long a one, or one that cannot be reached
/// from the root, as after a lazy unmount.
pub(crate) fn working_directory() -> Result<Option<PathBuf>, Errno> {
    match nix::unistd::getcwd() {
        Ok(path) if path.is_absolute() => Ok(Some(path)),
        Err(Errno::ENOENT) if nix::sys::stat::stat(".").is_ok_and(|status| status.st_nlink == 0) => {
            Err(Errno::ENOENT)
        }
        _ => Ok(None),
    }
}

/// Major and minor; 0.0 for a version in a form of its own. See uname(2).
fn kernel_version() -> (u32, u32) {
    let release = nix::sys::utsname::uname().map(|names| names.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Read from the files themselves: a static program cannot load the libraries that nsswitch.conf(5) names.
#[cold]
fn subordinate_ids() -> subids::Files {
    let read = |path: &str| match std::fs::read(path) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))),
    };
    let uid = geteuid().as_raw();
    // What cannot be read names nobody, and nothing else.
    let (passwd, switch) =
        (read("/etc/passwd").unwrap_or_default(), read("/etc/nsswitch.conf").unwrap_or_default());
    subids::Files {
        user_name: subids::name_of(&passwd, uid),
        users: read(subids::Kind::Users.file()),
        groups: read(subids::Kind::Groups.file()),
        elsewhere: subids::source(&switch),
    }
}

fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Whether this program is its own init.
static CAN_BE_INIT: AtomicBool = AtomicBool::new(false);

/// To be called first in `main` of a program that starts sandboxes, before it starts a thread: in a sandbox's
/// PID 1, which is the same file executed again, it runs the init and does not return. Everywhere else it only
/// notes that it was called.
pub fn become_init_if_asked() {
    let arguments: Vec<_> = std::env::args_os().collect();
    if launch_init::called_as_init(&arguments) {
        // The launcher had blocked every signal. Where the C library is musl, the handlers of Rust's runtime have it let two
        // of them through again. The kernel refuses no mask.
        let _ = signals::block_all();
        let code = launch_init::run(arguments);
        std::process::exit(code.into());
    }
    is_its_own_init();
}

/// Notes that this program is init when it is executed again as such: it looks at its arguments itself.
pub fn is_its_own_init() {
    CAN_BE_INIT.store(true, Ordering::Relaxed);
}

/// A sandbox whose workload has started. Dropping it kills everything inside.
#[derive(Debug)]
pub struct Child {
    sandbox: Sandbox,
    started: Started,
    terminal: Option<OwnedFd>,
    outcome: Option<Outcome>,
}

impl Child {
    pub(crate) fn new(sandbox: Sandbox, started: Started, terminal: Option<OwnedFd>) -> Self {
        Self { sandbox, started, terminal, outcome: None }
    }

    /// PID 1's pid, as the caller sees it.
    pub fn id(&self) -> u32 {
        self.sandbox.pid().as_raw().unsigned_abs()
    }

    /// The workload's pids and, if asked for, its namespaces.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// The master of the sandbox's own terminal, if [`Command::terminal`] asked for one; non-blocking. See pty(7).
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// PID 1's pidfd: readable (poll(2)) once everything inside has ended. See pidfd_open(2).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.sandbox.pidfd()
    }

    /// Sends a signal, by its number (1 to 64), to the workload. It is forwarded by PID 1; SIGKILL and SIGSTOP
    /// cannot be, and are PID 1's own: the first ends everything, as [`Self::kill`] does.
    ///
    /// # Errors
    /// [`Error::Signal`], with EINVAL for a number that is no signal's. None if it has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        self.sandbox.signal(signal)
    }

    /// Kills everything inside, at once. [`Self::wait`] then says `Killed(9)`.
    ///
    /// # Errors
    /// [`Error::Signal`]. None if it has ended.
    pub fn kill(&self) -> Result<(), Error> {
        self.sandbox.signal(libc::SIGKILL)
    }

    /// Waits until the workload, and then everything else inside, has ended.
    ///
    /// # Errors
    /// [`Error::Wait`], [`Error::Report`]
    pub fn wait(&mut self) -> Result<Outcome, Error> {
        loop {
            if let Some(outcome) = self.outcome {
                return Ok(outcome);
            }
            if let Event::Ended(outcome) = self.sandbox.next_event()? {
                self.outcome = Some(outcome);
            }
        }
    }
}
