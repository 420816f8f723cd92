//! The form of the plan and the reports on the channel: frames with a header, encode and decode.
//!
//! Pure: no descriptor is read or written here.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use super::{
    Account, CapabilitySets, Descriptors, Failure, FileSystem, Group, Happening, Instruction, Join, Limit,
    Name, Order, Overlay, Plan, Probes, Report, Root, SignalState, Source, Step, Task, Upper, Why, Workload,
};
use crate::exit::Outcome;
use crate::supervisor::{Health, Leftovers, Policy, Readiness, Restart, Rewrites};

/// The format of the frames below. It changes whenever one of the types changes.
pub const VERSION: u16 = 4;

const MAGIC: [u8; 4] = *b"lnch";
/// Magic, version, length of the body.
pub const HEADER: usize = 4 + 2 + 4;
/// No body is larger: it would be a mistake, and is refused before anything is allocated for it. The arguments
/// and environment of one exec are limited to 6 MiB (execve(2)).
const LARGEST_BODY: usize = 16 << 20;
/// That of a usual launch, in bytes, most of it the environment and the filter.
const ROOM_FOR_A_PLAN: usize = 4096;

/// A frame that the other end did not write in this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It doesn't begin like a frame.
    NotAFrame,
    /// It is of another version.
    Version(u16),
    /// It is larger than any frame.
    TooLarge(usize),
    /// Its body ends early, goes on too long, or has a value out of range.
    Body,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAFrame => f.write_str("not a frame of launch"),
            Self::Version(theirs) => write!(f, "its format is version {theirs}, this program's {VERSION}"),
            Self::TooLarge(length) => write!(f, "{length} bytes are more than any frame has"),
            Self::Body => f.write_str("damaged frame"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The length of the body that follows this header.
pub fn body_length(header: [u8; HEADER]) -> Result<usize, Malformed> {
    let [m0, m1, m2, m3, v0, v1, l0, l1, l2, l3] = header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(Malformed::NotAFrame);
    }
    let version = u16::from_le_bytes([v0, v1]);
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > LARGEST_BODY { Err(Malformed::TooLarge(length)) } else { Ok(length) }
}

