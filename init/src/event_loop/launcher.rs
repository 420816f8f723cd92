//! What the launcher orders, and what it and a listener are told.
//!
//! What follows of an order is for the supervisor to decide.

#![forbid(unsafe_code)]

use nix::errno::Errno;

use super::{Above, End, EventLoop};
use crate::handoff::{HEADER, Happening, Order, Report, first_body};
use crate::supervisor::Event;

/// How many reports are kept for a launcher that reads none, the newest ones.
const MOST_UNREAD: usize = 256;

impl EventLoop<'_> {
    /// What the launcher says after the plan. Its end of file means that it is gone.
    pub(super) fn take_orders(&mut self) -> Option<End> {
        let Above::Launcher(launcher) = self.above else { return None };
        match launcher.receive(&mut self.orders) {
            Ok(()) => {}
            Err(Errno::EAGAIN) => return None,
            // It says nothing that makes sense any more: nothing can be relied on.
            Err(_) => return self.happened(Event::LauncherGone),
        }
        self.obey()
    }

    /// Does what the launcher has said.
    pub(super) fn obey(&mut self) -> Option<End> {
        loop {
            let (order, length) = match first_body(&self.orders) {
                Ok(Some(body)) => (Order::decode(body), HEADER + body.len()),
                Ok(None) => return None,
                Err(malformed) => (Err(malformed), 0),
            };
            self.orders.drain(..length);
            let end = match order {
                Ok(order) => self.happened(Event::Order(order)),
                Err(malformed) => {
                    log::error!("order: {malformed}");
                    self.happened(Event::LauncherGone)
                }
            };
            if end.is_some() {
                return end;
            }
        }
    }

    pub(super) fn report(&mut self, happening: Happening) {
        if let Some(listener) = self.listener {
            listener(&happening);
        }
        self.tell_launcher(Report::Happened(happening));
    }

    /// Never waits: what a launcher that is stopped does not read is kept for it, as far as it is not too much.
    pub(super) fn tell_launcher(&mut self, report: Report) {
        if matches!(self.above, Above::Launcher(_)) {
            // Only the last one counts of those that somebody inside may send without end; they push nothing else out.
            if let Report::Happened(new @ (Happening::Status(_) | Happening::Alive)) = &report {
                let is_like_it =
                    |other: &Happening| std::mem::discriminant(other) == std::mem::discriminant(new);
                self.unread.retain(|other| !matches!(other, Report::Happened(other) if is_like_it(other)));
            }
            if self.unread.len() >= MOST_UNREAD {
                self.unread.pop_front();
            }
            self.unread.push_back(report);
            self.send_unread();
        }
    }

    pub(super) fn send_unread(&mut self) {
        let Above::Launcher(launcher) = self.above else { return };
        while let Some(report) = self.unread.front() {
            match launcher.tell(report) {
                Err(Errno::EAGAIN) => return,
                // EPIPE: its end is the next event.
                Ok(()) | Err(_) => drop(self.unread.pop_front()),
            }
        }
    }
}
