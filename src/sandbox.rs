//! Carries a plan out: clones init into its namespaces, writes the id maps, hands the plan over, and then speaks
//! with init until its end.
//!
//! What is to be done is for plan/ to decide; what happens inside is init's.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use launch_init::exit::{self, Outcome};
use launch_init::handoff::{self, Failure, Happening, Order, Report, Task, body_length, first_body};
use launch_init::signals::{self, Received};
use launch_init::sys::{CStringArray, adopt_descriptor, duplicate, signal_process};
use launch_init::{HANDOFF_OPTION, NAME};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixCredentials,
    recvmsg, send, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::unistd::Pid;

use crate::error::Error;
use crate::executable::Executable;
use crate::idmap::{self, Helpers};
use crate::kept::Lock;
use crate::plan::{Plan, names_of};
use crate::processors::Stay;
use crate::sys::{self, ChildsMemory, Cloned, Leaves};

/// What a launch needs besides its plan.
#[derive(Debug)]
pub struct Resources {
    /// The file that becomes init.
    pub init: Executable,
    /// Its stdin, stdout and stderr, where they are not the caller's.
    pub stdio: [Option<OwnedFd>; 3],
    /// What is locked until PID 1 ends, which holds it then.
    pub lock: Option<Lock>,
    /// Whether init leads a session of its own, without a terminal.
    pub leads_session: bool,
    /// Whether this is the program `launch`, in which every signal is blocked already, and whose only thread does nothing else.
    pub is_of_launch: bool,
}

/// What init says, as far as the launcher's owner has to do something about it.
#[derive(Debug)]
pub enum Event {
    /// The sandbox has a terminal of its own, whose master is this.
    Terminal(OwnedFd),
    /// It was made ahead, and waits for what to run ([`Sandbox::assign`]).
    SetUp,
    /// The workload runs.
    Started(Started),
    /// A signal of this number stopped it.
    Stopped(i32),
    /// Something else in its life.
    Happened(Happening),
    /// Another process of the inside is the main one from now on: its pid in the caller's PID namespace.
    MainPid(i32),
    /// Init is gone and with it everything inside.
    Ended(Outcome),
}

/// A workload that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its pid in the caller's PID namespace.
    pub pid: i32,
    /// Its pid in its own.
    pub pid_inside: i32,
    /// The kind and inode number of each of its namespaces, if they were asked for.
    pub namespaces: Vec<(String, u64)>,
}

/// A cloned init, and everything inside with it. Dropping it ends all of that.
#[derive(Debug)]
pub struct Sandbox {
    pid: Pid,
    pidfd: OwnedFd,
    /// Shared with init until it is executed.
    memory: Option<ChildsMemory>,
    /// Init's file, until it has been executed for long: it may be a mount without a place, and who closes the last descriptor of
    /// such a one waits in the kernel for every processor. That is to be nobody whom a start waits for.
    file: Option<OwnedFd>,
    reports: Reports,
    /// The plan, until it is handed over.
    plan: Vec<u8>,
    /// What init said of the workload's end.
    reported: Option<Outcome>,
    /// What it said of its own failure.
    failure: Option<Failure>,
    started: bool,
    /// Those that the workload was started in, if they were asked for.
    namespaces: Vec<(String, u64)>,
    /// Whether it has been reaped, or is another's to reap.
    reaped: bool,
    /// Whether it is a process that has joined a sandbox, and its command, instead.
    is_joined: bool,
    /// What keeps this thread on one processor, until [`Self::leave_processor`].
    stay: Option<Stay>,
}

