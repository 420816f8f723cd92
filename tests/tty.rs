//! On a terminal, with an interactive shell inside: `launch`, `launch --tty` and `launch-init` each hand it on as if
//! they were not there; and what is inside cannot type into the terminal outside.

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use support::session::Session;
use support::{
    Caller, DEADLINE, Running, Talk, callers, code, code_and_stderr, processes_with, program, public_folder,
    run, stdout_of, text, until,
};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";

/// A link by which the program is init alone.
static INIT: LazyLock<PathBuf> = LazyLock::new(|| {
    // In the folder that goes when this process does.
    let link = program().with_file_name("launch-init");
    symlink(program(), &link).expect("symlink");
    link
});

/// What stands between the terminal and the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `launch --`
    Launch,
    /// `launch --tty --`
    Tty,
    /// `launch-init --`
    Init,
}

const WAYS: [Way; 3] = [Way::Launch, Way::Tty, Way::Init];

impl Way {
    /// `BEFORE… launch … -- COMMAND…`
    fn words(self, before: &[&str], command: &[&str]) -> Vec<String> {
        let init = INIT.display().to_string();
        let program = program().display().to_string();
        let program: &[&str] = match self {
            Way::Launch => &[&program, "--"],
            Way::Tty => &[&program, "--tty", "--"],
            Way::Init => &[&init, "--"],
        };
        [before, program, command].concat().into_iter().map(String::from).collect()
    }

    /// `launch … OPTIONS… -- COMMAND…`
    fn with(self, options: &[&str], command: &[&str]) -> Vec<String> {
        let mut words = self.words(&[], command);
        let end = words.iter().position(|word| word == "--").expect("an end of the options");
        words.splice(end..end, options.iter().copied().map(String::from));
        words
    }
}

/// A real interactive shell. Its prompt is `inside> `, by the environment.
const SHELL: [&str; 4] = ["bash", "--norc", "--noprofile", "-i"];

impl Session {
    /// An interactive shell by this way, at its prompt. It echoes what is typed.
    #[track_caller]
    fn shell(caller: Caller, way: Way) -> Self {
        let mut session = Self::start_with("echo", caller, &way.words(&[], &SHELL));
        session.shows("inside> ");
        session
    }

    /// `stty ARGUMENTS…` of the terminal, by a process that has nothing to do with the session.
    #[track_caller]
    fn stty(&self, arguments: &[&str]) -> String {
        stdout_of(Command::new("stty").args(["-F", &self.name]).args(arguments))
    }

    /// Whether it is raw: it makes no lines, no echo and no signals of what is typed.
    #[track_caller]
    fn is_raw(&self) -> bool {
        let settings = self.stty(&["-a"]);
        let has = |setting: &str| settings.split([' ', '\n', ';']).any(|word| word == setting);
        let raw = ["-icanon", "-isig", "-opost", "-icrnl"].map(has);
        let cooked = ["icanon", "isig", "opost", "icrnl"].map(has);
        assert!(raw.iter().zip(cooked).all(|(raw, cooked)| *raw != cooked), "{settings}");
        // Whole, in between only for the time of one call.
        raw == [true; 4]
    }

    #[track_caller]
    fn until_raw(&self, raw: bool) {
        until("the terminal's mode has changed", || (self.is_raw() == raw).then_some(()));
    }
}

/// Every way, by every caller.
fn each(mut test: impl FnMut(Caller, Way)) {
    for caller in callers() {
        WAYS.into_iter().for_each(|way| test(caller, way));
    }
}

/// A job that is in the foreground by the time it shows `on 2.`; what is typed for it does not have that text.
const SLEEP: &str = "sh -c 'echo on $((1+1)).; exec sleep 100'\n";
const CAT: &str = "sh -c 'echo on $((1+1)).; exec cat'\n";

/// Leaves an interactive shell whose last command succeeded.
#[track_caller]
fn leaves(mut session: Session) {
    session.types("exit 7\n");
    let (_, status) = session.ends();
    assert_eq!(code(status), 7);
}

