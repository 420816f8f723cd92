//! The sandboxes of a pool that wait, and the making of more, by whoever needs one or by the pool's thread.
//!
//! What they have in common is plan/ahead.rs's to decide; who is given one, and for what, mod.rs's.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use launch_init::handoff::{Limit, Task};
use launch_init::sys::open_null;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use super::limits;
use crate::command::{Child, Command, First, copy_above_stdio, first_of};
use crate::error::Error;
use crate::plan::Plan;
use crate::plan::ahead::{self, Defaults};
use crate::sandbox::{Event, Resources, Sandbox};

/// How long nobody has been given one when more are made, as long as half of them wait.
const QUIET: Duration = Duration::from_millis(10);
/// At most so many are being made at a time, so that who asks meanwhile does not wait for many.
const BATCH: usize = 8;
/// How long a set-up may take where others wait for the same thread: who has come meanwhile has time for another (30 s in
/// serve/client.rs), and hears why.
const SET_UP_WITHIN: Duration = Duration::from_secs(14);
/// Where so many that were given up have not ended, no more are begun, which would do no better.
const MOST_GIVEN_UP: usize = 2 * BATCH;
/// How long the thread may take to end. It takes milliseconds, unless what it calls hangs (newuidmap(1), a name service).
const PATIENCE: Duration = Duration::from_secs(2);

/// What a pool and its thread have in common.
#[derive(Debug)]
pub(super) struct Stock {
    pub(super) template: Command,
    plan: Plan,
    /// What of the template concerns the tasks.
    pub(super) defaults: Defaults,
    /// The caller's resource limits when the pool was made.
    limits: Vec<Limit>,
    /// /dev/null, which waiting ones have as stdio: nobody waits for an end of file for their sake.
    null: OwnedFd,
    size: usize,
    state: Mutex<State>,
    /// There is something to do for the thread, or it has done something.
    changed: Condvar,
    /// Readable when the pool is no more.
    over: EventFd,
    /// Where they are given away: readable when one has been made, and when the thread has something to say.
    pub(super) news: Option<EventFd>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// How many are being made.
    in_making: usize,
    /// Whether one has been given out since the thread has looked.
    has_given_out: bool,
    /// How many are to be given away as soon as there are so many.
    asked_for: usize,
    /// Of a pool for others, until it is asked.
    filling: Option<Filling>,
    /// Those whose set-up took too long. They were killed; but who waits for a file system may not be able to end.
    given_up: Vec<Waiting>,
    /// Whether the thread is there.
    has_thread: bool,
    /// Whether the pool is no more.
    is_over: bool,
}

/// How the thread has made some.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) begun: Instant,
    /// How many could not be made.
    pub(crate) unmade: usize,
    pub(crate) outcome: Result<(), Error>,
}

/// A sandbox that has been made ahead.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) sandbox: Sandbox,
    terminal: Option<OwnedFd>,
    /// When its making began.
    pub(super) begun: Instant,
}

impl State {
    fn drop_the_dead(&mut self) {
        self.waiting.retain_mut(Waiting::is_alive);
    }

    /// How many of those who have asked need one that does not wait yet.
    fn urgent(&self) -> usize {
        self.asked_for.saturating_sub(self.waiting.len())
    }

    /// How many fewer wait, or are being made, than shall.
    fn missing(&self, size: usize) -> usize {
        (size + self.asked_for).saturating_sub(self.waiting.len() + self.in_making)
    }

    /// Whether there is nothing to do for the thread. What it could not make is not tried again before that has been heard, and
    /// somebody asks anew: it would fail for the same reason.
    fn is_idle(&self) -> bool {
        let is_unheard = self.filling.is_some();
        !self.is_over && (is_unheard || (!self.has_given_out && self.urgent() == 0))
    }
}

impl Waiting {
    /// It has nothing to say before it has been given something to run, but log lines.
    fn is_alive(&mut self) -> bool {
        match self.sandbox.try_next_event() {
            Ok(None) => true,
            Ok(Some(_)) | Err(_) => {
                log::info!("pool: PID 1 of a waiting sandbox (pid {}) has ended", self.sandbox.pid());
                false
            }
        }
    }