impl Sandbox {
    /// Clones init and writes its id maps. It waits until [`Self::release`].
    ///
    /// # Errors
    /// [`Error::Handoff`], [`Error::Channel`], [`Error::Clone`], [`Error::IdMap`], [`Error::IdHelper`],
    /// [`Error::Inside`], [`Error::InitDied`]; nothing is left behind.
    pub fn start(plan: &Plan, resources: Resources) -> Result<Self, Error> {
        let stay = if plan.init.is_on_one_processor { Stay::begin() } else { None };
        let encoded = plan.init.encode_with(stay.is_some()).map_err(|_| Error::Handoff(Errno::E2BIG))?;
        let helpers = plan.maps.as_ref().map_or(Ok(Helpers::default()), Helpers::find)?;
        let (ours, theirs) = channel().map_err(Error::Channel)?;
        let cloned = if resources.is_of_launch {
            clone(plan, &resources, &theirs)
        } else {
            let mask = signals::block_all().map_err(Error::Signals)?;
            let cloned = clone(plan, &resources, &theirs);
            signals::set_mask(mask).map_err(Error::Signals)?;
            cloned
        };
        let Cloned { pid, pidfd, memory } = cloned?;
        let file = resources.init.into_file();
        log::debug!("clone: init is pid {pid}, with new {} namespaces", names_of(plan.namespaces));
        let mut sandbox = Self {
            pid,
            pidfd,
            memory: Some(memory),
            file,
            reports: Reports::through(ours),
            plan: encoded,
            reported: None,
            failure: None,
            started: false,
            namespaces: Vec::new(),
            reaped: false,
            is_joined: false,
            stay,
        };
        if sandbox.pidfd.as_raw_fd() <= libc::STDERR_FILENO {
            // Where the caller closed a standard descriptor, the next sandbox would get this one in its place.
            sandbox.pidfd = duplicate(sandbox.pidfd.as_raw_fd()).map_err(Error::Channel)?;
        }
        let mask = plan.init.workload.signals.mask;
        let maps = plan.maps.as_ref();
        let written =
            maps.map_or(Ok(()), |maps| idmap::write(sandbox.pid, sandbox.pidfd(), maps, &helpers, mask));
        // End of file is only seen when no end of theirs is left open here. Closed any earlier, its number would be taken by one of
        // the maps, which are closed by one call if theirs follow each other.
        drop(theirs);
        written.map_err(|error| sandbox.what_init_says_or(error))?;
        if !resources.is_of_launch {
            // The thread is its caller's again.
            sandbox.leave_processor();
        }
        Ok(sandbox)
    }

    /// A process that joins a sandbox and waits for `plan`, which is its monitor's child and of this `pid` and `pidfd`;
    /// `channel` is our end of the one that it speaks through. From here on it is as if it were an init of our own.
    pub fn joined(pid: Pid, pidfd: OwnedFd, channel: OwnedFd, plan: Vec<u8>) -> Self {
        Self {
            pid,
            pidfd,
            memory: None,
            file: None,
            reports: Reports::through(channel),
            plan,
            reported: None,
            failure: None,
            started: false,
            namespaces: Vec::new(),
            reaped: false,
            is_joined: true,
            stay: None,
        }
    }

    /// A sandbox that another process has made and handed over ([`Self::hand_over`]), which waits for its task ([`Self::assign`]):
    /// init's `pid`, `pidfd` and channel. Its maker reaps it.
    pub(crate) fn handed_over(pid: Pid, pidfd: OwnedFd, channel: OwnedFd) -> Self {
        let mut sandbox = Self::joined(pid, pidfd, channel, Vec::new());
        sandbox.is_joined = false;
        sandbox
    }

    /// Gives it to another process: its channel, and its pidfd, which is readable when it is to be reaped here. Only of one that
    /// was set up ([`Event::SetUp`]).
    ///
    /// # Errors
    /// [`Error::Channel`]; it has ended then.
    pub(crate) fn hand_over(mut self) -> Result<(OwnedFd, OwnedFd), Error> {
        let copy = |fd: BorrowedFd<'_>| duplicate(fd.as_raw_fd()).map_err(Error::Channel);
        let handed = (copy(self.channel())?, copy(self.pidfd())?);
        // Init was executed, and dropping this ends nobody any more.
        self.is_let_go_of();
        Ok(handed)
    }

    /// Whether it is [`Self::joined`]: when its end has come, others of its terminal's may be left.
    pub fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// Hands the plan over. Whether the workload runs comes as an event.
    ///
    /// # Errors
    /// [`Error::Handoff`], [`Error::Inside`]; nothing is left behind.
    pub fn release(&mut self) -> Result<(), Error> {
        let plan = std::mem::take(&mut self.plan);
        send_all(self.reports.channel.as_fd(), &plan)
            .map_err(|errno| self.what_init_says_or(Error::Handoff(errno)))
    }