#[test]
fn at_the_prompt_of_a_shell_ctrl_c_drops_the_line_and_nothing_else() {
    each(|caller, way| {
        let mut session = Session::shell(caller, way);
        session.types("echo never $((1+1)).");
        session.shows("never $((1+1)).");
        // While it still works on a key, bash sees a signal only at the next key.
        until("the shell waits for a key", || {
            has(&session.marker, |process| process.command == SHELL.join(" ") && process.state == "S")
        });
        session.types(CTRL_C);
        session.shows("inside> ");
        session.types("echo code $?.$((2+3)).\n");
        let before = session.shows("code 130.5.");
        assert!(!before.contains("never 2."), "{before}");
        leaves(session);
    });
}

#[test]
fn ctrl_c_ends_the_shells_job_and_not_the_shell() {
    each(|caller, way| {
        let mut session = Session::shell(caller, way);
        session.types(SLEEP);
        session.shows("on 2.");
        session.types(CTRL_C);
        session.shows("inside> ");
        session.types("echo code $?.$((2+3)).\n");
        session.shows("code 130.5.");
        leaves(session);
    });
}

#[test]
fn ctrl_z_stops_the_shells_job_and_fg_and_bg_go_on_with_it() {
    each(|caller, way| {
        let mut session = Session::shell(caller, way);
        session.types(SLEEP);
        session.shows("on 2.");
        session.types(CTRL_Z);
        session.shows("Stopped");
        session.shows("inside> ");
        session.types("echo stopped $(jobs -s | wc -l) running $(jobs -r | wc -l).\n");
        session.shows("stopped 1 running 0.");
        session.types("bg\n");
        session.shows("inside> ");
        session.types("echo stopped $(jobs -s | wc -l) running $(jobs -r | wc -l).\n");
        session.shows("stopped 0 running 1.");
        session.types("fg\n");
        // Until then the shell is, and would drop what is typed.
        until("the job is in the foreground", || {
            has(&session.marker, |process| process.command == "sleep 100" && process.is_in_foreground)
        });
        session.types(CTRL_C);
        session.shows("inside> ");
        session.types("echo code $?.$((2+4)).\n");
        session.shows("code 130.6.");
        leaves(session);
    });
}

/// What /proc tells of a process.
struct Process {
    command: String,
    state: String,
    /// Whether its group is the foreground one of its terminal.
    is_in_foreground: bool,
}

/// Whether such a process is among those with this marker.
fn has(marker: &str, is_wanted: impl Fn(&Process) -> bool) -> Option<()> {
    (count(marker, is_wanted) > 0).then_some(())
}

/// How many such processes there are among those with this marker.
fn count(marker: &str, is_wanted: impl Fn(&Process) -> bool) -> usize {
    let process = |pid| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The state, ppid, pgrp, session, tty_nr, tpgid; see proc(5).
        let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
        let is_in_foreground = fields[2] == fields[5];
        Some(Process {
            command: command.trim_end().to_owned(),
            state: fields[0].to_owned(),
            is_in_foreground,
        })
    };
    processes_with(marker).into_iter().filter_map(process).filter(is_wanted).count()
}

#[test]
fn a_job_that_reads_goes_on_reading_after_ctrl_z_and_fg() {
    each(|caller, way| {
        let mut session = Session::shell(caller, way);
        session.types(CAT);
        session.shows("on 2.");
        session.types("one\n");
        // The terminal's echo, and what cat(1) writes.
        session.shows("one\r\none\r\n");
        session.types(CTRL_Z);
        session.shows("Stopped");
        session.shows("inside> ");
        session.types("fg\n");
        session.shows("exec cat");
        session.types("two\n");
        session.shows("two\r\n");
        session.shows("two\r\n");
        session.types(CTRL_D);
        session.shows("inside> ");
        session.types("echo code $?.$((2+3)).\n");
        session.shows("code 0.5.");
        leaves(session);
    });
}

#[test]
fn the_window_has_the_same_size_inside_and_a_change_is_told() {
    each(|caller, way| {
        let mut session = Session::shell(caller, way);
        session.types("stty size\n");
        session.shows("40 100\r\n");
        session.types(
            "sh -c 'trap \"stty size; exit\" WINCH; echo on $((1+1)).; while :; do sleep 0.01; done'\n",
        );
        session.shows("on 2.");
        // One number: for two of them stty(1) makes two changes.
        session.stty(&["rows", "33"]);
        session.shows("33 100\r\n");
        session.shows("inside> ");
        leaves(session);
    });
}

