//! `launch-init` as an entrypoint: each of its options, as PID 1 and as any process.

mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use launch_init::sys;
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getsid, mkfifo};
use support::{
    Ended, Life, PLACES, Place, USER, children, is_root, lines, needs_root, next, program, public_folder,
    status_field, until,
};
use tempfile::TempDir;

/// A program that writes its name and the number of each signal it gets, as often as it gets it, and exits with 0 on
/// the last: NAME LAST [OTHER...]. Signals come only within sigsuspend, one at a time.
const RECORDER: &str = r#"
    use POSIX;
    my ($name, $last, @others) = @ARGV;
    my $all = POSIX::SigSet->new; $all->fillset;
    sigprocmask(SIG_SETMASK, $all);
    my $number;
    for my $n ($last, @others) {
        sigaction($n, POSIX::SigAction->new(sub { $number = $n }, $all, 0)) or die "$n: $!";
    }
    syswrite STDOUT, "$name ready\n";
    do { sigsuspend(POSIX::SigSet->new); syswrite STDOUT, "$name $number\n" } until $number == $last;
"#;

/// A recorder of these signals, which ends on SIGTERM.
#[track_caller]
fn recorder(place: Place, options: &[&str], signals: &[i32]) -> Life {
    let signals: Vec<_> = signals.iter().map(ToString::to_string).collect();
    let words: Vec<_> = ["x", "15"].into_iter().chain(signals.iter().map(String::as_str)).collect();
    let life = place.perl(options, RECORDER, &words);
    life.says("x ready");
    life
}

/// It is sent SIGTERM, gets that, and ends.
#[track_caller]
fn ends_by_term(life: Life) {
    life.signal(libc::SIGTERM);
    life.says("x 15");
    life.ends(0);
}

/// All signals that a program can be told of by init: nobody can catch SIGKILL and SIGSTOP, SIGCHLD is init's own,
/// and libc hides 32 and 33.
fn forwardable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, 32, 33].contains(signal))
}

#[test]
fn an_exit_code_is_the_workloads() {
    for place in PLACES {
        for code in [0, 1, 2, 3, 42, 63, 64, 100, 123, 124, 125, 126, 127, 128, 129, 137, 143, 200, 254, 255]
        {
            place.shell(&[], &format!("exit {code}")).ends(code);
        }
    }
}

#[test]
fn a_death_by_a_signal_is_128_more_and_one_line_names_it() {
    let signals = [
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGSTKFLT, "SIGSTKFLT"),
        (libc::SIGRTMIN(), "SIGRTMIN"),
        (libc::SIGRTMAX(), "SIGRTMIN+30"),
    ];
    for place in PLACES {
        for (number, name) in signals {
            let script = format!("ulimit -c 0; kill -{number} $$");
            place.shell(&[], &script).ends_saying(128 + number, &format!("sh: killed by {name}"));
            for option in ["-q", "--quiet"] {
                place.shell(&[option], &script).ends(128 + number);
            }
        }
    }
}

#[test]
fn remap_replaces_the_codes_it_names_and_no_other() {
    for place in PLACES {
        for (options, code, becomes) in [
            (&["--remap", "7"][..], 7, 0),
            (&["--remap", "7"], 8, 8),
            (&["--remap", "7:8"], 7, 8),
            (&["--remap=0:255"], 0, 255),
            (&["--remap", "255:1"], 255, 1),
            // Each for itself: what one replaces, the other does not.
            (&["--remap", "7:8", "--remap", "8:9"], 7, 8),
            (&["--remap", "7:8", "--remap", "8:9"], 8, 9),
            // The last one for a code counts.
            (&["--remap", "7:8", "--remap", "7:9"], 7, 9),
        ] {
            place.shell(options, &format!("exit {code}")).ends(becomes);
        }
        place.shell(&["--remap", "143"], "kill $$").ends_saying(0, "sh: killed by SIGTERM");
        place.shell(&["-q", "--remap", "137:3"], "kill -9 $$").ends(3);
        place.start(&["--timeout", "100ms", "--remap", "124:5", "--", "sleep", "1000"]).ends(5);
    }
}