/// The body of the first whole frame in `bytes`, if it is all there.
pub fn first_body(bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let Some((header, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    Ok(rest.get(..body_length(*header)?))
}

impl Plan {
    /// The whole frame.
    ///
    /// # Errors
    /// [`Malformed::TooLarge`]: no kernel takes so many arguments.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        self.encode_with(self.is_on_one_processor)
    }

    /// The same with another `is_on_one_processor`: whether init can be kept on one is seen when it starts, and for what was planned
    /// nobody needs a copy with another answer.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_with(&self, is_on_one_processor: bool) -> Result<Vec<u8>, Malformed> {
        let mut w = Writer::frame_of(ROOM_FOR_A_PLAN);
        w.u8(self.log_level);
        w.list(&self.steps, Writer::step);
        w.list(&self.workload.command, |w, s| w.bytes(s.as_bytes()));
        w.list(&self.workload.environment, |w, s| w.bytes(s.as_bytes()));
        w.signal_state(self.workload.signals);
        let keep = match &self.workload.descriptors {
            Descriptors::Inherited => None,
            Descriptors::Only(keep) => Some(keep),
        };
        w.option(keep, |w, keep| w.list(keep, |w, fd| w.i32(*fd)));
        w.u8(match self.workload.group {
            Group::Callers => 0,
            Group::Own { foreground: false } => 1,
            Group::Own { foreground: true } => 2,
            Group::Session => 3,
        });
        w.option(self.workload.user.as_ref(), Writer::account);
        w.option(self.workload.parent_death_signal, Writer::i32);
        w.option(self.workload.capabilities, |w, sets| {
            w.u64(sets.allowed);
            w.u64(sets.ambient);
        });
        w.bool(self.workload.no_new_privileges);
        w.list(&self.workload.filters, |w, filter| w.filter(filter));
        w.list(&self.workload.limits, |w, limit| {
            w.u32(limit.resource);
            w.u64(limit.soft);
            w.u64(limit.hard);
        });
        w.option(self.workload.oom_score, Writer::i32);
        w.option(self.workload.niceness, Writer::i32);
        w.option(self.workload.umask, Writer::u32);
        w.duration(self.policy.grace);
        w.option(self.policy.timeout, Writer::duration);
        w.option(self.policy.kill_after, Writer::duration);
        w.duration(self.policy.forward_delay);
        w.u8(match self.policy.leftovers {
            Leftovers::End => 0,
            Leftovers::WaitFor => 1,
            Leftovers::Leave => 2,
            Leftovers::Tell => 3,
        });
        let rewrites: Vec<_> = self.policy.rewrites.changed().collect();
        w.list(&rewrites, |w, (from, to)| {
            w.u8(*from);
            w.u8(*to);
        });
        w.u8(self.policy.stop_signal as u8);
        w.bool(self.policy.term_stops);
        w.restart(self.policy.restart);
        w.duration(self.policy.longest_delay);
        match self.policy.readiness {
            Readiness::Started => w.u8(0),
            Readiness::Notify => w.u8(1),
            Readiness::Descriptor(number) => {
                w.u8(2);
                w.i32(number);
            }
            Readiness::Command => w.u8(3),
        }
        w.option(self.policy.ready_timeout, Writer::duration);
        w.option(self.policy.watchdog, Writer::duration);
        w.option(self.policy.health, |w, health| {
            w.duration(health.interval);
            w.duration(health.timeout);
            w.u32(health.retries);
            w.bool(health.restarts);
        });
        w.bool(self.policy.tells);
        w.bool(self.policy.dies_with_launcher);
        w.option(self.probes.ready.as_ref(), Writer::os_string);
        w.option(self.probes.health.as_ref(), Writer::os_string);
        w.bool(self.report_namespaces);
        w.bool(is_on_one_processor);
        w.bool(self.ahead);
        w.finish()
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`Malformed::Body`]
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(body);
        let plan = Self {
            log_level: r.u8()?,
            steps: r.list(Reader::step)?,
            workload: Workload {
                command: r.list(Reader::os_string)?,
                environment: r.list(Reader::os_string)?,
                signals: r.signal_state()?,
                descriptors: match r.option(|r| r.list(Reader::i32))? {
                    None => Descriptors::Inherited,
                    Some(keep) => Descriptors::Only(keep),
                },
                group: match r.u8()? {
                    0 => Group::Callers,
                    1 => Group::Own { foreground: false },
                    2 => Group::Own { foreground: true },
                    3 => Group::Session,
                    _ => return Err(Malformed::Body),
                },
                user: r.option(Reader::account)?,
                parent_death_signal: r.option(Reader::i32)?,
                capabilities: r.option(|r| Ok(CapabilitySets { allowed: r.u64()?, ambient: r.u64()? }))?,
                no_new_privileges: r.bool()?,
                filters: r.list(Reader::filter)?,
                limits: r.list(|r| Ok(Limit { resource: r.u32()?, soft: r.u64()?, hard: r.u64()? }))?,
                oom_score: r.option(Reader::i32)?,
                niceness: r.option(Reader::i32)?,
                umask: r.option(Reader::u32)?,
            },
            policy: Policy {
                grace: r.duration()?,
                timeout: r.option(Reader::duration)?,
                kill_after: r.option(Reader::duration)?,
                forward_delay: r.duration()?,
                leftovers: match r.u8()? {
                    0 => Leftovers::End,
                    1 => Leftovers::WaitFor,
                    2 => Leftovers::Leave,
                    3 => Leftovers::Tell,
                    _ => return Err(Malformed::Body),
                },
                rewrites: r.rewrites()?,
                stop_signal: r.signal()?,
                term_stops: r.bool()?,
                restart: r.restart()?,
                longest_delay: r.duration()?,
                readiness: match r.u8()? {
                    0 => Readiness::Started,
                    1 => Readiness::Notify,
                    2 => Readiness::Descriptor(r.i32()?),
                    3 => Readiness::Command,
                    _ => return Err(Malformed::Body),
                },
                ready_timeout: r.option(Reader::duration)?,
                watchdog: r.option(Reader::duration)?,
                health: r.option(|r| {
                    Ok(Health {
                        interval: r.duration()?,
                        timeout: r.duration()?,
                        retries: r.u32()?,
                        restarts: r.bool()?,
                    })
                })?,
                tells: r.bool()?,
                dies_with_launcher: r.bool()?,
            },
            probes: Probes { ready: r.option(Reader::os_string)?, health: r.option(Reader::os_string)? },
            report_namespaces: r.bool()?,
            is_on_one_processor: r.bool()?,
            ahead: r.bool()?,
        };
        if plan.workload.command.is_empty() != plan.ahead {
            return Err(Malformed::Body);
        }
        r.finish(plan)
    }
}

impl Join {
    /// The whole frame.
    ///
    /// # Errors
    /// As [`Plan::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let mut w = Writer::frame();
        w.os_string(&self.sandbox);
        w.i32(self.init);
        w.u64(self.namespaces);
        w.bool(self.time_namespace);
        w.bool(self.own_root);
        w.option(self.user, Writer::u32);
        w.option(self.group, Writer::u32);
        w.bool(self.leaves_groups);
        w.bytes(&self.plan.encode()?);
        w.finish()
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`Malformed::Body`]
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(body);
        let join = Self {
            sandbox: r.os_string()?,
            init: r.i32()?,
            namespaces: r.u64()?,
            time_namespace: r.bool()?,
            own_root: r.bool()?,
            user: r.option(Reader::u32)?,
            group: r.option(Reader::u32)?,
            leaves_groups: r.bool()?,
            plan: {
                let frame = r.os_string()?.into_vec();
                let body = first_body(&frame)?.ok_or(Malformed::Body)?;
                Plan::decode(body)?
            },
        };
        r.finish(join)
    }
}

impl Task {
    /// The whole frame.
    ///
    /// # Errors
    /// As [`Plan::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let mut w = Writer::frame();
        w.list(&self.command, Writer::os_string);
        w.list(&self.environment, Writer::os_string);
        w.signal_state(self.signals);
        w.option(self.directory.as_ref(), Writer::step);
        w.option(self.here, |w, (device, inode)| {
            w.u64(device);
            w.u64(inode);
        });
        w.option(self.timeout, Writer::duration);
        self.stdio.into_iter().for_each(|comes| w.bool(comes));
        w.finish()
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`Malformed::Body`]
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(body);
        let task = Self {
            command: r.list(Reader::os_string)?,
            environment: r.list(Reader::os_string)?,
            signals: r.signal_state()?,
            directory: r.option(Reader::step)?,
            here: r.option(|r| Ok((r.u64()?, r.u64()?)))?,
            timeout: r.option(Reader::duration)?,
            stdio: [r.bool()?, r.bool()?, r.bool()?],
        };
        if task.command.is_empty() {
            return Err(Malformed::Body);
        }
        r.finish(task)
    }
}

