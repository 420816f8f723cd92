//! Receiving signals without losing one: everything is blocked, and read from a signalfd(2).
//!
//! A blocked signal stays pending whatever its disposition, a real-time one as often as it was sent (handlers would
//! have to hand it on through slots of a fixed number). Which signals mean
//! what is the supervisor's to say.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::handoff::SignalState;
use crate::sys;

/// Every signal there is.
pub const ALL: u64 = u64::MAX;

/// The first of the real-time signals that are named, SIGRTMIN, and the last, SIGRTMAX. They are glibc's, which kill(1) and most
/// of those that are run here go by, whatever this program is linked to: musl keeps one more to itself, and begins at 35.
pub const REAL_TIME: RangeInclusive<i32> = 34..=64;

/// One signal that was sent to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// 1 to 64.
    pub number: i32,
    /// Where it comes from: positive for the kernel (a terminal, a timer), 0 or negative for a process. See
    /// sigaction(2), si_code.
    pub code: i32,
    /// The pid of the process that sent it, as seen from here; 0 if it is not seen from here.
    pub sender: u32,
    /// What the sender gave to sigqueue(3) with it.
    pub value: Option<u64>,
}

impl Received {
    /// Whether a process sent it by kill(2), sigqueue(3) or the like, and not the kernel by itself.
    pub fn was_sent_by_a_process(&self) -> bool {
        self.code <= 0
    }
}

/// Blocks every signal in the calling thread and returns the mask that was in force.
///
/// # Errors
/// None that the kernel documents for these arguments.
pub fn block_all() -> Result<u64, Errno> {
    sys::set_signal_mask(ALL)
}

/// Puts a mask back in force.
///
/// # Errors
/// As [`block_all`].
pub fn set_mask(mask: u64) -> Result<(), Errno> {
    sys::set_signal_mask(mask).map(drop)
}

/// The signal state that the caller of this program had, with `mask` being what [`block_all`] returned.
pub fn callers_state(mask: u64) -> SignalState {
    SignalState {
        mask,
        ignore_pipe: sys::sigpipe_came_ignored(),
        ignore_child: sys::is_ignored(libc::SIGCHLD),
    }
}

