//! `launch-init` that starts its workload again, and learns from it how it is.

mod support;

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Life, PLACES, Place, cannot_run, public_folder};

/// A program that says each of its arguments through NOTIFY_SOCKET; `+MS` waits for so many milliseconds, `=CODE` exits,
/// and `fork` goes on in a child, named as the main process, while its parent exits.
const NOTIFIER: &str = r#"
    use Socket;
    my $address = $ENV{NOTIFY_SOCKET} // die "no NOTIFY_SOCKET";
    $address =~ s/^@/\0/;
    socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die $!;
    my $tell = sub { send($socket, $_[0], 0, pack_sockaddr_un($address)) or die $! };
    $| = 1;
    for my $word (@ARGV) {
        if ($word =~ /^\+(\d+)$/) { select(undef, undef, undef, $1 / 1000) }
        elsif ($word =~ /^=(\d+)$/) { exit $1 }
        elsif ($word eq "address") { print "$ENV{NOTIFY_SOCKET}\n" }
        elsif ($word eq "usec") { print "$ENV{WATCHDOG_USEC}\n" }
        elsif ($word eq "fork") {
            pipe(my $go, my $wait);
            my $pid = fork;
            if ($pid) { $tell->("MAINPID=$pid"); exit 0 }
            close $wait; sysread $go, my $byte, 1;
        }
        else { $tell->($word) }
    }
"#;

/// A program of this content at `path`. A process of its own writes it: while this one has a file open for writing, and
/// with it whatever another thread forks at that moment, nobody can execute it (ETXTBSY).
fn executable(path: &Path, content: &str) {
    let mut sh = Command::new("sh");
    sh.args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""]).arg(path).arg(content);
    assert!(sh.status().expect("sh").success());
}

/// A shell to whose stdin something can be said.
#[track_caller]
fn talking(place: Place, options: &[&str], script: &str) -> Life {
    let mut command = place.command(&[options, &["--", "sh", "-c", script]].concat());
    Life::start(place, command.stdin(Stdio::piped()))
}

#[track_caller]
fn notifier(place: Place, options: &[&str], words: &[&str]) -> Life {
    place.perl(options, NOTIFIER, words)
}

#[test]
fn a_run_follows_the_other_until_somebody_asks_to_stop() {
    for place in PLACES {
        let script = r#"echo run; read -r line; test "$line" = stay && exec sleep 1000; exit $line"#;
        let mut life = talking(place, &["--restart", "always", "-q"], script);
        for code in ["0", "7"] {
            life.says("run");
            life.say(code);
        }
        life.says("run");
        life.say("stay");
        life.signal(libc::SIGTERM);
        life.ends(143);
    }
}

#[test]
fn each_end_is_told_in_a_line_and_the_last_status_is_returned() {
    for place in PLACES {
        let life = place.shell(&["--restart", "on-failure:1"], "echo run; kill -9 $$");
        life.says("run");
        assert_eq!(
            life.hear_error().as_deref(),
            Some("launch-init: sh: was killed by SIGKILL; it is started again")
        );
        life.says("run");
        life.ends_saying(137, "sh: killed by SIGKILL");
    }
}

#[test]
fn a_success_is_no_failure_to_restart_after() {
    for place in PLACES {
        let life = place.shell(&["--restart", "on-failure"], "echo run");
        life.says("run");
        life.ends(0);
    }
}

#[test]
fn nobody_of_a_run_is_left_when_the_next_one_begins() {
    for place in PLACES {
        // The one that is left ignores SIGTERM, and holds the lock until it is killed.
        let folder = public_folder();
        let lock = folder.path().join("lock");
        let script = format!(
            r#"exec 9>>{lock}; if flock -n 9; then echo free; else echo taken; fi
               (trap "" TERM; exec setsid sleep 1000) & exit 1"#,
            lock = lock.display()
        );
        let life = place.shell(&["--restart", "on-failure:3", "--grace", "50ms", "-q"], &script);
        for _ in 0..4 {
            life.says("free");
        }
        life.ends(1);
    }
}

