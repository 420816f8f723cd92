//! The terminal: who is in its foreground, before, while and after the workload runs. It serves the launcher, and init
//! where there is no launcher.
//!
//! Ctrl-C and Ctrl-Z go to the foreground process group. Where the workload has the terminal for itself it gets a
//! group of its own in the foreground, and the terminal's signals reach it and nobody else. In a pipeline, others
//! of the launcher's group use the terminal too, so the workload stays in that group. Either way a signal of the
//! terminal reaches the workload once.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, getpgrp, getpid, isatty, tcgetpgrp, tcsetpgrp};

use crate::handoff::Group;
use crate::signals::{self, Received};
use crate::sys;

/// What the terminal sends to a foreground group by itself; see termios(3), tty_ioctl(4) and signal(7).
const OF_A_TERMINAL: [i32; 7] =
    [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGWINCH, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
/// Those of them that stop a process.
const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// What became of an attempt to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// There was nobody to stop for.
    NotNeeded,
    /// We were, and have been continued by a SIGCONT that is among our signals.
    UntilContinued,
    /// There is no need to, nor for the workload: it has the terminal now that it asked for, or our group is one in which
    /// the kernel stops nobody for a terminal's sake, since nobody would continue it.
    NeedNot,
}

/// The caller's terminal as the launcher found it.
#[derive(Debug)]
pub struct Terminal {
    /// One of 0, 1 and 2, if any is a terminal; a descriptor of our own, since those are let go of.
    terminal: Option<OwnedFd>,
    group: Group,
    /// Whether the workload gets it only when it uses it.
    on_demand: bool,
}

impl Terminal {
    /// Looks at stdin, stdout and stderr.
    pub fn of_caller() -> Self {
        let standard = [0, 1, 2].map(sys::standard);
        let terminals = standard.map(|fd| isatty(fd) == Ok(true));
        let first = standard.iter().zip(terminals).find(|(_, is_terminal)| *is_terminal);
        let copy = first.and_then(|(fd, _)| fd.try_clone_to_owned().ok());
        let in_foreground = copy.as_ref().is_some_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()));
        let group = group(terminals, in_foreground, in_foreground && getpgrp() == getpid());
        Self { terminal: copy, group, on_demand: false }
    }

    /// The caller's terminal as it is when the workload has one of its own: the launcher stays in its foreground.
    pub fn of_launcher() -> Self {
        Self { group: Group::Session, ..Self::of_caller() }
    }

    /// No terminal: that of a launcher in a session of its own, whose workload has a group of its own.
    pub fn none() -> Self {
        Self { terminal: None, group: Group::Own { foreground: false }, on_demand: false }
    }

    /// The same, but the workload shall be in a group of its own in any case: in the foreground if stdin is the
    /// terminal and its foreground is ours.
    pub(crate) fn for_a_group_of_its_own(self) -> Self {
        let stdin = sys::standard(0);
        let foreground = isatty(stdin) == Ok(true) && tcgetpgrp(stdin) == Ok(getpgrp());
        Self { group: Group::Own { foreground }, ..self }
    }

    /// The same, but the workload shall be in the group that it finds itself in.
    pub(crate) fn for_the_callers_group(self) -> Self {
        Self { group: Group::Callers, ..self }
    }

    /// The same, but the workload shall be in a group of its own in the background, so that the terminal's signals come to
    /// us, who know what they mean for one that is started again and again. A run that uses the terminal gets it.
    pub fn for_the_background(self) -> Self {
        Self { group: Group::Own { foreground: false }, on_demand: true, ..self }
    }

    /// None: the workload shall have a session of its own, and the terminal in it.
    pub(crate) fn for_a_session() -> Self {
        Self { terminal: None, group: Group::Session, on_demand: false }
    }

    /// The terminal, if there is one.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(AsFd::as_fd)
    }

    /// The process group that the workload shall be in.
    pub fn group(&self) -> Group {
        self.group
    }

    /// Whether the terminal itself has told the workload of this signal: it sent it to a group that the workload is
    /// in too, so that it must not be forwarded once more.
    pub fn has_told(&self, signal: Received) -> bool {
        self.group == Group::Callers
            && !signal.was_sent_by_a_process()
            && OF_A_TERMINAL.contains(&signal.number)
    }

    /// Stops this process after `signal` stopped the workload in a group of its own, if there is a terminal: the shell
    /// that waits for us sees the job stopped and takes its terminal back. Its `fg` or `bg` continues us by a SIGCONT,
    /// which is forwarded like any signal. Returns when we have been continued.
    ///
    /// It is done as a terminal would, since the kernel stops no orphaned process group so (setpgid(2)), which nobody
    /// would continue.
    pub fn stop_too(&mut self, signal: i32, workload: Option<Pid>) -> Stopped {
        log::debug!("workload stopped by {}", signals::name(signal));
        let wants_the_terminal = [libc::SIGTTIN, libc::SIGTTOU].contains(&signal);
        if wants_the_terminal && workload.is_some_and(|workload| self.give_to(workload)) {
            return Stopped::NeedNot;
        }
        if self.terminal.is_none() || self.group == Group::Callers {
            return Stopped::NotNeeded;
        }
        match signals::stop_by_terminal() {
            Ok(true) => Stopped::UntilContinued,
            // Somebody who says SIGSTOP means it, wherever the workload is.
            Ok(false) if signal == libc::SIGSTOP => Stopped::NotNeeded,
            Ok(false) => Stopped::NeedNot,
            Err(errno) => {
                log::warn!("terminal: not stopped: {}", errno.desc());
                Stopped::NotNeeded
            }
        }
    }

    /// Stops this process if `signal`, of which the terminal has told the workload too, is one that stops.
    pub fn stop_with_group(&self, signal: i32) {
        if STOPS.contains(&signal)
            && let Err(errno) = signals::stop_by_terminal()
        {
            log::warn!("terminal: not stopped: {}", errno.desc());
        }
    }

    /// Gives the foreground to the workload's group, if the shell has given it to us; returns whether it did. The shell
    /// may have by `fg`, which continues those who are stopped, but tells nothing to those who run.
    pub fn hand_over(&mut self, workload: Pid) -> bool {
        !self.on_demand && self.give_to(workload)
    }

    fn give_to(&mut self, workload: Pid) -> bool {
        let Some(terminal) = &self.terminal else { return false };
        if !matches!(self.group, Group::Own { .. }) || tcgetpgrp(terminal) != Ok(getpgrp()) {
            return false;
        }
        match tcsetpgrp(terminal, workload) {
            Ok(()) => self.group = Group::Own { foreground: true },
            Err(errno) => log::debug!("terminal: not handed over: {}", errno.desc()),
        }
        self.group == Group::Own { foreground: true }
    }

    /// At the end of a run, or of all: puts the launcher's group into the foreground again, if a group from inside was there last.
    pub fn take_back(&self) {
        let (Some(terminal), Group::Own { foreground: true }) = (&self.terminal, self.group) else { return };
        let Ok(group) = tcgetpgrp(terminal) else { return };
        // Nobody inside is alive any more; a group that is belongs to the shell, which took the terminal back.
        let is_gone = kill(Pid::from_raw(-group.as_raw()), None) == Err(Errno::ESRCH);
        if group != getpgrp() && is_gone {
            // SIGTTOU is blocked.
            if let Err(errno) = tcsetpgrp(terminal, getpgrp()) {
                log::debug!("terminal: not taken back: {}", errno.desc());
            }
        }
    }
}