impl Order {
    /// The whole frame.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let mut w = Writer::frame();
        match self {
            Self::Stop { grace } => {
                w.u8(0);
                w.option(*grace, Writer::duration);
            }
            Self::Restart { grace } => {
                w.u8(1);
                w.option(*grace, Writer::duration);
            }
            Self::Signal { signal } => {
                w.u8(2);
                w.u8(*signal as u8);
            }
        }
        w.finish()
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`Malformed::Body`]
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(body);
        let order = match r.u8()? {
            0 => Self::Stop { grace: r.option(Reader::duration)? },
            1 => Self::Restart { grace: r.option(Reader::duration)? },
            2 => Self::Signal { signal: r.signal()? },
            _ => return Err(Malformed::Body),
        };
        r.finish(order)
    }
}

impl Report {
    /// The whole frame. A failure's errno is its last four bytes, in the machine's byte order: the launcher
    /// prepares one before it clones, and the child fills in only those (see `launch`'s sandbox.rs).
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let mut w = Writer::frame();
        match self {
            Self::Log { level, message } => {
                w.u8(0);
                w.u8(*level);
                w.bytes(message.as_bytes());
            }
            Self::Started { pid, namespaces } => {
                w.u8(1);
                w.i32(*pid);
                w.list(namespaces, |w, (kind, inode)| {
                    w.bytes(kind.as_bytes());
                    w.u64(*inode);
                });
            }
            Self::Stopped { signal } => {
                w.u8(2);
                w.i32(*signal);
            }
            Self::Ended(outcome) => {
                w.u8(3);
                w.outcome(*outcome);
            }
            Self::Terminal => w.u8(4),
            Self::Happened(happening) => {
                w.u8(5);
                w.happening(happening);
            }
            Self::Failed(failure) => {
                w.u8(6);
                w.failure(failure);
            }
            Self::SetUp => w.u8(7),
        }
        w.finish()
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`Malformed::Body`]
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(body);
        let report = match r.u8()? {
            0 => Self::Log { level: r.u8()?, message: r.string()? },
            1 => Self::Started { pid: r.i32()?, namespaces: r.list(|r| Ok((r.string()?, r.u64()?)))? },
            2 => Self::Stopped { signal: r.i32()? },
            3 => Self::Ended(r.outcome()?),
            4 => Self::Terminal,
            5 => Self::Happened(r.happening()?),
            6 => Self::Failed(r.failure()?),
            7 => Self::SetUp,
            _ => return Err(Malformed::Body),
        };
        r.finish(report)
    }
}

/// Appends values to a frame. Numbers are little-endian but for i32, whose order is the machine's.
struct Writer(Vec<u8>);

impl Writer {
    fn frame() -> Self {
        Self::frame_of(256)
    }

    /// One that is made without moving it as long as it is no larger than this, in bytes.
    fn frame_of(room: usize) -> Self {
        let mut bytes = Vec::with_capacity(room);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        Self(bytes)
    }