#[test]
fn runs_wait_longer_and_longer_for_each_other() {
    let began = Instant::now();
    Place::Anywhere.shell(&["--restart", "on-failure:3", "-q"], "exit 1").ends(1);
    // 100, 200 and 400 ms, up to a quarter less.
    assert!(began.elapsed() >= Duration::from_millis(525), "{:?}", began.elapsed());
}

#[test]
fn a_stop_ends_the_waiting_for_the_next_run() {
    for place in PLACES {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let life = place.shell(&["--restart", "always"], "exit 6");
            // Twenty-five seconds at the least between the last runs of these.
            for _ in 0..3 {
                assert!(
                    life.hear_error().expect("a line").ends_with("sh: exited with 6; it is started again")
                );
            }
            life.signal(signal);
            let ended = life.end();
            assert_eq!(ended.code, 6, "{signal}");
        }
    }
}

#[test]
fn the_stop_signal_takes_the_place_of_sigterm_with_and_without_restarts() {
    for place in PLACES {
        for more in [&[][..], &["--restart", "always"]] {
            let options = [&["--stop-signal", "USR1", "--signal-to", "main"], more].concat();
            let life = place.shell(&options, r#"trap "exit 5" USR1; echo up; while :; do sleep 0.01; done"#);
            life.says("up");
            life.signal(libc::SIGTERM);
            life.ends(5);
        }
    }
}

#[test]
fn a_stop_that_is_not_obeyed_kills_when_the_grace_is_over() {
    for place in PLACES {
        let life = place.shell(
            &["--restart", "always", "--grace", "100ms", "-q"],
            r#"trap "" TERM; echo up; while :; do sleep 0.01; done"#,
        );
        life.says("up");
        life.signal(libc::SIGTERM);
        life.ends(137);
    }
}

#[test]
fn a_program_that_is_gone_is_a_run_that_failed() {
    for place in PLACES {
        let folder = public_folder();
        let program = folder.path().join("program");
        executable(&program, "#!/bin/sh\nrm \"$0\"; exit 1\n");
        let path = program.to_str().expect("text");
        let life = place.start(&["--restart", "on-failure:2", path]);
        assert_eq!(
            life.hear_error(),
            Some(format!("launch-init: {path}: exited with 1; it is started again"))
        );
        let gone =
            format!("launch-init: {path}: could not be started again: exec: No such file or directory");
        for _ in 0..2 {
            assert_eq!(life.hear_error(), Some(gone.clone()));
        }
        life.ends(127);
    }
}

#[test]
fn every_run_has_the_same_descriptors_and_environment() {
    for place in PLACES {
        let script = r#"echo "$(echo /proc/self/fd/*) $KEY $PWD"; exit 1"#;
        let life =
            place.shell(&["--restart", "on-failure:2", "-q", "--env", "KEY=x", "--chdir", "/usr"], script);
        let first = life.hear().expect("a line");
        assert!(first.ends_with(" x /usr"), "{first}");
        life.says(&first);
        life.says(&first);
        life.ends(1);
    }
}

#[test]
fn a_newline_on_its_descriptor_says_that_a_run_is_ready() {
    for place in PLACES {
        let with = ["--ready", "fd:9", "--ready-timeout", "200ms"];
        // Nothing but a newline counts, and the descriptor is the workload's alone.
        let life = place.shell(&with, r#"printf a >&9; printf "b\n" >&9; exec 9>&-; sleep 0.5; exit 3"#);
        life.ends(3);
        for silent in ["printf ready >&9; sleep 10", "exec 9>&-; sleep 10", "sleep 10"] {
            let life = place.shell(&with, silent);
            let line = "launch-init: sh: was not ready in time, and is ended";
            assert_eq!(life.hear_error().as_deref(), Some(line));
            life.ends_saying(143, "sh: killed by SIGTERM");
        }
    }
}

#[test]
fn the_descriptor_of_readiness_can_have_any_number() {
    let lives = (3..20).map(|number| {
        let ready = format!("fd:{number}");
        let with = ["--ready", &ready, "--ready-timeout", "500ms", "--restart", "on-failure:1", "-q"];
        let script = format!(r#"eval "echo >&{number}"; sleep 0.7; exit 3"#);
        Place::Pid1.start(&[&with[..], &["--", "bash", "-c", &script]].concat())
    });
    lives.collect::<Vec<_>>().into_iter().for_each(|life| life.ends(3));
}

#[test]
fn a_message_says_that_a_run_is_ready() {
    for place in PLACES {
        let with = ["--ready", "notify", "--ready-timeout", "300ms"];
        notifier(place, &with, &["STATUS=up\nREADY=1\n", "+600", "=4"]).ends(4);
        let life = notifier(place, &with, &["READY=0", "STATUS=READY=1", "+9000"]);
        assert_eq!(
            life.hear_error().as_deref(),
            Some("launch-init: perl: was not ready in time, and is ended")
        );
        life.ends_saying(143, "perl: killed by SIGTERM");
    }
}

const PYTHON: &str = "/usr/bin/python3";

/// What libsystemd sends, which perl's own functions cannot: sendmsg(2) with a descriptor.
const WITH_DESCRIPTOR: &str = r#"
import array, os, socket, sys, time
address = os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(address)
wait, barrier = os.pipe()
passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [barrier]))]
notify.sendmsg([sys.argv[1].encode()], passed)
notify.sendmsg([b"BARRIER=1"], passed)
os.close(barrier)
os.read(wait, 1)
time.sleep(2.5)
sys.exit(4)
"#;

