//! The library: a program of any kind, with any number of threads, starts sandboxes and looks after them.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use launch::sandbox::Event;
use launch::{Child, Command, Error, FileSystem, Outcome, Source, Step};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use support::{
    DEADLINE, marker, on_all_and_on_some_processors, processes_with, processors_of, program, until,
};

/// `sh -c SCRIPT` in a sandbox. A test is not its own init: its main is not ours to write.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).init_file(program()).current_dir("/");
    command
}

/// What `action` returns, before the deadline.
#[track_caller]
fn in_time<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel();
    std::thread::spawn(move || done.send(action()));
    result.recv_timeout(DEADLINE).expect("an end before the deadline")
}

#[track_caller]
fn wait(mut child: Child) -> (Child, Outcome) {
    in_time(move || {
        let outcome = child.wait().expect("wait");
        (child, outcome)
    })
}

/// Starts it, and waits until it has written a line; returns a reader for what else it writes.
#[track_caller]
fn start_and_hear(mut command: Command) -> (Child, BufReader<PipeReader>, String) {
    let (reader, writer) = pipe().expect("pipe");
    command.stdout(OwnedFd::from(writer));
    let child = command.spawn().expect("spawn");
    drop(command);
    let (reader, line) = in_time(move || {
        let (mut reader, mut line) = (BufReader::new(reader), String::new());
        reader.read_line(&mut line).expect("read");
        (reader, line)
    });
    (child, reader, line)
}

#[test]
fn a_program_whose_threads_allocate_all_the_time_starts_two_hundred() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for size in [10, 1000, 100_000, 1_000_000] {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(vec![1_u8; size]);
                }
            });
        }
        let outcomes = std::panic::catch_unwind(|| {
            in_time(|| {
                let spawners: Vec<_> = (0..4)
                    .map(|_| {
                        std::thread::spawn(|| {
                            let spawn = |code| shell(&format!("exit {code}")).spawn();
                            (0..50).map(|code| spawn(code)?.wait()).collect::<Result<Vec<_>, _>>()
                        })
                    })
                    .collect();
                spawners.into_iter().map(|spawner| spawner.join().expect("join")).collect::<Vec<_>>()
            })
        });
        stop.store(true, Ordering::Relaxed);
        let expected: Vec<_> = (0..50).map(Outcome::Exited).collect();
        assert_eq!(outcomes.expect("no deadlock"), vec![Ok(expected); 4]);
    });
}

#[test]
fn many_live_at_once_and_are_waited_for_in_any_order() {
    let mut children: Vec<_> =
        (0..20).map(|code| (code, shell(&format!("exit {code}")).spawn().expect("spawn"))).collect();
    children.reverse();
    for (code, child) in children {
        assert_eq!(wait(child).1, Outcome::Exited(code));
    }
}

#[test]
fn the_id_is_pid_1s_and_started_knows_the_workload() {
    let mut command = shell("echo $$; sleep 1000");
    command.report_namespaces();
    let (child, _reader, line) = start_and_hear(command);
    let pids = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("NSpid");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (init, workload) = (child.id().to_string(), child.started().pid.to_string());
    assert_eq!(pids(&init).last().map(String::as_str), Some("1"));
    assert_eq!(pids(&init).len(), pids(&std::process::id().to_string()).len() + 1);
    assert_eq!(line.trim(), child.started().pid_inside.to_string());
    assert_eq!(pids(&workload).last().map(String::as_str), Some(line.trim()));
    let kinds: Vec<_> = child.started().namespaces.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds[..7], ["user", "mnt", "uts", "ipc", "pid", "cgroup", "net"]);
    for (kind, inode) in &child.started().namespaces {
        let link = fs::read_link(format!("/proc/{workload}/ns/{kind}")).expect("namespace");
        assert_eq!(link.display().to_string(), format!("{kind}:[{inode}]"));
    }
}

#[test]
fn the_pidfd_is_readable_at_the_end_and_not_before() {
    let (child, _reader, _) = start_and_hear(shell("echo ready; sleep 1000"));
    let is_readable = |timeout| {
        let mut polled = [PollFd::new(child.pidfd(), PollFlags::POLLIN)];
        poll(&mut polled, timeout).expect("poll") == 1
    };
    assert!(!is_readable(PollTimeout::ZERO));
    child.signal(libc::SIGTERM).expect("signal");
    assert!(is_readable(PollTimeout::try_from(DEADLINE).expect("timeout")));
    assert_eq!(wait(child).1, Outcome::Killed(libc::SIGTERM));
}

#[test]
fn signals_reach_the_workload_real_time_ones_too() {
    for (name, number) in
        [("USR1", libc::SIGUSR1), ("RTMIN+3", libc::SIGRTMIN() + 3), ("RTMAX", libc::SIGRTMAX())]
    {
        let mut command = Command::new("bash");
        let script = format!("sleep 1000 & trap 'exit 7' {name}; echo ready; while :; do wait; done");
        command.args(["-c", &script]).init_file(program()).current_dir("/");
        let (child, _reader, line) = start_and_hear(command);
        assert_eq!(line, "ready\n");
        child.signal(number).expect("signal");
        let (child, outcome) = wait(child);
        assert_eq!(outcome, Outcome::Exited(7), "{name}");
        assert_eq!(child.signal(number), Ok(()), "of one that has ended");
    }
}