#[test]
fn when_the_terminal_hangs_up_everything_inside_ends() {
    each(|caller, way| {
        let mut session = Session::shell(caller, way);
        // One in the background, one in another session, one in the foreground.
        session.types("sleep 100 & setsid sleep 100 &\n");
        session.shows("inside> ");
        session.types(SLEEP);
        session.shows("on 2.");
        // The launcher or init, the shell, and the three.
        until("all of them run", || {
            let sleeps = |process: &Process| process.command == "sleep 100";
            (count(&session.marker, sleeps) == 3 && count(&session.marker, |_| true) >= 5).then_some(())
        });
        let Session { terminal, running, marker, .. } = &mut session;
        // Closes our side: the terminal is gone.
        *terminal = File::open("/dev/null").expect("/dev/null");
        let status = running.wait();
        // The shell dies of the SIGHUP that it gets.
        assert_eq!(code(status), 129, "{way:?}");
        assert_eq!(processes_with(marker), [0; 0], "{way:?}");
    });
}

#[test]
fn launch_init_stops_with_its_workload_and_the_calling_shells_fg_and_bg_go_on_with_both() {
    for caller in callers() {
        let mut session = Session::start(caller, &SHELL);
        session.shows("inside> ");
        let init = Way::Init.words(&[], &[]).join(" ");
        // It counts how often it is continued. A shell that waits for a child in the background can miss a signal just before it does.
        let script = "n=0; trap 'n=$((n+1)); echo continued $n.' CONT; echo on $((1+1)).; \
                      while :; do sleep 0.01; done";
        session.types(&format!("{init} bash -c \"{}\"\n", script.replace('$', "\\$")));
        session.shows("on 2.");
        for n in 1..=3 {
            session.types(CTRL_Z);
            session.shows("Stopped");
            session.shows("inside> ");
            session.types("echo stopped $(jobs -s | wc -l).\n");
            session.shows("stopped 1.");
            session.types(if n == 2 { "bg\n" } else { "fg\n" });
            session.shows(&format!("continued {n}."));
            if n == 2 {
                session.types("echo running $(jobs -r | wc -l).\n");
                session.shows("running 1.");
                session.types("fg\n");
                // Not the prompt's owner any more.
                until("the shell is in the background", || {
                    has(&session.marker, |process| {
                        process.command == SHELL.join(" ") && !process.is_in_foreground
                    })
                });
            }
        }
        session.types(CTRL_C);
        session.shows("inside> ");
        session.types("echo code $?.$((2+3)).\n");
        session.shows("code 130.5.");
        leaves(session);
    }
}

#[test]
fn each_run_that_reads_gets_the_terminal() {
    for caller in callers() {
        for way in [Way::Launch, Way::Init] {
            let script = "echo run $((1+1)).; read -r line; echo got $line $((1+2)).; exit 7";
            let words = way.with(&["--restart", "on-failure:2"], &["sh", "-c", script]);
            let mut session = Session::start_with("echo", caller, &words);
            for line in ["one", "two", "three"] {
                session.shows("run 2.");
                session.types(&format!("{line}\n"));
                session.shows(&format!("got {line} 3."));
            }
            let (_, status) = session.ends();
            assert_eq!(code(status), 7, "{way:?}");
        }
    }
}

#[test]
fn ctrl_c_while_the_next_run_is_waited_for_ends_it_all() {
    for caller in callers() {
        for way in [Way::Launch, Way::Init] {
            // The fifth of them waits for more than a second.
            let script = "read -r line; echo got $line $((1+2)).; exit 7";
            let words = way.with(&["--restart", "always"], &["sh", "-c", script]);
            let mut session = Session::start_with("echo", caller, &words);
            for line in ["one", "two", "three", "four", "five"] {
                session.types(&format!("{line}\n"));
                session.shows(&format!("got {line} 3."));
            }
            until("who started it has the terminal again", || {
                has(&session.marker, |process| {
                    process.is_in_foreground && process.command.contains("--restart")
                })
            });
            session.types(CTRL_C);
            let (_, status) = session.ends();
            assert_eq!(code(status), 7, "{way:?}");
        }
    }
}

/// `launch --tty -- COMMAND…` on a terminal.
fn tty(caller: Caller, command: &[&str]) -> Session {
    Session::start(caller, &Way::Tty.words(&[], command))
}

