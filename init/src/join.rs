//! A process that joins a running sandbox and starts a command in it, for `launch exec`: enters the namespaces of PID 1,
//! starts the command as the workload was started, and gives its outcome back.
//!
//! It is the monitor's child and stays outside of the PID namespace, so that nobody inside sees it, signals it or learns
//! its descriptors; only the command is inside. What it has open of the outside is closed in the command's process before
//! anything else. It never signals by a pid that it has read somewhere: what /proc shows from here on is the sandbox's.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use nix::unistd::{
    Gid, Pid, Uid, chdir, chroot, fchdir, geteuid, getpid, getppid, setgroups, setresgid, setresuid, setsid,
};

use crate::error::Error;
use crate::event_loop::End;
use crate::exit::{self, Outcome};
use crate::handoff::{Failure, Group, Join, Report};
use crate::report::{self, Channel};
use crate::setup::Pty;
use crate::signals::{self, Received, SignalQueue};
use crate::spawn::Extra;
use crate::sys::{self, Waited};
use crate::{
    CAP_SYS_CHROOT, become_unreadable, channel_in, let_go, prepare_signals, proc, setup, spawn, tell_the_end,
};

/// For so long after its start, a command may have come too late for what PID 1 has told everybody.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// From the loss of its memory to its end it takes PID 1 no longer, in milliseconds, unless somebody inside hangs.
const ENDS_WITHIN: u16 = 2000;

/// The whole life; returns the exit code, which is the monitor's to reap and nobody's to read.
#[cold]
pub(crate) fn main(descriptor: &OsString) -> u8 {
    let Some(channel) = channel_in(crate::JOIN_OPTION, descriptor) else { return exit::FAILED };
    // For the log, too, which may be used until the end.
    let channel: &'static Channel = Box::leak(Box::new(channel));
    tell_the_end(channel, live(channel))
}

fn live(channel: &'static Channel) -> Result<End, Error> {
    let mut join = channel.receive_join()?;
    report::log_through(channel, join.plan.log_level);
    // The monitor may have a terminal, from which nothing shall come here; nor shall the command get it.
    setsid().map_err(failed("session"))?;
    let outside = Outside::open(&mut join)?;
    become_unreadable()?;
    outside.enter(&mut join)?;
    let terminal = match join.plan.workload.group {
        Group::Session => {
            let Pty { master, terminal } =
                setup::terminal_of_sandbox(outside.proc.as_fd()).map_err(|problem| {
                    let failure = Failure { detail: problem.detail, ..failure("terminal", problem.errno) };
                    Error::Workload(Box::new(Failure {
                        step: "terminal".into(),
                        object: "/dev/pts".into(),
                        ..failure
                    }))
                })?;
            channel.send_terminal(master.as_fd()).map_err(Error::Channel)?;
            Some(terminal)
        }
        Group::Own { .. } | Group::Callers => None,
    };
    setup::carry_out(&join.plan.steps, Some(channel.as_fd()))?;
    let Outside { null, proc, this, init, root, time } = outside;
    drop((init, root, time));
    let signals = prepare_signals(signals::ALL)?;
    let extra = Extra {
        is_root: geteuid().is_root(),
        terminal: terminal.as_ref().map(AsFd::as_fd),
        proc: Some(proc.as_fd()),
        parent: Some(this.as_fd()),
        close: &[proc.as_raw_fd(), channel.as_fd().as_raw_fd()],
        ..Extra::default()
    };
    let workload = &join.plan.workload;
    let (pid, pidfd) =
        spawn::spawn(workload, &signals, Some(channel.as_fd()), &extra).map_err(|error| match error {
            // fork(2): a PID namespace without a PID 1 takes nobody.
            Error::Own("fork", Errno::ENOMEM) => is_stopping(&join.sandbox),
            error => error,
        })?;
    log::debug!("command: {}: started as pid {pid}", workload.command[0].display());
    // EPIPE: the loop learns of it.
    let _ = channel.send(&Report::Started { pid: pid.as_raw(), namespaces: Vec::new() });
    let_go(&workload.descriptors, null.as_fd());
    drop((proc, this, join));
    // The terminal stays open here, so that the client never sees it hang up before the command's end.
    let end = Command { pid, pidfd, started: Instant::now(), channel, signals: &signals }.watch();
    drop(terminal);
    Ok(end)
}