/// Does to this process what a terminal's SIGTSTP does, although every signal is blocked. Returns, when it goes on again,
/// whether it was stopped: its group may be an orphaned one (setpgid(2)), or its caller may have had it ignore SIGTSTP.
///
/// # Errors
/// None that the kernel documents for these arguments.
pub fn stop_by_terminal() -> Result<bool, Errno> {
    // Pending until it is let through.
    signal_hook::low_level::raise(libc::SIGTSTP).map_err(|_| Errno::EINVAL)?;
    let mask = sys::set_signal_mask(ALL & !bit(libc::SIGTSTP))?;
    sys::set_signal_mask(mask)?;
    // Nobody goes on without one.
    Ok(sys::pending_signals()? & bit(libc::SIGCONT) != 0)
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Makes SIGCHLD one that leaves zombies: with an inherited SIG_IGN the kernel would reap every child by itself
/// and its status would be lost (waitpid(2), "ECHILD").
///
/// # Errors
/// None that the kernel documents for these arguments.
pub fn let_children_be_waited_for() -> Result<(), Errno> {
    sys::set_ignored(libc::SIGCHLD, false).map(drop)
}

/// Blocks every signal, and makes SIGCHLD one that leaves zombies, as [`let_children_be_waited_for`] does; returns the signal
/// state that the caller of this program had.
///
/// # Errors
/// As [`block_all`].
pub fn take_over() -> Result<SignalState, Errno> {
    let mask = block_all()?;
    let ignore_child = sys::set_ignored(libc::SIGCHLD, false)?;
    Ok(SignalState { mask, ignore_pipe: sys::sigpipe_came_ignored(), ignore_child })
}

/// The signals that were sent to this process, in the order in which the kernel delivers them.
#[derive(Debug)]
pub struct SignalQueue {
    descriptor: OwnedFd,
    /// Whether reading from the descriptor waits.
    blocks: Cell<bool>,
}

/// How many are read by one call.
const BATCH: usize = 16;
/// How many such calls are made before others get their turn: somebody inside may send faster than is read.
const BATCHES_AT_ONCE: usize = 16;

impl SignalQueue {
    /// A queue of every signal. They must be blocked.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM; see signalfd(2).
    pub fn new() -> Result<Self, Errno> {
        Self::of(ALL)
    }

    /// A queue of these: what is not blocked must not be among them, since who sleeps in a read would take it before it does
    /// what it is to do.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(signals: u64) -> Result<Self, Errno> {
        sys::signal_descriptor(signals).map(|descriptor| Self { descriptor, blocks: Cell::new(false) })
    }

    /// Calls `each` with the signals that are pending. If there are very many, some are left for the next time; the descriptor
    /// says so.
    ///
    /// # Errors
    /// None that the kernel documents for a signalfd.
    pub fn drain(&self, mut each: impl FnMut(Received)) -> Result<(), Errno> {
        self.let_block(false)?;
        for _ in 0..BATCHES_AT_ONCE {
            match self.read(&mut each) {
                Ok(BATCH) | Err(Errno::EINTR) => {}
                Ok(_) | Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Sleeps until there is a signal, if there is none, and calls `each` with those that are there then; some may be left
    /// for the next time. Who waits for nothing else has it by one system call, in place of a poll and a read.
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub fn wait(&self, each: impl FnMut(Received)) -> Result<(), Errno> {
        self.let_block(true)?;
        match self.read(each) {
            // A debugger interrupts although every signal is blocked.
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn read(&self, mut each: impl FnMut(Received)) -> Result<usize, Errno> {
        let mut batch = [sys::empty_siginfo(); BATCH];
        let count = sys::read_signals(self.descriptor.as_fd(), &mut batch)?;
        for info in &batch[..count] {
            each(Received {
                number: info.ssi_signo as i32,
                code: info.ssi_code,
                sender: info.ssi_pid,
                value: (info.ssi_code == libc::SI_QUEUE).then_some(info.ssi_ptr),
            });
        }
        Ok(count)
    }

    /// Nobody else has this open file.
    fn let_block(&self, blocks: bool) -> Result<(), Errno> {
        if self.blocks.get() != blocks {
            let flags = if blocks { OFlag::empty() } else { OFlag::O_NONBLOCK };
            fcntl(&self.descriptor, FcntlArg::F_SETFL(flags))?;
            self.blocks.set(blocks);
        }
        Ok(())
    }
}

impl AsFd for SignalQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The name of a signal, for messages: `SIGTERM`, `SIGRTMIN+2`, or its number where it has none.
pub fn name(number: i32) -> String {
    match signal_hook::low_level::signal_name(number) {
        Some(name) => name.into(),
        None if number == libc::SIGSTKFLT => "SIGSTKFLT".into(),
        None if number == libc::SIGPWR => "SIGPWR".into(),
        None if REAL_TIME.contains(&number) => match number - REAL_TIME.start() {
            0 => "SIGRTMIN".into(),
            n => format!("SIGRTMIN+{n}"),
        },
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_takes_what_is_pending_and_a_drain_after_it_waits_for_nothing() {
        let (says, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            block_all().expect("block");
            let queue = SignalQueue::new().expect("queue");
            let raise = |number| signal_hook::low_level::raise(number).expect("raise");
            let mut taken = Vec::new();
            let mut take = |signal: Received| taken.push(signal.number);
            queue.drain(&mut take).expect("drain");
            raise(libc::SIGUSR2);
            queue.wait(&mut take).expect("wait");
            queue.drain(&mut take).expect("drain");
            raise(libc::SIGWINCH);
            queue.drain(&mut take).expect("drain");
            // More than one read takes.
            (0..=BATCH).for_each(|_| raise(40));
            queue.wait(&mut take).expect("wait");
            queue.wait(&mut take).expect("wait");
            says.send(taken)
        });
        let taken = heard.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for ever");
        let expected = [libc::SIGUSR2, libc::SIGWINCH].into_iter().chain([40; BATCH + 1]);
        assert_eq!(taken, expected.collect::<Vec<_>>());
    }

    #[test]
    fn signals_are_named_as_kill_does() {
        assert_eq!(name(libc::SIGTERM), "SIGTERM");
        assert_eq!(name(libc::SIGPWR), "SIGPWR");
        assert_eq!(name(34), "SIGRTMIN");
        assert_eq!(name(37), "SIGRTMIN+3");
        assert_eq!(name(64), "SIGRTMIN+30");
        assert_eq!(name(99), "signal 99");
        for number in 1..=31 {
            assert!(name(number).starts_with("SIG"), "{number}");
        }
    }
}