    /// Gives a sandbox that was made ahead what it runs, once it waits for that ([`Event::SetUp`]), with as many descriptors
    /// as [`Task::stdio`] says. Whether the workload runs comes as an event. `wait` is called with the channel when that has no room
    /// (poll(2), POLLOUT): init may have been stopped by somebody. Nothing runs before all has been sent.
    ///
    /// # Errors
    /// [`Error::Handoff`]; EPIPE: init has ended, and nothing was run. As `wait`.
    pub fn assign(
        &mut self,
        task: &Task,
        stdio: &[BorrowedFd<'_>],
        mut wait: impl FnMut(BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let frame = task.encode().map_err(|_| Error::Handoff(Errno::E2BIG))?;
        let numbers: Vec<RawFd> = stdio.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let mut rights = if numbers.is_empty() { &[][..] } else { &rights };
        let channel = self.reports.channel.as_fd();
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let mut left = &frame[..];
        while !left.is_empty() {
            match sendmsg::<()>(channel.as_raw_fd(), &[IoSlice::new(left)], rights, flags, None) {
                // They went with the first bytes.
                Ok(sent) => (left, rights) = (&left[sent..], &[]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => wait(channel)?,
                Err(errno) => return Err(Error::Handoff(errno)),
            }
        }
        Ok(())
    }

    /// Whether init has ended without having read all that it was sent. Known after [`Self::next_event`] has told its end.
    pub(crate) fn left_unread(&self) -> bool {
        self.reports.left_unread
    }

    /// Lets this thread go where it would, if it was kept where init is.
    pub(crate) fn leave_processor(&mut self) {
        drop(self.stay.take());
    }

    /// Init's pid in the caller's PID namespace.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Init's pidfd: readable (poll(2)) once everything inside has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The channel, readable when [`Self::next_event`] would not wait.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.reports.channel.as_fd()
    }

    /// Sends a signal to init, which forwards it; SIGKILL and SIGSTOP are for init itself.
    ///
    /// # Errors
    /// [`Error::Signal`]; not that init has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        self.send(signal, None)
    }

    /// Sends on a signal that came in, with its sender's value where it has one.
    ///
    /// # Errors
    /// As [`Self::signal`].
    pub fn forward(&self, signal: Received) -> Result<(), Error> {
        self.send(signal.number, signal.value)
    }

    fn send(&self, signal: i32, value: Option<u64>) -> Result<(), Error> {
        match signal_process(self.pidfd(), signal, value) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::Signal(signal, errno)),
        }
    }

    /// Tells init to do this. May be called once the plan has been handed over. It does not wait: an init that has no processor,
    /// or that somebody has stopped, is sent some hundred orders, and then no more until [`Self::channel`] is writable.
    ///
    /// # Errors
    /// [`Error::Handoff`]; EAGAIN: not now; not that init has ended.
    pub fn order(&self, order: Order) -> Result<(), Error> {
        let frame = order.encode().map_err(Error::Report)?;
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        // So few bytes go as a whole, or not at all.
        match send(self.reports.channel.as_raw_fd(), &frame, flags) {
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(Error::Handoff(errno)),
        }
    }

    /// Waits for what init says next that is more than a log line; log lines go to `log`.
    ///
    /// # Errors
    /// [`Error::Inside`], [`Error::InitDied`]: there will be no workload, and nothing is left.
    /// [`Error::Report`], [`Error::Wait`].
    pub fn next_event(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.take_event(Some(MsgFlags::empty()))? {
                return Ok(event);
            }
        }
    }

    /// The same without waiting: none if init has said nothing more yet. For an event loop, when
    /// [`Self::channel`] is readable, until there is none.
    ///
    /// # Errors
    /// As [`Self::next_event`].
    pub fn try_next_event(&mut self) -> Result<Option<Event>, Error> {
        self.take_event(Some(MsgFlags::MSG_DONTWAIT))
    }

    /// Reads, without waiting and once: most often there is no more. What has come then is told by
    /// [`Self::next_event_that_came`].
    ///
    /// # Errors
    /// [`Error::Channel`]
    pub(crate) fn read(&mut self) -> Result<(), Error> {
        self.reports.read(MsgFlags::MSG_DONTWAIT).map(drop)
    }

    /// As [`Self::try_next_event`], of what has been read.
    ///
    /// # Errors
    /// As [`Self::next_event`].
    pub(crate) fn next_event_that_came(&mut self) -> Result<Option<Event>, Error> {
        self.take_event(None)
    }

    /// Whether init has said how the workload ended. It says nothing more, and is about to end itself. Never of one that
    /// [`Self::joined`]: who reaps it may be somebody else, and only the end of file tells.
    pub(crate) fn has_told_its_end(&self) -> bool {
        self.reported.is_some() && !self.is_joined
    }

    /// Waits for that.
    ///
    /// # Errors
    /// [`Error::Wait`]
    pub(crate) fn wait_for_end(&mut self) -> Result<Event, Error> {
        self.end().map(Event::Ended)
    }

    /// `reading`: how to read what has not come yet; none leaves it.
    fn take_event(&mut self, reading: Option<MsgFlags>) -> Result<Option<Event>, Error> {
        loop {
            match self.reports.next(reading)? {
                Next::Report(Report::Log { level, message }) => log_line(level, &message),
                Next::Report(Report::Started { pid: pid_inside, namespaces }) => {
                    self.started = true;
                    self.file = None;
                    // Those of a further run are the same, and are not told once more.
                    if !namespaces.is_empty() {
                        self.namespaces = namespaces;
                    }
                    let namespaces = self.namespaces.clone();
                    // Who joins has its command's pid from outside, and no right to send another's credentials.
                    let pid = if self.is_joined { pid_inside } else { self.reports.sender };
                    return Ok(Some(Event::Started(Started { pid, pid_inside, namespaces })));
                }
                Next::Report(Report::Terminal) => {
                    let master = self.reports.descriptor.take().ok_or(Error::Terminal(Errno::EBADF))?;
                    return Ok(Some(Event::Terminal(master)));
                }
                // Its pid inside says nothing here.
                Next::Report(Report::Happened(Happening::MainPid(_))) => {
                    return Ok(Some(Event::MainPid(self.reports.sender)));
                }
                Next::Report(Report::SetUp) => {
                    self.file = None;
                    return Ok(Some(Event::SetUp));
                }
                Next::Report(Report::Happened(happening)) => return Ok(Some(Event::Happened(happening))),
                Next::Report(Report::Stopped { signal }) => return Ok(Some(Event::Stopped(signal))),
                Next::Report(Report::Ended(outcome)) => self.reported = Some(outcome),
                Next::Report(Report::Failed(failure)) => self.failure = Some(failure),
                Next::End => return self.end().map(|outcome| Some(Event::Ended(outcome))),
                Next::Nothing => return Ok(None),
            }
        }
    }

    /// Reaps init, and says how it all ended.
    fn end(&mut self) -> Result<Outcome, Error> {
        let status = self.reap().map_err(Error::Wait)?;
        self.is_let_go_of();
        match (self.failure.take(), self.reported) {
            (Some(failure), _) => Err(Error::Inside(Box::new(failure))),
            (None, Some(outcome)) => Ok(outcome),
            (None, None) if self.is_joined => {
                Err(Error::Inside(Box::new(failure("exec", NAME, "was killed"))))
            }
            (None, None) if !self.started => Err(Error::InitDied(status)),
            (None, None) => Ok(end_of_a_killed_init(status)),
        }
    }

    /// Waits until it has ended; its status, where it is ours to reap.
    fn reap(&self) -> Result<Option<i32>, Errno> {
        match sys::wait_for(self.pidfd()) {
            Ok(status) => Ok(Some(status)),
            // The owner of this process ignores SIGCHLD or reaps every child, or it is another process's. Init has told all the
            // same, and may be about to end still.
            Err(Errno::ECHILD) => loop {
                match poll(&mut [PollFd::new(self.pidfd(), PollFlags::POLLIN)], PollTimeout::NONE) {
                    Ok(_) => break Ok(None),
                    Err(Errno::EINTR) => {}
                    Err(errno) => break Err(errno),
                }
            },
            Err(errno) => Err(errno),
        }
    }

    /// Nothing of it is ours any more.
    fn is_let_go_of(&mut self) {
        self.reaped = true;
        if let Some(memory) = self.memory.take() {
            memory.free();
        }
    }

    /// The cause, when the launcher's own step failed because init had ended: what init said, or else `error`.
    #[cold]
    fn what_init_says_or(&mut self, error: Error) -> Error {
        let _ = signal_process(self.pidfd(), libc::SIGKILL, None);
        loop {
            match self.next_event() {
                Err(said @ Error::Inside(_)) => return said,
                Ok(Event::Ended(_)) | Err(_) => return error,
                Ok(_) => {}
            }
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !self.reaped {
            // The kernel ends everything in a PID namespace with its PID 1. ESRCH: it has ended.
            let _ = signal_process(self.pidfd(), libc::SIGKILL, None);
            let _ = self.reap();
            self.is_let_go_of();
        }
    }
}

