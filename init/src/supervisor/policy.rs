//! What the caller asked for: how the workload is looked after.

#![forbid(unsafe_code)]

use std::time::Duration;

/// The most that a run waits for, unless something else is asked for.
pub const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What the caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long those left over have after SIGTERM, until SIGKILL.
    pub grace: Duration,
    /// How long the workload may run.
    pub timeout: Option<Duration>,
    /// How long everybody has after the first signal that asks to stop, until SIGKILL.
    pub kill_after: Option<Duration>,
    /// How long a SIGTERM is held back, for what still comes in to be served.
    pub forward_delay: Duration,
    /// What becomes of those whom the workload leaves over.
    pub leftovers: Leftovers,
    /// What is sent on for each signal.
    pub rewrites: Rewrites,
    /// What the workload gets when it is asked to stop, 1 to 64.
    pub stop_signal: i32,
    /// Whether a SIGTERM asks to stop, instead of being forwarded: the stop signal, the grace, SIGKILL, and no new run.
    pub term_stops: bool,
    /// Whether a new run follows when one has ended.
    pub restart: Restart,
    /// The most that the next run waits for; see backoff.rs.
    pub longest_delay: Duration,
    /// When a run counts as ready.
    pub readiness: Readiness,
    /// How long a run may take until it is ready.
    pub ready_timeout: Option<Duration>,
    /// How often the workload has to say that it is alive; sd_watchdog_enabled(3).
    pub watchdog: Option<Duration>,
    /// Whether and how its health is checked.
    pub health: Option<Health>,
    /// Whether what happens is told ([`Happening`](crate::handoff::Happening)).
    pub tells: bool,
    /// Whether the kernel kills init when the thread that started it ends, however busy init is. For a launcher whose only
    /// thread that is.
    pub dies_with_launcher: bool,
}

impl Policy {
    /// Whether there can be a run besides the first one.
    pub fn may_run_again(&self) -> bool {
        // Whoever can stop it by an order can restart it by one.
        self.restart != Restart::No || self.term_stops || self.health.is_some_and(|health| health.restarts)
    }

    /// Whether something is to be started, or listened to, once the workload runs.
    pub fn needs_runs(&self) -> bool {
        self.may_run_again()
            || self.watchdog.is_some()
            || self.health.is_some()
            || matches!(self.readiness, Readiness::Notify | Readiness::Command)
    }
}

impl Default for Policy {
    /// No deadlines, no grace, no rewrites; leftovers are ended.
    fn default() -> Self {
        Self {
            grace: Duration::ZERO,
            timeout: None,
            kill_after: None,
            forward_delay: Duration::ZERO,
            leftovers: Leftovers::End,
            rewrites: Rewrites::default(),
            stop_signal: libc::SIGTERM,
            term_stops: false,
            restart: Restart::No,
            longest_delay: LONGEST_DELAY,
            readiness: Readiness::Started,
            ready_timeout: None,
            watchdog: None,
            health: None,
            tells: false,
            dies_with_launcher: false,
        }
    }
}

/// Whether a new run of the workload follows when one has ended. None does once somebody has asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// None.
    No,
    /// If it ended with another status than 0, or was ended for a failure.
    OnFailure {
        /// How often in a row, at most; none: as often as it takes.
        most: Option<u32>,
    },
    /// Always, also when a signal that was sent to it by name ended it.
    Always,
    /// Always, unless such a signal ended it.
    UnlessStopped,
}

/// When a run of the workload counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// When it has been executed.
    Started,
    /// When it says so; sd_notify(3).
    Notify,
    /// When it has written a newline to this descriptor of its own.
    Descriptor(i32),
    /// When a command succeeds.
    Command,
}

/// How the workload's health is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// The time between one check's end and the next one's start.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How many that fail in a row make it unhealthy; at least 1.
    pub retries: u32,
    /// Whether it is restarted then.
    pub restarts: bool,
}

/// What becomes of those whom the workload leaves over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// They get SIGTERM, the grace, SIGKILL, and are waited for.
    End,
    /// They are waited for until they end by themselves, or somebody asks to stop.
    WaitFor,
    /// They are left as they are.
    Leave,
    /// The workload's process group gets SIGTERM, and they are left.
    Tell,
}

/// What is sent on for each signal: another one, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrites([u8; 65]);

impl Default for Rewrites {
    fn default() -> Self {
        Self(std::array::from_fn(|number| number as u8))
    }
}

impl Rewrites {
    /// Sends `to` on for `from`, both 1 to 64; 0 sends nothing.
    pub fn set(&mut self, from: i32, to: i32) {
        if let (Some(entry), Ok(to @ 0..=64)) = (self.0.get_mut(from as usize), u8::try_from(to)) {
            *entry = to;
        }
    }

    /// What is sent on for `number`, if anything.
    pub fn of(&self, number: i32) -> Option<i32> {
        self.0.get(number as usize).filter(|to| **to != 0).map(|to| i32::from(*to))
    }

    /// Those that differ from their signal.
    pub fn changed(&self) -> impl Iterator<Item = (u8, u8)> + '_ {
        (0..).zip(self.0).filter(|(from, to)| from != to)
    }
}
