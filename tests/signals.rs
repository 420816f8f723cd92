//! Signals: each that is sent to the launcher reaches the workload once, none is lost, and the workload's signal
//! state is the caller's.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use launch_init::signals::{block_all, set_mask};
use launch_init::sys;
use nix::sys::signal::Signal;
use support::{Caller, DEADLINE, Running, callers, code, program, run, stdout_of, text, until};

/// Those that glibc keeps for itself: no program can catch them, and what posix_spawn(3) starts ignores them.
const HIDDEN: [i32; 2] = [32, 33];

/// What a workload can be told of: the kernel lets nobody catch SIGKILL and SIGSTOP, and SIGCHLD is the launcher's.
fn forwardable() -> Vec<i32> {
    let others = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD];
    (1..=64).filter(|signal| !others.contains(signal) && !HIDDEN.contains(signal)).collect()
}

/// A workload that prints each signal it gets, as often as it gets it, until the second SIGTERM. A shell's trap does
/// not count what comes quickly. Signals come only within sigsuspend, one at a time.
const RECORDER: &str = r#"
    use POSIX;
    my $all = POSIX::SigSet->new; $all->fillset;
    sigprocmask(SIG_SETMASK, $all);
    my ($number, $terms) = (0, 0);
    for my $n (grep { !/^(9|17|19|32|33)$/ } 1 .. 64) {
        sigaction($n, POSIX::SigAction->new(sub { $number = $n }, $all, 0)) or die "$n: $!";
    }
    syswrite STDOUT, "ready\n";
    while ($terms < 2) {
        sigsuspend(POSIX::SigSet->new);
        syswrite STDOUT, "$number\n";
        $terms++ if $number == SIGTERM;
    }
"#;

/// The lines that come from `reader`, as they come.
fn lines(reader: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            if line.is_err() || sender.send(line.unwrap_or_default()).is_err() {
                return;
            }
        }
    });
    receiver
}

#[track_caller]
fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(DEADLINE).expect("another line before the deadline")
}

/// A recorder in a sandbox, and the lines that it writes.
fn start_recorder(caller: Caller) -> (Running, Receiver<String>) {
    let mut running = Running::start(caller.launch(["--", "perl", "-e", RECORDER]).stdout(Stdio::piped()));
    let lines = lines(running.child().stdout.take().expect("stdout"));
    assert_eq!(next(&lines), "ready");
    (running, lines)
}

fn send(running: &Running, signal: i32) {
    sys::kill(running.pid().as_raw(), signal).expect("kill");
}

#[test]
fn each_forwardable_signal_arrives_once() {
    assert_eq!(forwardable().len(), 59);
    for caller in callers() {
        let (mut running, lines) = start_recorder(caller);
        for signal in forwardable() {
            send(&running, signal);
            // One that came twice would stand in the place of its successor.
            let arrived = lines.recv_timeout(DEADLINE).ok();
            assert_eq!(arrived, Some(signal.to_string()), "as {caller:?}");
        }
        send(&running, libc::SIGTERM);
        assert_eq!(next(&lines), libc::SIGTERM.to_string());
        assert_eq!(code(running.wait()), 0);
        assert_eq!(lines.recv().ok(), None, "nothing came after it");
    }
}

/// Starts it with every signal blocked, the hidden ones too, and without the detour of another program: setpriv's
/// libc unblocks them.
fn start_with_all_blocked(command: &mut Command) -> Running {
    let mask = block_all().expect("block");
    let running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    set_mask(mask).expect("unblock");
    running
}

#[test]
fn the_two_signals_that_libc_hides_arrive_too() {
    let mut command = Command::new(program());
    command.current_dir("/");
    let mut running = start_with_all_blocked(command.args(["--status-fd", "1", "--", "sleep", "1000"]));
    let started = next(&lines(running.child().stdout.take().expect("stdout")));
    let started: serde_json::Value = serde_json::from_str(&started).expect("a JSON line");
    // Blocked, they stay pending, and are there to be seen.
    let pending =
        || field(&fs::read_to_string(format!("/proc/{}/status", started["pid"])).expect("status"), "ShdPnd");
    assert_eq!(pending(), 0);
    HIDDEN.into_iter().for_each(|signal| send(&running, signal));
    let both = 1 << (32 - 1) | 1 << (33 - 1);
    until("both arrive", || (pending() == both).then_some(()));
}

