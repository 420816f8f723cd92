//! Start to end of a command that does nothing.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::Bench;
use crate::error::Error;
use crate::figures::{Case, Sheet, Unit};
use crate::peers::{OURS, Setup, Workload};

/// How many rounds, all and quick.
pub const ROUNDS: (usize, usize) = (201, 41);

const PARTS: [(&str, &str, Setup); 4] = [
    ("start/shared", "Start to end of a command that does nothing, the network shared", Setup::SHARED),
    ("start/net", "The same with a network namespace", Setup { net: true, ..Setup::SHARED }),
    (
        "start/rootfs",
        "The same with a root file system and a minimal /dev, the network shared",
        Setup { rootfs: true, ..Setup::SHARED },
    ),
    (
        "start/glibc",
        "The same as the first with a workload that is linked statically to glibc",
        Setup { workload: Workload::TrueGlibc, ..Setup::SHARED },
    ),
];

/// All parts of it.
pub fn run(bench: &mut Bench<'_>) -> Result<Vec<Case>, Error> {
    let mut cases = Vec::new();
    for (id, title, setup) in PARTS.into_iter().filter(|(id, ..)| bench.options.wants_part(id)) {
        bench.progress.begin(id);
        let mut sheet = Sheet::new(id, title, &[("time", "time", Unit::Time)], OURS);
        let participants =
            bench.participants(&mut sheet, setup, |peer| !bench.options.quick || !peer.is_heavy())?;
        let rounds = bench.options.rounds(ROUNDS);
        sheet.measured(bench.measured(Some(rounds)));
        bench.rounds(rounds, Duration::from_secs(180), &participants, |runner, one, round| {
            let time = runner.time(one.peer.name(), &one.line)?;
            sheet.add(one.row, "time", round, time.as_nanos() as f64);
            Ok(())
        })?;
        cases.push(sheet.finish());
    }
    Ok(cases)
}