#[test]
fn a_wrong_command_line_is_125_and_one_line_that_names_what_is_wrong() {
    let x = "no duration: say 500ms, 30s, 5m or 1h";
    let signal = "is no signal: say TERM, 15 or RTMIN+1";
    for (arguments, line) in [
        (&[][..], "CMD: no command; see launch-init --help".to_owned()),
        (&["--"], "CMD: no command; see launch-init --help".into()),
        (&["--foo", "true"], "--foo: no such option; see --help".into()),
        (&["-z", "true"], "-z: no such option; see --help".into()),
        (&["--pause", "true"], "--pause: takes no command".into()),
        (&["--signal-to", "us", "true"], "--signal-to: \"us\" is none of main, group, all".into()),
        (&["--rewrite", "TERM", "true"], "--rewrite: \"TERM\" has no colon; say TERM:QUIT".into()),
        (&["--rewrite", "FOO:TERM", "true"], format!("--rewrite: \"FOO\" {signal}")),
        (&["--rewrite", "TERM:65", "true"], format!("--rewrite: \"65\" {signal}")),
        (&["--rewrite", ":TERM", "true"], format!("--rewrite: \"\" {signal}")),
        (&["--forward-delay", "1y", "true"], format!("--forward-delay: \"1y\" is {x}")),
        (&["--grace", "-1", "true"], format!("--grace: \"-1\" is {x}")),
        (&["--kill-after", "", "true"], format!("--kill-after: \"\" is {x}")),
        (&["--timeout", "1.5", "true"], format!("--timeout: \"1.5\" is {x}")),
        (&["--remap", "256", "true"], "--remap: \"256\" is no exit code: they go from 0 to 255".into()),
        (&["--remap", "1:-1", "true"], "--remap: \"-1\" is no exit code: they go from 0 to 255".into()),
        (
            &["--user", "no-such-user", "true"],
            "--user: \"no-such-user\" is no id, and no name in /etc/passwd".into(),
        ),
        (
            &["--user", "0:no-such-group", "true"],
            "--user: \"no-such-group\" is no id, and no name in /etc/group".into(),
        ),
        (
            &["--user", "0x0", "true"],
            "--user: \"0x0\" is neither an id (0 to 4294967294, in decimal digits) nor a name".into(),
        ),
        (&["--user", "0:0,0", "true"], "--user: \"0:0,0\": say UID[:GID]".into()),
        (
            &["--user", "4294967295", "true"],
            "--user: \"4294967295\" is no id: they go from 0 to 4294967294".into(),
        ),
        (&["--env", "A", "true"], "--env: \"A\" has no =; say --env NAME=VALUE".into()),
        (&["--env", "=A", "true"], "--env: \"=A\" has no name before the =".into()),
        (&["--pdeathsig", "0", "true"], format!("--pdeathsig: \"0\" {signal}")),
        (
            &["--keep-fd", "-1", "true"],
            "--keep-fd: \"-1\" is no descriptor's number: they go from 0 to 2147483647".into(),
        ),
    ] {
        for place in PLACES {
            place.start(arguments).ends_saying(125, &format!("command line: {line}"));
        }
    }
    for option in [
        "--signal-to",
        "--rewrite",
        "--forward-delay",
        "--grace",
        "--kill-after",
        "--timeout",
        "--remap",
        "--user",
        "--chdir",
        "--env",
        "--pdeathsig",
        "--keep-fd",
    ] {
        let line = format!("command line: {option}: needs a value");
        Place::Anywhere.start(&[option]).ends_saying(125, &line);
    }
    for option in
        ["--shield", "--wait-all", "--pause", "--subreaper", "--quiet", "--warn-reaped", "--verbose"]
    {
        let ended = Place::Anywhere.start(&[&format!("{option}=yes"), "--", "true"]).end();
        assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{option}");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(option), "{}", ended.stderr);
    }
}

#[test]
fn what_cannot_be_set_up_is_125_and_one_line_that_names_it() {
    for place in PLACES {
        place
            .start(&["--chdir", "/nowhere", "--", "true"])
            .ends_saying(125, "working directory: /nowhere: No such file or directory");
        place
            .start(&["--chdir", "/dev/null", "--", "true"])
            .ends_saying(125, "working directory: /dev/null: Not a directory");
        place
            .start(&["--keep-fd", "777", "--", "true"])
            .ends_saying(125, "workload: descriptors: Bad file number");
    }
}

#[test]
fn a_command_that_is_not_found_is_127_and_one_that_cannot_be_executed_126() {
    for place in PLACES {
        place.start(&["--", "no such command"]).ends_saying(127, "exec: no such command: not found in PATH");
        place.start(&["/nowhere"]).ends_saying(127, "exec: /nowhere: No such file or directory");
        place.start(&["/etc/passwd"]).ends_saying(126, "exec: /etc/passwd: Permission denied");
        place.start(&["/"]).ends_saying(126, "exec: /: Permission denied");
    }
}

