//! What a start takes with many directories bound.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::Bench;
use crate::error::Error;
use crate::figures::{Case, Sheet, Unit};
use crate::peers::{OURS, Setup};

/// How many of them, and in how many rounds, all and quick.
pub const PARTS: [(usize, usize, usize); 4] = [(10, 51, 15), (100, 31, 11), (1_000, 9, 0), (2_000, 7, 0)];

/// One part for each number.
pub fn run(bench: &mut Bench<'_>) -> Result<Vec<Case>, Error> {
    let mut cases = Vec::new();
    for (binds, full, quick) in PARTS {
        let id = format!("binds/{binds}");
        let is_named = bench.options.cases.contains(&id);
        if !bench.options.wants_part(&id) || (bench.options.quick && quick == 0 && !is_named) {
            continue;
        }
        bench.progress.begin(&id);
        let title =
            format!("Start to end with {binds} directories bound, read-only, at paths that have to be made");
        let mut sheet = Sheet::new(&id, title, &[("time", "time", Unit::Time)], OURS);
        let setup = Setup { binds, ..Setup::SHARED };
        let participants = bench.participants(&mut sheet, setup, |peer| !peer.is_heavy())?;
        let rounds = bench.options.rounds((full, quick.max(5)));
        sheet.measured(bench.measured(Some(rounds)));
        bench.rounds(rounds, Duration::from_secs(120), &participants, |runner, one, round| {
            let time = runner.time(one.peer.name(), &one.line)?;
            sheet.add(one.row, "time", round, time.as_nanos() as f64);
            Ok(())
        })?;
        cases.push(sheet.finish());
    }
    Ok(cases)
}
