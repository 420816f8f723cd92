//! What the workload says of itself, by the notify socket or its descriptor of readiness, and which process is its main one.
//!
//! What the words on the socket mean, notify.rs knows.

#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::unistd::Pid;

use super::{End, EventLoop, Naming};
use crate::handoff::Happening;
use crate::notify::{Note, NotifySocket};
use crate::runs::Runs;
use crate::supervisor::{Event, Said};
use crate::sys;

impl EventLoop<'_> {
    /// What the workload says through NOTIFY_SOCKET.
    pub(super) fn listen(&mut self) -> Option<End> {
        self.runs.and_then(Runs::notify).and_then(|notify| self.listen_to(notify))
    }

    /// Not inlined: it takes a page of the stack, which a start without such a socket need not touch.
    #[inline(never)]
    fn listen_to(&mut self, notify: &NotifySocket) -> Option<End> {
        let main = self.workload.as_ref()?.pid.as_raw();
        let mut end = None;
        notify.drain(main, |note| {
            let ended = match note {
                Note::Said(Said::MainPid(pid)) => self.main_is(Pid::from_raw(pid)),
                Note::Said(said) => self.happened(Event::Said(said)),
                Note::Status(text) => {
                    self.report(Happening::Status(text));
                    None
                }
            };
            end = end.or(ended);
        });
        end
    }

    /// Another process is the main one from now on.
    fn main_is(&mut self, pid: Pid) -> Option<End> {
        let workload = self.workload.as_mut().filter(|workload| workload.pid != pid)?;
        match sys::open_pidfd(pid) {
            Ok(pidfd) => {
                (workload.pid, workload.pidfd, workload.naming) = (pid, pidfd, Naming::Named);
                self.happened(Event::Said(Said::MainPid(pid.as_raw())))
            }
            Err(errno) => {
                log::warn!("notify socket: MAINPID={pid}: {}", errno.desc());
                None
            }
        }
    }

    /// A main process that was named has ended. If its end is for us to wait for, that tells of it: its parent may be
    /// about to end, so that it comes to us. If somebody else has waited for it, nobody tells.
    pub(super) fn main_has_ended(&mut self) -> Option<End> {
        let workload = self.workload.as_mut()?;
        workload.naming = Naming::Zombie;
        let is_known = self.supervisor.main_process() != Some(workload.pid.as_raw());
        let is_gone = sys::signal_process(workload.pidfd(), 0, None) == Err(Errno::ESRCH);
        if is_known || is_gone {
            workload.naming = Naming::Ours;
        }
        if is_gone && !is_known { self.happened(Event::MainVanished) } else { None }
    }

    /// The newline by which the workload says that it is ready, or the end of file that says it never will.
    pub(super) fn read_readiness(&mut self) -> Option<End> {
        let workload = self.workload.as_mut()?;
        let mut bytes = [0; 64];
        match nix::unistd::read(workload.ready.as_ref()?, &mut bytes) {
            Ok(count) if bytes[..count].contains(&b'\n') => {
                workload.ready = None;
                self.happened(Event::Said(Said::Ready))
            }
            Ok(0) => {
                workload.ready = None;
                None
            }
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => None,
            Err(errno) => {
                log::warn!("descriptor of --ready: {}", errno.desc());
                workload.ready = None;
                None
            }
        }
    }
}