    fn finish(mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.0.len() - HEADER;
        if length > LARGEST_BODY {
            return Err(Malformed::TooLarge(length));
        }
        self.0[HEADER - 4..HEADER].copy_from_slice(&(length as u32).to_le_bytes());
        Ok(self.0)
    }

    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.0.extend(value.to_ne_bytes());
    }

    fn duration(&mut self, value: Duration) {
        self.u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.0.extend(value);
    }

    fn list<T>(&mut self, values: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.u64(values.len() as u64);
        for value in values {
            one(self, value);
        }
    }

    fn option<T>(&mut self, value: Option<T>, one: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            one(self, value);
        }
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn os_string(&mut self, value: &OsString) {
        self.bytes(value.as_bytes());
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Exited(code) => {
                self.u8(0);
                self.u8(code);
            }
            Outcome::Killed(signal) => {
                self.u8(1);
                self.i32(signal);
            }
            Outcome::TimedOut => self.u8(2),
        }
    }

    /// The errno last, whatever is before.
    fn failure(&mut self, failure: &Failure) {
        self.u8(failure.code);
        self.bytes(failure.step.as_bytes());
        self.os_string(&failure.object);
        self.bytes(failure.detail.as_bytes());
        self.i32(failure.errno);
    }

    fn restart(&mut self, restart: Restart) {
        match restart {
            Restart::No => self.u8(0),
            Restart::OnFailure { most } => {
                self.u8(1);
                self.option(most, Self::u32);
            }
            Restart::Always => self.u8(2),
            Restart::UnlessStopped => self.u8(3),
        }
    }

    fn why(&mut self, why: Why) {
        self.u8(match why {
            Why::Stop => 0,
            Why::Restart => 1,
            Why::Timeout => 2,
            Why::NotReady => 3,
            Why::Watchdog => 4,
            Why::Unhealthy => 5,
        });
    }

    fn happening(&mut self, happening: &Happening) {
        match happening {
            Happening::Ready => self.u8(0),
            Happening::Status(text) => {
                self.u8(1);
                self.bytes(text.as_bytes());
            }
            Happening::Reloading => self.u8(2),
            Happening::Stopping => self.u8(3),
            Happening::Alive => self.u8(4),
            Happening::MainPid(pid) => {
                self.u8(5);
                self.i32(*pid);
            }
            Happening::Healthy => self.u8(6),
            Happening::Unhealthy { failures } => {
                self.u8(7);
                self.u32(*failures);
            }
            Happening::Ending(why) => {
                self.u8(8);
                self.why(*why);
            }
            Happening::GraceOver => self.u8(9),
            Happening::RunEnded { outcome, why, again } => {
                self.u8(10);
                self.outcome(*outcome);
                self.option(*why, Self::why);
                self.bool(*again);
            }
            Happening::StartsIn(delay) => {
                self.u8(11);
                self.duration(*delay);
            }
            Happening::NotStarted(failure) => {
                self.u8(12);
                self.failure(failure);
            }
        }
    }

    fn signal_state(&mut self, signals: SignalState) {
        self.u64(signals.mask);
        self.bool(signals.ignore_pipe);
        self.bool(signals.ignore_child);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::HostName(name) => self.tagged(0, name),
            Step::DomainName(name) => self.tagged(1, name),
            Step::LoopbackUp => self.u8(2),
            Step::TimeNamespace => self.u8(3),
            Step::PrivateMounts => self.u8(4),
            Step::NoUserNamespaces => self.u8(5),
            Step::Root(root) => {
                self.u8(6);
                self.root(root);
            }
            Step::ReadOnly => self.u8(7),
            Step::Mount { what, at } => {
                self.tagged(8, at);
                self.file_system(what);
            }
            Step::Directory { path, mode } => {
                self.tagged(9, path);
                self.u32(*mode);
            }
            Step::Symlink { target, path } => {
                self.tagged(10, path);
                self.os_string(target);
            }
            Step::Mask(path) => self.tagged(11, path),
            Step::RemountReadOnly(path) => self.tagged(12, path),
            Step::EnterRoot => self.u8(13),
            Step::Pty { callers } => {
                self.u8(14);
                self.option(callers.as_ref(), Self::os_string);
            }
            Step::ChangeDirectory(path) => self.tagged(15, path),
            Step::KeepDirectory(path) => self.tagged(16, path),
            Step::FindDirectory(path) => self.tagged(17, path),
            Step::Copy { source, path } => {
                self.tagged(18, path);
                self.os_string(source);
            }
        }
    }

    fn tagged(&mut self, tag: u8, value: &OsString) {
        self.u8(tag);
        self.os_string(value);
    }

    fn root(&mut self, root: &Root) {
        match root {
            Root::Directory { path, writable } => {
                self.tagged(0, path);
                self.bool(*writable);
            }
            Root::Overlay(overlay) => {
                self.u8(1);
                self.overlay(overlay);
            }
            Root::Empty => self.u8(2),
        }
    }

    fn file_system(&mut self, what: &FileSystem) {
        match what {
            FileSystem::Bind { source, read_only, devices, optional } => {
                self.u8(0);
                match source {
                    Source::Path(path) => self.tagged(0, path),
                    Source::Descriptor(number) => {
                        self.u8(1);
                        self.i32(*number);
                    }
                }
                self.bool(*read_only);
                self.bool(*devices);
                self.bool(*optional);
            }
            FileSystem::Tmpfs { size, mode } => {
                self.u8(1);
                self.option(*size, Self::u64);
                self.u32(*mode);
            }
            FileSystem::Overlay(overlay) => {
                self.u8(2);
                self.overlay(overlay);
            }
            FileSystem::Proc { masked, hide_pids, only_pids } => {
                self.u8(3);
                self.bool(*masked);
                self.option(*hide_pids, Self::u8);
                self.bool(*only_pids);
            }
            FileSystem::Dev => self.u8(4),
            FileSystem::MessageQueue => self.u8(5),
            FileSystem::File { descriptor } => {
                self.u8(6);
                self.i32(*descriptor);
            }
        }
    }

    fn overlay(&mut self, overlay: &Overlay) {
        self.list(&overlay.lower, Self::os_string);
        self.bool(overlay.optional);
        match &overlay.upper {
            Upper::None => self.u8(0),
            Upper::Discarded => self.u8(1),
            Upper::Kept { upper, work } => {
                self.tagged(2, upper);
                self.os_string(work);
            }
        }
    }

    fn account(&mut self, account: &Account) {
        self.name(&account.user);
        self.option(account.group.as_ref(), Self::name);
        self.list(&account.groups, Self::name);
    }

    fn name(&mut self, name: &Name) {
        match name {
            Name::Id(id) => {
                self.u8(0);
                self.u32(*id);
            }
            Name::Named(name) => {
                self.u8(1);
                self.bytes(name.as_bytes());
            }
        }
    }

    /// There are hundreds of instructions: as a whole, and not each by its parts.
    fn filter(&mut self, filter: &[Instruction]) {
        self.u64(filter.len() as u64);
        self.0.reserve(filter.len() * INSTRUCTION);
        for Instruction { code, jump_true, jump_false, operand } in filter {
            let ([code_0, code_1], [k_0, k_1, k_2, k_3]) = (code.to_le_bytes(), operand.to_le_bytes());
            self.0.extend_from_slice(&[code_0, code_1, *jump_true, *jump_false, k_0, k_1, k_2, k_3]);
        }
    }
}

