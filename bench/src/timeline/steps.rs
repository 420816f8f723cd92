//! A trace of launches → the steps of a start, which are told apart by the system calls between them; and the medians of many.
//! Values in, values out.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use nix::libc;

use super::trace::{Event, Left, What};
use crate::stats::spread;

/// Whose step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The program that was called.
    Launcher,
    /// PID 1; before its exec, the launcher's child.
    Init,
    /// What is run; before its exec, init's child.
    Workload,
}

impl Who {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Launcher, Self::Init, Self::Workload];

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Launcher => "launcher",
            Self::Init => "init",
            Self::Workload => "workload",
        }
    }
}

/// System calls, of which any is meant.
type Calls = &'static [i64];

const EXEC: Calls = &[libc::SYS_execve, libc::SYS_execveat];
const CLONE: Calls = &[libc::SYS_clone, libc::SYS_clone3];
const SEND: Calls = &[libc::SYS_sendto, libc::SYS_sendmsg];
const WAIT: Calls = &[libc::SYS_waitid, libc::SYS_wait4];
const HOST_NAME: Calls = &[libc::SYS_sethostname];
const MOUNT: Calls = &[libc::SYS_mount, libc::SYS_move_mount];
/// The first takes one out of the bounding set.
const CAPABILITIES: Calls = &[libc::SYS_prctl];
const SECCOMP: Calls = &[libc::SYS_seccomp];
const END: Calls = &[libc::SYS_exit_group];

/// Where a step ends.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// A call begins.
    Enter(Calls),
    /// A call is over.
    Exit(Calls),
    /// The last of these calls is over, before one of those begins.
    LastExit(Calls, Calls),
    /// A call was made, and it sleeps: nothing is left to do until the others have done something.
    Sleep(Calls),
    /// It sleeps for the last time before a call; the call, if it does not sleep.
    LastSleep(Calls),
    /// It has ended.
    Ended,
}

/// The steps of each, in their order, without a gap between them.
const RULES: [(Who, &str, Until); 19] = [
    (Who::Launcher, "exec of launch", Until::Exit(EXEC)),
    (Who::Launcher, "start-up, command line, plan", Until::Enter(CLONE)),
    (Who::Launcher, "clone with six namespaces", Until::Exit(CLONE)),
    (Who::Launcher, "user and group maps, signals", Until::Enter(SEND)),
    (Who::Launcher, "plan handed over", Until::Sleep(SEND)),
    (Who::Init, "child waits for maps and plan", Until::Enter(EXEC)),
    (Who::Init, "exec of init", Until::Exit(EXEC)),
    (Who::Init, "start-up, reads the plan", Until::Enter(HOST_NAME)),
    (Who::Init, "host name, private mounts, /proc, /tmp", Until::LastExit(MOUNT, CLONE)),
    (Who::Init, "fork of the workload", Until::Sleep(CLONE)),
    (Who::Workload, "process group, signals, descriptors", Until::Enter(CAPABILITIES)),
    (Who::Workload, "drops capabilities", Until::Enter(SECCOMP)),
    (Who::Workload, "seccomp filter", Until::Exit(SECCOMP)),
    (Who::Workload, "exec of the workload", Until::Exit(EXEC)),
    (Who::Workload, "the workload, and its end", Until::Ended),
    (Who::Init, "says that it runs, reaps it", Until::Enter(END)),
    (Who::Launcher, "hears how it ended", Until::LastSleep(WAIT)),
    (Who::Init, "end of init and its namespaces", Until::Ended),
    (Who::Launcher, "reaps init, ends", Until::Ended),
];

/// A step: of one start, or the medians of many. Times are nanoseconds, those of day since the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub who: Who,
    pub title: &'static str,
    /// When it first had a processor.
    pub from: f64,
    /// When it last had one.
    pub to: f64,
    /// How long it had one.
    pub busy: f64,
    /// The system calls that began in it.
    pub calls: f64,
}

/// The steps of each start of this program that is in the trace; where one lacks a step, which.
pub fn starts(threads: &HashMap<i32, Vec<Event>>, program: &str) -> Vec<Result<Vec<Step>, &'static str>> {
    let mut found: Vec<_> = threads
        .iter()
        .flat_map(|(thread, events)| {
            let is_it = |event: &Event| matches!(&event.1, What::Exec(file) if file == program);
            events
                .iter()
                .enumerate()
                .filter(move |(_, event)| is_it(event))
                .map(|(at, event)| (event.0, *thread, at))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, thread, at)| start(threads, thread, at)).collect()
}

