//! On a terminal: Ctrl-C and Ctrl-Z reach the workload once, and the terminal is the caller's again afterwards.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use support::{Caller, DEADLINE, Running, callers, code, program};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";

/// A program that leads a session on a terminal of its own, and what it writes there.
struct Session {
    running: Running,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// What was written and not yet looked at.
    unseen: String,
}

impl Session {
    /// `PROGRAM ARGUMENTS… launch`, as this caller. The terminal does not echo.
    fn start(caller: Caller, arguments: &[&str]) -> Self {
        let (keyboard, terminal) = terminal();
        let mut command = caller.command("setsid");
        command.args(["--ctty", "sh", "-c", "stty -echo; exec \"$@\"", "sh"]).args(arguments).arg(program());
        let copy = || terminal.try_clone().expect("dup");
        command.stdin(copy()).stdout(copy()).stderr(copy()).current_dir("/").env("PS1", "prompt> ");
        let running = Running::start(&mut command);
        // The end is seen when nobody has it open.
        drop((command, terminal));
        let screen = chunks(keyboard.try_clone().expect("dup"));
        Self { running, keyboard, screen, unseen: String::new() }
    }

    /// `sh -c SCRIPT`, in which `launch` is the program.
    fn shell(caller: Caller, shell: &str, script: &str) -> Self {
        let script = format!("launch() {{ \"$0\" \"$@\"; }}; {script}");
        Self::start(caller, &[shell, "-c", &script])
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("write to the terminal");
    }

    /// Waits until this is on the screen; returns what stood before it.
    #[track_caller]
    fn shows(&mut self, expected: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some((before, rest)) = self.unseen.split_once(expected) {
                let (before, rest) = (before.to_owned(), rest.to_owned());
                self.unseen = rest;
                return before;
            }
            match self.screen.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.unseen.push_str(&String::from_utf8_lossy(&chunk)),
                Err(_) => panic!("not on the screen: {expected:?}, but {:?}", self.unseen),
            }
        }
    }

    /// Waits for the end; returns what was still written, and the status.
    #[track_caller]
    fn ends(mut self) -> (String, ExitStatus) {
        loop {
            match self.screen.recv_timeout(DEADLINE) {
                Ok(chunk) => self.unseen.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Disconnected) => return (self.unseen, self.running.wait()),
                Err(RecvTimeoutError::Timeout) => panic!("still running, having written {:?}", self.unseen),
            }
        }
    }
}

/// Both sides of a new terminal. No other program that this one starts meanwhile inherits them, as with openpty(3).
fn terminal() -> (File, File) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let keyboard = posix_openpt(flags).expect("posix_openpt");
    grantpt(&keyboard).expect("grantpt");
    unlockpt(&keyboard).expect("unlockpt");
    let name = ptsname_r(&keyboard).expect("ptsname");
    let terminal = open(name.as_str(), flags, Mode::empty()).expect("open the terminal");
    (OwnedFd::from(keyboard).into(), terminal.into())
}