#[test]
fn a_number_that_is_no_signals_is_refused() {
    let (child, _reader, _) = start_and_hear(shell("echo ready; sleep 1000"));
    assert_eq!(child.signal(65), Err(Error::Signal(65, Errno::EINVAL)));
    assert_eq!(child.signal(-1), Err(Error::Signal(-1, Errno::EINVAL)));
    assert_eq!(child.signal(0), Ok(()), "0 only asks whether it is there");
    child.kill().expect("kill");
}

#[test]
fn kill_ends_everything_and_every_wait_says_so() {
    let marker = marker("kill");
    let mut command = shell("trap '' TERM; setsid sleep 1000 & echo ready; sleep 1000");
    command.env("MARKER", &marker);
    let (child, _reader, _) = start_and_hear(command);
    assert_eq!(child.kill(), Ok(()));
    let (child, outcome) = wait(child);
    assert_eq!(outcome, Outcome::Killed(9));
    assert_eq!(processes_with(&marker), Vec::<i32>::new());
    assert_eq!(wait(child).1, Outcome::Killed(9));
}

#[test]
fn every_wait_returns_the_same() {
    let (child, outcome) = wait(shell("exit 5").spawn().expect("spawn"));
    assert_eq!(outcome, Outcome::Exited(5));
    assert_eq!(child.kill(), Ok(()), "of one that has ended");
    assert_eq!(wait(child).1, Outcome::Exited(5));
}

#[test]
fn a_dropped_child_leaves_nobody() {
    let marker = marker("drop");
    let mut command = shell("trap '' TERM; setsid sleep 1000 & sleep 1000 & echo ready; wait");
    command.env("MARKER", &marker);
    let (child, _reader, _) = start_and_hear(command);
    until("all run", || (processes_with(&marker).len() >= 3).then_some(()));
    let id = child.id();
    drop(child);
    assert_eq!(processes_with(&marker), Vec::<i32>::new());
    assert!(!fs::exists(format!("/proc/{id}")).expect("/proc"), "PID 1 has been reaped");
}

#[test]
fn stdin_stdout_and_stderr_are_those_that_were_given() {
    let ((in_reader, in_writer), (out_reader, out_writer), (err_reader, err_writer)) =
        (pipe().expect("pipe"), pipe().expect("pipe"), pipe().expect("pipe"));
    let mut command = shell("cat; echo err >&2");
    command
        .stdin(OwnedFd::from(in_reader))
        .stdout(OwnedFd::from(out_writer))
        .stderr(OwnedFd::from(err_writer));
    let child = command.spawn().expect("spawn");
    drop(command);
    std::io::Write::write_all(&mut &in_writer, b"in").expect("write");
    drop(in_writer);
    let read = |mut reader: PipeReader| {
        in_time(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("read");
            text
        })
    };
    assert_eq!((read(out_reader), read(err_reader)), ("in".into(), "err\n".into()));
    assert_eq!(wait(child).1, Outcome::Exited(0));
}

#[test]
fn a_command_can_be_spawned_again() {
    let (reader, writer) = pipe().expect("pipe");
    let mut command = shell("echo $WHO; hostname");
    command.env("WHO", "me").host_name("here").stdout(OwnedFd::from(writer));
    let outcomes = in_time(move || [command.status(), command.status()]);
    assert_eq!(outcomes, [Ok(Outcome::Exited(0)), Ok(Outcome::Exited(0))]);
    assert_eq!(std::io::read_to_string(reader).expect("read"), "me\nhere\n".repeat(2));
}

#[test]
fn a_timeout_is_an_outcome_of_its_own() {
    let mut command = shell("trap '' TERM; sleep 1000");
    command.timeout(Duration::from_millis(50)).grace(Duration::from_millis(50));
    assert_eq!(in_time(move || command.status()), Ok(Outcome::TimedOut));
}