/// The start in which this thread executes the program with its event number `exec`.
fn start(threads: &HashMap<i32, Vec<Event>>, thread: i32, exec: usize) -> Result<Vec<Step>, &'static str> {
    let all = &threads[&thread];
    let begin = all[..exec].iter().rposition(|(_, what)| is_enter(what, EXEC)).ok_or(RULES[0].1)?;
    let launcher = &all[begin..];
    let init = child(threads, launcher).ok_or("init")?;
    let workload = child(threads, init).ok_or("the workload")?;
    let zero = launcher[0].0;
    let mut at = [0; 3];
    let steps = RULES.into_iter().map(|(who, title, until)| {
        let events = [launcher, init, workload][who as usize];
        let from = at[who as usize];
        let to = find(events, from, until).ok_or(title)?;
        at[who as usize] = to;
        Ok(step(who, title, events, (from, to), zero))
    });
    steps.collect()
}

/// The events of the first process that was made in these.
fn child<'a>(threads: &'a HashMap<i32, Vec<Event>>, events: &[Event]) -> Option<&'a [Event]> {
    let child =
        events.iter().find_map(|(_, what)| if let What::Fork(child) = what { Some(child) } else { None });
    threads.get(child?).map(Vec::as_slice)
}

fn is_enter(what: &What, calls: Calls) -> bool {
    matches!(what, What::Enter(call) if calls.contains(call))
}

fn is_exit(what: &What, calls: Calls) -> bool {
    matches!(what, What::Exit(call) if calls.contains(call))
}

/// The event with which a step ends that begins with this one.
fn find(events: &[Event], from: usize, until: Until) -> Option<usize> {
    let first = |from: usize, is_it: &dyn Fn(&What) -> bool| {
        events[from..].iter().position(|(_, what)| is_it(what)).map(|at| from + at)
    };
    let last = |to: usize, is_it: &dyn Fn(&What) -> bool| {
        events[from..to].iter().rposition(|(_, what)| is_it(what)).map(|at| from + at)
    };
    let entered = |calls| first(from, &|what| is_enter(what, calls));
    match until {
        Until::Enter(calls) => entered(calls),
        Until::Exit(calls) => first(from, &|what| is_exit(what, calls)),
        Until::LastExit(calls, before) => last(entered(before)?, &|what| is_exit(what, calls)),
        Until::Sleep(calls) => {
            let entered = entered(calls)?;
            first(entered, &|what| *what == What::Out(Left::Sleep))
        }
        Until::LastSleep(calls) => {
            let entered = entered(calls)?;
            last(entered, &|what| *what == What::Out(Left::Sleep)).filter(|at| *at > from).or(Some(entered))
        }
        Until::Ended => first(from, &|what| *what == What::Out(Left::End)),
    }
}

fn step(who: Who, title: &'static str, events: &[Event], (from, to): (usize, usize), zero: u64) -> Step {
    let (begin, end) = (events[from].0, events[to].0);
    let since = |time: u64| time.saturating_sub(zero) as f64;
    // Who does something has a processor, unless its turn is over with this very event.
    let mut since_in = (!matches!(events[from].1, What::Out(_))).then_some(begin);
    let (mut first, mut last, mut busy) = (since_in, begin, 0);
    for (time, what) in &events[from + 1..=to.max(from)] {
        match what {
            What::In => {
                since_in = Some(*time);
                first = first.or(since_in);
            }
            What::Out(_) => {
                busy += since_in.take().map_or(0, |since| time - since);
                last = *time;
            }
            _ => {}
        }
    }
    if let Some(since) = since_in {
        busy += end.saturating_sub(since);
        last = end;
    }
    let calls = events[from..to.max(from)].iter().filter(|(_, what)| matches!(what, What::Enter(_))).count();
    let first = first.unwrap_or(begin);
    Step {
        who,
        title,
        from: since(first),
        to: since(last.max(first)),
        busy: busy as f64,
        calls: calls as f64,
    }
}

/// When the last of these steps is over.
pub fn whole(steps: &[Step]) -> f64 {
    steps.iter().map(|step| step.to).fold(0.0, f64::max)
}