#[test]
fn help_and_version_are_printed_on_stdout_and_nothing_is_run() {
    for option in ["-V", "--version"] {
        let version = format!("launch-init {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(Place::Anywhere.start(&[option, "/nowhere"]).end(), Ended::new(0, &version, ""));
    }
    for option in ["-h", "--help"] {
        let help = Place::Anywhere.start(&["-q", option, "/nowhere"]).end();
        assert_eq!((help.code, help.stderr.as_str()), (0, ""));
        assert!(
            help.stdout.starts_with("usage: launch-init [OPTIONS] [--] CMD [ARG...]\n"),
            "{}",
            help.stdout
        );
    }
}

#[test]
fn options_end_at_the_command_and_its_arguments_are_its_own() {
    for place in PLACES {
        for arguments in
            [&["-q", "printf", "%s.", "-q", "--", "a b"][..], &["--", "printf", "%s.", "-q", "--", "a b"]]
        {
            assert_eq!(place.start(arguments).end(), Ended::new(0, "-q.--.a b.\n", ""));
        }
    }
}

/// A main process, one of its group, and one in another session: each writes what it gets. All end on SIGTERM.
const THREE: &str = r#"
    perl -e "$0" child 15 10 40 &
    setsid perl -e "$0" stranger 15 10 40 &
    exec perl -e "$0" main 15 10 40
"#;

/// Whom a signal reaches with these options, each of them once, and whom it does not.
#[track_caller]
fn reaches(place: Place, options: &[&str], who: &[&str]) {
    let life = place.start(&[options, &["--", "sh", "-c", THREE, RECORDER]].concat());
    life.says_all(&["child ready", "main ready", "stranger ready"]);
    let got = |number| who.iter().map(|name| format!("{name} {number}")).collect::<Vec<_>>();
    for _ in 0..3 {
        life.signal(libc::SIGUSR1);
        life.says_all(&got(10).iter().map(String::as_str).collect::<Vec<_>>());
    }
    // Had one got another, it would tell of that first: signals are taken in the order of their numbers.
    for name in ["main", "child", "stranger"] {
        sys::kill(life.process(&format!(" {name} 15 10 40")), 40).expect("kill");
        life.says(&format!("{name} 40"));
    }
    // Main is told now, and the others by then or when it has ended.
    life.signal(libc::SIGTERM);
    let ended = life.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{options:?}");
    for name in who {
        assert_eq!(ended.stdout.matches(&format!("{name} 15\n")).count(), 1, "{}", ended.stdout);
    }
}

#[test]
fn signal_to_main_reaches_the_workloads_own_process_alone() {
    PLACES.into_iter().for_each(|place| reaches(place, &["--signal-to", "main"], &["main"]));
}

#[test]
fn signal_to_group_reaches_the_workloads_group_and_is_the_default() {
    for place in PLACES {
        reaches(place, &["--grace", "60s"], &["main", "child"]);
        reaches(place, &["--grace", "60s", "--signal-to", "group"], &["main", "child"]);
    }
}

#[test]
fn signal_to_all_reaches_every_process_of_every_session() {
    for place in PLACES {
        reaches(place, &["--grace", "60s", "--signal-to=all"], &["main", "child", "stranger"]);
    }
}

#[test]
fn every_signal_is_forwarded_once_and_faults_that_somebody_sent_are_too() {
    for place in PLACES {
        for options in [&["--signal-to", "main"][..], &[], &["--signal-to", "all"]] {
            let others: Vec<_> = forwardable().filter(|signal| *signal != libc::SIGTERM).collect();
            assert_eq!(others.len(), 58);
            let life = recorder(place, options, &others);
            for fault in [
                libc::SIGSEGV,
                libc::SIGBUS,
                libc::SIGFPE,
                libc::SIGILL,
                libc::SIGTRAP,
                libc::SIGSYS,
                libc::SIGABRT,
            ] {
                assert!(others.contains(&fault), "{fault}");
            }
            for signal in others {
                life.signal(signal);
                life.says(&format!("x {signal}"));
            }
            ends_by_term(life);
        }
    }
}

#[test]
fn a_workload_is_killed_by_a_fault_signal_that_was_sent_to_init() {
    for place in PLACES {
        for (number, name) in
            [(libc::SIGSEGV, "SIGSEGV"), (libc::SIGILL, "SIGILL"), (libc::SIGABRT, "SIGABRT")]
        {
            let life = place.shell(&[], "ulimit -c 0; echo ready; exec sleep 1000");
            life.says("ready");
            life.signal(number);
            life.ends_saying(128 + number, &format!("sh: killed by {name}"));
        }
    }
}

#[test]
fn rewrite_sends_the_other_signal_or_none() {
    for place in PLACES {
        let options = [
            "--rewrite",
            "HUP:USR1",
            "--rewrite=2:12",
            "--rewrite",
            "SIGQUIT:",
            "--rewrite",
            "rtmin+1:RTMAX",
        ];
        let life = recorder(place, &options, &[1, 2, 3, 10, 12, 35, 64]);
        for (sent, comes) in
            [(libc::SIGHUP, 10), (libc::SIGINT, 12), (libc::SIGRTMIN() + 1, 64), (libc::SIGUSR1, 10)]
        {
            life.signal(sent);
            life.says(&format!("x {comes}"));
        }
        // Dropped: what follows is the next that comes. Had the SIGQUIT been sent on, it would come first.
        life.signal(libc::SIGQUIT);
        life.signal(libc::SIGUSR2);
        life.says("x 12");
        ends_by_term(life);
    }
}

#[test]
fn of_two_rewrites_of_a_signal_the_last_counts_and_none_is_rewritten_twice() {
    for place in PLACES {
        let options = ["--rewrite", "HUP:", "--rewrite", "HUP:USR1", "--rewrite", "USR1:USR2"];
        let life = recorder(place, &options, &[1, 10, 12]);
        life.signal(libc::SIGHUP);
        life.says("x 10");
        life.signal(libc::SIGUSR1);
        life.says("x 12");
        ends_by_term(life);
    }
}

#[test]
fn a_dropped_term_ends_nothing() {
    for place in PLACES {
        let life = place.perl(&["--rewrite", "TERM:"], RECORDER, &["x", "10", "15"]);
        life.says("x ready");
        life.signal(libc::SIGTERM);
        life.signal(libc::SIGRTMIN());
        // A workload without a handler for it: only now does it die.
        life.ends_saying(162, "perl: killed by SIGRTMIN");
    }
}

#[test]
fn forward_delay_holds_a_term_back_and_nothing_else() {
    const DELAY: Duration = Duration::from_millis(500);
    for place in PLACES {
        let life = recorder(place, &["--forward-delay", "500ms"], &[10]);
        let sent = Instant::now();
        life.signal(libc::SIGTERM);
        life.signal(libc::SIGUSR1);
        life.says("x 10");
        life.says("x 15");
        assert!(sent.elapsed() >= DELAY, "{:?}", sent.elapsed());
        life.ends(0);
    }
}

#[test]
fn a_second_term_is_not_held_back() {
    for place in PLACES {
        let life = recorder(place, &["--forward-delay", "1h"], &[10, 12]);
        life.signal(libc::SIGTERM);
        life.signal(libc::SIGUSR1);
        life.says("x 10");
        ends_by_term(life);
    }
}

#[test]
fn forward_delay_does_not_outlive_the_workload() {
    for place in PLACES {
        let life = recorder(place, &["--forward-delay", "1h"], &[]);
        life.signal(libc::SIGTERM);
        sys::kill(life.process(" x 15"), libc::SIGKILL).expect("kill");
        life.ends_saying(137, "perl: killed by SIGKILL");
    }
}

/// What a program would die of, but cannot be without when it is told of: signal(7), "Term" and "Core".
fn deadly() -> impl Iterator<Item = i32> {
    let harmless = [libc::SIGCONT, libc::SIGURG, libc::SIGWINCH, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    forwardable().filter(move |signal| !harmless.contains(signal))
}

#[test]
fn shield_holds_off_what_the_workload_has_no_handler_for_and_would_die_of() {
    const LAST: i32 = 64;
    for place in PLACES {
        let handled = [libc::SIGUSR1, LAST];
        let life = place.perl(&["--shield"], RECORDER, &["x", "64", "10"]);
        life.says("x ready");
        for signal in deadly().filter(|signal| !handled.contains(signal)) {
            life.signal(signal);
        }
        for signal in handled {
            life.signal(signal);
        }
        // The greatest number is taken last, by init and by the workload: nothing else can be under way any more.
        life.says("x 10");
        life.says("x 64");
        life.ends(0);
    }
}

#[test]
fn without_shield_a_workload_dies_of_what_it_has_no_handler_for() {
    for place in PLACES {
        for (number, name) in [(libc::SIGHUP, "SIGHUP"), (libc::SIGUSR2, "SIGUSR2"), (40, "SIGRTMIN+6")] {
            let life = recorder(place, &[], &[10]);
            life.signal(number);
            life.ends_saying(128 + number, &format!("perl: killed by {name}"));
        }
    }
}

#[test]
fn shield_delivers_what_the_workload_has_a_handler_for() {
    for place in PLACES {
        let others: Vec<_> = deadly().filter(|signal| *signal != libc::SIGTERM).collect();
        let life = recorder(place, &["--shield"], &others);
        for signal in others {
            life.signal(signal);
            life.says(&format!("x {signal}"));
        }
        ends_by_term(life);
    }
}

/// `launch-init OPTIONS… -- sh -c …`: a main process that exits with 7 once another, in a session of its own, runs
/// SCRIPT, in which `ready` lets it. Started by now; everything has been heard up to "main ends".
#[track_caller]
fn leaves_over(place: Place, options: &[&str], script: &str) -> (Life, Instant) {
    let folder = public_folder();
    let ready = folder.path().join("ready");
    let script = format!(
        "export READY='{}'; setsid sh -c 'exec 2>/dev/null; ready() {{ : >\"$READY\"; }}; {script}' & \
         while [ ! -e \"$READY\" ]; do sleep 0.01; done; echo main ends; exit 7",
        ready.display()
    );
    let life = place.shell(options, &script);
    life.says("main ends");
    (life, Instant::now())
}

#[test]
fn those_left_over_in_other_sessions_have_the_grace_to_end_by_themselves() {
    for place in PLACES {
        let script = "trap \"sleep 0.2; echo tidied up; exit\" TERM; ready; while :; do sleep 0.1; done";
        let (life, _) = leaves_over(place, &["--grace", "60s"], script);
        assert_eq!(life.end(), Ended::new(7, "tidied up\n", ""));
    }
}

#[test]
fn those_who_ignore_sigterm_are_killed_when_the_grace_is_over() {
    for place in PLACES {
        for (option, grace) in [("--grace=300ms", Duration::from_millis(300)), ("--grace=0", Duration::ZERO)]
        {
            let (life, ended) = leaves_over(place, &[option], "trap \"\" TERM; ready; exec sleep 1000");
            life.ends(7);
            // Main's end was seen here only after init may have seen it.
            let patience = ended.elapsed() + Duration::from_millis(100);
            assert!(patience >= grace, "{option}: {patience:?}");
        }
    }
}

#[test]
fn without_a_grace_those_left_over_are_killed_at_once() {
    for place in PLACES {
        let (life, _) = leaves_over(place, &[], "trap \"\" TERM; ready; exec sleep 1000");
        life.ends(7);
    }
}

#[test]
fn a_stopped_process_that_is_left_over_is_ended_too() {
    for place in PLACES {
        let script = "trap \"echo tidied up; exit\" TERM; ready; kill -STOP $$; while :; do sleep 0.1; done";
        let (life, _) = leaves_over(place, &["--grace", "60s"], script);
        assert_eq!(life.end(), Ended::new(7, "tidied up\n", ""));
    }
}

#[test]
fn a_sigterm_during_the_grace_ends_it() {
    for place in PLACES {
        let (life, _) = leaves_over(
            place,
            &["--grace", "1h"],
            "trap \"echo asked\" TERM; ready; while :; do sleep 0.1; done",
        );
        life.says("asked");
        life.signal(libc::SIGTERM);
        let ended = life.end();
        assert_eq!((ended.code, ended.stderr.as_str()), (7, ""));
    }
}

#[test]
fn wait_all_waits_until_those_left_over_end_by_themselves() {
    for place in PLACES {
        let script = "trap \"echo asked to end\" TERM; ready; sleep 0.3; echo done by myself";
        let (life, _) = leaves_over(place, &["--wait-all"], script);
        assert_eq!(life.end(), Ended::new(7, "done by myself\n", ""));
    }
}

#[test]
fn a_sigterm_during_wait_all_gives_those_left_over_the_grace() {
    for place in PLACES {
        let script = "trap \"sleep 0.2; echo tidied up; exit\" TERM; ready; while :; do sleep 0.1; done";
        let (life, _) = leaves_over(place, &["--wait-all", "--grace", "60s"], script);
        // Whoever is left leads a session; main, which does not, is a child until it is reaped.
        let leads_session = |pid: i32| getsid(Some(Pid::from_raw(pid))) == Ok(Pid::from_raw(pid));
        until("main is reaped", || {
            let children = children(life.init());
            (!children.is_empty() && children.into_iter().all(leads_session)).then_some(())
        });
        life.signal(libc::SIGTERM);
        assert_eq!(life.end(), Ended::new(7, "tidied up\n", ""));
    }
}

#[test]
fn kill_after_ends_a_workload_that_ignores_what_asks_it_to_stop() {
    const PATIENCE: Duration = Duration::from_millis(300);
    for place in PLACES {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
            let script = "trap '' TERM INT HUP QUIT; echo ready; exec sleep 1000";
            let life = place.shell(&["--kill-after", "300ms"], script);
            life.says("ready");
            let sent = Instant::now();
            life.signal(signal);
            life.ends_saying(137, "sh: killed by SIGKILL");
            assert!(sent.elapsed() >= PATIENCE, "{signal}: {:?}", sent.elapsed());
        }
    }
}

#[test]
fn kill_after_counts_from_the_first_signal_that_asks_to_stop_and_from_no_other() {
    for place in PLACES {
        let life = recorder(place, &["--kill-after", "0"], &[10, 64]);
        for signal in [libc::SIGUSR1, 64] {
            life.signal(signal);
            life.says(&format!("x {signal}"));
        }
        let script = "trap '' TERM; echo ready; exec sleep 1000";
        let mut life = place.shell(&["--kill-after", "500ms"], script);
        life.says("ready");
        let init = sys::open_pidfd(Pid::from_raw(life.init())).expect("pidfd");
        // Did each start the time anew, it would never be over.
        until("init ends", || {
            let sent = sys::signal_process(init.as_fd(), libc::SIGTERM, None);
            // One that has not been reaped yet takes signals without an error.
            (sent == Err(Errno::ESRCH) || life.is_over()).then_some(())
        });
        life.ends_saying(137, "sh: killed by SIGKILL");
    }
}

#[test]
fn a_workload_that_ends_in_time_is_not_killed_after() {
    for place in PLACES {
        let life = place.shell(
            &["--kill-after", "60s"],
            "trap 'sleep 0.1; exit 3' TERM; echo ready; while :; do sleep 1000 & wait; done",
        );
        life.says("ready");
        life.signal(libc::SIGTERM);
        life.ends(3);
    }
}

#[test]
fn timeout_ends_the_workload_with_124() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    for place in PLACES {
        let started = Instant::now();
        place.start(&["--timeout", "300ms", "--", "sleep", "1000"]).ends(124);
        assert!(started.elapsed() >= TIMEOUT, "{:?}", started.elapsed());
        // It is asked first, whatever it exits with then.
        let script = "trap 'echo asked; exit 3' TERM; while :; do sleep 1000 & wait; done";
        let ended = place.shell(&["--timeout", "300ms", "--grace", "60s"], script).end();
        assert_eq!(ended, Ended::new(124, "asked\n", ""));
        place.shell(&["--timeout=300ms", "--grace=100ms"], "trap '' TERM; exec sleep 1000").ends(124);
    }
}

