//! Sandboxes that are made ahead: what starts in one is what a cold start would have started, and none that waits is ever
//! in anybody's way. Every test is a process of its own, as each caller: some change what the whole process has.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use launch::{Child, Command, Error, Identity, Network, Outcome, Pool, Step, Volatile};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use support::{Caller, DEADLINE, Talk, callers, program, public_folder, run, text, until};

/// Set in the processes that the tests are.
const IN_PROCESS: &str = "LAUNCH_TEST_POOL";

/// These tests, where every caller can execute them.
static THIS: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = public_folder();
    let this = folder.path().join("tests");
    support::install(&std::env::current_exe().expect("this program"), &this);
    support::remove_at_exit(folder.path());
    (folder, this)
});

/// The test of this name, in a process of its own.
fn test_process(caller: Caller, name: &str) -> std::process::Command {
    let mut command = caller.command(&THIS.1);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(IN_PROCESS, name);
    command.env("LAUNCH_TEST_BIN_DIR", program().parent().expect("folder"));
    command.stdin(Stdio::null()).current_dir("/").env_remove("LAUNCH_LOG");
    command
}

/// Runs `body`, which is the test of this name, as each caller.
#[track_caller]
fn as_each_caller(name: &str, body: impl FnOnce()) {
    if std::env::var_os(IN_PROCESS).is_some() {
        // What it starts shall have nothing of the test.
        program();
        return body();
    }
    for caller in callers() {
        let output = run(&mut test_process(caller, name));
        let said = text(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "as {caller:?}: {}\n{said}\n{}",
            output.status,
            text(&output.stderr)
        );
    }
}

fn template() -> Command {
    let mut template = Command::template();
    template.init_file(program());
    template
}

#[track_caller]
fn pool(template: &Command, size: usize) -> Pool {
    Pool::new(template, size).expect("pool")
}

/// What a command writes and how it ends; it must have been given `writer`.
#[track_caller]
fn heard(mut child: Child, mut reader: PipeReader) -> (String, Outcome) {
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = reader.read_to_string(&mut text).map(|_| text);
        let _ = done.send((read, child.wait()));
    });
    let (read, outcome) = result.recv_timeout(DEADLINE).expect("an end before the deadline");
    (read.expect("read"), outcome.expect("outcome"))
}

/// What `sh -c SCRIPT` writes in a sandbox of the pool.
#[track_caller]
fn said(pool: &Pool, script: &str) -> String {
    let (reader, writer) = pipe().expect("pipe");
    let child = {
        let mut command = pool.command("sh");
        command.args(["-c", script]).stdout(OwnedFd::from(writer));
        command.spawn().expect("spawn")
    };
    let (text, outcome) = heard(child, reader);
    assert_eq!(outcome, Outcome::Exited(0), "{text}");
    text
}

/// The children of this process, which are the PIDs 1 of its sandboxes.
fn children() -> BTreeSet<i32> {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc").filter_map(Result::ok);
    let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let lists: Vec<_> = tasks.map(of).collect();
    let pids = lists.iter().flat_map(|list| list.split_whitespace());
    // What removes the tests' folders is one, too.
    let is_init = |pid: &&str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "launch-init\n")
    };
    pids.filter(is_init).filter_map(|pid| pid.parse().ok()).collect()
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("kill");
}