fn chunks(mut terminal: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // EIO, once nobody has the other side open.
        while let Ok(length @ 1..) = terminal.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A workload that counts its SIGINTs, and says how many they were when SIGQUIT comes.
const COUNT: &str = "sh -c 'n=0; sleep 1000 & trap \"n=\\$((n+1)); echo got \\$n.\" INT; trap \"echo total \\$n.; exit 7\" QUIT; \
                     echo ready.; while :; do wait; done'";

const TIMES: i32 = 20;

/// Each Ctrl-C is one SIGINT.
#[track_caller]
fn counts_each_ctrl_c_once(session: &mut Session) {
    session.shows("ready.");
    for n in 1..=TIMES {
        session.types(CTRL_C);
        session.shows(&format!("got {n}."));
    }
    session.types(CTRL_BACKSLASH);
    let before = session.shows(&format!("total {TIMES}."));
    assert_eq!(before.trim(), "");
}

#[test]
fn ctrl_c_reaches_a_workload_in_the_foreground_once() {
    for caller in callers() {
        // The script, in whose group the workload stays, gets the signal too.
        let script = format!("trap : INT QUIT; launch -- {COUNT}; echo code $?.");
        let mut session = Session::shell(caller, "sh", &script);
        counts_each_ctrl_c_once(&mut session);
        session.shows("code 7.");
        assert_eq!(code(session.ends().1), 0);
    }
}

#[test]
fn ctrl_c_reaches_a_workload_once_whose_launcher_leads_the_session() {
    for caller in callers() {
        let mut session = Session::shell(caller, "sh", &format!("exec \"$0\" -- {COUNT}"));
        counts_each_ctrl_c_once(&mut session);
        assert_eq!(code(session.ends().1), 7);
    }
}

#[test]
fn ctrl_c_reaches_a_workload_in_a_pipeline_once() {
    for caller in callers() {
        for (pipeline, codes) in [
            (format!("\"$0\" -- {COUNT} | (trap '' INT QUIT; exec cat)"), "7 0"),
            (format!(": | \"$0\" -- {COUNT}"), "0 7"),
        ] {
            // The others of the pipeline, and the shell, get the signal too.
            let script = format!("trap : INT QUIT; {pipeline}; echo codes ${{PIPESTATUS[*]}}.");
            let mut session = Session::shell(caller, "bash", &script);
            counts_each_ctrl_c_once(&mut session);
            session.shows(&format!("codes {codes}."));
        }
    }
}

#[test]
fn ctrl_c_ends_a_workload_that_does_not_catch_it() {
    for caller in callers() {
        let mut session = Session::shell(
            caller,
            "sh",
            "trap : INT; launch -- sh -c 'echo ready.; exec sleep 1000'; echo code $?.",
        );
        session.shows("ready.");
        session.types(CTRL_C);
        session.shows("code 130.");
    }
}

#[test]
fn a_ctrl_c_is_lost_at_no_moment_of_the_start() {
    for caller in callers() {
        // With a group of its own for the workload, and without.
        for stdin in ["", "</dev/null"] {
            for step in 0..60 {
                let script = format!("echo go.; exec \"$0\" -- sleep 1000 {stdin}");
                let mut session = Session::shell(caller, "sh", &script);
                session.shows("go.");
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(200) * step {
                    std::hint::spin_loop();
                }
                session.types(CTRL_C);
                // Before the launcher's first line of code nobody can keep the signal from ending the process.
                let status = session.ends().1;
                assert!(
                    status.signal() == Some(libc::SIGINT) || status.code() == Some(130),
                    "{stdin}: {status}"
                );
            }
        }
    }
}

#[test]
fn afterwards_the_callers_group_has_the_terminal_again() {
    for caller in callers() {
        for (command, code) in [
            ("launch -- true", 0),
            ("launch -- sh -c 'kill -9 $$'", 137),
            ("launch -- sh -c 'setsid sleep 1000 & sleep 1000 & exit 3'", 3),
            ("launch -- /nowhere", 127),
            ("launch -- /", 126),
            ("launch --chdir /nowhere -- true", 125),
        ] {
            let script = format!("{command}; echo code $?.; read x; echo \"read $x.\"");
            let mut session = Session::shell(caller, "sh", &script);
            session.shows(&format!("code {code}."));
            session.types("a line\n");
            session.shows("read a line.");
        }
    }
}

#[test]
fn in_an_interactive_shell_ctrl_z_gives_the_prompt_back_and_fg_goes_on() {
    for caller in callers() {
        let mut session =
            Session::start(caller, &["bash", "--norc", "--noprofile", "--noediting", "-i", "-s"]);
        session.shows("prompt> ");
        session.types("$1 -- cat; echo code $?.\n".replace("$1", &program().display().to_string()).as_str());
        session.types("one\n");
        session.shows("one\r\n");
        session.types(CTRL_Z);
        session.shows("Stopped");
        session.shows("prompt> ");
        session.types("echo $((40+2)).\n");
        session.shows("42.\r\n");
        session.types("fg\n");
        session.types("two\n");
        session.shows("two\r\n");
        session.types(CTRL_D);
        session.shows("prompt> ");
        session.types("echo code $?.\n");
        session.shows("code 0.");
        session.types("exit\n");
        assert_eq!(code(session.ends().1), 0);
    }
}

#[test]
fn ctrl_c_ends_a_script_around_launch_as_it_would_without() {
    for caller in callers() {
        let script = "trap 'echo trapped.; exit 9' INT; for i in 1 2 3; do launch -- sh -c 'echo ready.; exec sleep 1000'; done";
        let mut session = Session::shell(caller, "bash", script);
        session.shows("ready.");
        session.types(CTRL_C);
        session.shows("trapped.");
        assert_eq!(code(session.ends().1), 9);
    }
}

#[test]
fn ctrl_z_stops_nobody_where_no_shell_would_continue_it() {
    for caller in callers() {
        // The launcher leads the session: its group is an orphaned one.
        let mut session =
            Session::shell(caller, "sh", "exec \"$0\" -- sh -c 'echo ready.; read line; echo got $line.'");
        session.shows("ready.");
        session.types("\x1a");
        session.types("on\n");
        session.shows("got on.");
        assert_eq!(code(session.ends().1), 0);
    }
}
