//! A value as it is written for people.

#![forbid(unsafe_code)]

use crate::figures::Unit;

/// With its unit, in three digits or as many as it has before the point.
pub fn text(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Time => scaled(value, &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")]),
        Unit::Bytes => scaled(value, &[(1e9, "GB"), (1e6, "MB"), (1e3, "KB"), (1.0, "B")]),
        Unit::Count => grouped(value.round()),
        Unit::PerSecond => format!(
            "{}/s",
            grouped(if value < 100.0 { (value * 10.0).round() / 10.0 } else { value.round() })
        ),
    }
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let last = units[units.len() - 1];
    let (size, unit) = units.iter().copied().find(|(size, _)| value.abs() >= *size).unwrap_or(last);
    let value = value / size;
    let digits = if size == 1.0 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// With a comma between thousands.
fn grouped(value: f64) -> String {
    let text = value.to_string();
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}

/// A ratio.
pub fn ratio(ratio: f64) -> String {
    if ratio >= 10.0 {
        format!("{ratio:.1}")
    } else if ratio >= 0.1 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_a_unit_that_suits_them() {
        let cases = [
            (612_345.0, Unit::Time, "612 µs"),
            (1_234_567.0, Unit::Time, "1.23 ms"),
            (45_600_000.0, Unit::Time, "45.6 ms"),
            (5_514_700_000.0, Unit::Time, "5.51 s"),
            (0.0, Unit::Time, "0 ns"),
            (1_306_000.0, Unit::Bytes, "1.31 MB"),
            (27_000.0, Unit::Bytes, "27.0 KB"),
            (119.0, Unit::Count, "119"),
            (1_000_000.0, Unit::Count, "1,000,000"),
            (1234.5, Unit::PerSecond, "1,235/s"),
            (12.34, Unit::PerSecond, "12.3/s"),
        ];
        for (value, unit, expected) in cases {
            assert_eq!(text(value, unit), expected);
        }
    }

    #[test]
    fn a_ratio_has_two_digits_that_count() {
        assert_eq!([0.6543, 0.0312, 12.34].map(ratio), ["0.65", "0.031", "12.3"]);
    }
}
