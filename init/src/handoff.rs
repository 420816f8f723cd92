//! What launcher and init say to each other: the plan one way, reports the other; types, encode and decode.
//!
//! Values only: no descriptor is read or written here. Both ends are usually the same file, but `launch-init`
//! is a program of its own too, so every frame names the version of its format.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use crate::exit::Outcome;
use crate::parse::User;
use crate::supervisor::{Leftovers, Policy, Rewrites};

/// The format of the frames below. It changes whenever one of the types changes.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"lnch";
/// Magic, version, length of the body.
pub const HEADER: usize = 4 + 2 + 4;
/// No body is larger: it would be a mistake, and is refused before anything is allocated for it. The arguments
/// and environment of one exec are limited to 6 MiB (execve(2)).
const LARGEST_BODY: usize = 16 << 20;

/// All that init is told: what to set up, what to start, and how to look after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How much of what init does is reported: 0 (nothing) to 5 (trace), as `log::LevelFilter` counts.
    pub log_level: u8,
    /// The set-up, carried out in this order.
    pub steps: Vec<Step>,
    /// What is started then.
    pub workload: Workload,
    /// How it is looked after.
    pub policy: Policy,
    /// Whether [`Report::Started`] names the namespaces.
    pub report_namespaces: bool,
}

/// One step of the set-up inside the new namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// sethostname(2).
    HostName(OsString),
    /// setdomainname(2).
    DomainName(OsString),
    /// Set `lo` up in a network namespace of one's own.
    LoopbackUp,
    /// A time namespace for the workload and all that it starts; see time_namespaces(7).
    TimeNamespace,
    /// From here on no mount is propagated, in or out; see mount_namespaces(7).
    PrivateMounts,
    /// A proc of the new PID namespace on /proc.
    Proc,
    /// A tmpfs on /tmp, of at most `size` bytes (none: the kernel's default, half of the memory).
    Tmp {
        /// In bytes.
        size: Option<u64>,
    },
    /// A pseudo-terminal of the sandbox's own.
    Pty {
        /// The name of the caller's terminal, which is hidden.
        callers: Option<OsString>,
    },
    /// Start in this directory.
    ChangeDirectory(OsString),
    /// Start in the caller's directory, whose path was this, unless a mount has hidden it.
    KeepDirectory(OsString),
}

impl Step {
    /// What is done, as errors and logs name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::HostName(_) => "host name",
            Self::DomainName(_) => "domain name",
            Self::LoopbackUp => "network",
            Self::TimeNamespace => "time namespace",
            Self::PrivateMounts | Self::Proc | Self::Tmp { .. } => "mount",
            Self::Pty { .. } => "terminal",
            Self::ChangeDirectory(_) | Self::KeepDirectory(_) => "working directory",
        }
    }

    /// What it is done to, as errors and logs name it.
    pub fn object(&self) -> &OsStr {
        match self {
            Self::HostName(name) | Self::DomainName(name) => name,
            Self::LoopbackUp => OsStr::new("lo"),
            Self::TimeNamespace => OsStr::new("unshare"),
            Self::PrivateMounts => OsStr::new("/"),
            Self::Proc => OsStr::new("/proc"),
            Self::Tmp { .. } => OsStr::new("/tmp"),
            Self::Pty { .. } => OsStr::new("/dev/pts"),
            Self::ChangeDirectory(path) | Self::KeepDirectory(path) => path,
        }
    }
}

/// The program that init starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// CMD and its arguments; never empty. CMD is looked for in the PATH of `environment`.
    pub command: Vec<OsString>,
    /// `KEY=VALUE`, each.
    pub environment: Vec<OsString>,
    /// Its signal state.
    pub signals: SignalState,
    /// The descriptors above 2 that it gets.
    pub descriptors: Descriptors,
    /// Which process group it is in.
    pub group: Group,
    /// Whom it runs as, if not as init.
    pub user: Option<User>,
    /// The signal that it gets when init ends; prctl(2), PR_SET_PDEATHSIG.
    pub parent_death_signal: Option<i32>,
    /// Whether it is kept from typing into a terminal that it shares with the caller (TIOCSTI, TIOCLINUX).
    pub filter_terminal: bool,
    /// The capabilities that it can never have: bit n stands for capability n.
    pub forbidden_capabilities: u64,
    /// Whether it loses the capabilities that init kept across its own exec. A root of the new user namespace
    /// gets its own by its exec; anybody else has none.
    pub drop_capabilities: bool,
}

/// Which descriptors above 2 the workload gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descriptors {
    /// Every one that init inherited, as by an exec.
    Inherited,
    /// Those of these numbers.
    Only(Vec<i32>),
}

/// What a program inherits of signals through an exec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SignalState {
    /// The blocked ones: bit n-1 stands for signal n.
    pub mask: u64,
    /// Whether SIGPIPE is ignored. Rust's runtime changes it, so it is carried along.
    pub ignore_pipe: bool,
    /// Whether SIGCHLD is ignored. PID 1 has to change it, so it is carried along. Every other disposition is
    /// handed down by the kernel, since neither launcher nor init touches it.
    pub ignore_child: bool,
}