#[test]
fn with_tty_the_terminal_is_raw_while_it_runs_and_as_before_afterwards() {
    for caller in callers() {
        for (end, expected) in [("exit 7", 7), ("kill -9 $$", 137), ("setsid sleep 100 & exit 0", 0)] {
            // The shell around it leads the session, and keeps the terminal in use.
            let script = "stty -g; \"$@\"; echo code $?.; stty -g";
            let inside = format!("echo on.; read line; {end}");
            let words = Way::Tty.words(&["sh", "-c", script, "sh"], &["sh", "-c", &inside]);
            let mut session = Session::start(caller, &words);
            let before = session.shows("\r\n");
            session.shows("on.");
            assert!(session.is_raw());
            session.types("\r");
            session.shows(&format!("code {expected}.\r\n"));
            assert_eq!(session.shows("\r\n"), before);
            assert_eq!(code(session.ends().1), 0);
        }
    }
}

#[test]
fn with_tty_the_terminal_is_as_before_when_nothing_could_be_run() {
    for caller in callers() {
        for (command, expected) in [("/nowhere", 127), ("/", 126)] {
            let script = "stty -g; \"$@\" 2>/dev/null; echo code $?.; stty -g";
            let words = Way::Tty.words(&["sh", "-c", script, "sh"], &[command]);
            let mut session = Session::start(caller, &words);
            let before = session.shows("\r\n");
            session.shows(&format!("code {expected}.\r\n"));
            assert_eq!(session.shows("\r\n"), before);
            assert_eq!(code(session.ends().1), 0);
        }
    }
}

#[test]
fn with_tty_the_terminal_is_as_before_when_a_signal_to_the_launcher_ended_it() {
    for caller in callers() {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1] {
            let mut session = tty(caller, &["sh", "-c", "ulimit -c 0; echo on.; exec sleep 100"]);
            // Keeps the terminal in use.
            let _other = File::open(&session.name).expect("the terminal");
            session.shows("on.");
            assert!(session.is_raw());
            session.running.signal(signal);
            assert_eq!(code(session.running.wait()), 128 + signal as i32);
            assert!(!session.is_raw(), "{signal}");
        }
    }
}

#[test]
fn with_tty_the_terminal_is_as_before_while_the_workload_is_stopped_and_raw_when_it_goes_on() {
    for caller in callers() {
        // A shell that leaves the terminal's mode alone.
        let mut session = Session::start(caller, &["bash", "--norc", "--noprofile", "--noediting", "-i"]);
        session.shows("inside> ");
        let before = session.stty(&["-g"]);
        let script = "echo on $((1+1)).; kill -STOP $$; echo goes on $((1+1)).; read line; exit 3";
        session.types(&format!("{} sh -c '{script}'\n", Way::Tty.words(&[], &[]).join(" ")));
        // What was written before it stopped is seen before.
        session.shows("on 2.");
        session.shows("Stopped");
        session.shows("inside> ");
        assert_eq!(session.stty(&["-g"]), before);
        session.types("fg\n");
        session.shows("goes on 2.");
        session.until_raw(true);
        session.types("\r");
        session.shows("inside> ");
        assert_eq!(session.stty(&["-g"]), before);
        session.types("echo code $?.\n");
        session.shows("code 3.");
        leaves(session);
    }
}