/// PID 1 could not say how the workload ended: it was killed (by its owner, by somebody else outside, or for want of
/// memory), and the kernel killed the workload with it. Without a status, since somebody else reaps here, that is
/// still what has happened.
fn end_of_a_killed_init(status: Option<i32>) -> Outcome {
    let signal = match status.and_then(Outcome::from_wait_status) {
        Some(Outcome::Killed(signal)) => signal,
        _ => libc::SIGKILL,
    };
    log::error!("init: PID 1: was killed by {}, and all inside with it", signals::name(signal));
    Outcome::Killed(signal)
}

fn log_line(level: u8, message: &str) {
    if let Some(level) = log::Level::iter().nth(usize::from(level).saturating_sub(1)) {
        log::log!(target: NAME, level, "{message}");
    }
}

/// A failure of ours, in init's form.
fn failure(step: &str, object: &str, detail: &str) -> Failure {
    Failure { code: exit::FAILED, step: step.into(), object: object.into(), detail: detail.into(), errno: 0 }
}

/// A frame for the channel that says that this failed; its last four bytes are the errno's place.
pub(crate) fn failure_frame(step: &str, object: &str) -> Result<Vec<u8>, Error> {
    Report::Failed(failure(step, object, "")).encode().map_err(Error::Report)
}

