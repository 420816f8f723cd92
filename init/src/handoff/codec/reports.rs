//! The form of what init says: reports, and with them what happens in a life and how it ends.
//!
//! The terminal and the pids outside come with the message, and are not in it.

#![forbid(unsafe_code)]

use super::Malformed;
use super::values::{Reader, Writer};
use crate::exit::Outcome;
use crate::handoff::{Failure, Happening, Report, Why};

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

impl Writer {
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
}

impl Reader<'_> {
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
}