#[test]
fn with_tty_the_terminal_outside_is_not_there_inside() {
    for caller in callers() {
        // The terminal of this process (proc(5), stat, tty_nr), the names of all, and what it has open.
        let script = "set -- $(cat /proc/$$/stat); echo $7; tty; echo $(ls /dev/pts); \
                      for fd in /proc/$$/fd/*; do readlink $fd; done; \
                      [ -e NAME ] && echo there; echo to the terminal >/dev/tty; exit 0";
        let mut session = Session::start(caller, &SHELL);
        session.shows("inside> ");
        let script = script.replace("NAME", &session.name);
        session.types(&format!(
            "echo the test is this $((1+1)).; {} sh -c '{script}'; exit 7\n",
            Way::Tty.words(&[], &[]).join(" ")
        ));
        session.shows("is this 2.\r\n");
        let (shown, status) = session.ends();
        // Major number 136, minor number 0: the first terminal of a devpts instance.
        let expected = [
            &(136 << 8).to_string(),
            "/dev/pts/0",
            "0 ptmx",
            "/dev/pts/0",
            "/dev/pts/0",
            "/dev/pts/0",
            "to the terminal",
            "exit",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
        assert_eq!(code(status), 7);
    }
}

#[test]
fn with_tty_a_health_check_has_no_terminal() {
    for caller in callers() {
        let check = "echo leaked >/dev/tty; touch /tmp/checked";
        let script = "while [ ! -e /tmp/checked ]; do sleep 0.02; done; echo done $((1+1)).";
        let options = ["--health-cmd", check, "--health-interval", "10ms"];
        let words = Way::Tty.with(&options, &["sh", "-c", script]);
        let (shown, status) = Session::start(caller, &words).ends();
        assert_eq!((shown.trim(), code(status)), ("done 2.", 0));
    }
}

#[test]
fn a_job_that_went_on_in_the_background_can_read_the_terminal_after_fg() {
    for caller in callers() {
        for way in [Way::Launch, Way::Init] {
            let mut session = Session::start(caller, &SHELL);
            session.shows("inside> ");
            // It reads when the pipe is written to: not before it is in the foreground again. Until then it forks
            // nothing: a shell that is stopped within vfork(2) never gets to stop itself.
            let folder = public_folder();
            let file = folder.path().join("now");
            nix::unistd::mkfifo(&file, Mode::from_bits_truncate(0o666)).expect("mkfifo");
            fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("chmod");
            let script =
                format!("echo on $((1+1)).; read -r _ < {}; read -r line; echo got $line.", file.display());
            session.types(&format!("{} sh -c '{script}'\n", way.words(&[], &[]).join(" ")));
            session.shows("on 2.");
            session.types(CTRL_Z);
            session.shows("Stopped");
            session.shows("inside> ");
            session.types("bg\n");
            session.shows("inside> ");
            session.types("echo running $(jobs -r | wc -l).\n");
            session.shows("running 1.");
            session.types("fg\n");
            until("the shell is in the background", || {
                has(&session.marker, |process| {
                    process.command == SHELL.join(" ") && !process.is_in_foreground
                })
            });
            fs::write(&file, "").expect("write");
            session.types("a line\n");
            session.shows("got a line.");
            session.shows("inside> ");
            leaves(session);
        }
    }
}

#[test]
fn with_tty_what_is_typed_into_the_terminal_inside_does_not_come_out_of_the_one_outside() {
    for caller in callers() {
        // A shell outside reads what is left on the terminal.
        let mut session = Session::start(caller, &SHELL);
        session.shows("inside> ");
        let inject = "for (split //, \"echo injected\\n\") { ioctl(STDIN, 0x5412, $_) }";
        session.types(&format!(
            "{} perl -e '{inject}'; echo next $((1+1)).; exit 5\n",
            Way::Tty.words(&[], &[]).join(" ")
        ));
        session.shows("next 2.");
        let (rest, status) = session.ends();
        assert!(!rest.contains("injected"), "{rest}");
        assert_eq!(code(status), 5);
    }
}

#[test]
fn with_tty_a_pipe_may_be_stdin_and_stdout() {
    for caller in callers() {
        let inside =
            "stty -echo; echo ready; while read -r line; do echo \"got $line\"; done; echo end; exit 4";
        let mut talk = Talk::start(&mut caller.launch(["--tty", "--", "sh", "-c", inside]));
        assert_eq!(talk.hear().as_deref(), Some("ready"));
        talk.say("one");
        assert_eq!(talk.hear().as_deref(), Some("got one"));
        talk.say("two");
        assert_eq!(talk.hear().as_deref(), Some("got two"));
        // The end of the pipe is the end of the terminal's input.
        let (lines, status) = talk.end();
        assert_eq!((lines, code(status)), (vec!["end".to_owned()], 4));
    }
}

/// 1 MiB in which every byte occurs.
fn megabyte() -> Vec<u8> {
    (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn with_tty_a_megabyte_comes_through_both_ways_unharmed() {
    for caller in callers() {
        let inside = "stty raw -echo; echo ready; exec head -c 1048576";
        let mut command = caller.launch(["--tty", "--", "sh", "-c", inside]);
        let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut stdin = running.child().stdin.take().expect("stdin");
        let mut stdout = running.child().stdout.take().expect("stdout");
        let (done, back) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut ready = [0; 6];
            stdout.read_exact(&mut ready).expect("read");
            done.send(ready.to_vec()).expect("send");
            let mut all = Vec::new();
            stdout.read_to_end(&mut all).expect("read");
            done.send(all)
        });
        assert_eq!(back.recv_timeout(DEADLINE).expect("ready"), b"ready\n");
        let sent = megabyte();
        let copy = sent.clone();
        // It stays open: its end would be a byte more.
        let writer = std::thread::spawn(move || stdin.write_all(&copy).map(|()| stdin));
        let came = back.recv_timeout(DEADLINE).expect("all of it before the deadline");
        assert!(came == sent, "{} bytes, of which {} differ", came.len(), differing(&came, &sent));
        assert_eq!(code(running.wait()), 0);
        writer.join().expect("the writer").expect("write");
    }
}

fn differing(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).filter(|(a, b)| a != b).count()
}