#[test]
fn a_workload_that_ends_before_the_timeout_has_its_own_code() {
    for place in PLACES {
        place.shell(&["--timeout", "1h"], "exit 3").ends(3);
        place.shell(&["--timeout", "60s"], "kill -9 $$").ends_saying(137, "sh: killed by SIGKILL");
    }
}

#[test]
fn warn_reaped_names_each_orphan_with_its_pid_command_and_status() {
    for place in PLACES {
        for (ends, how) in [("exit 3", "exited with 3"), ("kill -9 $$", "was killed by SIGKILL")] {
            // The orphan waits for a word before it ends.
            let orphan = format!("echo $$; read -r word; {ends}");
            let script = "exec 3<&0; sh -c 'sh -c \"$0\" <&3 &' \"$0\"; exec sleep 1000";
            for options in [&["-q", "--warn-reaped"][..], &["-q"]] {
                let arguments = [options, &["--", "sh", "-c", script, &orphan]].concat();
                let mut life = Life::start(place, place.command(&arguments).stdin(Stdio::piped()));
                let pid = life.hear().expect("a pid");
                let init = life.init();
                until("it is an orphan, and nobody else is left", || {
                    (children(init).len() == 2).then_some(())
                });
                life.say("word");
                until("it is reaped", || (children(init).len() == 1).then_some(()));
                life.signal(libc::SIGTERM);
                // The workload itself is no orphan.
                let said = format!("launch-init: reaped orphan {pid} (sh), which {how}\n");
                let said = if options.contains(&"--warn-reaped") { said } else { String::new() };
                assert_eq!(life.end(), Ended::new(143, "", &said));
            }
        }
    }
}