#[test]
fn real_time_signals_arrive_as_often_as_they_were_sent() {
    for caller in callers() {
        let (mut running, lines) = start_recorder(caller);
        let sent = [libc::SIGRTMIN(), libc::SIGRTMIN() + 3, libc::SIGRTMAX()];
        for signal in sent {
            for _ in 0..50 {
                send(&running, signal);
            }
        }
        let mut received: Vec<_> = (0..150).map(|_| next(&lines)).collect();
        received.sort();
        let expected: Vec<_> = sent.into_iter().flat_map(|signal| vec![signal.to_string(); 50]).collect();
        assert_eq!(received, expected, "as {caller:?}");
        for _ in 0..2 {
            send(&running, libc::SIGTERM);
            assert_eq!(next(&lines), libc::SIGTERM.to_string(), "and not another real-time one");
        }
        assert_eq!(code(running.wait()), 0);
    }
}

#[test]
fn a_signal_to_the_launchers_process_group_arrives_once() {
    // As `timeout` and a shell's `kill %1`, `fg` and `bg` send it. A real-time one, for none to hide another.
    let signal = libc::SIGRTMIN() + 1;
    for caller in callers() {
        let mut command = caller.launch(["--", "perl", "-e", RECORDER]);
        let mut running = Running::start(command.stdout(Stdio::piped()).process_group(0));
        let lines = lines(running.child().stdout.take().expect("stdout"));
        assert_eq!(next(&lines), "ready");
        let send_to_all = |signal| sys::kill(-running.pid().as_raw(), signal).expect("kill");
        for _ in 0..20 {
            send_to_all(signal);
        }
        for _ in 0..20 {
            assert_eq!(next(&lines), signal.to_string());
        }
        for _ in 0..2 {
            send(&running, libc::SIGTERM);
            assert_eq!(next(&lines), libc::SIGTERM.to_string(), "and not another {signal}, as {caller:?}");
        }
        assert_eq!(code(running.wait()), 0);
    }
}

#[test]
fn a_signal_reaches_the_descendants_in_the_workloads_group_too() {
    let script = "trap 'echo parent' USR1
        sh -c 'sleep 1000 & trap \"echo child; exit\" USR1; echo ready; while :; do wait; done' &
        while kill -0 $! 2>/dev/null; do wait $!; done; exit 0";
    for caller in callers() {
        let mut running = Running::start(caller.shell(script).stdout(Stdio::piped()));
        let lines = lines(running.child().stdout.take().expect("stdout"));
        assert_eq!(next(&lines), "ready");
        running.signal(Signal::SIGUSR1);
        let mut both = [next(&lines), next(&lines)];
        both.sort();
        assert_eq!(both, ["child", "parent"], "as {caller:?}");
        assert_eq!(code(running.wait()), 0);
        assert_eq!(lines.recv().ok(), None, "each of them once");
    }
}

