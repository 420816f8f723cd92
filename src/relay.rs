//! Between the caller's stdin and stdout and the sandbox's own terminal (`--tty`): bytes both ways, the window's size,
//! and the raw mode of the caller's terminal, which is restored on every way out.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use launch_init::sys;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

use crate::error::Error;

/// At most so much is under way in each direction. A pipe or terminal that is ready takes it without blocking.
const CHUNK: usize = 4096;
/// More than a terminal holds back.
const MANY_CHUNKS: usize = 32;
/// What ends the input of a terminal, until a program changes it (Ctrl-D).
const END_OF_INPUT: u8 = 4;

/// One of the three that the relay waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The caller's stdin.
    Stdin,
    /// The caller's stdout.
    Stdout,
    /// The sandbox's terminal.
    Inside,
}

/// The relay.
#[derive(Debug)]
pub struct Relay {
    /// The pty's master, non-blocking.
    inside: File,
    stdin: Option<File>,
    stdout: Option<File>,
    /// The caller's terminal, if stdin is one.
    terminal: Option<OwnedFd>,
    typed: Vec<u8>,
    shown: Vec<u8>,
    is_over: bool,
}

impl Relay {
    /// Relays to and from the sandbox's terminal, whose `master` is this, and makes the caller's terminal raw.
    ///
    /// # Errors
    /// [`Error::Terminal`]
    pub fn new(master: OwnedFd) -> Result<Self, Error> {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map_err(io_errno).map_err(Error::Terminal);
        let stdin = copy(std::io::stdin().as_fd())?;
        let is_terminal = tcgetattr(&stdin).is_ok();
        let relay = Self {
            inside: master.into(),
            terminal: if is_terminal { Some(copy(stdin.as_fd())?) } else { None },
            stdin: Some(stdin.into()),
            stdout: Some(copy(std::io::stdout().as_fd())?.into()),
            typed: Vec::new(),
            shown: Vec::new(),
            is_over: false,
        };
        relay.fit_window();
        relay.make_raw();
        Ok(relay)
    }

    /// Gives the sandbox's terminal the size of the caller's; the kernel tells those inside.
    pub fn fit_window(&self) {
        let Some(terminal) = &self.terminal else { return };
        let fitted = sys::window_size(terminal.as_fd())
            .and_then(|size| sys::set_window_size(self.inside.as_fd(), size));
        if let Err(errno) = fitted {
            log::warn!("terminal: window size: {}", errno.desc());
        }
    }

    /// Makes the caller's terminal raw, if it is ours to: what is typed is for those inside to interpret.
    pub fn make_raw(&self) {
        if let Some(terminal) = &self.terminal
            && tcgetpgrp(terminal) == Ok(getpgrp())
            && let Err(errno) = raw_mode::enter(terminal)
        {
            log::warn!("terminal: raw mode: {}", errno.desc());
        }
    }

    /// What to wait for: who has something for us, and who takes what we have.
    pub fn interests(&self) -> Vec<(Side, BorrowedFd<'_>, PollFlags)> {
        let mut interests = Vec::with_capacity(3);
        if let (Some(stdin), true) = (&self.stdin, self.typed.is_empty()) {
            interests.push((Side::Stdin, stdin.as_fd(), PollFlags::POLLIN));
        }
        if let (Some(stdout), false) = (&self.stdout, self.shown.is_empty()) {
            interests.push((Side::Stdout, stdout.as_fd(), PollFlags::POLLOUT));
        }
        let mut inside = PollFlags::empty();
        inside.set(PollFlags::POLLIN, self.shown.is_empty());
        inside.set(PollFlags::POLLOUT, !self.typed.is_empty());
        if !self.is_over && !inside.is_empty() {
            interests.push((Side::Inside, self.inside.as_fd(), inside));
        }
        interests
    }