#[test]
fn orphans_are_reaped_as_they_end() {
    for place in PLACES {
        let script =
            "i=0; while [ $i -lt 100 ]; do (sh -c : & ); i=$((i+1)); done; echo done; exec sleep 1000";
        let life = place.shell(&[], script);
        life.says("done");
        until("only the workload is left", || (children(life.init()).len() == 1).then_some(()));
        life.signal(libc::SIGTERM);
        life.ends_saying(143, "sh: killed by SIGTERM");
    }
}

#[test]
fn pause_ends_with_0_on_sigterm_and_sigint_and_on_nothing_else() {
    for place in PLACES {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let life = place.start(&["--pause"]);
            // Before it has blocked all signals, they do what they do to any process.
            until_it_is_awake(&life);
            for other in forwardable().filter(|n| ![libc::SIGTERM, libc::SIGINT].contains(n)) {
                life.signal(other);
            }
            until("they have been taken", || pending(life.init()).filter(|pending| *pending == 0));
            life.signal(signal);
            life.ends(0);
        }
    }
}

/// Waits until it has blocked every signal.
#[track_caller]
fn until_it_is_awake(life: &Life) {
    until("every signal is blocked", || {
        let blocked = u64::from_str_radix(&status_field(life.init(), "SigBlk")?, 16).ok()?;
        (blocked == !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1))).then_some(())
    });
}

