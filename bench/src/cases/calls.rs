//! System calls and page faults of a start.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::Bench;
use crate::error::Error;
use crate::figures::{Case, Sheet, Unit};
use crate::peers::{OURS, Setup};

/// How many rounds, all and quick.
pub const ROUNDS: (usize, usize) = (9, 5);

/// Counts both.
pub fn run(bench: &mut Bench<'_>) -> Result<Vec<Case>, Error> {
    bench.progress.begin("calls");
    let columns = [
        ("outside", "system calls outside of the workload", Unit::Count),
        ("total", "all system calls", Unit::Count),
        ("faults", "page faults", Unit::Count),
    ];
    let mut sheet = Sheet::new("calls", "System calls and page faults of one start", &columns, OURS);
    sheet.note(
        "Counted by strace -f; page faults by getrusage(2), of all processes that somebody waited for. \
         The command and its set-up are those of start/shared.",
    );
    let setup = Setup::SHARED;
    let participants =
        bench.participants(&mut sheet, setup, |peer| !bench.options.quick || !peer.is_heavy())?;
    let place = bench.place;
    let rounds = bench.options.rounds(ROUNDS);
    sheet.measured(bench.measured(Some(rounds)));
    bench.rounds(rounds, Duration::from_secs(60), &participants, |runner, one, round| {
        let who = one.peer.name();
        let faults = runner.faults(who, &one.line)?;
        sheet.add(one.row, "faults", round, faults as f64);
        // strace has a price of its own for those with many threads.
        if round < 3 || !one.peer.is_heavy() {
            let calls = runner.calls(who, &one.line, setup.workload, place)?;
            sheet.add(one.row, "outside", round, calls.outside() as f64);
            sheet.add(one.row, "total", round, calls.total as f64);
        }
        Ok(())
    })?;
    Ok(vec![sheet.finish()])
}