/// The process group of the workload; see credentials(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// One of its own, which signals are forwarded to.
    Own {
        /// Whether it is put into the foreground of the terminal that stdin is.
        foreground: bool,
    },
    /// The caller's own, since others (of the same pipeline) may be in it: taking the foreground would stop
    /// them at their next read. The terminal's signals reach the workload directly.
    Callers,
    /// The leading one of a session of its own (setsid(2)), in the foreground of the sandbox's own terminal
    /// ([`Step::Pty`]), or else of the one that stdin is, if that is free.
    Session,
}

/// What init says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A line for the log, with its level as `log::Level` counts.
    Log {
        /// 1 (error) to 5 (trace).
        level: u8,
        /// The line.
        message: String,
    },
    /// The sandbox has a terminal; its master comes with the message (unix(7), SCM_RIGHTS).
    Terminal,
    /// The workload was executed. Its pid inside; outside it comes as the message's credentials.
    Started {
        /// In the new PID namespace.
        pid: i32,
        /// The kind (as in /proc/PID/ns) and inode number of each namespace that the workload is in, if asked for.
        namespaces: Vec<(String, u64)>,
    },
    /// A signal of this number stopped the workload.
    Stopped {
        /// SIGTSTP, SIGSTOP, SIGTTIN or SIGTTOU.
        signal: i32,
    },
    /// The workload has ended, and so has everything else inside.
    Ended(Outcome),
    /// There will be no workload.
    Failed(Failure),
}

/// Why no workload runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// 125, 126 or 127; see docs/exit-codes.md.
    pub code: u8,
    /// What was being done.
    pub step: String,
    /// What it was done to.
    pub object: OsString,
    /// What the errno alone doesn't say; empty where it says enough.
    pub detail: String,
    /// The system's reason; 0 where there is none.
    pub errno: i32,
}

impl Failure {
    /// The reason in words: the detail, or else what the errno means.
    pub fn reason(&self) -> String {
        match (self.detail.is_empty(), self.errno) {
            (false, _) => self.detail.clone(),
            (true, 0) => "unknown reason".into(),
            (true, errno) => nix::errno::Errno::from_raw(errno).desc().into(),
        }
    }
}

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

/// One instruction of a classic BPF program; see seccomp(2), struct sock_filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does, and with what.
    pub code: u16,
    /// How many instructions are skipped if a comparison holds.
    pub jump_true: u8,
    /// How many are skipped if it doesn't.
    pub jump_false: u8,
    /// A number, an offset, or a result.
    pub operand: u32,
}

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
        let mut w = Writer::frame();
        w.u8(self.log_level);
        w.list(&self.steps, Writer::step);
        w.list(&self.workload.command, |w, s| w.bytes(s.as_bytes()));
        w.list(&self.workload.environment, |w, s| w.bytes(s.as_bytes()));
        w.u64(self.workload.signals.mask);
        w.bool(self.workload.signals.ignore_pipe);
        w.bool(self.workload.signals.ignore_child);
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
        w.option(self.workload.user, |w, user| {
            w.u64(user.uid.into());
            w.u64(user.gid.into());
        });
        w.option(self.workload.parent_death_signal, Writer::i32);
        w.bool(self.workload.filter_terminal);
        w.u64(self.workload.forbidden_capabilities);
        w.bool(self.workload.drop_capabilities);
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
        w.bool(self.report_namespaces);
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
                signals: SignalState { mask: r.u64()?, ignore_pipe: r.bool()?, ignore_child: r.bool()? },
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
                user: r.option(|r| Ok(User { uid: r.id()?, gid: r.id()? }))?,
                parent_death_signal: r.option(Reader::i32)?,
                filter_terminal: r.bool()?,
                forbidden_capabilities: r.u64()?,
                drop_capabilities: r.bool()?,
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
            },
            report_namespaces: r.bool()?,
        };
        if plan.workload.command.is_empty() {
            return Err(Malformed::Body);
        }
        r.finish(plan)
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
            Self::Ended(Outcome::Exited(code)) => {
                w.u8(3);
                w.u8(*code);
            }
            Self::Ended(Outcome::Killed(signal)) => {
                w.u8(4);
                w.i32(*signal);
            }
            Self::Ended(Outcome::TimedOut) => w.u8(5),
            Self::Terminal => w.u8(7),
            Self::Failed(failure) => {
                w.u8(6);
                w.u8(failure.code);
                w.bytes(failure.step.as_bytes());
                w.bytes(failure.object.as_bytes());
                w.bytes(failure.detail.as_bytes());
                w.i32(failure.errno);
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
        let report = match r.u8()? {
            0 => Self::Log { level: r.u8()?, message: r.string()? },
            1 => Self::Started { pid: r.i32()?, namespaces: r.list(|r| Ok((r.string()?, r.u64()?)))? },
            2 => Self::Stopped { signal: r.i32()? },
            3 => Self::Ended(Outcome::Exited(r.u8()?)),
            4 => Self::Ended(Outcome::Killed(r.i32()?)),
            5 => Self::Ended(Outcome::TimedOut),
            7 => Self::Terminal,
            6 => Self::Failed(Failure {
                code: r.u8()?,
                step: r.string()?,
                object: r.os_string()?,
                detail: r.string()?,
                errno: r.i32()?,
            }),
            _ => return Err(Malformed::Body),
        };
        r.finish(report)
    }
}

