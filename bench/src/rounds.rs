//! Who is measured when: everybody once a round, in an order that differs from round to round, and is the same in each run of
//! the bench. Who is slow is left out of most rounds.

#![forbid(unsafe_code)]

use std::time::Duration;

/// Those whose start takes longer are in fewer rounds.
const SLOW: Duration = Duration::from_millis(25);
/// How often everybody is measured, at least.
const FEWEST: usize = 5;

/// In every how manieth round somebody is who takes so long, of so many rounds.
pub fn stride(time: Duration, rounds: usize) -> usize {
    let wanted = (time.as_nanos() / SLOW.as_nanos()) as usize + 1;
    wanted.min(rounds / FEWEST).max(1)
}

/// Who is in this round, in its order.
pub fn order(round: usize, strides: &[usize]) -> Vec<usize> {
    let mut present: Vec<usize> =
        (0..strides.len()).filter(|who| (round + who).is_multiple_of(strides[*who])).collect();
    let mut random = Random::new(round as u64);
    for last in (1..present.len()).rev() {
        present.swap(last, random.below(last as u64 + 1) as usize);
    }
    present
}

/// xorshift64*: good enough for an order.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Never 0, which would stay 0.
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slow_are_in_fewer_rounds_but_in_five() {
        let ms = Duration::from_millis;
        let cases = [(1, 101, 1), (24, 101, 1), (25, 101, 2), (100, 101, 5), (9_999, 101, 20), (9_999, 3, 1)];
        for (time, rounds, expected) in cases {
            assert_eq!(stride(ms(time), rounds), expected, "{time} ms of {rounds} rounds");
            let present = (0..rounds).filter(|round| order(*round, &[expected]) == [0]).count();
            assert!(present >= FEWEST.min(rounds), "{present} of {rounds}");
        }
    }

    #[test]
    fn everybody_is_in_each_round_once() {
        for round in 0..50 {
            let mut order = order(round, &[1; 7]);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn the_order_differs_from_round_to_round_and_not_from_run_to_run() {
        let orders: Vec<_> = (0..40).map(|round| order(round, &[1; 6])).collect();
        assert_eq!(orders, (0..40).map(|round| order(round, &[1; 6])).collect::<Vec<_>>());
        for who in 0..6 {
            let first = orders.iter().filter(|order| order[0] == who).count();
            assert!((1..=15).contains(&first), "{who} is first in {first} of 40");
        }
    }
}