/// Stops this process, and returns when it has been continued.
pub(crate) fn stop() {
    // SIGSTOP cannot be blocked. A PID 1 is deaf to its own, as it should be.
    if let Err(error) = signal_hook::low_level::raise(libc::SIGSTOP) {
        log::warn!("terminal: not stopped: {error}");
    }
}

/// `terminals`: which of 0, 1 and 2 are one; `leads`: whether we lead our process group.
fn group(terminals: [bool; 3], in_foreground: bool, leads: bool) -> Group {
    match (in_foreground, terminals, leads) {
        (false, ..) => Group::Own { foreground: false },
        (true, [true, true, true], true) => Group::Own { foreground: true },
        // Others may be in our group: those of a pipeline, if something else than the terminal is connected; a script
        // or make, if it isn't ours. The terminal is theirs too.
        (true, ..) => Group::Callers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_takes_the_foreground_only_where_it_has_the_terminal_for_itself() {
        assert_eq!(group([true; 3], true, true), Group::Own { foreground: true });
        assert_eq!(group([true; 3], true, false), Group::Callers);
        assert_eq!(group([true, false, true], true, true), Group::Callers);
        assert_eq!(group([false, true, true], true, true), Group::Callers);
        assert_eq!(group([true; 3], false, true), Group::Own { foreground: false });
        assert_eq!(group([false; 3], false, false), Group::Own { foreground: false });
    }

    #[test]
    fn what_the_terminal_sent_to_a_shared_group_is_not_forwarded_again() {
        let ctrl_c = Received { number: libc::SIGINT, code: 0x80, sender: 0, value: None };
        let sent = Received { code: libc::SI_USER, sender: 7, ..ctrl_c };
        let alarm = Received { number: libc::SIGALRM, ..ctrl_c };
        let of = |group| Terminal { terminal: None, group, on_demand: false };
        let callers = of(Group::Callers);
        assert_eq!([ctrl_c, sent, alarm].map(|s| callers.has_told(s)), [true, false, false]);
        let own = of(Group::Own { foreground: true });
        assert_eq!([ctrl_c, sent, alarm].map(|s| own.has_told(s)), [false; 3]);
    }
}
