//! No signal is lost, at no moment of a life, and none comes twice.

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use launch_init::sys;
use support::{Life, PLACES, Place, built, cannot_run, children, status_field, until};

/// A program that takes COUNT signals of number SIGNAL, and writes the value and the code (sigaction(2), si_code) that
/// came with each. With a third argument it waits for a line before it takes the first.
const RECEIVER: &str = r#"
    use POSIX;
    my ($signal, $count, $waits) = @ARGV;
    my $all = POSIX::SigSet->new; $all->fillset;
    sigprocmask(SIG_SETMASK, $all);
    my $line;
    # The third argument of a handler is the siginfo_t: the number, errno, the code; from byte 24 on the value.
    my $take = sub { $line = join " ", unpack "x8 i x12 i", $_[2] };
    sigaction($signal, POSIX::SigAction->new($take, $all, POSIX::SA_SIGINFO)) or die $!;
    syswrite STDOUT, "ready\n";
    <STDIN> if $waits;
    my $wanted = POSIX::SigSet->new; $wanted->fillset; $wanted->delset($signal);
    for (1 .. $count) { sigsuspend($wanted); syswrite STDOUT, "$line\n" }
"#;

/// A program that sends COUNT signals of number SIGNAL to PID by rt_sigqueueinfo(2), whose number is CALL, with the
/// values 0, 1, 2 and so on.
const SENDER: &str = r#"
    my ($call, $pid, $signal, $count) = map { $_ + 0 } @ARGV;
    for my $value (0 .. $count - 1) {
        my $info = pack "i i i x4 i I i x100", $signal, 0, -1, $$, $<, $value;
        syscall($call, $pid, $signal, $info) == 0 or die "$value: $!";
    }
"#;

#[cfg(target_arch = "x86_64")]
const RT_SIGQUEUEINFO: &str = "129";
#[cfg(target_arch = "aarch64")]
const RT_SIGQUEUEINFO: &str = "138";

const COUNT: i32 = 1000;

#[track_caller]
fn send_queued(pid: i32, signal: i32) {
    let numbers = [pid, signal, COUNT].map(|number| number.to_string());
    let status =
        Command::new("perl").args(["-e", SENDER, RT_SIGQUEUEINFO]).args(numbers).status().expect("perl");
    assert!(status.success());
}

/// Each is there once, in order, with its value, and as sent with one.
#[track_caller]
fn all_arrive(life: &Life) {
    for value in 0..COUNT {
        life.says(&format!("{} {value}", libc::SI_QUEUE));
    }
}

/// Sends them all to the process of this pid, which hands them on to the receiver that `life` has started.
#[track_caller]
fn hands_them_all_on(life: &mut Life, pid: i32, signal: i32, when: When) {
    life.says("ready");
    match when {
        When::Running => send_queued(pid, signal),
        When::Stopped => {
            sys::kill(pid, libc::SIGSTOP).expect("kill");
            until("it is stopped", || status_field(pid, "State")?.starts_with('T').then_some(()));
            send_queued(pid, signal);
            let queued = status_field(pid, "SigQ").expect("SigQ");
            assert!(queued.split_once('/').expect("a slash").0.parse::<i32>().expect("a number") >= COUNT);
            sys::kill(pid, libc::SIGCONT).expect("kill");
        }
        When::WorkloadIsBusy => {
            send_queued(pid, signal);
            life.say("now");
        }
    }
    all_arrive(life);
}

/// When they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// While it runs: it takes them as they come, few at a time.
    Running,
    /// While it is stopped: all are there at once when it goes on.
    Stopped,
    /// While the workload takes none.
    WorkloadIsBusy,
}

const TIMES: [When; 3] = [When::Running, When::Stopped, When::WorkloadIsBusy];

/// The receiver's command line.
fn receiver(signal: &str, when: When) -> Vec<String> {
    let waits: &[&str] = if when == When::WorkloadIsBusy { &["waits"] } else { &[] };
    let count = COUNT.to_string();
    ["--", "perl", "-e", RECEIVER, signal, &count].iter().chain(waits).map(ToString::to_string).collect()
}

#[test]
fn a_thousand_real_time_signals_arrive_in_order_with_their_values() {
    for place in PLACES {
        for when in TIMES {
            for target in ["main", "group"] {
                for signal in [libc::SIGRTMIN(), libc::SIGRTMAX()] {
                    let receiver = receiver(&signal.to_string(), when);
                    let mut words = vec!["--signal-to", target];
                    words.extend(receiver.iter().map(String::as_str));
                    let mut life = Life::start(place, place.command(&words).stdin(Stdio::piped()));
                    let init = life.init();
                    hands_them_all_on(&mut life, init, signal, when);
                    life.ends(0);
                }
            }
        }
    }
}

#[test]
fn a_thousand_real_time_signals_arrive_in_order_with_their_values_through_launch_and_its_init() {
    // `cargo test` builds it beside this package's own program, as both are default members; `cargo test -p launch-init`
    // does not, and would find an older one.
    let launch = built("launch");
    if !launch.exists() {
        return cannot_run(
            "launch and its init",
            "launch is not built; run cargo test for the whole workspace",
        );
    }
    for when in TIMES {
        let signal = libc::SIGRTMIN() + 5;
        let mut command = Command::new(&launch);
        command.args(receiver(&signal.to_string(), when)).current_dir("/").stdin(Stdio::piped());
        let mut life = Life::start(Place::Anywhere, &mut command);
        let launcher = life.init();
        hands_them_all_on(&mut life, launcher, signal, when);
        life.ends(0);
    }
}

