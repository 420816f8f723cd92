//! Sandboxes that are made ahead: what all of a pool have in common, and what each gets when it is given out.
//!
//! Values only. pool/ makes them.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use launch_init::handoff::{FileSystem, Group, Limit, Overlay, SignalState, Step, Task, Upper};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::checks::check_variables;
use super::environment::{Variables, environment};
use super::steps::{Start, absolute};
use super::{Caller, Options, Plan, Volatile, plan};
use crate::error::Error;

/// What a task has of the template, where it does not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defaults {
    variables: Variables,
    start: Start,
    timeout: Option<Duration>,
}

impl Defaults {
    /// Those of this template, with a path in it made absolute, as in [`common`].
    ///
    /// # Errors
    /// [`Error::WorkingDirectory`]
    pub fn of(template: &Options, caller: &Caller) -> Result<Self, Error> {
        let start = match Start::of(template) {
            Start::In(directory) => Start::In(absolute(&directory, caller)?),
            start => start,
        };
        Ok(Self { variables: Variables::of(template), start, timeout: template.timeout })
    }
}

/// What is asked for when a sandbox is given out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// CMD and its arguments.
    pub command: Vec<OsString>,
    /// Whether it starts without the caller's environment, and without what the template sets.
    pub clear_environment: bool,
    /// Removed from the environment.
    pub unset: Vec<OsString>,
    /// Set in it, after that.
    pub set: Vec<(OsString, OsString)>,
    /// None: the template's, or else the caller's.
    pub directory: Option<PathBuf>,
    /// None: the template's.
    pub timeout: Option<Duration>,
}

/// What a task depends on besides, as it is when the sandbox is given out.
#[derive(Debug, Clone)]
pub struct Present {
    /// The caller's directory, as [`Caller`] has it.
    pub directory: Result<Option<PathBuf>, Errno>,
    /// Its device and inode number.
    pub here: Option<(u64, u64)>,
    /// The environment, NAME=VALUE each.
    pub environment: Vec<OsString>,
    /// The signal state that the workload gets.
    pub signals: SignalState,
    /// Which of stdin, stdout and stderr there are.
    pub stdio: [bool; 3],
}

/// What the sandboxes of a pool have in common. Every path in it is absolute: the caller may go elsewhere before the last
/// one of them is made.
///
/// # Errors
/// As [`plan`], and [`Error::Option`] for what only one sandbox can have.
pub fn common(template: &Options, caller: &Caller) -> Result<Plan, Error> {
    check(template)?;
    // The directory is the task's. `/` is always there, and the step is left out.
    let stand_in = Options { command: vec!["-".into()], directory: Some("/".into()), ..template.clone() };
    let mut plan = plan(&stand_in, caller)?;
    plan.init.steps.retain(|step| !matches!(step, Step::ChangeDirectory(_)));
    plan.init.workload.command.clear();
    plan.init.workload.environment.clear();
    plan.init.ahead = true;
    // Else all that wait would do so on the processor on which they were made, and start there.
    plan.init.is_on_one_processor = false;
    Ok(plan)
}

fn check(template: &Options) -> Result<(), Error> {
    let wrong = |what: &str, reason: &str| Err(Error::Option(what.into(), format!("{reason}, in a pool")));
    if !template.command.is_empty() {
        return wrong("CMD", "is named for each sandbox when it is given out, and not before");
    }
    if !template.descriptors().is_empty() {
        return wrong("descriptors", "would be those of the caller at whatever moment a sandbox is made");
    }
    if matches!(template.volatile, Some(Volatile::Keep(_))) {
        return wrong("--keep", "is one sandbox's at a time");
    }
    if template.files.iter().any(keeps_changes) {
        return wrong("--overlay", "with upper= is one sandbox's at a time");
    }
    if template.group == Group::Callers {
        return wrong("process group", "the caller's gets signals that are not meant for who comes later");
    }
    if template.dies_with_launcher {
        return wrong("dies_with_launcher", "no thread is the one that launches");
    }
    Ok(())
}

/// Whether a step mounts an overlay whose changes go to directories of the caller's: two that share them are undefined, as the
/// kernel has it.
fn keeps_changes(step: &Step) -> bool {
    matches!(step, Step::Mount { what: FileSystem::Overlay(Overlay { upper: Upper::Kept { .. }, .. }), .. })
}

