//! Reaps: the workload, its probes, and the orphans that come to PID 1.
//!
//! What an end means, the supervisor decides.

#![forbid(unsafe_code)]

use nix::unistd::Pid;

use super::{Above, End, EventLoop};
use crate::everyone;
use crate::presets::Moment;
use crate::supervisor::Event;
use crate::sys::{self, Waited};

/// How many children are reaped before signals are looked at again, so that a flood of orphans delays none.
const REAPED_AT_ONCE: usize = 256;

impl EventLoop<'_> {
    /// Whether children are waited for although no SIGCHLD has come.
    pub(super) fn looks_at_children(&self, has_slept_for_signals: bool) -> bool {
        // Where everything is told, SIGCHLD is told of first; it is always behind them. Elsewhere they were waited for before
        // it fell asleep, so that there is news only with a SIGCHLD, as long as it does not matter that there are none.
        self.tell.is_none() && !(has_slept_for_signals && self.supervisor.main_process().is_some())
    }

    /// Reaps, and says whether there may be more. SIGCHLD coalesces, so one of them stands for any number.
    pub(super) fn reap(&mut self) -> (Option<End>, bool) {
        let was_alone = self.is_alone;
        for _ in 0..REAPED_AT_ONCE {
            let orphan = self.name_orphans.and_then(|_| self.next_orphan());
            // A signal to everybody has just found nobody: a zombie is somebody, too.
            let is_empty = self.is_alone && !was_alone && everyone::is_pid_one();
            let event = match if is_empty { Ok(Waited::NoChildren) } else { sys::wait_any() } {
                Ok(Waited::Changed { pid, status }) => {
                    log::trace!("child {pid}: wait status {status:#x}");
                    if let (Some(name_orphan), Some((orphan, command))) = (self.name_orphans, orphan)
                        && orphan == pid
                    {
                        name_orphan(pid, &command, status);
                    }
                    let is_main = self.workload.as_ref().is_some_and(|workload| workload.pid == pid);
                    self.tell(Moment::Child { pid: pid.as_raw(), status, is_main });
                    // What it has said before its end counts: a daemon's parent names its child and goes.
                    if is_main && let Some(end) = self.listen() {
                        return (Some(end), false);
                    }
                    // Most are orphans, of whom nothing follows: a flood of them is reaped without asking what the time is.
                    if !self.supervisor.awaits(pid.as_raw()) {
                        continue;
                    }
                    Event::Child { pid: pid.as_raw(), status }
                }
                Ok(Waited::Nothing) => return (None, false),
                Ok(Waited::NoChildren) => {
                    self.tell(Moment::NoChildren);
                    if let Above::Terminal(terminal) = &self.above {
                        terminal.take_back();
                    }
                    self.has_guests =
                        self.supervisor.waits_for_others() && !self.is_alone && everyone::has_guests();
                    if self.has_guests {
                        return (None, false);
                    }
                    return (self.happened(Event::NoChildren), false);
                }
                Err(errno) => {
                    log::error!("children: wait: {}", errno.desc());
                    return (None, false);
                }
            };
            let end = self.happened(event);
            if end.is_some() {
                return (end, false);
            }
        }
        (None, true)
    }

    /// Those who ended with the workload are told of too, where nobody is waited for.
    pub(super) fn reap_the_rest(&self) {
        while let Ok(waited) = sys::wait_any() {
            match waited {
                Waited::Changed { pid, status } => {
                    self.tell(Moment::Child { pid: pid.as_raw(), status, is_main: false });
                }
                Waited::NoChildren => return self.tell(Moment::NoChildren),
                Waited::Nothing => return,
            }
        }
    }

    /// The orphan that is reaped next, and its command: /proc knows it only while it is a zombie.
    fn next_orphan(&self) -> Option<(Pid, String)> {
        let pid = sys::peek_any().ok().flatten()?;
        if self.workload.as_ref().is_some_and(|workload| workload.pid == pid) {
            return None;
        }
        let command = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some((pid, String::from_utf8_lossy(command.trim_ascii_end()).into_owned()))
    }
}