    /// Moves what can be moved now that `side` is ready.
    pub fn is_ready(&mut self, side: Side) {
        match side {
            Side::Stdin => self.read_typed(),
            Side::Stdout => self.write_shown(),
            Side::Inside => {
                self.write_typed();
                if self.shown.is_empty() {
                    self.read_shown();
                }
            }
        }
    }

    /// Shows what is left to be shown, when everybody inside has ended.
    pub fn finish(mut self) {
        self.show(usize::MAX);
    }

    /// Shows what was written inside until now, as far as it is not too much: whoever goes on writing must not hold us.
    pub fn show_what_is_there(&mut self) {
        self.show(MANY_CHUNKS);
    }

    fn show(&mut self, chunks: usize) {
        for _ in 0..chunks {
            while let (Some(stdout), false) = (&self.stdout, self.shown.is_empty()) {
                // Its other end may be slow, and somebody may have made it non-blocking.
                let _ = poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
                self.write_shown();
            }
            self.shown.clear();
            self.read_shown();
            if self.shown.is_empty() {
                return;
            }
        }
    }

    fn read_typed(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        let mut chunk = [0; CHUNK];
        match stdin.read(&mut chunk) {
            Ok(0) => {
                self.typed.push(self.end_of_input());
                self.stdin = None;
            }
            Ok(length) => self.typed.extend_from_slice(&chunk[..length]),
            Err(error) if is_transient(&error) => {}
            // The terminal hung up, or is not ours to read (EIO).
            Err(_) => self.stdin = None,
        }
    }

    fn end_of_input(&self) -> u8 {
        let settings = tcgetattr(&self.inside);
        settings.map_or(END_OF_INPUT, |s| s.control_chars[SpecialCharacterIndices::VEOF as usize])
    }

    fn write_typed(&mut self) {
        if self.typed.is_empty() {
            return;
        }
        match self.inside.write(&self.typed) {
            Ok(length) => drop(self.typed.drain(..length)),
            Err(error) if is_transient(&error) => {}
            Err(_) => self.typed.clear(),
        }
    }

    fn read_shown(&mut self) {
        let mut chunk = [0; CHUNK];
        match self.inside.read(&mut chunk) {
            Ok(length) if length > 0 => self.shown.extend_from_slice(&chunk[..length]),
            Err(error) if is_transient(&error) => {}
            // Nobody inside has the terminal open any more (EIO).
            Ok(_) | Err(_) => self.is_over = true,
        }
    }

    fn write_shown(&mut self) {
        let Some(stdout) = &mut self.stdout else { return self.shown.clear() };
        match stdout.write(&self.shown) {
            Ok(length) => drop(self.shown.drain(..length)),
            Err(error) if is_transient(&error) => {}
            // Nobody reads it. Those inside are not held up for that.
            Err(_) => self.stdout = None,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        raw_mode::leave();
    }
}

fn is_transient(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn io_errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The mode of the caller's terminal. There is one of it in a process, and a panic has to find it, so it is static.
pub mod raw_mode {
    use super::*;

    static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
    static AT_A_PANIC: Once = Once::new();

    /// Makes `terminal` raw and remembers how it was; does nothing if it is raw already.
    pub(super) fn enter(terminal: &OwnedFd) -> Result<(), Errno> {
        let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is_some() {
            return Ok(());
        }
        let settings = tcgetattr(terminal)?;
        let mut raw = settings.clone();
        cfmakeraw(&mut raw);
        tcsetattr(terminal, SetArg::TCSADRAIN, &raw)?;
        *before = Some((terminal.try_clone().map_err(io_errno)?, settings));
        // A panic ends the program without dropping anything.
        AT_A_PANIC.call_once(|| {
            let print = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                print(panic);
            }));
        });
        Ok(())
    }

    /// Puts the terminal back as it was.
    pub fn leave() {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((terminal, settings)) = before
            && let Err(errno) = tcsetattr(&terminal, SetArg::TCSADRAIN, &settings)
        {
            log::warn!("terminal: not restored: {}", errno.desc());
        }
    }
}