/// What is opened before the namespaces are entered, by the monitor's own /proc: afterwards a path is the sandbox's.
struct Outside {
    /// PID 1's pidfd.
    init: OwnedFd,
    /// PID 1's root directory. A mount namespace's root need not be that of those inside.
    root: OwnedFd,
    /// The time namespace of PID 1's children.
    time: Option<OwnedFd>,
    /// The proc of our PID namespace.
    proc: OwnedFd,
    /// Our own pidfd.
    this: OwnedFd,
    null: OwnedFd,
}

impl Outside {
    fn open(join: &mut Join) -> Result<Self, Error> {
        let init = sys::adopt_descriptor(join.init).map_err(failed("PID 1"))?;
        let proc = open_directory("/proc").map_err(failed("/proc"))?;
        let pid = getpid();
        // A proc of another PID namespace has another process by our number, or none.
        let itself = nix::fcntl::readlink("/proc/self").map_err(failed("/proc"))?;
        if itself != OsStr::new(&pid.to_string()) {
            return Err(failed("/proc")(Errno::ESRCH));
        }
        // A process without a user of its own may not write to this file, as we are about to be; it is handed down.
        if let Some(score) = join.plan.workload.oom_score.take() {
            proc::write(proc.as_fd(), &format!("{pid}/oom_score_adj"), &score.to_string())
                .map_err(failed("oom_score_adj"))?;
        }
        let ended = || is_stopping(&join.sandbox);
        let of_init = sys::pid_of(init.as_fd()).map_err(failed("PID 1"))?.ok_or_else(ended)?;
        let missing = |object, errno| match errno {
            // While it ends it has none, and once it has ended nothing is allowed.
            Errno::ENOENT | Errno::ESRCH => ended(),
            _ if is_ending(init.as_fd()) => ended(),
            errno => failed(object)(errno),
        };
        let root =
            open_directory(&format!("/proc/{of_init}/root")).map_err(|errno| missing("root", errno))?;
        let time = if join.time_namespace {
            let path = format!("/proc/{of_init}/ns/time_for_children");
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            Some(
                open(path.as_str(), flags, Mode::empty())
                    .map_err(|errno| missing("time namespace", errno))?,
            )
        } else {
            None
        };
        let outside = Self {
            root,
            time,
            proc,
            this: sys::open_pidfd(pid).map_err(failed("pidfd"))?,
            null: sys::open_null().map_err(failed("/dev/null"))?,
            init,
        };
        // The number was PID 1's when it was looked at, if that lives still.
        if has_ended(outside.init.as_fd()) { Err(ended()) } else { Ok(outside) }
    }

    /// In the end this process is what PID 1 was just before the workload's start: with the same ids and capabilities.
    fn enter(&self, join: &mut Join) -> Result<(), Error> {
        let kinds = CloneFlags::from_bits_retain(join.namespaces as i32);
        setns(&self.init, kinds).map_err(|errno| match errno {
            Errno::ESRCH => is_stopping(&join.sandbox),
            _ if is_ending(self.init.as_fd()) => is_stopping(&join.sandbox),
            errno => failed("namespaces")(errno),
        })?;
        // A change of rights sets it to what fs.suid_dumpable says.
        become_unreadable()?;
        if let Some(time) = &self.time {
            setns(time, CloneFlags::from_bits_retain(libc::CLONE_NEWTIME))
                .map_err(failed("time namespace"))?;
        }
        let its_root = sys::mount_and_inode(self.root.as_fd());
        let is_chrooted = its_root != open_directory("/").and_then(|root| sys::mount_and_inode(root.as_fd()));
        if join.own_root && is_chrooted {
            // The outside is behind it, as for the workload.
            join.plan.workload.forbid(CAP_SYS_CHROOT);
        }
        fchdir(&self.root).and_then(|()| chroot(".")).and_then(|()| chdir("/")).map_err(failed("root"))?;
        if join.leaves_groups {
            setgroups(&[]).map_err(failed("groups"))?;
        }
        if let Some(gid) = join.group.map(Gid::from_raw) {
            setresgid(gid, gid, gid).map_err(failed("ids"))?;
        }
        if let Some(uid) = join.user.map(Uid::from_raw) {
            setresuid(uid, uid, uid).map_err(failed("ids"))?;
        }
        become_unreadable()
    }
}

fn open_directory(path: &str) -> Result<OwnedFd, Errno> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Whether the process behind a pidfd has ended.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(pidfd, PollFlags::POLLIN)];
    matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1..))
}

/// Whether it was for its end that something about PID 1 was refused: it has no memory any more, and so nobody may look at
/// it, some time before its pidfd tells (do_exit in kernel/exit.c).
fn is_ending(init: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(init, PollFlags::POLLIN)];
    matches!(poll(&mut polled, ENDS_WITHIN), Ok(1..))
}