#[test]
fn with_tty_a_megabyte_of_lines_arrives_with_carriage_returns_and_to_the_last_byte() {
    for caller in callers() {
        // 150,000 lines of 6 digits; the workload ends at once behind them.
        let output = run(&mut caller.launch(["--tty", "--", "seq", "100000", "249999"]));
        let expected: String = (100_000..250_000).map(|n| format!("{n}\r\n")).collect();
        assert!(text(&output.stdout) == expected, "{} bytes", output.stdout.len());
        assert_eq!(code(output.status), 0);
    }
}

#[test]
fn with_tty_the_exit_codes_are_the_same() {
    for caller in callers() {
        for (script, expected) in
            [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill $$", 143)]
        {
            let output = run(&mut caller.launch(["--tty", "--", "sh", "-c", script]));
            assert_eq!(code(output.status), expected, "{script}");
            assert_eq!(
                (text(&output.stdout), text(&output.stderr)),
                (String::new(), String::new()),
                "{script}"
            );
        }
        for (arguments, expected, line) in [
            (&["--tty", "--", "/nowhere"][..], 127, "launch: exec: /nowhere: No such file or directory\n"),
            (&["--tty", "--", "/"], 126, "launch: exec: /: Permission denied\n"),
        ] {
            assert_eq!(code_and_stderr(&mut caller.launch(arguments)), (expected, line.into()));
        }
        let output = run(&mut caller.launch(["--tty", "--timeout", "200ms", "--", "sleep", "100"]));
        assert_eq!(code(output.status), 124);
    }
}

#[cfg(target_arch = "x86_64")]
const IOCTL: u32 = 16;
#[cfg(target_arch = "aarch64")]
const IOCTL: u32 = 29;

/// Types `x` by TIOCSTI and pastes by TIOCLINUX, each by number and with high bits that the kernel looks not at;
/// writes the errno of each, 0 for none.
fn typing() -> String {
    format!(
        "for my $request (0x5412, 0x541c) {{ my $x = \"x\"; \
         $! = 0; ioctl(STDIN, $request, $x); print $!+0, \" \"; \
         for my $high (0, 1 << 32, 0xdead << 40) {{ $! = 0; syscall({IOCTL}, 0, $high | $request, $x); print $!+0, \" \"; }} }} \
         print \"all.\\n\";"
    )
}

#[test]
fn under_launch_nobody_types_into_the_shared_terminal() {
    for caller in callers() {
        let outside = {
            let mut session = Session::start(caller, &["perl", "-e", &typing()]);
            session.shows("all.")
        };
        let eperm = libc::EPERM.to_string();
        // EIO where dev.tty.legacy_tiocsti is 0; ENOTTY, since it is no console.
        assert!(!outside.split_whitespace().any(|errno| errno == eperm), "{outside}");
        for (options, program) in [(&[][..], "perl"), (&["--keep-id"], "perl")] {
            let mut words = vec![support::program().display().to_string()];
            words.extend(options.iter().chain(&["--", program, "-e", &typing()]).map(ToString::to_string));
            let mut session = Session::start(caller, &words);
            assert_eq!(session.shows("all."), format!("{eperm} ").repeat(8));
            let (_, status) = session.ends();
            assert_eq!((code(status), status.signal()), (0, None));
        }
    }
}

#[test]
fn what_is_forbidden_on_the_terminal_stays_so_for_those_whom_the_workload_starts() {
    for caller in callers() {
        let inside = "setsid -w sh -c 'perl -e \"$0\"' \"$0\"";
        let words = Way::Launch.words(&[], &["sh", "-c", inside, &typing()]);
        let mut session = Session::start(caller, &words);
        assert_eq!(session.shows("all."), format!("{} ", libc::EPERM).repeat(8));
        assert_eq!(code(session.ends().1), 0);
    }
}
