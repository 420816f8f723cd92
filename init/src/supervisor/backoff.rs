//! How long the next run waits: 100 ms after the first end, twice as long after each further one, up to a limit; from the
//! start again once a run has lasted 10 s.

#![forbid(unsafe_code)]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(100);
/// So long a run is one that worked.
const WORKED: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backoff {
    /// How many runs were started again in a row, none of which worked.
    in_a_row: u32,
    delay: Duration,
    longest: Duration,
    random: u64,
}

impl Backoff {
    /// Who starts at the same time as many others shall not go on to restart with them: `pid` and `now` are the seed.
    pub(super) fn new(pid: i32, longest: Duration, now: Instant) -> Self {
        let mut hasher = DefaultHasher::new();
        (pid, now).hash(&mut hasher);
        Self { in_a_row: 0, delay: FIRST, longest, random: hasher.finish() | 1 }
    }

    /// A run that began at this time has ended.
    pub(super) fn run_ended(&mut self, began: Instant, now: Instant) {
        if now.saturating_duration_since(began) >= WORKED {
            self.reset();
        }
    }

    pub(super) fn reset(&mut self) {
        (self.in_a_row, self.delay) = (0, FIRST);
    }

    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// How long to wait now: up to a quarter less than the step that it is on.
    pub(super) fn next_delay(&mut self) -> Duration {
        let delay = self.delay.min(self.longest);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.delay = (delay * 2).min(self.longest);
        delay - (delay / 4).mul_f64(self.fraction())
    }

    /// 0 to 1, by Marsaglia's xorshift.
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from((self.random >> 32) as u32) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::LONGEST_DELAY;

    #[test]
    fn each_delay_is_twice_the_one_before_up_to_thirty_seconds_and_up_to_a_quarter_less() {
        let mut backoff = Backoff::new(2, LONGEST_DELAY, Instant::now());
        for step in [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000] {
            let step = Duration::from_millis(step);
            let delay = backoff.next_delay();
            assert!(delay <= step && delay >= step * 3 / 4, "{delay:?} for {step:?}");
        }
        assert_eq!(backoff.in_a_row(), 11);
    }

    #[test]
    fn a_run_of_ten_seconds_makes_it_begin_again_and_a_shorter_one_does_not() {
        let now = Instant::now();
        let mut backoff = Backoff::new(2, LONGEST_DELAY, now);
        (0..5).for_each(|_| _ = backoff.next_delay());
        backoff.run_ended(now, now + Duration::from_millis(9999));
        assert_eq!(backoff.in_a_row(), 5);
        backoff.run_ended(now, now + Duration::from_secs(10));
        assert_eq!(backoff.in_a_row(), 0);
        assert!(backoff.next_delay() <= FIRST);
    }

    #[test]
    fn no_delay_is_longer_than_was_asked_for() {
        for longest in [0, 30, 100, 150].map(Duration::from_millis) {
            let mut backoff = Backoff::new(2, longest, Instant::now());
            assert!((0..20).all(|_| backoff.next_delay() <= longest), "{longest:?}");
        }
    }

    #[test]
    fn two_that_start_at_the_same_time_do_not_wait_for_the_same_time() {
        let now = Instant::now();
        let delays = |pid| {
            let mut backoff = Backoff::new(pid, LONGEST_DELAY, now);
            std::array::from_fn::<_, 8, _>(|_| backoff.next_delay())
        };
        assert_ne!(delays(2), delays(3));
        assert_eq!(delays(2), delays(2));
    }
}