/// What a sandbox is told when it is given out.
///
/// # Errors
/// [`Error::Option`], [`Error::WorkingDirectory`]
pub fn task(defaults: &Defaults, request: &Request, present: &Present) -> Result<Task, Error> {
    if request.command.is_empty() {
        return Err(Error::Option("CMD".into(), "no command".into()));
    }
    check_variables(&request.set)?;
    let start = match &request.directory {
        Some(own) => Start::In(own.into()).step(&present.directory)?,
        None => defaults.start.step(&present.directory)?,
    };
    Ok(Task {
        command: request.command.clone(),
        environment: environment(&variables(&defaults.variables, request), &present.environment),
        signals: present.signals,
        here: present.here.filter(|_| matches!(start, Some(Step::KeepDirectory(_)))),
        directory: start,
        timeout: request.timeout.or(defaults.timeout),
        stdio: present.stdio,
    })
}

/// First the template's changes, then the request's.
fn variables(templates: &Variables, request: &Request) -> Variables {
    let Request { clear_environment, unset, set, .. } = request;
    if *clear_environment {
        return Variables { clear: true, unset: Vec::new(), set: set.clone(), ..*templates };
    }
    let stays = |(key, _): &&(OsString, OsString)| !unset.contains(key);
    Variables {
        set: templates.set.iter().filter(stays).chain(set).cloned().collect(),
        unset: templates.unset.iter().chain(unset).cloned().collect(),
        ..*templates
    }
}