/// The bytes of an instruction.
const INSTRUCTION: usize = 8;

/// Takes values from the front of a body.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (value, rest) = self.0.split_first_chunk().ok_or(Malformed::Body)?;
        self.0 = rest;
        Ok(*value)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Body),
        }
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_ne_bytes)
    }

    fn duration(&mut self) -> Result<Duration, Malformed> {
        self.u64().map(Duration::from_nanos)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.u64()?).map_err(|_| Malformed::Body)?;
        let (value, rest) = self.0.split_at_checked(length).ok_or(Malformed::Body)?;
        self.0 = rest;
        Ok(value)
    }

    fn os_string(&mut self) -> Result<OsString, Malformed> {
        self.bytes().map(|bytes| OsString::from_vec(bytes.to_vec()))
    }

    fn string(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed::Body)
    }

    fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u64()?;
        // The number has not been checked, and gets no room but for a usual one.
        let mut values = Vec::with_capacity(count.min(128) as usize);
        for _ in 0..count {
            values.push(one(self)?);
        }
        Ok(values)
    }

    fn option<T>(
        &mut self,
        one: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { one(self).map(Some) } else { Ok(None) }
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn signal(&mut self) -> Result<i32, Malformed> {
        match self.u8()? {
            number @ 1..=64 => Ok(number.into()),
            _ => Err(Malformed::Body),
        }
    }

    fn outcome(&mut self) -> Result<Outcome, Malformed> {
        Ok(match self.u8()? {
            0 => Outcome::Exited(self.u8()?),
            1 => Outcome::Killed(self.i32()?),
            2 => Outcome::TimedOut,
            _ => return Err(Malformed::Body),
        })
    }

    fn failure(&mut self) -> Result<Failure, Malformed> {
        Ok(Failure {
            code: self.u8()?,
            step: self.string()?,
            object: self.os_string()?,
            detail: self.string()?,
            errno: self.i32()?,
        })
    }

    fn restart(&mut self) -> Result<Restart, Malformed> {
        Ok(match self.u8()? {
            0 => Restart::No,
            1 => Restart::OnFailure { most: self.option(Self::u32)? },
            2 => Restart::Always,
            3 => Restart::UnlessStopped,
            _ => return Err(Malformed::Body),
        })
    }

    fn why(&mut self) -> Result<Why, Malformed> {
        Ok(match self.u8()? {
            0 => Why::Stop,
            1 => Why::Restart,
            2 => Why::Timeout,
            3 => Why::NotReady,
            4 => Why::Watchdog,
            5 => Why::Unhealthy,
            _ => return Err(Malformed::Body),
        })
    }

    fn happening(&mut self) -> Result<Happening, Malformed> {
        Ok(match self.u8()? {
            0 => Happening::Ready,
            1 => Happening::Status(self.string()?),
            2 => Happening::Reloading,
            3 => Happening::Stopping,
            4 => Happening::Alive,
            5 => Happening::MainPid(self.i32()?),
            6 => Happening::Healthy,
            7 => Happening::Unhealthy { failures: self.u32()? },
            8 => Happening::Ending(self.why()?),
            9 => Happening::GraceOver,
            10 => Happening::RunEnded {
                outcome: self.outcome()?,
                why: self.option(Self::why)?,
                again: self.bool()?,
            },
            11 => Happening::StartsIn(self.duration()?),
            12 => Happening::NotStarted(self.failure()?),
            _ => return Err(Malformed::Body),
        })
    }

    fn signal_state(&mut self) -> Result<SignalState, Malformed> {
        Ok(SignalState { mask: self.u64()?, ignore_pipe: self.bool()?, ignore_child: self.bool()? })
    }

    fn step(&mut self) -> Result<Step, Malformed> {
        Ok(match self.u8()? {
            0 => Step::HostName(self.os_string()?),
            1 => Step::DomainName(self.os_string()?),
            2 => Step::LoopbackUp,
            3 => Step::TimeNamespace,
            4 => Step::PrivateMounts,
            5 => Step::NoUserNamespaces,
            6 => Step::Root(self.root()?),
            7 => Step::ReadOnly,
            8 => {
                let at = self.os_string()?;
                Step::Mount { what: self.file_system()?, at }
            }
            9 => Step::Directory { path: self.os_string()?, mode: self.u32()? },
            10 => {
                let path = self.os_string()?;
                Step::Symlink { target: self.os_string()?, path }
            }
            11 => Step::Mask(self.os_string()?),
            12 => Step::RemountReadOnly(self.os_string()?),
            13 => Step::EnterRoot,
            14 => Step::Pty { callers: self.option(Self::os_string)? },
            15 => Step::ChangeDirectory(self.os_string()?),
            16 => Step::KeepDirectory(self.os_string()?),
            17 => Step::FindDirectory(self.os_string()?),
            18 => {
                let path = self.os_string()?;
                Step::Copy { source: self.os_string()?, path }
            }
            _ => return Err(Malformed::Body),
        })
    }

    fn root(&mut self) -> Result<Root, Malformed> {
        Ok(match self.u8()? {
            0 => Root::Directory { path: self.os_string()?, writable: self.bool()? },
            1 => Root::Overlay(self.overlay()?),
            2 => Root::Empty,
            _ => return Err(Malformed::Body),
        })
    }

    fn file_system(&mut self) -> Result<FileSystem, Malformed> {
        Ok(match self.u8()? {
            0 => FileSystem::Bind {
                source: match self.u8()? {
                    0 => Source::Path(self.os_string()?),
                    1 => Source::Descriptor(self.i32()?),
                    _ => return Err(Malformed::Body),
                },
                read_only: self.bool()?,
                devices: self.bool()?,
                optional: self.bool()?,
            },
            1 => FileSystem::Tmpfs { size: self.option(Self::u64)?, mode: self.u32()? },
            2 => FileSystem::Overlay(self.overlay()?),
            3 => FileSystem::Proc {
                masked: self.bool()?,
                hide_pids: self.option(Self::u8)?,
                only_pids: self.bool()?,
            },
            4 => FileSystem::Dev,
            5 => FileSystem::MessageQueue,
            6 => FileSystem::File { descriptor: self.i32()? },
            _ => return Err(Malformed::Body),
        })
    }

    fn overlay(&mut self) -> Result<Overlay, Malformed> {
        let lower = self.list(Self::os_string)?;
        let optional = self.bool()?;
        let upper = match self.u8()? {
            0 => Upper::None,
            1 => Upper::Discarded,
            2 => Upper::Kept { upper: self.os_string()?, work: self.os_string()? },
            _ => return Err(Malformed::Body),
        };
        if lower.is_empty() { Err(Malformed::Body) } else { Ok(Overlay { lower, optional, upper }) }
    }

    fn account(&mut self) -> Result<Account, Malformed> {
        Ok(Account { user: self.name()?, group: self.option(Self::name)?, groups: self.list(Self::name)? })
    }

    fn name(&mut self) -> Result<Name, Malformed> {
        Ok(match self.u8()? {
            0 => Name::Id(self.u32()?),
            1 => Name::Named(self.string()?),
            _ => return Err(Malformed::Body),
        })
    }

    fn filter(&mut self) -> Result<Vec<Instruction>, Malformed> {
        let length = usize::try_from(self.u64()?).ok().and_then(|count| count.checked_mul(INSTRUCTION));
        let (bytes, rest) =
            length.and_then(|length| self.0.split_at_checked(length)).ok_or(Malformed::Body)?;
        self.0 = rest;
        let of = |bytes: &[u8; INSTRUCTION]| {
            let [code_0, code_1, jump_true, jump_false, k_0, k_1, k_2, k_3] = *bytes;
            let (code, operand) =
                (u16::from_le_bytes([code_0, code_1]), u32::from_le_bytes([k_0, k_1, k_2, k_3]));
            Instruction { code, jump_true, jump_false, operand }
        };
        Ok(bytes.as_chunks().0.iter().map(of).collect())
    }

    fn rewrites(&mut self) -> Result<Rewrites, Malformed> {
        let mut rewrites = Rewrites::default();
        for (from, to) in self.list(|r| Ok((r.u8()?, r.u8()?)))? {
            rewrites.set(from.into(), to.into());
        }
        Ok(rewrites)
    }

    /// The value, if nothing is left over.
    fn finish<T>(self, value: T) -> Result<T, Malformed> {
        if self.0.is_empty() { Ok(value) } else { Err(Malformed::Body) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(what: FileSystem) -> Step {
        Step::Mount { what, at: "/at".into() }
    }

    fn plan() -> Plan {
        let mut rewrites = Rewrites::default();
        rewrites.set(15, 3);
        rewrites.set(1, 0);
        Plan {
            log_level: 4,
            steps: vec![
                Step::HostName("container".into()),
                Step::DomainName("example".into()),
                Step::LoopbackUp,
                Step::TimeNamespace,
                Step::PrivateMounts,
                Step::NoUserNamespaces,
                Step::Root(Root::Directory { path: "/root".into(), writable: true }),
                Step::Root(Root::Overlay(Overlay {
                    lower: vec!["/a".into()],
                    optional: true,
                    upper: Upper::None,
                })),
                Step::Root(Root::Empty),
                Step::ReadOnly,
                mount(FileSystem::Bind {
                    source: Source::Path("/a".into()),
                    read_only: true,
                    devices: false,
                    optional: true,
                }),
                mount(FileSystem::Bind {
                    source: Source::Descriptor(7),
                    read_only: false,
                    devices: true,
                    optional: false,
                }),
                mount(FileSystem::Tmpfs { size: Some(1 << 40), mode: 0o1777 }),
                mount(FileSystem::Overlay(Overlay {
                    lower: vec!["/a".into(), "/b".into()],
                    optional: false,
                    upper: Upper::Kept { upper: "/u".into(), work: "/w".into() },
                })),
                mount(FileSystem::Overlay(Overlay {
                    lower: vec!["/a".into()],
                    optional: true,
                    upper: Upper::Discarded,
                })),
                mount(FileSystem::Proc { masked: true, hide_pids: Some(2), only_pids: false }),
                mount(FileSystem::Dev),
                mount(FileSystem::MessageQueue),
                mount(FileSystem::File { descriptor: 9 }),
                Step::Directory { path: "/d".into(), mode: 0o700 },
                Step::Symlink { target: "../x".into(), path: "/s".into() },
                Step::Copy { source: "/etc/x".into(), path: "/x".into() },
                Step::Mask("/m".into()),
                Step::RemountReadOnly("/r".into()),
                Step::EnterRoot,
                Step::Pty { callers: Some("/dev/tty1".into()) },
                Step::ChangeDirectory("/a b".into()),
                Step::KeepDirectory(OsString::from_vec(vec![b'/', 0xff, b'\n'])),
                Step::FindDirectory("/home".into()),
            ],
            workload: Workload {
                command: vec!["sh".into(), "".into(), OsString::from_vec((1..=255).collect())],
                environment: vec!["PATH=/bin".into()],
                signals: SignalState { mask: u64::MAX - 5, ignore_pipe: true, ignore_child: false },
                descriptors: Descriptors::Only(vec![3, 77]),
                group: Group::Own { foreground: true },
                user: Some(Account {
                    user: Name::Named("me".into()),
                    group: Some(Name::Id(8)),
                    groups: vec![Name::Id(9), Name::Named("wheel".into())],
                }),
                parent_death_signal: Some(9),
                capabilities: Some(CapabilitySets { allowed: 1 << 40, ambient: 3 }),
                no_new_privileges: true,
                filters: vec![
                    vec![Instruction { code: 6, jump_true: 1, jump_false: 2, operand: 0x7fff_0000 }],
                    vec![],
                ],
                limits: vec![Limit { resource: 7, soft: 1, hard: u64::MAX }],
                oom_score: Some(-1000),
                niceness: Some(-20),
                umask: Some(0o77),
            },
            policy: Policy {
                grace: Duration::from_millis(1500),
                timeout: Some(Duration::from_secs(3)),
                kill_after: Some(Duration::from_millis(7)),
                forward_delay: Duration::from_secs(1),
                leftovers: Leftovers::WaitFor,
                rewrites,
                stop_signal: libc::SIGQUIT,
                term_stops: true,
                restart: Restart::OnFailure { most: Some(5) },
                longest_delay: Duration::from_secs(7),
                readiness: Readiness::Descriptor(3),
                ready_timeout: Some(Duration::from_secs(9)),
                watchdog: Some(Duration::from_millis(300)),
                health: Some(Health {
                    interval: Duration::from_secs(30),
                    timeout: Duration::from_secs(4),
                    retries: 3,
                    restarts: true,
                }),
                tells: true,
                dies_with_launcher: true,
            },
            probes: Probes { ready: Some("test -e /ready".into()), health: Some("true".into()) },
            report_namespaces: true,
            is_on_one_processor: true,
            ahead: false,
        }
    }

    fn task() -> Task {
        Task {
            command: vec!["sh".into(), OsString::from_vec((1..=255).collect())],
            environment: vec!["A=1".into(), "".into()],
            signals: SignalState { mask: 5, ignore_pipe: false, ignore_child: true },
            directory: Some(Step::KeepDirectory("/home".into())),
            here: Some((u64::MAX, 7)),
            timeout: Some(Duration::from_millis(3)),
            stdio: [true, false, true],
        }
    }

    fn reports() -> Vec<Report> {
        vec![
            Report::Log { level: 2, message: "häuser".into() },
            Report::Started { pid: 2, namespaces: vec![("pid".into(), 4026531836)] },
            Report::Terminal,
            Report::Stopped { signal: 20 },
            Report::Ended(Outcome::Exited(255)),
            Report::SetUp,
            Report::Ended(Outcome::Killed(64)),
            Report::Ended(Outcome::TimedOut),
            Report::Failed(failure()),
        ]
    }

    fn happenings() -> Vec<Happening> {
        let whys = [Why::Stop, Why::Restart, Why::Timeout, Why::NotReady, Why::Watchdog, Why::Unhealthy];
        let mut all = vec![
            Happening::Ready,
            Happening::Status("3 of 7".into()),
            Happening::Reloading,
            Happening::Stopping,
            Happening::Alive,
            Happening::MainPid(77),
            Happening::Healthy,
            Happening::Unhealthy { failures: 3 },
            Happening::GraceOver,
            Happening::RunEnded { outcome: Outcome::Killed(9), why: None, again: true },
            Happening::StartsIn(Duration::from_millis(100)),
            Happening::NotStarted(failure()),
        ];
        all.extend(whys.map(Happening::Ending));
        all
    }

    fn failure() -> Failure {
        Failure {
            code: 127,
            step: "exec".into(),
            object: OsString::from_vec(vec![0xfe]),
            detail: String::new(),
            errno: libc::ENOENT,
        }
    }

    #[test]
    fn a_plan_arrives_as_it_was_sent() {
        let own = [true, false].map(|foreground| Group::Own { foreground });
        for group in own.into_iter().chain([Group::Callers, Group::Session]) {
            let mut plan = plan();
            plan.workload.group = group;
            if group == Group::Callers {
                plan.workload.descriptors = Descriptors::Inherited;
            }
            let frame = plan.encode().unwrap();
            assert_eq!(Plan::decode(first_body(&frame).unwrap().unwrap()), Ok(plan));
        }
    }

    #[test]
    fn that_it_could_not_be_kept_on_one_processor_is_sent_in_place_of_what_was_planned() {
        let planned = Plan { is_on_one_processor: true, ..plan() };
        let frame = planned.encode_with(false).unwrap();
        let seen = Plan { is_on_one_processor: false, ..planned };
        assert_eq!(Plan::decode(first_body(&frame).unwrap().unwrap()), Ok(seen));
    }

    #[test]
    fn what_a_joining_process_is_told_arrives_as_it_was_sent() {
        let join = Join {
            sandbox: "web".into(),
            init: 7,
            namespaces: 0x7e02_0000,
            time_namespace: true,
            own_root: true,
            user: Some(0),
            group: None,
            leaves_groups: true,
            plan: plan(),
        };
        let frame = join.encode().unwrap();
        let body = first_body(&frame).unwrap().unwrap();
        assert_eq!(Join::decode(body), Ok(join));
        for end in 0..body.len() {
            assert_eq!(Join::decode(&body[..end]), Err(Malformed::Body), "{end}");
        }
    }

    #[test]
    fn a_task_arrives_as_it_was_sent_and_is_refused_where_it_ends_early_or_has_no_command() {
        let frame = task().encode().unwrap();
        assert_eq!(Task::decode(first_body(&frame).unwrap().unwrap()), Ok(task()));
        for end in HEADER..frame.len() {
            assert_eq!(Task::decode(&frame[HEADER..end]), Err(Malformed::Body), "{end}");
        }
        let none = Task { command: Vec::new(), ..task() }.encode().unwrap();
        assert_eq!(Task::decode(&none[HEADER..]), Err(Malformed::Body));
    }

    #[test]
    fn a_plan_has_a_command_unless_it_is_made_ahead() {
        let mut ahead = Plan { ahead: true, ..plan() };
        let mut changed = |command: Vec<OsString>, is_ahead| {
            ahead.workload.command = command;
            ahead.ahead = is_ahead;
            let frame = ahead.encode().unwrap();
            Plan::decode(&frame[HEADER..]).map(|plan| plan == ahead)
        };
        assert_eq!(changed(vec![], true), Ok(true));
        assert_eq!(changed(vec!["sh".into()], true), Err(Malformed::Body));
        assert_eq!(changed(vec![], false), Err(Malformed::Body));
    }

    #[test]
    fn every_report_arrives_as_it_was_sent() {
        for report in happenings().into_iter().map(Report::Happened).chain(reports()) {
            let frame = report.encode().unwrap();
            assert_eq!(Report::decode(first_body(&frame).unwrap().unwrap()), Ok(report));
        }
    }

    #[test]
    fn every_order_arrives_as_it_was_sent() {
        let grace = Some(Duration::from_secs(1));
        for order in [Order::Stop { grace }, Order::Restart { grace: None }, Order::Signal { signal: 64 }] {
            let frame = order.encode().unwrap();
            assert_eq!(Order::decode(first_body(&frame).unwrap().unwrap()), Ok(order));
            assert_eq!(Order::decode(&frame[HEADER..frame.len() - 1]), Err(Malformed::Body));
        }
    }

    #[test]
    fn every_policy_of_restarts_and_readiness_arrives_as_it_was_sent() {
        let restarts = [
            Restart::No,
            Restart::OnFailure { most: None },
            Restart::OnFailure { most: Some(0) },
            Restart::Always,
            Restart::UnlessStopped,
        ];
        let kinds = [Readiness::Started, Readiness::Notify, Readiness::Descriptor(9), Readiness::Command];
        for (restart, readiness) in restarts.into_iter().zip(kinds.into_iter().cycle()) {
            let mut plan = plan();
            plan.policy.restart = restart;
            plan.policy.readiness = readiness;
            let frame = plan.encode().unwrap();
            assert_eq!(Plan::decode(&frame[HEADER..]), Ok(plan));
        }
    }

    #[test]
    fn a_frame_cut_short_anywhere_is_waited_for_and_a_body_cut_short_is_refused() {
        let frame = plan().encode().unwrap();
        for end in 0..frame.len() {
            assert_eq!(first_body(&frame[..end]), Ok(None));
        }
        for end in HEADER..frame.len() {
            assert_eq!(Plan::decode(&frame[HEADER..end]), Err(Malformed::Body));
        }
        for report in reports() {
            let frame = report.encode().unwrap();
            for end in HEADER..frame.len() {
                assert_eq!(Report::decode(&frame[HEADER..end]), Err(Malformed::Body), "{report:?}");
            }
        }
    }

    #[test]
    fn a_changed_byte_anywhere_never_panics() {
        let frame = plan().encode().unwrap();
        for at in HEADER..frame.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = frame.clone();
                changed[at] = value;
                // Whether it is refused depends on the byte; that it returns is what is tested.
                let _ = Plan::decode(&changed[HEADER..]);
            }
        }
    }

    #[test]
    fn another_version_another_beginning_and_a_giant_are_refused() {
        let mut frame = plan().encode().unwrap();
        frame[4] = 9;
        assert_eq!(first_body(&frame), Err(Malformed::Version(9)));
        frame[0] = b'X';
        assert_eq!(first_body(&frame), Err(Malformed::NotAFrame));
        let mut giant = plan();
        giant.workload.environment = vec![OsString::from_vec(vec![b'x'; LARGEST_BODY])];
        assert!(matches!(giant.encode(), Err(Malformed::TooLarge(_))));
    }

    #[test]
    fn the_errno_of_a_failure_is_its_last_four_bytes() {
        let mut frame = reports().pop().unwrap().encode().unwrap();
        let end = frame.len();
        frame[end - 4..].copy_from_slice(&libc::EACCES.to_ne_bytes());
        let Ok(Report::Failed(failure)) = Report::decode(&frame[HEADER..]) else { panic!("not a failure") };
        assert_eq!(failure.errno, libc::EACCES);
    }
}