/// A command that runs.
struct Command<'a> {
    pid: Pid,
    pidfd: OwnedFd,
    started: Instant,
    channel: &'a Channel,
    signals: &'a SignalQueue,
}

impl Command<'_> {
    /// Sends on what the client sends, until the command has ended or the client has.
    fn watch(&self) -> End {
        loop {
            if let Err(errno) = self.signals.drain(|signal| self.forward(signal)) {
                log::error!("signals: read: {}", errno.desc());
            }
            if let Some(outcome) = self.look() {
                return End::Workload(outcome);
            }
            let mut polled = [
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut polled, PollTimeout::NONE) {
                // The client says nothing after the plan.
                Ok(_) if polled[1].any() == Some(true) => {
                    self.kill();
                    return End::Abandoned;
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => log::error!("poll: {}", errno.desc()),
            }
        }
    }

    /// What has become of the command, which is our only child: whoever it leaves over is PID 1's.
    fn look(&self) -> Option<Outcome> {
        loop {
            match sys::wait_any() {
                Ok(Waited::Changed { status, .. }) => {
                    if let Some(outcome) = Outcome::from_wait_status(status) {
                        return Some(outcome);
                    }
                    if let Some(signal) = exit::stopped_by(status) {
                        // EAGAIN: the client does not listen. EPIPE: its end is seen next.
                        let _ = self.channel.send_if_room(&Report::Stopped { signal });
                    }
                }
                Ok(Waited::Nothing) => return None,
                // It cannot be: the command is reaped here and nowhere else.
                Ok(Waited::NoChildren) => return Some(Outcome::Killed(libc::SIGKILL)),
                Err(errno) => {
                    log::error!("children: wait: {}", errno.desc());
                    return None;
                }
            }
        }
    }

    /// Whether it is the monitor's word that everybody inside is being ended, and the command has been there for so long
    /// that PID 1 has told it itself.
    fn is_old_news(&self, signal: Received) -> bool {
        let monitor = getppid().as_raw().unsigned_abs();
        signal.number == libc::SIGTERM && signal.sender == monitor && self.started.elapsed() > ON_THE_WAY
    }

    /// To its group, whose leader cannot be anybody else before it is reaped. There is no terminal here, so that what the
    /// kernel sends by itself is meant for us.
    fn forward(&self, signal: Received) {
        let is_our_own = signal.sender == getpid().as_raw().unsigned_abs();
        let is_nobodys = signal.number == libc::SIGCHLD || !signal.was_sent_by_a_process() || is_our_own;
        if is_nobodys || self.is_old_news(signal) {
            return;
        }
        let by_pidfd =
            signal.value.map(|_| sys::signal_group(self.pidfd.as_fd(), signal.number, signal.value));
        let sent = match by_pidfd {
            // A value reaches a group with Linux 6.9.
            Some(Err(Errno::EINVAL)) | None => sys::kill(-self.pid.as_raw(), signal.number),
            Some(sent) => sent,
        };
        let sent = match sent {
            // It is not in a group of its own any more, or that is empty.
            Err(Errno::ESRCH) => sys::signal_process(self.pidfd.as_fd(), signal.number, signal.value),
            sent => sent,
        };
        match sent {
            Ok(()) => log::debug!("forwarded {}", signals::name(signal.number)),
            Err(errno) => log::warn!("{}: not forwarded: {}", signals::name(signal.number), errno.desc()),
        }
    }

    /// With its group; who has left that is PID 1's to end.
    fn kill(&self) {
        // ESRCH: it has ended.
        let _ = sys::kill(-self.pid.as_raw(), libc::SIGKILL);
        let _ = sys::signal_process(self.pidfd.as_fd(), libc::SIGKILL, None);
        // As our child; as an orphan it would be that of the machine's init.
        while matches!(nix::sys::wait::waitpid(self.pid, None), Err(Errno::EINTR)) {}
    }
}

fn is_stopping(sandbox: &OsStr) -> Error {
    let failure = failure("", Errno::UnknownErrno);
    Error::Workload(Box::new(Failure {
        step: "sandbox".into(),
        object: sandbox.into(),
        detail: "is stopping".into(),
        ..failure
    }))
}

fn failed(object: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Workload(Box::new(failure(object, errno)))
}

fn failure(object: &str, errno: Errno) -> Failure {
    Failure {
        code: exit::FAILED,
        step: "exec".into(),
        object: object.into(),
        detail: String::new(),
        errno: errno as i32,
    }
}