#[test]
fn a_kept_descriptor_is_handed_on_and_only_that() {
    let (kept, writer) = pipe().expect("pipe");
    let (other, _other_writer) = pipe().expect("pipe");
    let (kept_number, other_number) = (kept.as_raw_fd(), other.as_raw_fd());
    std::io::Write::write_all(&mut &writer, b"through it\n").expect("write");
    drop(writer);
    let mut command = shell(&format!(
        "cat /proc/self/fd/{kept_number}; ls /proc/self/fd/{other_number} 2>&1; ls /proc/$$/fd"
    ));
    command.keep_fd(kept_number);
    let (child, mut reader, line) = start_and_hear(command);
    assert_eq!(line, "through it\n");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("read");
    let (refused, open) = rest.split_once('\n').expect("lines");
    assert!(refused.ends_with("No such file or directory"), "{refused}");
    assert_eq!(open.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", &kept_number.to_string()]);
    assert_eq!(wait(child).1, Outcome::Exited(0));
}

#[test]
fn a_missing_program_is_an_error_with_exit_code_127() {
    let mut command = Command::new("/nowhere");
    let error = in_time(move || command.init_file(program()).spawn().expect_err("no workload"));
    assert_eq!((error.exit_code(), error.errno()), (127, Some(Errno::ENOENT)));
    assert_eq!(error.to_string(), "exec: /nowhere: No such file or directory");
    assert!(matches!(error, Error::Inside(_)), "{error:?}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_started() {
    let refused = |change: &dyn Fn(&mut Command)| {
        let mut command = shell("exit 1");
        change(&mut command);
        command.spawn().expect_err("refused")
    };
    let error = refused(&|command| {
        command.host_name("a\0b");
    });
    assert!(matches!(error, Error::Option(..)), "{error:?}");
    assert_eq!(error.exit_code(), 125);
    let error = refused(&|command| {
        command.arg("a\0b");
    });
    assert_eq!(error.exit_code(), 125);
    let error = refused(&|command| {
        command.keep_fd(987_654);
    });
    assert_eq!(error, Error::Descriptor(987_654, Errno::EBADF));
    let error = refused(&|command| {
        command.init_file("/nowhere");
    });
    assert_eq!(error, Error::InitFile("/nowhere".into(), Errno::ENOENT));
    let error = refused(&|command| {
        command.init_file("/");
    });
    assert_eq!((error.exit_code(), error.step(), error.errno()), (125, "init", Some(Errno::EACCES)));
}

#[test]
fn the_spawning_threads_signal_mask_is_the_workloads_and_stays() {
    // Not by a shell: some unblock everything.
    let mut command = Command::new("grep");
    command.args(["^SigBlk", "/proc/self/status"]).init_file(program()).current_dir("/");
    let of_thread = || {
        let status = fs::read_to_string("/proc/thread-self/status").expect("status");
        status.lines().find(|line| line.starts_with("SigBlk")).expect("SigBlk").to_owned()
    };
    let (before, inside, after) = in_time(move || {
        launch_init::signals::set_mask(1 << (libc::SIGUSR2 - 1)).expect("mask");
        let before = of_thread();
        let (_child, _reader, line) = start_and_hear(command);
        (before, line, of_thread())
    });
    assert_eq!((inside.trim_end(), after.as_str()), (before.as_str(), before.as_str()));
    assert_eq!(before, "SigBlk:\t0000000000000800");
}

#[test]
fn a_timeout_is_kept_while_nobody_listens_to_what_init_says() {
    // Each stop is a report; the channel takes only so many of them.
    let script = "(while :; do kill -CONT $$; done) & i=0; while [ $i -lt 5000 ]; do i=$((i+1)); kill -STOP $$; done; sleep 1000";
    let mut child = shell(script).timeout(Duration::from_secs(2)).spawn().expect("spawn");
    until("it has ended without being waited for", || {
        let mut polled = [PollFd::new(child.pidfd(), PollFlags::POLLIN)];
        (poll(&mut polled, PollTimeout::ZERO) == Ok(1)).then_some(())
    });
    assert_eq!(child.wait(), Ok(Outcome::TimedOut));
}

#[test]
fn the_walls_are_methods_of_the_builder() {
    let folder = support::public_folder();
    let path = folder.path().display().to_string();
    fs::create_dir(folder.path().join("open")).expect("mkdir");
    let open = Step::Mount {
        what: FileSystem::Bind {
            source: Source::Path(format!("{path}/open").into()),
            read_only: false,
            devices: false,
            optional: false,
        },
        at: format!("{path}/open").into(),
    };
    let script = format!("! touch {path}/x 2>/dev/null && touch {path}/open/y && test -z \"$(ls /etc/apt)\"");
    let mut command = shell(&script);
    command.read_only().step(open).step(Step::Mask("/etc/apt".into()));
    assert_eq!(command.status(), Ok(Outcome::Exited(0)));
    assert!(folder.path().join("open/y").exists() && !folder.path().join("x").exists());
}

#[test]
fn a_sandbox_is_released_after_the_thread_that_started_it_has_ended() {
    // So large a stack goes with its thread, and with it what the C library keeps there.
    let start = || shell("exit 7").start().expect("start");
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(start).expect("thread");
    let mut sandbox = thread.join().expect("join");
    sandbox.release().expect("release");
    let outcome = in_time(move || {
        loop {
            if let Event::Ended(outcome) = sandbox.next_event().expect("event") {
                return outcome;
            }
        }
    });
    assert_eq!(outcome, Outcome::Exited(7));
}

#[test]
fn the_spawning_thread_may_run_where_it_could_before_and_so_may_the_workload() {
    on_all_and_on_some_processors(|| {
        let mut command = Command::new("grep");
        command.args(["^Cpus_allowed:", "/proc/self/status"]).init_file(program()).current_dir("/");
        let before = processors_of("thread-self");
        // As long as it is there, nothing is given back because it is dropped.
        let (_child, _reader, inside) = start_and_hear(command);
        assert_eq!((inside.trim_end(), processors_of("thread-self")), (before.as_str(), before.clone()));
    });
}