/// A socket pair: one descriptor on each side for both directions, no SIGPIPE, and unlike a pipe it cannot be
/// opened a second time through /proc/PID/fd. Ours gets the pid of each message's sender.
pub(crate) fn channel() -> Result<(OwnedFd, OwnedFd), Errno> {
    // Theirs has the lower number: the child closes what is above it in one go.
    let (theirs, ours) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    // Where the caller closed a standard descriptor, a socket may have got its number.
    let (ours, theirs) = (above_stdio(ours)?, above_stdio(theirs)?);
    setsockopt(&ours, sockopt::PassCred, &true)?;
    Ok((ours, theirs))
}

/// The same, with a number above 2.
pub(crate) fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() > libc::STDERR_FILENO { Ok(fd) } else { duplicate(fd.as_raw_fd()) }
}

fn clone(plan: &Plan, resources: &Resources, channel: &OwnedFd) -> Result<Cloned, Error> {
    let number = channel.as_raw_fd().to_string();
    let arguments = [NAME, HANDOFF_OPTION, &number].map(|text| CString::new(text).unwrap_or_default());
    let Resources { init: file, stdio, lock, .. } = resources;
    let mut keep = plan.init.descriptors();
    // Init never uses it, and the workload does not get it: it is locked as long as anybody has it open.
    keep.extend(lock.as_ref().map(AsRawFd::as_raw_fd));
    let stdio = [0, 1, 2].map(|n: usize| stdio[n].as_ref().map(AsRawFd::as_raw_fd));
    let mut open = vec![channel.as_raw_fd()];
    open.extend(file.file().map(|file| file.as_raw_fd()));
    open.extend(stdio.iter().flatten());
    open.extend(&keep);
    open.sort_unstable();
    let image = sys::InitImage {
        file: file.in_image(),
        arguments: CStringArray::new(arguments.into()),
        // Init needs no environment; the workload's is in the plan.
        environment: CStringArray::new(Vec::new()),
        stdio,
        channel: channel.as_raw_fd(),
        open,
        leaves: match plan.init.workload.group {
            _ if resources.leads_session => Leaves::Session,
            handoff::Group::Callers => Leaves::Nothing,
            _ => Leaves::Group,
        },
        keep,
        ambient: plan.init_capabilities.clone(),
        ids: plan.init_ids,
        failure: failure_frame("init", NAME)?,
        ids_failure: failure_frame("init", "ids")?,
    };
    sys::clone_init(plan.namespaces, image).map_err(|errno| Error::Clone(names_of(plan.namespaces), errno))
}