/// Everything that a workload can see of what it is in.
const LOOK: &str = r#"
cat /proc/self/status | grep -vE '^(Vm|Rss|Hugetlb|voluntary|nonvoluntary|Pid|Tgid|Ngid|PPid|FDSize|SigQ|untag|x86|THP)'
echo "pid $$ of $PPID"; ulimit -a; umask; id; hostname; pwd; pwd -P
env | sort
cat /proc/self/limits /proc/self/oom_score_adj /proc/self/cgroup /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups
echo mounts; cat /proc/self/mountinfo
echo /proc/[0-9]*; ps -o pid,ppid,pgid,sid,nice 2>/dev/null | head -3
echo /proc/$$/fd/*; for n in 0 1 2; do readlink /proc/$$/fd/$n; done | sed 's/[0-9]*]/N]/'
ls -A /tmp / 2>&1; cat /proc/sys/user/max_user_namespaces
for ns in user mnt uts ipc pid cgroup net time; do readlink /proc/self/ns/$ns; done
"#;

/// With the numbers that are another one's in every sandbox left out, and of namespaces whether they are the caller's.
fn comparable(seen: &str) -> Vec<String> {
    let mut in_mounts = false;
    let line = |line: &str| {
        in_mounts = (in_mounts || line == "mounts") && !line.starts_with("/proc/");
        match line.split_once(":[") {
            Some((kind, _)) if line.ends_with(']') && !line.starts_with("pipe") => {
                let is_callers =
                    fs::read_link(format!("/proc/self/ns/{kind}")).is_ok_and(|link| link == Path::new(line));
                format!("{kind}: the caller's: {is_callers}")
            }
            _ if in_mounts && line != "mounts" => {
                // Mount id, parent's id, device, and then what is compared; peer groups have numbers, too.
                let rest = line.splitn(4, ' ').last().unwrap_or_default();
                // Layers are named by the numbers of init's descriptors.
                let named = |word: &str| match word.split_once("=/proc/self/fd/") {
                    Some((layer, _)) => layer.to_owned(),
                    None if word.starts_with("master:") => "master".into(),
                    None => word.to_owned(),
                };
                rest.split([' ', ',']).map(named).collect::<Vec<_>>().join(" ")
            }
            _ => line.to_owned(),
        }
    };
    seen.lines().map(line).collect()
}

#[test]
fn what_a_workload_sees_is_what_it_sees_after_a_cold_start() {
    as_each_caller("what_a_workload_sees_is_what_it_sees_after_a_cold_start", || {
        let folder = public_folder();
        type Change = fn(&mut Command);
        let changes: [(&str, Change); 9] = [
            ("nothing", |_| {}),
            ("no network", |command| {
                command.network(Network::None).host_name("here").no_user_namespaces();
            }),
            ("read-only", |command| {
                command.read_only().step(Step::Mask("/etc/apt".into()));
            }),
            ("volatile", |command| {
                command.volatile(Volatile::Discard);
            }),
            ("own ids", |command| {
                command.identity(Identity::Keep).time_namespace();
            }),
            ("a user", |command| {
                command.user("0:0".parse().expect("account"));
            }),
            ("rights", |command| {
                command.capabilities(launch::Capabilities { add: 1 << 12, drop: 1 << 6 });
                command.seccomp(launch::Seccomp::Off).niceness(5).oom_score_adj(900).umask(0o27);
            }),
            ("a directory", |command| {
                command.current_dir("/usr/lib").env("A", "1").env_remove("HOME");
            }),
            ("a hidden directory", |command| {
                command.tmp(launch::Tmp::Fresh { size: Some(1 << 20) });
            }),
        ];
        for (what, change) in changes {
            std::env::set_current_dir(if what == "a hidden directory" {
                Path::new("/tmp")
            } else {
                folder.path()
            })
            .expect("chdir");
            let with = |mut command: Command| {
                command.init_file(program());
                change(&mut command);
                command
            };
            let pool = pool(&with(Command::template()), 1);
            let warm = said(&pool, LOOK);
            assert_eq!(pool.waiting(), 0, "the one that waited was used");
            let (reader, writer) = pipe().expect("pipe");
            let cold = {
                let mut command = with(Command::new("sh"));
                command.args(["-c", LOOK]).stdout(OwnedFd::from(writer));
                command.spawn().expect("spawn")
            };
            let (cold, outcome) = heard(cold, reader);
            assert_eq!(outcome, Outcome::Exited(0), "{what}: {cold}");
            for expected in
                ["Seccomp:", "SigCgt:", "CapBnd:", "mounts", "mnt:[", "pipe:[N]", "Max open files"]
            {
                assert!(cold.contains(expected), "{what}: no {expected} in {cold}");
            }
            let (warm, cold) = (comparable(&warm), comparable(&cold));
            for (warm, cold) in warm.iter().zip(&cold) {
                assert_eq!(warm, cold, "{what}");
            }
            assert_eq!(warm.len(), cold.len(), "{what}");
        }
    });
}

#[test]
fn each_is_used_once_and_nothing_stays_for_the_next() {
    as_each_caller("each_is_used_once_and_nothing_stays_for_the_next", || {
        let pool = pool(&template(), 2);
        let waiting = children();
        assert_eq!((pool.waiting(), waiting.len()), (2, 2));
        let script = "test ! -e /tmp/x && touch /tmp/x && hostname";
        assert_eq!(said(&pool, script), "container\n");
        assert_eq!(pool.waiting(), 1);
        assert_eq!(said(&pool, script), "container\n");
        assert_eq!((pool.waiting(), children().len()), (0, 0));
        assert_eq!(said(&pool, script), "container\n", "with none left, one is made");
        pool.fill().expect("fill");
        pool.fill().expect("fill");
        assert_eq!((pool.waiting(), children().len()), (2, 2));
        assert!(children().is_disjoint(&waiting));
        drop(pool);
        assert_eq!(children().len(), 0);
    });
}

#[test]
fn one_that_was_killed_is_replaced_and_never_given_out() {
    as_each_caller("one_that_was_killed_is_replaced_and_never_given_out", || {
        let pool = pool(&template(), 3);
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            children().into_iter().for_each(|pid| send(pid, signal));
            until("none waits", || (pool.waiting() == 0).then_some(()));
            assert_eq!(children().len(), 0, "they have been reaped");
            assert_eq!(said(&pool, "echo one"), "one\n");
            pool.fill().expect("fill");
            assert_eq!(pool.waiting(), 3);
        }
        // At the very moment at which it is given out: there is no telling whether it knows already.
        for _ in 0..30 {
            children().into_iter().for_each(|pid| send(pid, Signal::SIGKILL));
            assert_eq!(pool.spawn(["true"]).expect("spawn").wait(), Ok(Outcome::Exited(0)));
            pool.fill().expect("fill");
        }
    });
}

#[test]
fn what_is_sent_to_one_that_waits_does_not_reach_the_workload() {
    as_each_caller("what_is_sent_to_one_that_waits_does_not_reach_the_workload", || {
        let pool = pool(&template(), 1);
        let waiting = *children().first().expect("one");
        [Signal::SIGUSR1, Signal::SIGALRM, Signal::SIGWINCH]
            .into_iter()
            .for_each(|signal| send(waiting, signal));
        // It has read them when none is pending any more.
        until("none is pending", || {
            let status = fs::read_to_string(format!("/proc/{waiting}/status")).expect("status");
            let is_none = |line: &str| line.starts_with("ShdPnd:") && line.ends_with("\t0000000000000000");
            status.lines().any(is_none).then_some(())
        });
        assert_eq!(said(&pool, "echo lives"), "lives\n");
        assert_eq!(pool.waiting(), 0, "it was that one");
    });
}

#[test]
fn a_pool_that_is_dropped_ends_those_that_wait_and_no_others() {
    as_each_caller("a_pool_that_is_dropped_ends_those_that_wait_and_no_others", || {
        let mut pool = pool(&template(), 5);
        pool.fill_in_background().expect("thread");
        let (reader, writer) = pipe().expect("pipe");
        let child = pool.command("sh").args(["-c", "cat; echo end"]).stdout(OwnedFd::from(writer)).spawn();
        let child = child.expect("spawn");
        drop(pool);
        assert_eq!(children(), BTreeSet::from([child.id() as i32]));
        assert_eq!(heard(child, reader), ("end\n".into(), Outcome::Exited(0)));
    });
}

#[test]
fn a_thread_fills_the_pool_when_it_was_asked_for() {
    as_each_caller("a_thread_fills_the_pool_when_it_was_asked_for", || {
        let mut pool = pool(&template(), 3);
        assert_eq!(said(&pool, "echo one"), "one\n");
        assert_eq!(pool.waiting(), 2, "nobody fills it");
        pool.fill_in_background().expect("thread");
        pool.fill_in_background().expect("the same thread");
        for _ in 0..20 {
            assert_eq!(said(&pool, "echo one"), "one\n");
        }
        until("three wait", || (pool.waiting() == 3).then_some(()));
        assert_eq!(children().len(), 3);
    });
}

#[test]
fn who_fills_a_pool_waits_for_those_that_others_make_too() {
    as_each_caller("who_fills_a_pool_waits_for_those_that_others_make_too", || {
        let pool = pool(&template(), 4);
        for _ in 0..20 {
            for _ in 0..4 {
                assert_eq!(said(&pool, "echo one"), "one\n");
            }
            // One of them makes all.
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        pool.fill().expect("fill");
                        assert_eq!(pool.waiting(), 4);
                    });
                }
            });
        }
        assert_eq!(children().len(), 4);
    });
}

#[test]
fn sixty_four_at_once_are_all_right() {
    as_each_caller("sixty_four_at_once_are_all_right", || {
        let mut pool = pool(&template(), 8);
        pool.fill_in_background().expect("thread");
        let outcomes = std::thread::scope(|scope| {
            let pool = &pool;
            let one = |code: i32| pool.command("sh").args(["-c", &format!("exit {code}")]).status();
            let threads: Vec<_> = (0..64).map(|code| scope.spawn(move || one(code))).collect();
            threads.into_iter().map(|thread| thread.join().expect("join")).collect::<Vec<_>>()
        });
        assert_eq!(outcomes, (0..64).map(|code| Ok(Outcome::Exited(code))).collect::<Vec<_>>());
        until("eight wait", || (pool.waiting() == 8).then_some(()));
        drop(pool);
        assert_eq!(children().len(), 0);
    });
}

#[test]
fn a_pool_has_the_umask_and_limits_of_its_making_and_the_directory_and_mask_of_the_spawn() {
    let name = "a_pool_has_the_umask_and_limits_of_its_making_and_the_directory_and_mask_of_the_spawn";
    as_each_caller(name, || {
        let (then, now) = (public_folder(), public_folder());
        fs::write(then.path().join("file"), "then").expect("write");
        std::env::set_current_dir(then.path()).expect("chdir");
        umask(Mode::from_bits_truncate(0o027));
        setrlimit(Resource::RLIMIT_NOFILE, 100, 200).expect("limit");
        let mut template = template();
        template.step(Step::Mount {
            what: launch::FileSystem::Bind {
                source: launch::Source::Path("file".into()),
                read_only: true,
                devices: false,
                optional: false,
            },
            at: "/tmp/bound".into(),
        });
        let pool = pool(&template, 1);
        std::env::set_current_dir(now.path()).expect("chdir");
        umask(Mode::from_bits_truncate(0o077));
        setrlimit(Resource::RLIMIT_NOFILE, 64, 150).expect("limit");
        launch_init::signals::set_mask(1 << (libc::SIGUSR2 - 1)).expect("mask");
        let script = "umask; ulimit -Sn; ulimit -Hn; pwd; cat /tmp/bound";
        let expected = |hard| format!("0027\n100\n{hard}\n{}\nthen", now.path().display());
        assert_eq!(said(&pool, script), expected(200), "the one that waited");
        assert_eq!(said(&pool, script), expected(150), "one that was made now");
        // Not by a shell: some unblock everything.
        let mask =
            pool.command("grep").args(["-q", "^SigBlk:\t0000000000000800$", "/proc/self/status"]).status();
        assert_eq!(mask, Ok(Outcome::Exited(0)));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE), Ok((64, 150)), "the caller's are its own");
    });
}

#[test]
fn a_directory_that_leads_elsewhere_inside_is_not_gone_to() {
    as_each_caller("a_directory_that_leads_elsewhere_inside_is_not_gone_to", || {
        let folder = public_folder();
        std::env::set_current_dir(folder.path()).expect("chdir");
        let pool = pool(&template(), 4);
        assert_eq!(said(&pool, "pwd"), format!("{}\n", folder.path().display()));
        std::env::set_current_dir("/tmp").expect("chdir");
        assert_eq!(said(&pool, "pwd"), "/\n", "a fresh one has taken its place");
        let closed = folder.path().join("closed");
        fs::create_dir_all(closed.join("in")).expect("mkdir");
        std::env::set_current_dir(closed.join("in")).expect("chdir");
        fs::remove_dir(closed.join("in")).expect("rmdir");
        let error = pool.spawn(["true"]).expect_err("deleted");
        assert_eq!(error, Error::WorkingDirectory(Errno::ENOENT));
        assert_eq!(pool.waiting(), 2, "none was used for it");
        assert_eq!(said_in(&pool, "/usr"), "/usr\n");
        let error = pool.command("true").current_dir("/nowhere").spawn().expect_err("no such directory");
        assert_eq!(error.to_string(), "working directory: /nowhere: No such file or directory");
    });
}

#[track_caller]
fn said_in(pool: &Pool, directory: &str) -> String {
    let (reader, writer) = pipe().expect("pipe");
    let child = {
        let mut command = pool.command("pwd");
        command.current_dir(directory).stdout(OwnedFd::from(writer));
        command.spawn().expect("spawn")
    };
    heard(child, reader).0
}

#[test]
fn stdin_stdout_and_stderr_are_the_spawns_or_the_templates_or_the_callers() {
    as_each_caller("stdin_stdout_and_stderr_are_the_spawns_or_the_templates_or_the_callers", || {
        let (in_reader, in_writer) = pipe().expect("pipe");
        let (out_reader, out_writer) = pipe().expect("pipe");
        let (err_reader, err_writer) = pipe().expect("pipe");
        let mut template = template();
        template.stderr(OwnedFd::from(err_writer));
        let pool = pool(&template, 1);
        drop(template);
        let child = {
            let mut command = pool.command("sh");
            command.args(["-c", "cat; echo err >&2; readlink /proc/self/fd/0"]);
            command.stdin(OwnedFd::from(in_reader)).stdout(OwnedFd::from(out_writer));
            command.spawn().expect("spawn")
        };
        std::io::Write::write_all(&mut &in_writer, b"in\n").expect("write");
        drop(in_writer);
        let (out, outcome) = heard(child, out_reader);
        assert!(out.starts_with("in\npipe:["), "{out}");
        assert_eq!(outcome, Outcome::Exited(0));
        drop(pool);
        assert_eq!(std::io::read_to_string(err_reader).expect("read"), "err\n");
    });
}

#[test]
fn a_closed_stdin_is_an_empty_one() {
    as_each_caller("a_closed_stdin_is_an_empty_one", || {
        let pool = pool(&template(), 2);
        let of_pool = said(&pool, "readlink /proc/self/fd/0");
        assert_eq!(of_pool, "/dev/null\n", "the tests' own");
        let (reader, _writer) = pipe().expect("pipe");
        nix::unistd::dup2_stdin(&reader).expect("dup2");
        assert!(said(&pool, "readlink /proc/self/fd/0").starts_with("pipe:["), "that of the spawn's moment");
        nix::unistd::close(0).expect("close");
        pool.fill().expect("fill");
        // Without a pipe of ours, which would have got the number.
        let script = "test $(readlink /proc/self/fd/0) = /dev/null && test -z \"$(cat)\"";
        assert_eq!(pool.command("sh").args(["-c", script]).status(), Ok(Outcome::Exited(0)));
    });
}

#[test]
fn one_that_waits_holds_nothing_of_the_callers() {
    as_each_caller("one_that_waits_holds_nothing_of_the_callers", || {
        let (mut reader, writer) = pipe().expect("pipe");
        // As if it had been opened by somebody who knows nothing of close-on-exec.
        fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty())).expect("fcntl");
        let (mut out_reader, out_writer) = pipe().expect("pipe");
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().expect("dup");
        nix::unistd::dup2_stdout(&out_writer).expect("dup2");
        drop(out_writer);
        let pool = pool(&template(), 3);
        nix::unistd::dup2_stdout(&stdout).expect("dup2");
        drop(writer);
        for reader in [&mut reader, &mut out_reader] {
            let mut nothing = String::new();
            reader.read_to_string(&mut nothing).expect("end of file, although three wait");
            assert_eq!(nothing, "");
        }
        let folders: Vec<_> = children().into_iter().map(|pid| format!("/proc/{pid}")).collect();
        assert_eq!(folders.len(), 3);
        for folder in folders {
            // They are closed to those inside; their namespace's owner may look.
            let entries = fs::read_dir(format!("{folder}/fd")).expect("descriptors");
            let links = entries.map(|entry| fs::read_link(entry.expect("entry").path()).expect("link"));
            let links: Vec<_> = links.map(|link| link.display().to_string()).collect();
            let sockets = links.iter().filter(|link| link.starts_with("socket:")).count();
            assert_eq!(sockets, 1, "its own channel: {links:?}");
            let known = |link: &&String| {
                let is_known = |start| link.starts_with(start);
                ["socket:", "/dev/null", "anon_inode:[signalfd]"].into_iter().any(is_known)
                    || link.ends_with("/loadavg")
            };
            assert_eq!(links.iter().filter(known).count(), links.len(), "{links:?}");
            assert_eq!(fs::read_link(format!("{folder}/cwd")).expect("cwd"), Path::new("/"));
        }
        drop(pool);
    });
}

/// No test by itself: the process whose pool's end is looked at.
#[test]
fn owner_of_a_pool() {
    if std::env::var_os(IN_PROCESS).is_none_or(|name| name != "owner_of_a_pool") {
        return;
    }
    let mut pool = pool(&template(), 4);
    pool.fill_in_background().expect("thread");
    let mut taken = pool.spawn(["sleep", "1000"]).expect("spawn");
    until("four wait", || (pool.waiting() == 4).then_some(()));
    let pids: Vec<_> = children().iter().map(i32::to_string).collect();
    println!("\nchildren {}", pids.join(" "));
    let _ = taken.wait();
}

#[test]
fn all_that_wait_end_with_an_owner_that_is_killed() {
    if std::env::var_os(IN_PROCESS).is_some() {
        return;
    }
    for caller in callers() {
        let owner = Talk::start(&mut test_process(caller, "owner_of_a_pool"));
        let pids = loop {
            let line = owner.hear().expect("a line of the owner");
            if let Some(pids) = line.strip_prefix("children ") {
                break pids.split(' ').map(|pid| pid.parse().expect("pid")).collect::<Vec<i32>>();
            }
        };
        assert_eq!(pids.len(), 5);
        kill(owner.pid(), Signal::SIGKILL).expect("kill");
        let lives = |pid: &i32| {
            // Nobody may reap them here but the machine's init.
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.contains("launch-init") && !status.contains("State:\tZ")
        };
        until("all have ended", || (!pids.iter().any(lives)).then_some(()));
    }
}

#[test]
fn a_time_limit_begins_with_the_spawn() {
    as_each_caller("a_time_limit_begins_with_the_spawn", || {
        let mut template = template();
        template.timeout(Duration::from_millis(300)).grace(Duration::from_millis(50));
        let pool = pool(&template, 3);
        // Longer than the limit: nothing shall happen meanwhile, so that there is no condition to wait for.
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(said(&pool, "echo in time"), "in time\n");
        assert_eq!(pool.command("sleep").arg("1000").status(), Ok(Outcome::TimedOut));
        let longer = pool.command("sleep").arg("0.5").timeout(DEADLINE).status();
        assert_eq!(longer, Ok(Outcome::Exited(0)));
    });
}

#[test]
fn the_environment_is_the_callers_then_the_templates_then_the_commands() {
    as_each_caller("the_environment_is_the_callers_then_the_templates_then_the_commands", || {
        let mut template = template();
        template.env("A", "template").env("B", "template").env_remove(IN_PROCESS);
        let pool = pool(&template, 1);
        let (reader, writer) = pipe().expect("pipe");
        let child = {
            let mut command = pool.command("sh");
            command.args(["-c", "echo $A $B ${LAUNCH_TEST_POOL-none} ${LAUNCH_TEST_BIN_DIR:+set}"]);
            command.env("A", "command").env_remove("B").stdout(OwnedFd::from(writer));
            command.spawn().expect("spawn")
        };
        assert_eq!(heard(child, reader).0, "command none set\n");
        let cleared =
            pool.command("sh").args(["-c", "test -z \"$A$LAUNCH_TEST_BIN_DIR\""]).env_clear().status();
        assert_eq!(cleared, Ok(Outcome::Exited(0)));
    });
}

#[test]
fn a_terminal_of_its_own_is_there_for_each() {
    as_each_caller("a_terminal_of_its_own_is_there_for_each", || {
        let mut template = template();
        template.terminal();
        let pool = pool(&template, 2);
        for _ in 0..3 {
            let mut child = pool.command("sh").args(["-c", "test -t 0 && tty"]).spawn().expect("spawn");
            let master = fs::File::from(child.take_terminal().expect("terminal"));
            let mut line = String::new();
            until("a line", || {
                BufReader::new(&master).read_line(&mut line).ok().filter(|length| *length > 0)
            });
            assert_eq!(line, "/dev/pts/0\r\n");
            assert_eq!(child.wait(), Ok(Outcome::Exited(0)));
        }
    });
}

#[test]
fn signals_reach_the_workload_and_runs_follow_each_other_as_ever() {
    as_each_caller("signals_reach_the_workload_and_runs_follow_each_other_as_ever", || {
        let plain = pool(&template(), 1);
        let (reader, writer) = pipe().expect("pipe");
        let script = "trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.01; done";
        let child = plain.command("sh").args(["-c", script]).stdout(OwnedFd::from(writer)).spawn();
        let child = child.expect("spawn");
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        reader.read_line(&mut line).expect("read");
        child.signal(libc::SIGUSR1).expect("signal");
        assert_eq!(heard(child, reader.into_inner()), ("got it\n".into(), Outcome::Exited(7)));
        let mut restarting = template();
        restarting.restart(launch::Restart::OnFailure { most: Some(2) });
        let restarting = pool(&restarting, 1);
        let script = "echo run >>/tmp/runs; test $(wc -l </tmp/runs) = 3";
        assert_eq!(restarting.command("sh").args(["-c", script]).status(), Ok(Outcome::Exited(0)));
    });
}

#[test]
fn what_cannot_be_is_an_error_and_leaves_nothing() {
    as_each_caller("what_cannot_be_is_an_error_and_leaves_nothing", || {
        let refused = |change: &dyn Fn(&mut Command)| {
            let mut template = template();
            change(&mut template);
            let error = Pool::new(&template, 2).expect_err("refused");
            assert_eq!(children().len(), 0, "{error}");
            error
        };
        let with_program = refused(&|command| {
            command.arg("sh");
        });
        assert!(matches!(with_program, Error::Option(..)), "{with_program:?}");
        let with_descriptor = refused(&|command| {
            command.keep_fd(0);
        });
        assert!(matches!(with_descriptor, Error::Option(..)), "{with_descriptor:?}");
        let missing = refused(&|command| {
            command.root(launch::RootDirectory { path: "/nowhere".into(), writable: false });
        });
        assert_eq!((missing.step(), missing.errno()), ("root", Some(Errno::ENOENT)));
        let no_init = refused(&|command| {
            command.init_file("/nowhere");
        });
        assert_eq!(no_init, Error::InitFile("/nowhere".into(), Errno::ENOENT));
        let pool = pool(&template(), 1);
        let missing = pool.spawn(["/nowhere"]).expect_err("no such program");
        assert_eq!(
            (missing.exit_code(), missing.to_string()),
            (127, "exec: /nowhere: No such file or directory".into())
        );
        assert_eq!(children().len(), 0);
        assert!(matches!(pool.spawn(["a\0b"]), Err(Error::Inside(_))));
        assert!(matches!(pool.spawn([] as [&str; 0]), Err(Error::Option(..))));
        assert_eq!(children().len(), 0);
    });
}

#[test]
fn an_empty_pool_makes_one_when_it_is_wanted() {
    as_each_caller("an_empty_pool_makes_one_when_it_is_wanted", || {
        let pool = pool(&template(), 0);
        assert_eq!((pool.waiting(), said(&pool, "echo one")), (0, "one\n".into()));
        pool.fill().expect("fill");
        assert_eq!(pool.waiting(), 0);
    });
}