/// The signals that were sent to a process and that it has not taken.
fn pending(pid: i32) -> Option<u64> {
    u64::from_str_radix(&status_field(pid, "ShdPnd")?, 16).ok()
}

#[test]
fn pause_reaps_who_comes_to_it_and_ends_them_when_it_ends() {
    if !needs_root("who enters a paused PID namespace") {
        return;
    }
    let life = Place::Pid1.start(&["--pause", "--grace", "60s"]);
    until_it_is_awake(&life);
    let init = life.init();
    // setsid -f forks and leaves, so that PID 1 gets its child.
    let enter = |script: &str| {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &init.to_string(), "--pid", "setsid", "-f", "sh", "-c", script]);
        assert!(enter.stdin(Stdio::null()).status().expect("nsenter").success());
    };
    let folder = public_folder();
    let file = |name: &str| folder.path().join(name).display().to_string();
    enter(&format!("exec 9>'{}'", file("one")));
    until("the first one has run", || Path::new(&file("one")).exists().then_some(()));
    until("it is reaped", || children(init).is_empty().then_some(()));
    let script = "trap \"echo tidied up >'OUT'; exit\" TERM; : >'READY'; while :; do sleep 0.1; done";
    enter(&script.replace("OUT", &file("out")).replace("READY", &file("ready")));
    until("the second one is ready", || Path::new(&file("ready")).exists().then_some(()));
    life.signal(libc::SIGTERM);
    life.ends(0);
    assert_eq!(fs::read_to_string(file("out")).expect("out"), "tidied up\n");
}

#[test]
fn user_runs_the_workload_as_that_user_and_group_and_no_other() {
    if !needs_root("--user") {
        return;
    }
    for place in PLACES {
        for (user, expected) in [
            ("54321", "54321 54321 54321"),
            ("54321:7", "54321 7 7"),
            ("0:0", "0 0 0"),
            ("nobody", "65534 65534 65534"),
            ("nobody:daemon", "65534 1 1"),
            // Its own group in /etc/passwd.
            ("games", "5 60 60"),
            ("5", "5 60 60"),
        ] {
            let script =
                "echo $(id -u) $(id -g) $(id -G); grep -c '^CapEff:.0000000000000000$' /proc/self/status";
            let ended = place.shell(&["--user", user], script).end();
            let has_none = if user == "0:0" { 0 } else { 1 };
            assert_eq!(ended.stdout, format!("{expected}\n{has_none}\n"), "{user}");
            assert_eq!(ended.stderr, "");
        }
    }
}

#[test]
fn user_without_the_right_to_change_it_is_125() {
    if !needs_root("an ordinary user") {
        return;
    }
    let by = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"];
    for place in PLACES {
        let mut command = place.command_by(&by, &["--user", "1", "--", "true"]);
        Life::start(place, &mut command).ends_saying(125, "workload: user: Operation not permitted");
    }
}

#[test]
fn an_ordinary_user_with_a_user_namespace_has_a_pid_1_too() {
    if !needs_root("an ordinary user beside root") {
        return;
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        USER,
        "--regid",
        USER,
        "--clear-groups",
        "unshare",
        "--user",
        "--map-root-user",
    ]);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(program()).current_dir("/");
    command.args(["--", "sh", "-c", "echo $PPID $(id -u); kill -9 $$"]).stdin(Stdio::null());
    let ended = Life::start(Place::Pid1, &mut command).end();
    assert_eq!(ended, Ended::new(137, "1 0\n", "launch-init: sh: killed by SIGKILL\n"));
}

#[test]
fn chdir_is_where_the_workload_starts_and_without_it_where_init_was_started() {
    for place in PLACES {
        let said = |options: &[&str]| {
            let mut command = place.command(&[options, &["--", "pwd"]].concat());
            Life::start(place, command.current_dir("/usr")).end()
        };
        assert_eq!(said(&[]), Ended::new(0, "/usr\n", ""));
        assert_eq!(said(&["--chdir", "/dev"]), Ended::new(0, "/dev\n", ""));
        assert_eq!(said(&["--chdir", "bin/.."]), Ended::new(0, "/usr\n", ""));
    }
}

#[test]
fn env_sets_variables_beside_the_inherited_ones() {
    for place in PLACES {
        let script = "echo \"$A.$B.${C-unset}.$D.$E\"";
        let options = ["--env", "A=1", "--env", "B=x=y z", "--env=C=", "--env", "E=first", "--env", "E=last"];
        let mut command = place.command(&[&options[..], &["--", "sh", "-c", script]].concat());
        let ended = Life::start(place, command.env("A", "0").env("C", "c").env("D", "kept")).end();
        assert_eq!(ended, Ended::new(0, "1.x=y z..kept.last\n", ""));
        // It is the PATH in which the command is looked for, too.
        place.start(&["--env", "PATH=/nowhere", "--", "sh"]).ends_saying(127, "exec: sh: not found in PATH");
    }
}

#[test]
fn pdeathsig_is_what_the_workload_gets_when_init_dies() {
    let script = "trap 'echo told; exit' USR1; trap 'echo asked; exit' TERM; echo ready; \
                  while :; do sleep 0.1; done";
    let users: &[&[&str]] = if is_root() { &[&[], &["--user", USER]] } else { &[&[]] };
    for user in users {
        let options = [&["--pdeathsig", "USR1"], *user].concat();
        let life = Place::Anywhere.shell(&options, script);
        life.says("ready");
        life.signal(libc::SIGKILL);
        life.says("told");
        until("nobody is left but sleeps", || {
            life.processes().iter().all(|(_, line)| line == "sleep 1000").then_some(())
        });
    }
    // And nothing without it.
    let life = Place::Anywhere.shell(&[], script);
    life.says("ready");
    let workload = children(life.init())[0];
    life.signal(libc::SIGKILL);
    until("it is somebody else's child", || {
        (status_field(workload, "PPid")? != life.init().to_string()).then_some(())
    });
    sys::kill(workload, libc::SIGTERM).expect("kill");
    life.says("asked");
}

