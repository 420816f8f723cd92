//! The form of what the launcher says after the plan: a task, and orders.
//!
//! The descriptors of a task come with the message, and are not in it.

#![forbid(unsafe_code)]

use super::Malformed;
use super::values::{Reader, Writer};
use crate::handoff::{Order, Task};

impl Task {
    /// The whole frame.
    ///
    /// # Errors
    /// As [`Plan::encode`](crate::handoff::Plan::encode).
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