/// What has to be set in a sandbox that is made now, so that its workload has the limits that the pool was made with:
/// `then` those, `now` the caller's now, of the same resources in the same order. What the caller has given up for good it
/// cannot give to others. `named` are the template's own.
pub fn limits(then: &[Limit], now: &[Limit], named: &[Limit]) -> Vec<Limit> {
    let is_named = |limit: &Limit| named.iter().any(|other| other.resource == limit.resource);
    then.iter()
        .zip(now)
        .filter(|(then, now)| then != now && !is_named(then))
        .map(|(then, now)| Limit {
            resource: then.resource,
            soft: then.soft.min(now.hard),
            hard: then.hard.min(now.hard),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use launch_init::handoff::Source;

    use super::super::{Identity, RootDirectory};
    use super::*;
    use crate::{seccomp, subids};

    fn caller() -> Caller {
        Caller {
            uid: 1000,
            gid: 100,
            capabilities: 0,
            subordinate_ids: subids::Files::default(),
            directory: Ok(Some("/then".into())),
            environment: vec!["THEN=1".into()],
            terminal: None,
            signals: SignalState { mask: 1, ..SignalState::default() },
            kernel: (6, 18),
            seccomp: seccomp::Choice::Default,
            log_level: 0,
            tree: None,
        }
    }

    fn present() -> Present {
        Present {
            directory: Ok(Some("/now".into())),
            here: Some((1, 2)),
            environment: ["PATH=/bin", "A=now", "B=now"].map(Into::into).into(),
            signals: SignalState { mask: 7, ..SignalState::default() },
            stdio: [true, true, false],
        }
    }

    fn request() -> Request {
        Request { command: vec!["x".into()], ..Request::default() }
    }

    fn bind(source: &str) -> Step {
        let source = Source::Path(source.into());
        let what = FileSystem::Bind { source, read_only: true, devices: false, optional: false };
        Step::Mount { what, at: "/b".into() }
    }

    #[test]
    fn what_is_common_is_the_plan_of_a_cold_start_but_for_what_the_task_has() {
        let template = Options { files: vec![bind("here")], umask: Some(0o27), ..Options::default() };
        let ahead = common(&template, &caller()).unwrap();
        let cold = plan(&Options { command: vec!["x".into()], ..template.clone() }, &caller()).unwrap();
        assert_eq!(ahead.init.steps, cold.init.steps[..cold.init.steps.len() - 1]);
        assert!(ahead.init.steps.contains(&bind("/then/here")), "{:?}", ahead.init.steps);
        let mut expected = cold.clone();
        expected.init.steps = ahead.init.steps.clone();
        expected.init.workload.command.clear();
        expected.init.workload.environment.clear();
        expected.init.ahead = true;
        expected.init.is_on_one_processor = false;
        assert_eq!(ahead, expected);
    }

    #[test]
    fn a_task_has_what_a_cold_start_would_have_at_that_moment() {
        let cases = [
            Options::default(),
            Options { files: vec![bind("/a")], ..Options::default() },
            Options { read_only: true, ..Options::default() },
            Options { directory: Some("/there".into()), ..Options::default() },
            Options {
                root: Some(RootDirectory { path: "/r".into(), writable: false }),
                ..Options::default()
            },
            Options { clear_environment: true, identity: Identity::Keep, ..Options::default() },
            Options { set: vec![("A".into(), "set".into())], unset: vec!["B".into()], ..Options::default() },
        ];
        for template in cases {
            let now = Caller {
                directory: present().directory,
                environment: present().environment,
                signals: present().signals,
                ..caller()
            };
            let cold = plan(&Options { command: vec!["x".into()], ..template.clone() }, &now).unwrap().init;
            let defaults = Defaults::of(&template, &caller()).unwrap();
            let task = task(&defaults, &request(), &present()).unwrap();
            assert_eq!(task.command, cold.workload.command);
            assert_eq!(task.environment, cold.workload.environment, "{template:?}");
            assert_eq!(task.signals, cold.workload.signals);
            assert_eq!(task.directory.as_ref(), cold.steps.last(), "{template:?}");
            assert_eq!(task.here.is_some(), matches!(task.directory, Some(Step::KeepDirectory(_))));
        }
    }

    #[test]
    fn a_request_changes_the_templates_environment_and_directory() {
        let template = Options {
            set: vec![("A".into(), "template".into()), ("C".into(), "template".into())],
            unset: vec!["B".into()],
            directory: Some("template".into()),
            timeout: Some(Duration::from_secs(1)),
            ..Options::default()
        };
        let defaults = Defaults::of(&template, &caller()).unwrap();
        let of = |request: &Request| task(&defaults, request, &present()).unwrap();
        let plain = of(&request());
        assert_eq!(plain.environment, ["PATH=/bin", "A=template", "C=template"]);
        assert_eq!(plain.directory, Some(Step::ChangeDirectory("/then/template".into())));
        assert_eq!(plain.timeout, Some(Duration::from_secs(1)));
        let changed = of(&Request {
            set: vec![("B".into(), "request".into()), ("A".into(), "request".into())],
            unset: vec!["C".into()],
            directory: Some("sub".into()),
            timeout: Some(Duration::from_secs(2)),
            ..request()
        });
        assert_eq!(changed.environment, ["PATH=/bin", "B=request", "A=request"]);
        assert_eq!(changed.directory, Some(Step::ChangeDirectory("/now/sub".into())));
        assert_eq!(changed.timeout, Some(Duration::from_secs(2)));
        let cleared =
            of(&Request { clear_environment: true, set: vec![("D".into(), "1".into())], ..request() });
        assert_eq!(cleared.environment, ["D=1"]);
    }

    #[test]
    fn what_only_one_sandbox_can_have_is_refused() {
        let upper = Upper::Kept { upper: "/u".into(), work: "/w".into() };
        let what = FileSystem::Overlay(Overlay { lower: vec!["/l".into()], upper, optional: false });
        let overlay = Step::Mount { what, at: "/o".into() };
        let cases = [
            ("CMD", Options { command: vec!["x".into()], ..Options::default() }),
            ("descriptors", Options { keep: vec![7], ..Options::default() }),
            ("--keep", Options { volatile: Some(Volatile::Keep("/k".into())), ..Options::default() }),
            ("--overlay", Options { files: vec![overlay], ..Options::default() }),
            ("process group", Options { group: Group::Callers, ..Options::default() }),
            ("dies_with_launcher", Options { dies_with_launcher: true, ..Options::default() }),
        ];
        for (what, template) in cases {
            match common(&template, &caller()) {
                Err(Error::Option(which, _)) => assert_eq!(which, what),
                other => panic!("{what}: {other:?}"),
            }
        }
        let defaults = Defaults::of(&Options::default(), &caller()).unwrap();
        let empty = task(&defaults, &Request::default(), &present());
        assert!(matches!(empty, Err(Error::Option(..))), "{empty:?}");
        let unnamed = Request { set: vec![("A=B".into(), "".into())], ..request() };
        assert!(task(&defaults, &unnamed, &present()).is_err());
    }

    #[test]
    fn limits_are_those_of_the_pools_making_as_far_as_the_caller_has_them_still() {
        let limit = |resource, soft, hard| Limit { resource, soft, hard };
        let then =
            [limit(1, 5, 10), limit(2, 5, 10), limit(3, 5, 10), limit(4, 5, 10), limit(5, 1, u64::MAX)];
        let now = [limit(1, 5, 10), limit(2, 7, 10), limit(3, 2, 4), limit(4, 1, 10), limit(5, 2, u64::MAX)];
        let expected = [limit(2, 5, 10), limit(3, 4, 4), limit(5, 1, u64::MAX)];
        assert_eq!(limits(&then, &now, &[limit(4, 0, 0)]), expected);
    }
}