/// The medians of these starts, each step by itself, in the order in which they begin.
pub fn medians(starts: &[Vec<Step>]) -> Vec<Step> {
    let median = |number: usize, value: fn(&Step) -> f64| {
        spread(&starts.iter().map(|start| value(&start[number])).collect::<Vec<_>>()).median
    };
    let steps = RULES.into_iter().enumerate().map(|(i, (who, title, _))| Step {
        who,
        title,
        from: median(i, |step| step.from),
        to: median(i, |step| step.to),
        busy: median(i, |step| step.busy),
        calls: median(i, |step| step.calls),
    });
    let mut steps: Vec<_> = steps.collect();
    steps.sort_by(|a, b| a.from.total_cmp(&b.from));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A start of which everything is made up but the order: each event a microsecond after the one before.
    fn trace() -> HashMap<i32, Vec<Event>> {
        let (launcher, init, workload) = (10, 11, 12);
        let call = |thread, calls: Calls| [(thread, What::Enter(calls[0])), (thread, What::Exit(calls[0]))];
        let turn = |from, to, left| [(from, What::Out(left)), (to, What::In)];
        let mut all: Vec<(i32, What)> =
            vec![(launcher, What::Enter(EXEC[0])), (launcher, What::Exec("/l".into()))];
        all.push((launcher, What::Exit(EXEC[0])));
        all.extend([
            (launcher, What::Enter(CLONE[0])),
            (launcher, What::Fork(init)),
            (launcher, What::Exit(CLONE[0])),
        ]);
        all.extend(call(launcher, SEND));
        all.extend(turn(launcher, init, Left::Sleep));
        all.extend([EXEC, HOST_NAME, MOUNT, MOUNT].iter().flat_map(|calls| call(init, calls)));
        all.extend([(init, What::Enter(CLONE[0])), (init, What::Fork(workload))]);
        all.extend(turn(init, workload, Left::Sleep));
        all.extend([CAPABILITIES, SECCOMP, EXEC].iter().flat_map(|calls| call(workload, calls)));
        all.push((workload, What::Enter(END[0])));
        all.extend(turn(workload, init, Left::End));
        all.extend([(init, What::Exit(CLONE[0])), (init, What::Enter(END[0]))]);
        // The launcher has a turn in the middle of init's end.
        all.extend(turn(init, launcher, Left::Sleep));
        all.extend(turn(launcher, init, Left::Sleep));
        all.extend(turn(init, launcher, Left::End));
        all.extend(call(launcher, WAIT));
        all.push((launcher, What::Out(Left::End)));
        let mut threads: HashMap<i32, Vec<Event>> = HashMap::new();
        for (time, (thread, what)) in (1..).zip(all) {
            threads.entry(thread).or_default().push((time * 1000, what));
        }
        threads
    }

    fn steps() -> Vec<Step> {
        let starts = starts(&trace(), "/l");
        assert_eq!(starts.len(), 1);
        starts[0].clone().expect("a start")
    }

    fn find(title: &str) -> Step {
        steps().into_iter().find(|step| step.title == title).expect("a step")
    }

    #[test]
    fn steps_end_where_their_calls_are() {
        let cases = [
            ("exec of launch", 0.0, 2.0, 1.0),
            ("clone with six namespaces", 3.0, 5.0, 1.0),
            ("plan handed over", 6.0, 8.0, 1.0),
            ("host name, private mounts, /proc, /tmp", 12.0, 17.0, 3.0),
            ("seccomp filter", 24.0, 25.0, 1.0),
        ];
        for (title, from, to, calls) in cases {
            let Step { from: begin, to: end, calls: made, .. } = find(title);
            assert_eq!((begin, end, made), (from * 1e3, to * 1e3, calls), "{title}");
        }
    }

    #[test]
    fn a_vfork_is_over_when_it_is_the_childs_turn() {
        let fork = find("fork of the workload");
        assert_eq!((fork.from, fork.to, fork.busy), (17e3, 20e3, 3e3));
        let back = find("says that it runs, reaps it");
        assert_eq!((back.from, back.to), (30e3, 32e3));
    }

    #[test]
    fn the_turns_of_others_are_not_time_of_a_steps_own() {
        let end = find("end of init and its namespaces");
        assert_eq!((end.from, end.to, end.busy), (32e3, 37e3, 2e3));
        let hears = find("hears how it ended");
        assert_eq!((hears.from, hears.to, hears.busy), (34e3, 35e3, 1e3));
    }

    #[test]
    fn all_of_the_time_is_somebodys_but_the_changes_of_turns() {
        let busy: f64 = steps().iter().map(|step| step.busy).sum();
        let (whole, turns) = (41e3, 6e3);
        assert_eq!(busy, whole - turns);
    }

    #[test]
    fn a_start_that_lacks_a_step_says_which() {
        let mut threads = trace();
        threads.get_mut(&12).expect("a workload").retain(|(_, what)| !is_exit(what, SECCOMP));
        assert_eq!(starts(&threads, "/l"), [Err("seccomp filter")]);
        assert_eq!(starts(&threads, "/other"), []);
    }

    #[test]
    fn medians_are_of_each_step_by_itself_in_order_of_time() {
        let slow: Vec<Step> =
            steps().into_iter().map(|step| Step { busy: step.busy * 9.0, ..step }).collect();
        let medians = medians(&[steps(), slow, steps()]);
        assert!(medians.is_sorted_by_key(|step| step.from as u64));
        assert!(steps().iter().all(|step| medians.contains(step)));
    }
}