#[test]
fn a_message_that_comes_with_a_descriptor_is_heard_too() {
    if !Path::new(PYTHON).exists() {
        return cannot_run("messages with descriptors", "there is no python3");
    }
    for place in PLACES {
        let start = |message: &str| {
            let with = ["--ready", "notify", "--ready-timeout", "2s", "--"];
            place.start(&[&with[..], &[PYTHON, "-c", WITH_DESCRIPTOR, message]].concat())
        };
        start("FDSTORE=1\nREADY=1").ends(4);
        let life = start("FDSTORE=1");
        assert_eq!(
            life.hear_error().as_deref(),
            Some("launch-init: /usr/bin/python3: was not ready in time, and is ended")
        );
        life.ends_saying(143, "/usr/bin/python3: killed by SIGTERM");
    }
}

#[test]
fn a_message_from_outside_says_nothing() {
    for place in PLACES {
        let life = notifier(place, &["--ready", "notify", "--ready-timeout", "500ms"], &["address", "+9000"]);
        let address = life.hear().expect("an address");
        let name = address.strip_prefix('@').expect("an abstract one");
        let socket = UnixDatagram::unbound().expect("socket");
        let address = SocketAddr::from_abstract_name(name).expect("address");
        socket.send_to_addr(b"READY=1", &address).expect("send");
        assert_eq!(
            life.hear_error().as_deref(),
            Some("launch-init: perl: was not ready in time, and is ended")
        );
        life.ends_saying(143, "perl: killed by SIGTERM");
    }
}

#[test]
fn a_command_says_that_a_run_is_ready() {
    for place in PLACES {
        let folder = public_folder();
        let there = folder.path().join("there");
        let ready = format!("exec:test -e {}", there.display());
        let with = ["--ready", &ready, "--ready-timeout", "1s"];
        let life = place.shell(&with, &format!("sleep 0.2; touch {}; sleep 1.5; exit 3", there.display()));
        life.ends(3);
        fs::remove_file(&there).expect("remove");
        let life = place.shell(&["--ready", &ready, "--ready-timeout", "200ms"], "sleep 10");
        assert_eq!(
            life.hear_error().as_deref(),
            Some("launch-init: sh: was not ready in time, and is ended")
        );
        life.ends_saying(143, "sh: killed by SIGTERM");
    }
}

#[test]
fn a_watchdog_bites_who_is_silent_for_too_long() {
    for place in PLACES {
        let with = ["--watchdog", "400ms"];
        let alive = ["usec", "+200", "WATCHDOG=1", "+200", "WATCHDOG=1", "+200", "WATCHDOG=1", "+200"];
        let life = notifier(place, &with, &[&alive[..], &["=0"]].concat());
        life.says("400000");
        life.ends(0);
        for silent in [&["WATCHDOG=1", "+9000"][..], &["WATCHDOG=trigger", "+9000"]] {
            let life = notifier(place, &with, silent);
            let line = "launch-init: perl: has not said in time that it is alive, and is ended";
            assert_eq!(life.hear_error().as_deref(), Some(line));
            life.ends_saying(134, "perl: killed by SIGABRT");
        }
    }
}

