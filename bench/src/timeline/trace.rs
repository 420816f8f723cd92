//! What `perf script` prints of a trace → what each thread did, in order. Nothing is run here.

#![forbid(unsafe_code)]

use std::collections::HashMap;

/// What a thread did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A system call of this number begins.
    Enter(i64),
    /// It is over.
    Exit(i64),
    /// It was given a processor.
    In,
    /// It has none any more.
    Out(Left),
    /// It has made a thread or process of this number.
    Fork(i32),
    /// It is another program now.
    Exec(String),
}

/// Why somebody has no processor any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is somebody else's turn.
    Turn,
    /// It waits for something.
    Sleep,
    /// It has ended.
    End,
}

/// It, and when: nanoseconds since whatever perf counts from.
pub type Event = (u64, What);

/// The events of each thread in their order, from lines as `perf script --ns -F tid,cpu,time,event,trace` prints them. Other
/// events than those known here, and lines that are none, are left out.
pub fn read(text: &str) -> HashMap<i32, Vec<Event>> {
    let mut threads: HashMap<i32, Vec<Event>> = HashMap::new();
    for line in text.lines() {
        for (thread, event) in events(line).into_iter().flatten() {
            threads.entry(thread).or_default().push(event);
        }
    }
    // Each processor has a buffer of its own. Those that came in the same nanosecond stay as they were.
    threads.values_mut().for_each(|events| events.sort_by_key(|(time, _)| *time));
    threads
}

/// The events of a line: none, one, or those of both who take turns.
fn events(line: &str) -> Option<Vec<(i32, Event)>> {
    let (thread, rest) = line.trim_start().split_once(" [")?;
    let thread: i32 = thread.trim_end().parse().ok()?;
    let (time, rest) = rest.split_once(']')?.1.split_once(':')?;
    let time = nanoseconds(time.trim())?;
    let (name, rest) = rest.trim_start().split_once(": ")?;
    let one = |what| Some(vec![(thread, (time, what))]);
    match name {
        "raw_syscalls:sys_enter" => one(What::Enter(number(rest)?)),
        "raw_syscalls:sys_exit" => one(What::Exit(number(rest)?)),
        "sched:sched_process_fork" => one(What::Fork(behind(rest, "child_pid=")?.parse().ok()?)),
        "sched:sched_process_exec" => {
            let (file, _) = rest.trim_start().strip_prefix("filename=")?.rsplit_once(" pid=")?;
            one(What::Exec(file.into()))
        }
        "sched:sched_switch" => {
            let (before, after) = rest.rsplit_once(" ==> ")?;
            let left = match behind(before, "prev_state=")?.chars().next()? {
                'R' => Left::Turn,
                'Z' | 'X' => Left::End,
                _ => Left::Sleep,
            };
            Some(vec![
                (behind(before, "prev_pid=")?.parse().ok()?, (time, What::Out(left))),
                (behind(after, "next_pid=")?.parse().ok()?, (time, What::In)),
            ])
        }
        _ => None,
    }
}

/// The last value of this name: names of programs stand before it, and may have anything in them.
fn behind<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.rsplit_once(name)?.1.split(' ').next()
}

/// As in `NR 56 (0, 0)` or `NR 56 = 0`.
fn number(text: &str) -> Option<i64> {
    text.trim_start().strip_prefix("NR ")?.split(' ').next()?.parse().ok()
}

/// Of seconds with nine digits behind the point. Not by way of a float, which has not so many.
fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, rest) = text.split_once('.')?;
    if rest.len() != 9 {
        return None;
    }
    Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + rest.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_gets_what_it_did_in_order() {
        let text = "\
     12 [000]    17.000000300:    raw_syscalls:sys_exit: NR 59 = 0
     12 [000]    17.000000100:   raw_syscalls:sys_enter: NR 59 (7f, 0, 0, 0, 0, 0)
     12 [000]    17.000000200:       sched:sched_process_exec: filename=/a b pid=12 old_pid=12
     12 [001]    17.000000400:       sched:sched_process_fork: comm=a child_pid=9 pid=12 child_comm=a child_pid=13
     12 [001]    17.000000500:       sched:sched_switch: prev_comm=a ==> b prev_pid=12 prev_prio=120 prev_state=R+ ==> next_comm=a next_pid=13 next_prio=120
     13 [001]    17.000000600:       sched:sched_switch: prev_comm=a prev_pid=13 prev_prio=120 prev_state=Z ==> next_comm=swapper/1 next_pid=0 next_prio=120
     13 [001]    17.000000700:       sched:sched_process_exit: comm=a pid=13 prio=120
[ perf record: Captured and wrote 1 MB ]
";
        let at = |time: u64| 17_000_000_000 + time;
        let threads = read(text);
        let expected = [
            (at(100), What::Enter(59)),
            (at(200), What::Exec("/a b".into())),
            (at(300), What::Exit(59)),
            (at(400), What::Fork(13)),
            (at(500), What::Out(Left::Turn)),
        ];
        assert_eq!(threads[&12], expected);
        assert_eq!(threads[&13], [(at(500), What::In), (at(600), What::Out(Left::End))]);
    }

    #[test]
    fn a_time_that_was_cut_off_is_none() {
        let cases = [("1.000000002", Some(1_000_000_002)), ("1.000002", None), ("1", None)];
        for (text, expected) in cases {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }
}