#[test]
fn a_thousand_real_time_signals_reach_everybody_in_order_with_their_values() {
    for place in PLACES {
        let receiver = receiver("40", When::Running);
        let mut words = vec!["--signal-to", "all"];
        words.extend(receiver.iter().map(String::as_str));
        let mut life = Life::start(place, place.command(&words).stdin(Stdio::piped()));
        let init = life.init();
        hands_them_all_on(&mut life, init, 40, When::Running);
        life.ends(0);
    }
}

#[test]
fn a_value_goes_with_an_ordinary_signal_too_and_one_without_has_none() {
    for place in PLACES {
        for (queue, expected) in
            [(true, format!("{} 0", libc::SI_QUEUE)), (false, format!("{} ", libc::SI_USER))]
        {
            let life = place.start(&["--", "perl", "-e", RECEIVER, "10", "1"]);
            life.says("ready");
            if queue {
                let pid = life.init().to_string();
                let sender = ["-e", SENDER, RT_SIGQUEUEINFO, &pid, "10", "1"];
                assert!(Command::new("perl").args(sender).status().expect("perl").success());
            } else {
                life.signal(libc::SIGUSR1);
            }
            let line = life.hear().expect("a line");
            assert!(line.starts_with(&expected), "{line}");
            life.ends(0);
        }
    }
}

/// A moment of the first millisecond, another each time. Numbers of the C standard's example of rand().
fn moments() -> impl Iterator<Item = Duration> {
    let mut seed = std::process::id();
    std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
        Duration::from_micros(u64::from(seed >> 16) % 1000)
    })
}

fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

const TERMS: usize = 1000;

/// Who gets it.
const TARGETS: [&str; 3] = ["main", "group", "all"];

/// The pid of init as soon as it has blocked every signal. What comes before that is not in its hands: it does to
/// PID 1 nothing, and to another process what it does to any.
#[track_caller]
fn awake(started: i32, place: Place) -> i32 {
    let all = format!("{:016x}", !(1_u64 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1)));
    let end = Instant::now() + support::DEADLINE;
    loop {
        let init = if place == Place::Pid1 { children(started).first().copied() } else { Some(started) };
        if let Some(init) = init
            && fs::read_to_string(format!("/proc/{init}/status")).is_ok_and(|status| status.contains(&all))
        {
            return init;
        }
        assert!(Instant::now() < end, "never awake");
    }
}

/// From when on the moments count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// When it has been executed.
    Start,
    /// When it has blocked every signal.
    Awake,
}

/// Starts it, sends it a SIGTERM at a moment of the first millisecond, and returns how it ended.
#[track_caller]
fn terminated(place: Place, target: &str, script: &str, from: From, moment: Duration) -> ExitStatus {
    let words = ["-q", "--signal-to", target, "--", "sh", "-c", script];
    let mut child = place.command(&words).spawn().expect("start");
    let started = child.id() as i32;
    let init = if from == From::Awake { awake(started, place) } else { started };
    spin(moment);
    // Nobody else has its pid: it is reaped below, or by unshare(1) once it has ended.
    sys::kill(init, libc::SIGTERM).expect("kill");
    let end = Instant::now() + support::DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status;
        }
        if Instant::now() > end {
            for workload in children(init) {
                let _ = sys::kill(workload, libc::SIGKILL);
            }
            let _ = sys::kill(init, libc::SIGKILL);
            let _ = child.wait();
            panic!("{words:?} {place:?}: a SIGTERM was lost that came {moment:?} after {from:?}");
        }
        std::thread::park_timeout(Duration::from_micros(100));
    }
}

/// Each of a thousand SIGTERMs ends it, and each in the same way.
#[track_caller]
fn none_is_lost(target: &str) {
    for (i, moment) in moments().take(TERMS).enumerate() {
        let place = PLACES[i % 2];
        let status = terminated(place, target, "exec sleep 1000", From::Awake, moment);
        assert_eq!(status.code(), Some(143), "{place:?}, to {target}, after {moment:?}: {status}");
    }
}

#[test]
fn a_thousand_terms_in_the_first_millisecond_all_reach_the_workloads_process() {
    none_is_lost("main");
}

#[test]
fn a_thousand_terms_in_the_first_millisecond_all_reach_the_workloads_group() {
    none_is_lost("group");
}

#[test]
fn a_thousand_terms_in_the_first_millisecond_all_reach_everybody() {
    none_is_lost("all");
}

#[test]
fn a_term_in_the_first_millisecond_ends_a_workload_with_a_trap_as_that_says() {
    let script = "trap 'exit 3' TERM; while :; do sleep 1000 & wait; done";
    let mut trapped = 0;
    for (i, moment) in moments().map(|moment| moment * 4).take(TERMS / 3).enumerate() {
        let (place, target) = (PLACES[i % 2], TARGETS[i % 3]);
        let status = terminated(place, target, script, From::Awake, moment);
        // Before its own first line it has no trap.
        let code = status.code();
        assert!([Some(3), Some(143)].contains(&code), "{place:?}, to {target}, after {moment:?}: {status}");
        trapped += i32::from(code == Some(3));
    }
    assert!(trapped > 0, "the moments are too early for every trap");
}

#[test]
fn a_term_in_the_first_millisecond_after_the_exec_ends_it_too() {
    for (i, moment) in moments().map(|moment| moment * 2).take(TERMS / 3).enumerate() {
        let status = terminated(Place::Anywhere, TARGETS[i % 3], "exec sleep 1000", From::Start, moment);
        // Before its own first line nobody can keep the signal from ending it.
        let ended_early = status.signal() == Some(libc::SIGTERM);
        assert!(
            ended_early || status.code() == Some(143),
            "to {}, after {moment:?}: {status}",
            TARGETS[i % 3]
        );
    }
}