/// Appends values to a frame. Numbers are little-endian but for i32, whose order is the machine's.
struct Writer(Vec<u8>);

impl Writer {
    fn frame() -> Self {
        let mut bytes = Vec::with_capacity(256);
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

    fn step(&mut self, step: &Step) {
        match step {
            Step::HostName(name) => {
                self.u8(0);
                self.bytes(name.as_bytes());
            }
            Step::DomainName(name) => {
                self.u8(1);
                self.bytes(name.as_bytes());
            }
            Step::LoopbackUp => self.u8(2),
            Step::TimeNamespace => self.u8(3),
            Step::PrivateMounts => self.u8(4),
            Step::Proc => self.u8(5),
            Step::Tmp { size } => {
                self.u8(6);
                self.option(*size, Self::u64);
            }
            Step::Pty { callers } => {
                self.u8(9);
                self.option(callers.as_deref(), |w, path| w.bytes(path.as_bytes()));
            }
            Step::ChangeDirectory(path) => {
                self.u8(7);
                self.bytes(path.as_bytes());
            }
            Step::KeepDirectory(path) => {
                self.u8(8);
                self.bytes(path.as_bytes());
            }
        }
    }
}

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
        // No capacity is taken from a number that has not been checked.
        let mut values = Vec::new();
        for _ in 0..self.u64()? {
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

    fn step(&mut self) -> Result<Step, Malformed> {
        Ok(match self.u8()? {
            0 => Step::HostName(self.os_string()?),
            1 => Step::DomainName(self.os_string()?),
            2 => Step::LoopbackUp,
            3 => Step::TimeNamespace,
            4 => Step::PrivateMounts,
            5 => Step::Proc,
            6 => Step::Tmp { size: self.option(Self::u64)? },
            7 => Step::ChangeDirectory(self.os_string()?),
            8 => Step::KeepDirectory(self.os_string()?),
            9 => Step::Pty { callers: self.option(Self::os_string)? },
            _ => return Err(Malformed::Body),
        })
    }

    fn id(&mut self) -> Result<u32, Malformed> {
        self.u64()?.try_into().map_err(|_| Malformed::Body)
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
                Step::Proc,
                Step::Tmp { size: Some(1 << 40) },
                Step::Tmp { size: None },
                Step::Pty { callers: Some("/dev/tty1".into()) },
                Step::ChangeDirectory("/a b".into()),
                Step::KeepDirectory(OsString::from_vec(vec![b'/', 0xff, b'\n'])),
            ],
            workload: Workload {
                command: vec!["sh".into(), "".into(), OsString::from_vec((1..=255).collect())],
                environment: vec!["PATH=/bin".into()],
                signals: SignalState { mask: u64::MAX - 5, ignore_pipe: true, ignore_child: false },
                descriptors: Descriptors::Only(vec![3, 77]),
                group: Group::Own { foreground: true },
                user: Some(User { uid: 7, gid: 8 }),
                parent_death_signal: Some(9),
                filter_terminal: true,
                forbidden_capabilities: 1 << 19,
                drop_capabilities: true,
            },
            policy: Policy {
                grace: Duration::from_millis(1500),
                timeout: Some(Duration::from_secs(3)),
                kill_after: Some(Duration::from_millis(7)),
                forward_delay: Duration::from_secs(1),
                leftovers: Leftovers::WaitFor,
                rewrites,
            },
            report_namespaces: true,
        }
    }

    fn reports() -> Vec<Report> {
        vec![
            Report::Log { level: 2, message: "häuser".into() },
            Report::Started { pid: 2, namespaces: vec![("pid".into(), 4026531836)] },
            Report::Terminal,
            Report::Stopped { signal: 20 },
            Report::Ended(Outcome::Exited(255)),
            Report::Ended(Outcome::Killed(64)),
            Report::Ended(Outcome::TimedOut),
            Report::Failed(Failure {
                code: 127,
                step: "exec".into(),
                object: OsString::from_vec(vec![0xfe]),
                detail: String::new(),
                errno: libc::ENOENT,
            }),
        ]
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
    fn every_report_arrives_as_it_was_sent() {
        for report in reports() {
            let frame = report.encode().unwrap();
            assert_eq!(Report::decode(first_body(&frame).unwrap().unwrap()), Ok(report));
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