    /// Whether it can be reaped at once, which dropping it does.
    fn has_ended(&self) -> bool {
        let mut pidfd = [PollFd::new(self.sandbox.pidfd(), PollFlags::POLLIN)];
        poll(&mut pidfd, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Whether it waits, as far as it has said so yet.
    fn is_set_up(&mut self) -> Result<bool, Error> {
        loop {
            match self.sandbox.try_next_event()? {
                None => return Ok(false),
                Some(Event::SetUp) => return Ok(true),
                Some(Event::Terminal(master)) => self.terminal = Some(master),
                Some(Event::Happened(_) | Event::MainPid(_)) => {}
                // It has nothing to run yet.
                Some(Event::Started(_) | Event::Stopped(_) | Event::Ended(_)) => {
                    return Err(Error::InitDied(None));
                }
            }
        }
    }
}

impl Stock {
    /// Of `size` sandboxes by the plan, none of which is there yet.
    ///
    /// # Errors
    /// [`Error::Channel`], [`Error::Pool`]: there is no descriptor.
    pub(super) fn new(
        template: Command,
        plan: Plan,
        defaults: Defaults,
        limits: Vec<Limit>,
        size: usize,
        for_others: bool,
    ) -> Result<Self, Error> {
        let event = || {
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|errno| Error::Pool("eventfd", errno))
        };
        Ok(Self {
            template,
            plan,
            defaults,
            limits,
            null: open_null().map_err(Error::Channel)?,
            size,
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            over: event()?,
            news: if for_others { Some(event()?) } else { None },
        })
    }

    /// Whoever panicked meanwhile has left it whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes as many as are missing, and returns when they wait, and those that somebody else is making. Those that are given out
    /// meanwhile are not made again.
    ///
    /// # Errors
    /// As [`Sandbox::start`], and of their set-up. Those that could be made wait.
    pub(super) fn fill(&self) -> Result<(), Error> {
        let mut filled = Ok(());
        let mut left = self.missing();
        while filled.is_ok() && left > 0 && !self.state().is_over {
            filled = self.make_some(left.min(BATCH)).1;
            left = left.saturating_sub(BATCH);
        }
        drop(self.changed.wait_while(self.state(), |state| state.in_making > 0));
        filled
    }

    fn missing(&self) -> usize {
        let mut state = self.state();
        state.drop_the_dead();
        state.missing(self.size)
    }

    /// Makes as many as are missing, but at most so many, side by side, and returns when they wait; how many could not be made, and
    /// why.
    fn make_some(&self, most: usize) -> (usize, Result<(), Error>) {
        let number = {
            let mut state = self.state();
            state.drop_the_dead();
            state.given_up.retain(|one| !one.has_ended());
            let number = state.missing(self.size).min(most);
            if state.given_up.len() >= MOST_GIVEN_UP {
                return (number, Err(late()));
            }
            state.in_making += number;
            number
        };
        let mut unmade = InMaking { stock: self, number };
        let mut begun = Vec::with_capacity(number);
        let mut made = Ok(());
        for _ in 0..number {
            match self.begin_one() {
                Ok(one) => begun.push(one),
                Err(error) => {
                    made = Err(error);
                    break;
                }
            }
        }
        let set_up = self.wait_until_set_up(begun, |one| unmade.is_made(one));
        (unmade.number, made.and(set_up))
    }

    /// Does what a thread of the pool does, until that is over.
    pub(super) fn keep_filled(&self) {
        let _is_there = IsThere(self);
        if self.news.is_some() {
            let begun = Instant::now();
            let outcome = self.fill();
            self.say(Filling { begun, unmade: 0, outcome });
        }
        let mut goes_on = false;
        while let Some(most) = self.wait_for_work(goes_on) {
            let begun = Instant::now();
            let (unmade, outcome) = self.make_some(most);
            goes_on = outcome.is_ok() && self.missing() > 0;
            if goes_on {
                self.state().has_given_out = true;
            }
            self.say(Filling { begun, unmade, outcome });
        }
    }

    fn say(&self, filling: Filling) {
        if let Some(news) = &self.news {
            self.state().filling = Some(filling);
            tell(news);
        } else if let Err(error) = filling.outcome {
            log::warn!("pool: not filled: {error}");
        }
    }

    /// How many to make at most; none when the pool is over. Who `goes_on` does not wait until nobody is in a hurry.
    fn wait_for_work(&self, goes_on: bool) -> Option<usize> {
        let is_idle = |state: &mut State| state.is_idle();
        let state = self.changed.wait_while(self.state(), is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        // Who has just been given one has better use for the processors.
        while !goes_on
            && state.waiting.len() > self.size / 2
            && !state.is_idle()
            && !state.is_over
            && state.urgent() == 0
        {
            state.has_given_out = false;
            let waited = self.changed.wait_timeout_while(state, QUIET, is_idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.is_over {
            return None;
        }
        // Who waits for one does not wait for more than that. The others are made afterwards.
        Some(match state.urgent() {
            0 => {
                state.has_given_out = false;
                BATCH
            }
            urgent => urgent.min(BATCH),
        })
    }

    /// Makes one that sets itself up, without waiting for that.
    fn begin_one(&self) -> Result<Waiting, Error> {
        let begun = Instant::now();
        let mut plan = self.plan.clone();
        plan.init.workload.limits.extend(ahead::limits(&self.limits, &limits()?, &plan.init.workload.limits));
        let null = || copy_above_stdio(&self.null).map(Some);
        let stdio = [null()?, null()?, null()?];
        let init = self.template.open_init_file(&plan)?;
        let leads_session = self.news.is_some();
        let resources = Resources { init, stdio, lock: None, leads_session, is_of_launch: false };
        let mut sandbox = Sandbox::start(&plan, resources)?;
        sandbox.release()?;
        Ok(Waiting { sandbox, terminal: None, begun })
    }

    /// Waits until these have been set up, and tells of each. A set-up may hang, on a file system that does.
    ///
    /// # Errors
    /// The first of those that failed, which have ended.
    fn wait_until_set_up(
        &self,
        mut begun: Vec<Waiting>,
        mut is_made: impl FnMut(Waiting),
    ) -> Result<(), Error> {
        let mut all = Ok(());
        while let Some(first) = begun.iter().map(|one| one.begun).min() {
            let give_up_at = self.news.is_some().then(|| first + SET_UP_WITHIN);
            let left = give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
            let channels = begun.iter().map(|one| one.sandbox.channel()).chain([self.over.as_fd()]);
            let mut polled: Vec<_> = channels.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            match ppoll(&mut polled, left.map(TimeSpec::from_duration), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::Wait(errno)),
            }
            let mut is_ready = polled.iter().map(|polled| polled.any() == Some(true)).collect::<Vec<_>>();
            if is_ready.pop() == Some(true) {
                kill_all(&begun);
                return Err(Error::Pool("end", Errno::ECANCELED));
            }
            for (mut one, is_ready) in std::mem::take(&mut begun).into_iter().zip(is_ready) {
                let is_set_up = if is_ready { one.is_set_up() } else { Ok(false) };
                match is_set_up {
                    Ok(true) => is_made(one),
                    Ok(false) => begun.push(one),
                    Err(error) => all = all.and(Err(error)),
                }
            }
            if !begun.is_empty() && give_up_at.is_some_and(|at| at <= Instant::now()) {
                // All of them: one that waits for another in the kernel ends after that. To reap them here could take for ever.
                kill_all(&begun);
                self.state().given_up.append(&mut begun);
                all = Err(late());
            }
        }
        all
    }

    /// One that waits, if any does.
    pub(super) fn take_waiting(&self) -> Option<Waiting> {
        loop {
            let mut one = {
                let mut state = self.state();
                // At the same time: the thread shall not make one for who is about to have one.
                state.asked_for = state.asked_for.saturating_sub(1);
                state.waiting.pop_front()?
            };
            if one.is_alive() {
                return Some(one);
            }
        }
    }

    /// One that waits, or else a new one, which the second value says.
    fn take(&self) -> Result<(Waiting, bool), Error> {
        if let Some(one) = self.take_waiting() {
            return Ok((one, false));
        }
        let mut new = None;
        self.wait_until_set_up(vec![self.begin_one()?], |one| new = Some(one))?;
        // Either it has failed, or has been told of.
        new.map(|one| (one, true)).ok_or(Error::InitDied(None))
    }

    /// There may be fewer that wait than there shall be, also where none did: they were killed, or could not be made.
    pub(super) fn is_given_out(&self) {
        self.state().has_given_out = true;
        self.changed.notify_all();
    }

    /// So many are to be given away as soon as there are so many.
    pub(super) fn are_asked_for(&self, number: usize) {
        let mut state = self.state();
        state.asked_for = number;
        // Also where it is the same number: those that were there for them may have died, and a failure may have been heard of.
        if !state.is_idle() {
            self.changed.notify_all();
        }
    }

    /// How the thread's last making of some has ended, once. It goes on when it is said how many are asked for then.
    pub(super) fn last_filling(&self) -> Option<Filling> {
        self.state().filling.take()
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        let mut state = self.state();
        state.drop_the_dead();
        state.waiting.len()
    }

    /// A thread is about to begin with [`Self::keep_filled`], until the value is dropped where it does not.
    pub(super) fn expect_thread(&self) -> IsThere<'_> {
        self.state().has_thread = true;
        IsThere(self)
    }

    /// Has the task run in one that waits. Where that has ended without having read the task, nothing has run, and there are
    /// others.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub(super) fn give_out(&self, task: &Task, stdio: &[BorrowedFd<'_>]) -> Result<Child, Error> {
        loop {
            let (Waiting { mut sandbox, mut terminal, .. }, is_new) = self.take()?;
            let assigned = sandbox.assign(task, stdio, wait_for_room);
            self.is_given_out();
            match assigned {
                Err(Error::Handoff(Errno::EPIPE | Errno::ECONNRESET)) if !is_new => continue,
                assigned => assigned?,
            }
            match first_of(&mut sandbox, &mut terminal) {
                Ok(First::Started(started)) => return Ok(Child::new(sandbox, started, terminal)),
                // It has said so already.
                Ok(First::SetUp) => return Err(Error::InitDied(None)),
                Err(Error::InitDied(_)) if !is_new && sandbox.left_unread() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends those that wait, and the making of others. Whether the thread has ended too: it is not waited for for long.
    pub(super) fn end(&self) -> bool {
        let (waiting, given_up) = {
            let mut state = self.state();
            state.is_over = true;
            (Vec::from(std::mem::take(&mut state.waiting)), std::mem::take(&mut state.given_up))
        };
        // Whoever cannot end is not waited for.
        given_up.into_iter().filter(|one| !one.has_ended()).for_each(std::mem::forget);
        tell(&self.over);
        self.changed.notify_all();
        kill_all(&waiting);
        drop(waiting);
        let is_there = |state: &mut State| state.has_thread;
        let state = self.changed.wait_timeout_while(self.state(), PATIENCE, is_there);
        !state.unwrap_or_else(PoisonError::into_inner).0.has_thread
    }
}

/// So many are being made, unless it is dropped before.
struct InMaking<'a> {
    stock: &'a Stock,
    number: usize,
}

impl InMaking<'_> {
    fn is_made(&mut self, one: Waiting) {
        self.number -= 1;
        let mut state = self.stock.state();
        state.in_making -= 1;
        if !state.is_over {
            state.waiting.push_back(one);
        }
        drop(state);
        self.stock.news.iter().for_each(tell);
    }
}

impl Drop for InMaking<'_> {
    fn drop(&mut self) {
        self.stock.state().in_making -= self.number;
        self.stock.changed.notify_all();
    }
}

/// The thread, until this is dropped, also by a panic.
pub(super) struct IsThere<'a>(&'a Stock);

impl Drop for IsThere<'_> {
    fn drop(&mut self) {
        self.0.state().has_thread = false;
        self.0.changed.notify_all();
    }
}

/// Told where a set-up was given up.
fn late() -> Error {
    Error::Pool("set-up", Errno::ETIMEDOUT)
}

/// Each takes a while to end: so all do so at the same time. To drop them ends them for sure.
fn kill_all(sandboxes: &[Waiting]) {
    for one in sandboxes {
        let _ = one.sandbox.signal(libc::SIGKILL);
    }
}

/// Makes it readable. EAGAIN: it is, and has been for a long time.
fn tell(event: &EventFd) {
    let _ = event.write(1);
}

fn wait_for_room(channel: BorrowedFd<'_>) -> Result<(), Error> {
    match poll(&mut [PollFd::new(channel, PollFlags::POLLOUT)], PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::Wait(errno)),
    }
}