/// A command that makes a state and runs another command in it; a field that shows the state, and a signal there.
type State = (&'static [&'static str], Option<(&'static str, i32)>);

const STATES: [State; 9] = [
    (&["env"], None),
    (&["env", "--default-signal"], None),
    (&["nohup"], Some(("SigIgn", libc::SIGHUP))),
    (&["env", "--ignore-signal=CHLD"], Some(("SigIgn", libc::SIGCHLD))),
    (&["env", "--ignore-signal=PIPE"], Some(("SigIgn", libc::SIGPIPE))),
    (&["env", "--ignore-signal=PIPE,CHLD,INT,QUIT,TERM"], Some(("SigIgn", libc::SIGTERM))),
    (&["env", "--block-signal=USR1"], Some(("SigBlk", libc::SIGUSR1))),
    (&["env", "--block-signal=CHLD,TERM,PIPE,RTMIN,RTMAX"], Some(("SigBlk", libc::SIGPIPE))),
    (&["env", "--block-signal=HUP,USR2", "--ignore-signal=USR2,CHLD"], Some(("SigBlk", libc::SIGUSR2))),
];

const PRINT_STATE: [&str; 4] = ["grep", "-E", "^Sig(Blk|Ign|Cgt):", "/proc/self/status"];

fn field(state: &str, name: &str) -> u64 {
    let line = state.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    u64::from_str_radix(line.expect("a line for it"), 16).expect("a hexadecimal number")
}

#[test]
fn the_workload_has_the_callers_signal_state() {
    for caller in callers() {
        for (state, shown) in STATES {
            let outside = stdout_of(
                caller
                    .command(state[0])
                    .args(&state[1..])
                    .args(PRINT_STATE)
                    .stdin(Stdio::null())
                    .current_dir("/"),
            );
            let mut launch = caller.command(state[0]);
            launch
                .args(&state[1..])
                .arg(program())
                .arg("--")
                .args(PRINT_STATE)
                .stdin(Stdio::null())
                .current_dir("/");
            assert_eq!(stdout_of(&mut launch), outside, "{state:?} as {caller:?}");
            assert_eq!(outside.lines().count(), 3);
            if let Some((name, signal)) = shown {
                assert_eq!(
                    field(&outside, name) >> (signal - 1) & 1,
                    1,
                    "{state:?} is not in force: {outside}"
                );
            }
        }
    }
}

#[test]
fn a_mask_of_all_signals_is_handed_on_with_those_that_libc_hides() {
    let running =
        start_with_all_blocked(Command::new(program()).arg("--").args(PRINT_STATE).current_dir("/"));
    let state = text(&running.output().stdout);
    let all_but_kill_and_stop = !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));
    assert_eq!(field(&state, "SigBlk"), all_but_kill_and_stop);
}

#[test]
fn the_status_is_right_where_sigchld_is_ignored_around_the_launcher() {
    for caller in callers() {
        for (script, expected) in [("exit 7", 7), ("kill -9 $$", 137), ("sh -c 'exit 5'; exit 0", 0)] {
            let mut command = caller.command("env");
            command
                .current_dir("/")
                .arg("--ignore-signal=CHLD")
                .arg(program())
                .args(["--", "sh", "-c", script]);
            assert_eq!(code(run(&mut command).status), expected, "{script} as {caller:?}");
        }
    }
}

/// Sends SIGTERM to a launcher `moment` after its start, and returns how it ended. It has nothing to say.
fn terminate_at(moment: Duration, caller: Caller, script: &str) -> ExitStatus {
    let started = Instant::now();
    let running = Running::start(caller.shell(script).stdout(Stdio::piped()).stderr(Stdio::piped()));
    while started.elapsed() < moment {
        std::hint::spin_loop();
    }
    running.signal(Signal::SIGTERM);
    let output = running.output();
    assert_eq!(text(&output.stderr), "", "{script} as {caller:?}, terminated after {moment:?}");
    output.status
}

#[test]
fn a_sigterm_is_lost_at_no_moment_of_the_start() {
    for caller in callers() {
        let start = Instant::now();
        stdout_of(&mut caller.shell(":"));
        let whole = start.elapsed();
        for step in 0..150 {
            let moment = whole * step / 100;
            let status = terminate_at(moment, caller, "exec sleep 1000");
            // Before the launcher's own first line of code nobody can keep the signal from ending the process.
            let ended_too_early = status.signal() == Some(libc::SIGTERM);
            assert!(ended_too_early || status.code() == Some(143), "after {moment:?}: {status}");

            let status =
                terminate_at(moment, caller, "sleep 1000 & trap 'exit 3' TERM; while :; do wait; done");
            // Before the shell's own first line it has no trap.
            let ended_too_early = status.signal() == Some(libc::SIGTERM) || status.code() == Some(143);
            assert!(ended_too_early || status.code() == Some(3), "after {moment:?}: {status}");
        }
    }
}

#[test]
fn a_sigterm_to_a_workload_that_handles_it_ends_as_that_says() {
    for caller in callers() {
        let script = "sleep 1000 & trap 'exit 3' TERM; echo ready; while :; do wait; done";
        let mut running = Running::start(caller.shell(script).stdout(Stdio::piped()));
        assert_eq!(next(&lines(running.child().stdout.take().expect("stdout"))), "ready");
        running.signal(Signal::SIGTERM);
        assert_eq!(code(running.wait()), 3);
    }
}