#[test]
fn the_status_is_that_of_the_process_that_was_named() {
    for place in PLACES {
        notifier(place, &["--ready", "notify"], &["fork", "+100", "=7"]).ends(7);
        // Signals go to it, too.
        let life =
            notifier(place, &["--ready", "notify", "--signal-to", "main"], &["fork", "address", "+9000"]);
        life.hear().expect("a line");
        life.signal(libc::SIGTERM);
        life.ends_saying(143, "perl: killed by SIGTERM");
    }
}

#[test]
fn a_message_before_the_end_counts_however_soon_the_end_comes() {
    for _ in 0..20 {
        notifier(Place::Pid1, &["--ready", "notify"], &["fork", "=9"]).ends(9);
    }
}

#[test]
fn who_is_unhealthy_too_often_is_told_of_and_started_again_where_that_is_asked_for() {
    for place in PLACES {
        let with = ["--health-cmd", "exit 1", "--health-interval", "50ms", "--health-retries", "2"];
        let life = place.shell(&with, "sleep 0.6");
        assert_eq!(
            life.hear_error().as_deref(),
            Some("launch-init: sh: 2 health checks in a row have failed")
        );
        life.ends(0);
        let restart = ["--health-restart"];
        let life = place.shell(&[&with[..], &restart].concat(), "echo run; exec sleep 10");
        life.says("run");
        for line in [
            "2 health checks in a row have failed",
            "is unhealthy, and is ended",
            "was killed by SIGTERM; it is started again",
        ] {
            assert_eq!(life.hear_error(), Some(format!("launch-init: sh: {line}")));
        }
        life.says("run");
        life.signal(libc::SIGTERM);
        assert_eq!(life.end().code, 143);
    }
}

#[test]
fn a_health_check_is_ended_when_it_takes_too_long_with_all_that_it_has_started() {
    for place in PLACES {
        let with = [
            "--health-cmd",
            "sleep 4321 & sleep 4321",
            "--health-interval",
            "50ms",
            "--health-timeout",
            "100ms",
            "--health-retries",
            "1",
        ];
        let life = place.shell(&with, "exec sleep 1000");
        assert_eq!(life.hear_error().as_deref(), Some("launch-init: sh: a health check has failed"));
        support::until("the sleepers are gone", || {
            let sleepers = life.processes().iter().filter(|(_, line)| line.ends_with("sleep 4321")).count();
            (sleepers <= 2).then_some(())
        });
        life.signal(libc::SIGTERM);
        assert_eq!(life.end().code, 143);
    }
}

#[test]
fn who_stops_everybody_inside_all_the_time_does_not_hold_init_up() {
    // A check that is stopped before its exec is given up.
    let with = ["--health-cmd", "true", "--health-interval", "1ms", "--health-timeout", "100ms"];
    let with = [&with[..], &["--health-retries", "100000", "--grace", "1s", "--restart", "always"]].concat();
    let life = Place::Pid1.perl(&with, r#"$| = 1; print "stops\n"; while () { kill "STOP", -1 }"#, &[]);
    life.says("stops");
    // By then one has been stopped so.
    let line = "launch-init: probe: exec: /bin/sh: took too long";
    assert_eq!(life.hear_error().as_deref(), Some(line));
    life.signal(libc::SIGTERM);
    assert_eq!(life.end().code, 143);
}

#[test]
fn what_goes_not_together_is_said() {
    let refused = |options: &[&str], line: &str| {
        let life = Place::Anywhere.shell(options, "echo never");
        life.ends_saying(125, &format!("command line: {line}"));
    };
    refused(&["--health-retries", "2"], "--health-cmd: is missing: another option needs it");
    refused(&["--health-retries", "0"], "--health-retries: \"0\" is no number from 1 on");
    refused(&["--watchdog", "0"], "--watchdog: must be more than nothing");
    refused(&["--ready", "fd:3", "--keep-fd", "3"], "--ready: descriptor 3 is one of --keep-fd, too");
    refused(
        &["--restart", "often"],
        "--restart: \"often\" is none of no, on-failure[:MAX], always, unless-stopped",
    );
}
