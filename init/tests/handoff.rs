//! What PID 1 makes of what a launcher leaves it: the channel, the plan, and what follows at once.

mod support;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use launch_init::exit::Outcome;
use launch_init::handoff::{
    Descriptors, Group, HEADER, Order, Plan, Probes, Report, SignalState, Workload, body_length, first_body,
};
use launch_init::supervisor::Policy;
use support::{DEADLINE, needs_root, program};

/// Executes a program as PID 1 with every signal blocked and the channel, its stdin, as descriptor 9, as a launcher does; without
/// the standard descriptors of these numbers.
const LAUNCHER: &str = r#"
    use POSIX;
    my ($program, @closed) = @ARGV;
    my $all = POSIX::SigSet->new; $all->fillset;
    sigprocmask(SIG_SETMASK, $all) or die $!;
    dup2(0, 9) or die $!;
    open STDIN, "<", "/dev/null" or die $!;
    POSIX::close($_) for @closed;
    exec { $program } "launch-init", "--handoff", 9;
"#;

/// Whether the descriptors of these numbers are /dev/null.
const ARE_NULL: &str = r#"
    my $null = (stat "/dev/null")[6];
    for my $number (@ARGV) {
        open my $descriptor, "+<&=", $number or exit 1;
        (stat $descriptor)[6] == $null or exit 2;
    }
"#;

fn plan(command: &[&str]) -> Plan {
    Plan {
        log_level: 0,
        steps: Vec::new(),
        workload: Workload {
            command: command.iter().map(Into::into).collect(),
            environment: vec!["PATH=/usr/bin:/bin".into()],
            signals: SignalState::default(),
            descriptors: Descriptors::Only(Vec::new()),
            group: Group::Own { foreground: false },
            user: None,
            parent_death_signal: None,
            capabilities: None,
            no_new_privileges: true,
            filters: Vec::new(),
            limits: Vec::new(),
            oom_score: None,
            niceness: None,
            umask: None,
        },
        policy: Policy::default(),
        probes: Probes::default(),
        report_namespaces: false,
        is_on_one_processor: false,
        ahead: false,
    }
}

/// Runs PID 1 of a namespace of its own with these bytes in its channel, and without the standard descriptors of these numbers;
/// returns what it says until its end.
fn reports(closed: &[&str], bytes: &[u8]) -> Vec<Report> {
    let (mut ours, theirs) = UnixStream::pair().expect("socketpair");
    ours.write_all(bytes).expect("write");
    ours.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "perl", "-e", LAUNCHER]).arg(program()).args(closed);
    let mut init = command.stdin(OwnedFd::from(theirs)).spawn().expect("unshare");
    // It has its end of the channel, too.
    drop(command);
    let mut said = Vec::new();
    let end = ours.read_to_end(&mut said);
    let _ = init.kill();
    init.wait().expect("wait");
    // What of ours was left unread resets the connection.
    assert!(end.is_ok() || end.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNRESET)));
    let mut reports = Vec::new();
    while let Some(body) = first_body(&said).expect("frame") {
        reports.push(Report::decode(body).expect("report"));
        let length = body_length(*said.first_chunk().expect("header")).expect("length");
        said.drain(..HEADER + length);
    }
    assert!(said.is_empty(), "{said:?}");
    reports
}

#[test]
fn an_order_that_comes_with_the_plan_is_carried_out() {
    if !needs_root("PID 1 without a launcher") {
        return;
    }
    let mut bytes = plan(&["sleep", "600"]).encode().expect("plan");
    bytes.extend(Order::Signal { signal: libc::SIGUSR1 }.encode().expect("order"));
    let reports = reports(&[], &bytes);
    assert!(matches!(reports.first(), Some(Report::Started { .. })), "{reports:?}");
    assert_eq!(reports.last(), Some(&Report::Ended(Outcome::Killed(libc::SIGUSR1))));
}

#[test]
fn a_plan_that_is_longer_than_what_is_read_at_once_comes_whole() {
    if !needs_root("PID 1 without a launcher") {
        return;
    }
    let long = "x".repeat(50_000);
    let bytes = plan(&["sh", "-c", "test ${#1} = 50000", "sh", &long]).encode().expect("plan");
    assert_eq!(reports(&[], &bytes).last(), Some(&Report::Ended(Outcome::Exited(0))));
}

#[test]
fn a_standard_descriptor_that_is_closed_is_dev_null_to_the_workload() {
    if !needs_root("PID 1 without a launcher") {
        return;
    }
    for closed in [&["0"][..], &["1"], &["0", "1", "2"]] {
        let command: Vec<_> = ["perl", "-e", ARE_NULL].iter().chain(closed).copied().collect();
        let bytes = plan(&command).encode().expect("plan");
        assert_eq!(reports(closed, &bytes).last(), Some(&Report::Ended(Outcome::Exited(0))), "{closed:?}");
    }
}

#[test]
fn a_descriptor_that_is_not_open_is_said() {
    for number in ["99", "1", "x"] {
        let output = Command::new(program()).args(["--handoff", number]).output().expect("launch-init");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{message}");
        assert!(message.contains("--handoff: not an open descriptor"), "{message}");
    }
}