fn send_all(channel: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match send(channel.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The reports that arrive, put together from the channel's bytes.
#[derive(Debug)]
struct Reports {
    channel: OwnedFd,
    received: Vec<u8>,
    /// The credentials of the last bytes. The kernel never hands bytes of different credentials out together, so
    /// those of a frame that came whole are the frame's.
    sender: i32,
    /// A descriptor that came with them.
    descriptor: Option<OwnedFd>,
    /// Whether the other end was closed before all had been read there.
    left_unread: bool,
    /// Whether the other end was closed.
    is_over: bool,
}

impl Reports {
    fn through(channel: OwnedFd) -> Self {
        Self {
            channel,
            received: Vec::new(),
            sender: 0,
            descriptor: None,
            left_unread: false,
            is_over: false,
        }
    }
}

/// What came through the channel.
enum Next {
    Report(Report),
    /// Init has closed its end: it has ended.
    End,
    /// Nothing yet, and it was not to be waited for.
    Nothing,
}

impl Reports {
    fn next(&mut self, reading: Option<MsgFlags>) -> Result<Next, Error> {
        loop {
            if let Some(body) = first_body(&self.received).map_err(Error::Report)? {
                let report = Report::decode(body).map_err(Error::Report)?;
                let length = self.received.first_chunk().map_or(Ok(0), |header| body_length(*header));
                self.received.drain(..handoff::HEADER + length.map_err(Error::Report)?);
                return Ok(Next::Report(report));
            }
            if self.is_over {
                return Ok(Next::End);
            }
            let has_read = reading.map_or(Ok(false), |flags| self.read(flags))?;
            if !has_read {
                return Ok(Next::Nothing);
            }
        }
    }

    /// Whether there was something to be read, or was to be waited for.
    fn read(&mut self, flags: MsgFlags) -> Result<bool, Error> {
        match self.receive(flags) {
            Ok(0) => self.is_over = true,
            Err(Errno::ECONNRESET) => (self.left_unread, self.is_over) = (true, true),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(false),
            Err(errno) => return Err(Error::Channel(errno)),
        }
        Ok(true)
    }

    fn receive(&mut self, flags: MsgFlags) -> Result<usize, Errno> {
        let mut buffer = [0; 2048];
        let mut control = cmsg_space!(UnixCredentials, [RawFd; 1]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let fd = self.channel.as_raw_fd();
        let message = recvmsg::<()>(fd, &mut parts, Some(&mut control), flags | MsgFlags::MSG_CMSG_CLOEXEC)?;
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::ScmCredentials(credentials) => self.sender = credentials.pid(),
                ControlMessageOwned::ScmRights(descriptors) => {
                    let owned =
                        descriptors.into_iter().map(adopt_descriptor).collect::<Result<Vec<_>, _>>()?;
                    self.descriptor = owned.into_iter().next_back();
                }
                _ => {}
            }
        }
        let length = message.bytes;
        self.received.extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_that_came_together_are_read_once_and_told_one_after_another() {
        let (ours, theirs) = channel().expect("channel");
        let started = Report::Started { pid: 2, namespaces: Vec::new() };
        let ended = Report::Ended(Outcome::Exited(3));
        let frames = [&started, &ended].map(|report| report.encode().expect("frame"));
        send_all(theirs.as_fd(), &frames.concat()).expect("send");
        let mut reports = Reports::through(ours);
        let mut told = |reading| match reports.next(reading).expect("frame") {
            Next::Report(report) => Some(report),
            Next::End | Next::Nothing => None,
        };
        assert_eq!(told(None), None, "nothing has been read yet");
        assert_eq!(told(Some(MsgFlags::MSG_DONTWAIT)), Some(started));
        assert_eq!(told(None), Some(ended));
        assert_eq!(told(None), None);
        send_all(theirs.as_fd(), &frames[0][..5]).expect("send");
        drop(theirs);
        assert!(reports.read(MsgFlags::MSG_DONTWAIT).expect("read"));
        assert!(matches!(reports.next(None), Ok(Next::Nothing)), "half a frame, and the end is not read");
        assert!(matches!(reports.next(Some(MsgFlags::MSG_DONTWAIT)), Ok(Next::End)));
        assert!(matches!(reports.next(None), Ok(Next::End)), "it stays over");
    }
}
