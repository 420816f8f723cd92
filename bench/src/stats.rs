//! Medians, quartiles, and ratios with their spread. Values in, values out.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// A middle, and between what the middle half of all lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The first quartile.
    pub low: f64,
    /// The third quartile.
    pub high: f64,
}

impl Spread {
    /// With four digits that count: more are chance, and would make every line of kept figures another one each time.
    pub fn rounded(self) -> Self {
        let round = |value: f64| format!("{value:.3e}").parse().unwrap_or(value);
        Self { median: round(self.median), low: round(self.low), high: round(self.high) }
    }
}

/// The value below which this part (0 to 1) of the sorted values lies, between two of them where that is so; 0 of none.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = part * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// Median and quartiles.
pub fn spread(values: &[f64]) -> Spread {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Spread { median: quantile(&sorted, 0.5), low: quantile(&sorted, 0.25), high: quantile(&sorted, 0.75) }
}

/// A value, and the round in which it was taken.
pub type Sample = (usize, f64);

/// The ratio of the medians of the two. Its spread is that of the ratios within one round each, in which both had the same
/// conditions; where they share no round, it is the ratio itself. None without values, or of nothing.
pub fn ratio(ours: &[Sample], theirs: &[Sample]) -> Option<Spread> {
    let values = |samples: &[Sample]| samples.iter().map(|(_, value)| *value).collect::<Vec<_>>();
    let (above, below) = (spread(&values(ours)).median, spread(&values(theirs)).median);
    if ours.is_empty() || theirs.is_empty() || below == 0.0 {
        return None;
    }
    let median = above / below;
    let spread = ratio_of_rounds(ours, theirs).unwrap_or(Spread { median, low: median, high: median });
    Some(Spread { median, low: spread.low.min(median), high: spread.high.max(median) })
}

/// The median of the ratios within one round each, with their spread: where rounds are many and differ much, it says more than
/// that of the medians. None where they share no round.
pub fn ratio_of_rounds(ours: &[Sample], theirs: &[Sample]) -> Option<Spread> {
    let pairs: Vec<f64> = ours
        .iter()
        .filter_map(|(round, ours)| {
            let (_, theirs) = theirs.iter().find(|(other, value)| other == round && *value != 0.0)?;
            Some(ours / theirs)
        })
        .collect();
    (!pairs.is_empty()).then(|| spread(&pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_between_its_neighbours() {
        let cases: [(&[f64], f64, f64); 7] = [
            (&[], 0.5, 0.0),
            (&[3.0], 0.25, 3.0),
            (&[1.0, 2.0], 0.5, 1.5),
            (&[1.0, 2.0, 4.0], 0.5, 2.0),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], 0.25, 2.0),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], 0.99, 4.96),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], 1.0, 5.0),
        ];
        for (values, part, expected) in cases {
            assert!((quantile(values, part) - expected).abs() < 1e-9, "{values:?} at {part}");
        }
    }

    #[test]
    fn the_order_of_values_does_not_matter() {
        assert_eq!(spread(&[5.0, 1.0, 4.0, 2.0, 3.0]), Spread { median: 3.0, low: 2.0, high: 4.0 });
    }

    #[test]
    fn figures_are_kept_with_four_digits() {
        let spread = Spread { median: 123_456.0, low: 0.012_345_6, high: 0.0 };
        assert_eq!(spread.rounded(), Spread { median: 123_500.0, low: 0.012_35, high: 0.0 });
    }

    #[test]
    fn a_ratio_is_of_the_medians_and_spreads_as_those_of_the_rounds_do() {
        let ours = [(0, 1.0), (1, 2.0), (2, 3.0)];
        let theirs = [(0, 2.0), (1, 4.0), (2, 12.0)];
        assert_eq!(ratio(&ours, &theirs), Some(Spread { median: 0.5, low: 0.375, high: 0.5 }));
    }

    #[test]
    fn rounds_that_only_one_of_them_has_are_left_out_of_the_spread() {
        let ours = [(0, 1.0), (5, 1.0), (9, 9.0)];
        let theirs = [(0, 2.0), (5, 4.0), (7, 2.0)];
        assert_eq!(ratio(&ours, &theirs), Some(Spread { median: 0.5, low: 0.3125, high: 0.5 }));
    }

    #[test]
    fn a_ratio_of_rounds_does_not_see_what_makes_both_of_them_slow() {
        let ours = [(0, 1.0), (1, 20.0), (2, 3.0), (4, 9.0)];
        let theirs = [(0, 2.0), (1, 40.0), (2, 4.0), (3, 1.0)];
        assert_eq!(ratio_of_rounds(&ours, &theirs), Some(Spread { median: 0.5, low: 0.5, high: 0.625 }));
        assert_eq!(ratio_of_rounds(&ours, &[(3, 1.0)]), None);
    }

    #[test]
    fn of_nothing_there_is_no_ratio() {
        assert_eq!(ratio(&[], &[(0, 1.0)]), None);
        assert_eq!(ratio(&[(0, 1.0)], &[]), None);
        assert_eq!(ratio(&[(0, 1.0)], &[(0, 0.0)]), None);
        assert_eq!(ratio(&[(0, 1.0)], &[(1, 2.0)]), Some(Spread { median: 0.5, low: 0.5, high: 0.5 }));
    }
}