/// Writes the descriptors that it has, those of a glob excepted.
const DESCRIPTORS: &str = "for fd in /proc/$$/fd/*; do [ -e $fd ] && echo ${fd##*/}; done; exit 0";

/// Opens 7 and 9 for what it executes.
const OPENS: [&str; 4] = ["sh", "-c", "exec 7</dev/null 9</etc/passwd; exec \"$@\"", "sh"];

#[test]
fn the_workload_has_every_inherited_descriptor_and_with_keep_fd_only_those() {
    let [sh, rest @ ..] = OPENS;
    let mut without_init = Command::new(sh);
    without_init.args(rest).args(["sh", "-c", DESCRIPTORS]).stdin(Stdio::null());
    // Those of whoever runs the tests are among them.
    let every = Life::start(Place::Anywhere, &mut without_init).end().stdout;
    assert!(["0", "1", "2", "7", "9"].iter().all(|fd| every.lines().any(|line| line == *fd)), "{every}");
    for place in PLACES {
        for (options, expected) in [
            (&[][..], every.as_str()),
            (&["--keep-fd", "9"], "0\n1\n2\n9\n"),
            (&["--keep-fd", "7", "--keep-fd=9"], "0\n1\n2\n7\n9\n"),
            (&["--keep-fd", "1"], "0\n1\n2\n"),
        ] {
            let arguments = [options, &["--", "sh", "-c", DESCRIPTORS]].concat();
            let ended = Life::start(place, &mut place.command_by(&OPENS, &arguments)).end();
            assert_eq!(ended, Ended::new(0, expected, ""), "{options:?}");
        }
    }
}

#[test]
fn orphans_come_to_an_init_that_is_not_pid_1_and_are_reaped() {
    for options in [&[][..], &["--subreaper"]] {
        let life = Place::Anywhere.shell(options, "(sh -c 'echo $$; exec sleep 1000' & ); exec sleep 1000");
        let orphan: i32 = life.hear().expect("a pid").parse().expect("a pid");
        let init = life.init().to_string();
        until("it is init's child", || (status_field(orphan, "PPid")? == init).then_some(()));
        sys::kill(orphan, libc::SIGKILL).expect("kill");
        until("it is reaped", || status_field(orphan, "Name").is_none().then_some(()));
        life.signal(libc::SIGTERM);
        life.ends_saying(143, "sh: killed by SIGTERM");
    }
}

#[test]
fn it_ends_with_the_right_code_where_sigchld_is_ignored_around_it() {
    for place in PLACES {
        for (script, code) in [("exit 7", 7), ("sh -c 'exit 5'", 5), ("(exit 3) & wait $!", 3)] {
            let words = ["--", "env", "--default-signal=CHLD", "sh", "-c", script];
            let mut command = place.command_by(&["env", "--ignore-signal=CHLD"], &words);
            Life::start(place, &mut command).ends(code);
        }
        let mut command = place
            .command_by(&["env", "--ignore-signal=CHLD"], &["--", "grep", "SigIgn", "/proc/self/status"]);
        let ended = Life::start(place, &mut command).end();
        let ignored = ended.stdout.trim().strip_prefix("SigIgn:\t").expect("the field");
        let ignored = u64::from_str_radix(ignored, 16).expect("a mask");
        assert_ne!(ignored & 1 << (libc::SIGCHLD - 1), 0, "the workload ignores it as init's caller did");
    }
}

/// Named pipes, which nobody opens but launch-init: unshare(1) would hold others open outside.
struct Pipes(TempDir);

impl Pipes {
    fn new() -> Self {
        let folder = public_folder();
        for name in ["in", "out", "err"] {
            mkfifo(&folder.path().join(name), Mode::from_bits_truncate(0o600)).expect("mkfifo");
        }
        Self(folder)
    }

    /// `launch-init ARGUMENTS…` with them as stdin, stdout and stderr.
    fn start(&self, place: Place, arguments: &[&str]) -> (Life, File, Receiver<String>, Receiver<String>) {
        let path = |name: &str| self.0.path().join(name);
        let opens = format!(
            "exec <'{}' >'{}' 2>'{}'; exec \"$@\"",
            path("in").display(),
            path("out").display(),
            path("err").display()
        );
        let mut command = place.command_by(&["sh", "-c", &opens, "sh"], arguments);
        let life = Life::start(place, &mut command);
        // Each open waits for the other side; the shell opens them in this order.
        let stdin = File::create(path("in")).expect("in");
        let stdout = lines(File::open(path("out")).expect("out"));
        let stderr = lines(File::open(path("err")).expect("err"));
        (life, stdin, stdout, stderr)
    }
}

#[test]
fn a_reader_sees_the_end_when_the_workload_closes_its_stdout_while_init_lives_on() {
    for place in PLACES {
        let script = "echo one; exec >&-; read -r line; echo $line >&2; exec sleep 1000";
        let pipes = Pipes::new();
        let (life, mut stdin, stdout, stderr) = pipes.start(place, &["--", "sh", "-c", script]);
        assert_eq!(next(&stdout).as_deref(), Some("one"));
        assert_eq!(next(&stdout), None);
        writeln!(stdin, "two").expect("write");
        assert_eq!(next(&stderr).as_deref(), Some("two"), "the workload lives on");
        life.signal(libc::SIGTERM);
        assert_eq!(next(&stderr).as_deref(), Some("launch-init: sh: killed by SIGTERM"));
        life.ends(143);
    }
}

#[test]
fn with_nothing_to_say_init_holds_the_workloads_stderr_no_more_than_its_stdout() {
    for place in PLACES {
        let script = "echo one >&2; exec >&- 2>&-; exec sleep 1000";
        let pipes = Pipes::new();
        let (life, _, stdout, stderr) = pipes.start(place, &["-q", "--", "sh", "-c", script]);
        assert_eq!(next(&stderr).as_deref(), Some("one"));
        assert_eq!((next(&stdout), next(&stderr)), (None, None));
        life.signal(libc::SIGTERM);
        life.ends(143);
    }
}

#[test]
fn a_writer_sees_the_end_when_the_workload_closes_its_stdin() {
    for place in PLACES {
        let pipes = Pipes::new();
        let script = "exec <&-; echo closed; exec sleep 1000";
        let (life, mut stdin, stdout, _) = pipes.start(place, &["-q", "--", "sh", "-c", script]);
        assert_eq!(next(&stdout).as_deref(), Some("closed"));
        let error = until("nobody is left who could read", || match stdin.write(b"x") {
            Ok(_) => None,
            Err(error) => Some(error.kind()),
        });
        assert_eq!(error, ErrorKind::BrokenPipe);
        life.signal(libc::SIGTERM);
        life.ends(143);
    }
}

#[test]
fn init_holds_no_working_directory_and_no_inherited_descriptor() {
    // Init's own user cannot look.
    if !needs_root("what init holds") {
        return;
    }
    let folder = public_folder();
    for place in PLACES {
        let arguments = ["--", "sh", "-c", "pwd; exec sleep 1000"];
        let mut command = place.command_by(&OPENS, &arguments);
        let life = Life::start(place, command.current_dir(folder.path()));
        life.says(&folder.path().display().to_string());
        let init = life.init();
        let held = || {
            let descriptors = fs::read_dir(format!("/proc/{init}/fd")).expect("fd");
            let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
            let mut targets: Vec<_> = targets.map(|path| path.display().to_string()).collect();
            targets.retain(|target| !target.starts_with("anon_inode:") && !target.starts_with("pipe:"));
            targets.sort();
            targets
        };
        until("it holds only /dev/null, twice", || (held() == ["/dev/null", "/dev/null"]).then_some(()));
        until("it is in /", || {
            (fs::read_link(format!("/proc/{init}/cwd")).expect("cwd") == Path::new("/")).then_some(())
        });
        life.signal(libc::SIGTERM);
        life.ends_saying(143, "sh: killed by SIGTERM");
    }
}

/// What a process of the same user can look at of its parent: each of these prints its name if it can be read.
const LOOK: &str = "for file in environ mem maps auxv stat; do head -c 1 /proc/$PPID/$file >/dev/null 2>&1 && echo $file; done; \
                    for link in exe cwd root fd/0; do readlink /proc/$PPID/$link >/dev/null 2>&1 && echo $link; done; exit 0";

#[test]
fn a_workload_of_the_same_user_cannot_look_into_init() {
    if !needs_root("a workload of an ordinary user") {
        return;
    }
    let by = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--inh-caps=-all"];
    for place in PLACES {
        let ended = Life::start(place, &mut place.command_by(&by, &["--", "sh", "-c", LOOK])).end();
        assert_eq!(ended, Ended::new(0, "stat\n", ""), "{place:?}");
        // The user of --user is another one, with the same result.
        assert_eq!(place.shell(&["--user", USER], LOOK).end(), Ended::new(0, "stat\n", ""));
        // Any other parent could be looked into.
        let by = [&by[..], &["sh", "-c", "sh -c \"$2\"; exit", "sh"]].concat();
        let mut command = place.command_by(&by, &[LOOK]);
        let ended = Life::start(place, &mut command).end();
        let all = "environ\nmaps\nauxv\nstat\nexe\ncwd\nroot\nfd/0\n";
        assert_eq!(ended.stdout, all);
    }
}

#[test]
fn closed_stdin_stdout_and_stderr_are_no_reason_not_to_run() {
    for place in PLACES {
        for (closed, script, code) in [
            ("<&-", "exit 7", 7),
            ("<&- >&- 2>&-", "exit 7", 7),
            ("2>&-", "kill -9 $$", 137),
            (">&-", "exec sleep 0", 0),
        ] {
            let closes = format!("exec {closed}; exec \"$@\"");
            let by = ["bash", "-c", &closes, "bash"];
            let mut command = place.command_by(&by, &["--", "sh", "-c", script]);
            Life::start(place, &mut command).ends(code);
        }
        let closes = ["bash", "-c", "exec 2>&-; exec \"$@\"", "bash"];
        Life::start(place, &mut place.command_by(&closes, &["/nowhere"])).ends(127);
    }
}

#[test]
fn verbose_tells_on_stderr_what_is_done() {
    for place in PLACES {
        let life = recorder(place, &["-v"], &[10]);
        life.signal(libc::SIGUSR1);
        life.says("x 10");
        assert_eq!(life.hear_error().as_deref(), Some("launch-init: forwarded SIGUSR1"));
        life.signal(libc::SIGTERM);
        life.says("x 15");
        let ended = life.end();
        assert_eq!((ended.code, ended.stderr.lines().next()), (0, Some("launch-init: forwarded SIGTERM")));
    }
}

#[test]
fn the_workload_leads_a_process_group_and_no_session_of_its_own() {
    for place in PLACES {
        let script = "set -- $(cat /proc/$$/stat); [ $5 = $$ ] && [ $6 != $$ ] && echo leads";
        assert_eq!(place.shell(&[], script).end(), Ended::new(0, "leads\n", ""));
    }
}
