//! A whole life as a table of events, and what is done about each.

use super::*;

const WORKLOAD: i32 = 2;
const GRACE: Duration = Duration::from_secs(2);

fn policy() -> Policy {
    Policy { grace: GRACE, ..Policy::default() }
}

fn sent(number: i32) -> Received {
    Received { number, code: libc::SI_USER, sender: 0, value: None }
}

fn exited(pid: i32, code: i32) -> Event {
    Event::Child { pid, status: code << 8 }
}

/// What is done about each of these events, which come one second after another.
fn life(policy: Policy, events: &[Event]) -> Vec<Vec<Action>> {
    let start = Instant::now();
    let mut supervisor = Supervisor::new(WORKLOAD, policy, start);
    let times = (1..).map(|second| start + Duration::from_secs(second));
    events.iter().zip(times).map(|(e, t)| supervisor.handle(*e, t).into_iter().flatten().collect()).collect()
}

const TERMINATE: [Action; 2] = [Action::SignalEveryone(libc::SIGTERM), Action::SignalEveryone(libc::SIGCONT)];

#[test]
fn signals_are_forwarded_while_the_workload_runs_but_not_sigchld() {
    for number in (1..=64).filter(|n| *n != libc::SIGCHLD) {
        let signal = sent(number);
        assert_eq!(life(policy(), &[Event::Signal(signal)]), [[Action::Forward(signal)]]);
    }
    assert_eq!(life(policy(), &[Event::Signal(sent(libc::SIGCHLD))]), [vec![]]);
}

#[test]
fn nothing_but_its_forwarding_follows_from_a_signal_that_is_merely_forwarded() {
    let mut rewrites = Rewrites::default();
    rewrites.set(libc::SIGUSR1, libc::SIGTERM);
    rewrites.set(libc::SIGUSR2, libc::SIGWINCH);
    rewrites.set(libc::SIGWINCH, 0);
    let policies = [
        policy(),
        Policy { rewrites, ..policy() },
        Policy { forward_delay: GRACE, rewrites, ..policy() },
        Policy { kill_after: Some(GRACE), ..policy() },
        Policy { term_stops: true, ..policy() },
        Policy { restart: Restart::Always, ..policy() },
    ];
    let start = Instant::now();
    for with in policies {
        let new = Supervisor::new(WORKLOAD, with, start);
        let mut ended = new.clone();
        let _ = ended.handle(exited(WORKLOAD, 0), start);
        let running = [
            new.clone(),
            new.clone().ignoring_once(bit(libc::SIGCONT) | bit(libc::SIGHUP)),
            new.stopping_too(true),
        ];
        for before in running.iter().chain([&ended, &Supervisor::pausing(with)]) {
            let merely: Vec<_> = (1..=64)
                .filter_map(|number| {
                    let merely = before.merely_forwards(sent(number))?;
                    let mut after = before.clone();
                    let actions: Vec<_> =
                        after.handle(Event::Signal(sent(number)), start).into_iter().flatten().collect();
                    assert_eq!(actions, [Action::Forward(merely)], "{before:?}");
                    assert_eq!(after, *before);
                    Some(number)
                })
                .collect();
            // Or else it would not say much.
            assert_eq!(merely.len() > 50, running.contains(before), "{merely:?} of {before:?}");
        }
    }
}

#[test]
fn an_orphans_death_changes_nothing() {
    assert_eq!(life(policy(), &[exited(77, 9), Event::NoChildren]), [vec![], vec![]]);
}

#[test]
fn when_the_workload_ends_the_others_are_ended_and_its_status_is_returned() {
    let events = [exited(WORKLOAD, 7), exited(5, 0), Event::NoChildren];
    let finish = vec![Action::Finish(Outcome::Exited(7))];
    assert_eq!(life(policy(), &events), [TERMINATE.to_vec(), vec![], finish]);
}

#[test]
fn only_a_child_of_whom_something_may_follow_is_awaited() {
    let start = Instant::now();
    let mut supervisor = Supervisor::new(WORKLOAD, policy(), start);
    assert!(supervisor.awaits(WORKLOAD));
    assert!(!supervisor.awaits(77), "an orphan");
    let _ = supervisor.handle(exited(WORKLOAD, 0), start);
    assert!(!supervisor.awaits(WORKLOAD), "it has ended, and another may have its number");
    assert!(!Supervisor::pausing(policy()).awaits(WORKLOAD));
}

#[test]
fn those_who_ignore_sigterm_are_killed_when_the_grace_is_over() {
    let events = [exited(WORKLOAD, 7), Event::Tick, Event::Tick, Event::Tick];
    let kill = vec![Action::SignalEveryone(libc::SIGKILL)];
    assert_eq!(life(policy(), &events), [TERMINATE.to_vec(), vec![], kill, vec![]]);
}

#[test]
fn a_stop_signal_during_the_grace_ends_it() {
    let events = [exited(WORKLOAD, 7), Event::Signal(sent(libc::SIGUSR1)), Event::Signal(sent(libc::SIGINT))];
    let kill = vec![Action::SignalEveryone(libc::SIGKILL)];
    assert_eq!(life(policy(), &events), [TERMINATE.to_vec(), vec![], kill]);
}

#[test]
fn a_timeout_terminates_then_kills_and_is_the_outcome() {
    let with = Policy { timeout: Some(Duration::from_secs(2)), ..policy() };
    let killed = Event::Child { pid: WORKLOAD, status: libc::SIGKILL };
    let events = [Event::Tick, Event::Tick, Event::Tick, Event::Tick, killed, Event::NoChildren];
    let expected = [
        vec![],
        TERMINATE.to_vec(),
        vec![],
        vec![Action::SignalEveryone(libc::SIGKILL)],
        TERMINATE.to_vec(),
        vec![Action::Finish(Outcome::TimedOut)],
    ];
    assert_eq!(life(with, &events), expected);
}

#[test]
fn a_tick_is_wanted_exactly_while_something_is_due() {
    let start = Instant::now();
    let with = Policy { timeout: Some(Duration::from_secs(9)), ..policy() };
    let mut supervisor = Supervisor::new(WORKLOAD, with, start);
    assert_eq!(supervisor.next_tick(), Some(start + Duration::from_secs(9)));
    let _ = supervisor.handle(exited(WORKLOAD, 0), start);
    assert_eq!(supervisor.next_tick(), Some(start + GRACE));
    let _ = supervisor.handle(Event::Tick, start + GRACE);
    assert_eq!(supervisor.next_tick(), None);
    assert_eq!(Supervisor::new(WORKLOAD, policy(), start).next_tick(), None);
}

#[test]
fn a_stop_is_reported_and_the_workload_goes_on() {
    let stopped = Event::Child { pid: WORKLOAD, status: libc::SIGTSTP << 8 | 0x7f };
    let continued = Event::Child { pid: WORKLOAD, status: 0xffff };
    assert_eq!(life(policy(), &[stopped, continued]), [vec![Action::ReportStopped(libc::SIGTSTP)], vec![]]);
}

#[test]
fn those_who_are_waited_for_are_ended_only_when_somebody_asks() {
    let with = Policy { leftovers: Leftovers::WaitFor, ..policy() };
    let finish = vec![Action::Finish(Outcome::Exited(7))];
    assert_eq!(life(with, &[exited(WORKLOAD, 7), Event::NoChildren]), [vec![], finish]);
    let stop = Event::Signal(sent(libc::SIGTERM));
    let kill = vec![Action::SignalEveryone(libc::SIGKILL)];
    assert_eq!(life(with, &[exited(WORKLOAD, 7), stop, stop]), [vec![], TERMINATE.to_vec(), kill]);
}

#[test]
fn silence_after_a_stop_signal_ends_in_sigkill() {
    let with = Policy { kill_after: Some(Duration::from_secs(2)), ..policy() };
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        let stop = sent(number);
        let events = [Event::Signal(stop), Event::Signal(stop), Event::Tick];
        let forward = vec![Action::Forward(stop)];
        let kill = vec![Action::SignalEveryone(libc::SIGKILL)];
        assert_eq!(life(with, &events), [forward.clone(), forward, kill], "{number}");
    }
    assert_eq!(life(with, &[Event::Signal(sent(libc::SIGUSR1)), Event::Tick, Event::Tick])[2], []);
}

#[test]
fn a_sigterm_is_held_back_for_the_delay_and_a_second_one_is_not() {
    let with = Policy { forward_delay: Duration::from_secs(2), ..policy() };
    let (term, other) = (sent(libc::SIGTERM), sent(libc::SIGINT));
    let forward = |signal| vec![Action::Forward(signal)];
    let events = [Event::Signal(term), Event::Signal(other), Event::Tick, Event::Tick];
    assert_eq!(life(with, &events), [vec![], forward(other), forward(term), vec![]]);
    let events = [Event::Signal(term), Event::Signal(term), Event::Tick];
    assert_eq!(life(with, &events), [vec![], forward(term), vec![]]);
}

#[test]
fn a_signal_is_rewritten_or_dropped() {
    let mut rewrites = Rewrites::default();
    rewrites.set(libc::SIGTERM, libc::SIGQUIT);
    rewrites.set(libc::SIGHUP, 0);
    let with = Policy { rewrites, ..policy() };
    let events = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT].map(|n| Event::Signal(sent(n)));
    let forward = |number| vec![Action::Forward(sent(number))];
    assert_eq!(life(with, &events), [forward(libc::SIGQUIT), vec![], forward(libc::SIGINT)]);
}

#[test]
fn a_pause_ends_when_asked_to_and_not_before() {
    let mut supervisor = Supervisor::pausing(policy());
    let mut after =
        |event| -> Vec<Action> { supervisor.handle(event, Instant::now()).into_iter().flatten().collect() };
    assert_eq!(after(exited(5, 1)), []);
    assert_eq!(after(Event::NoChildren), []);
    assert_eq!(after(Event::Signal(sent(libc::SIGHUP))), []);
    assert_eq!(after(Event::Signal(sent(libc::SIGINT))), TERMINATE);
    assert_eq!(after(Event::NoChildren), [Action::Finish(Outcome::Exited(0))]);
}

#[test]
fn those_who_are_left_are_not_touched() {
    let with = Policy { leftovers: Leftovers::Leave, ..policy() };
    assert_eq!(life(with, &[exited(WORKLOAD, 3)]), [[Action::Finish(Outcome::Exited(3))]]);
}

#[test]
fn the_group_is_told_of_the_end_with_what_sigterm_is_rewritten_to() {
    let finish = Action::Finish(Outcome::Exited(3));
    let with = Policy { leftovers: Leftovers::Tell, ..policy() };
    let told = vec![Action::Forward(sent(libc::SIGTERM)), finish.clone()];
    assert_eq!(life(with, &[exited(WORKLOAD, 3)]), [told]);
    let mut rewrites = Rewrites::default();
    rewrites.set(libc::SIGTERM, 0);
    assert_eq!(life(Policy { rewrites, ..with }, &[exited(WORKLOAD, 3)]), [[finish]]);
}

#[test]
fn the_first_of_a_signal_can_be_ignored() {
    let now = Instant::now();
    let mut supervisor = Supervisor::new(WORKLOAD, policy(), now).ignoring_once(bit(libc::SIGHUP));
    let hup = sent(libc::SIGHUP);
    assert!(supervisor.ignores_once(libc::SIGHUP) && !supervisor.ignores_once(libc::SIGCONT));
    assert_eq!(supervisor.handle(Event::Signal(hup), now), NOTHING);
    assert_eq!(supervisor.handle(Event::Signal(hup), now)[0], Some(Action::Forward(hup)));
}

#[test]
fn a_stop_signal_stops_init_too_where_it_is_asked_for() {
    let now = Instant::now();
    let mut rewrites = Rewrites::default();
    rewrites.set(libc::SIGTSTP, libc::SIGSTOP);
    let with = Policy { rewrites, ..policy() };
    let mut supervisor = Supervisor::new(WORKLOAD, with, now).stopping_too(true);
    let mut after = |number| -> Vec<_> {
        supervisor.handle(Event::Signal(sent(number)), now).into_iter().flatten().collect()
    };
    let forward = |number| Action::Forward(sent(number));
    let stop = Action::StopSelf;
    assert_eq!(after(libc::SIGTSTP), [forward(libc::SIGSTOP), stop.clone()]);
    assert_eq!(after(libc::SIGTTIN), [forward(libc::SIGTTIN), stop]);
    assert_eq!(after(libc::SIGTERM), [forward(libc::SIGTERM)]);
}

#[test]
fn without_its_launcher_it_ends_at_once_in_every_phase() {
    let gone = Event::LauncherGone;
    assert_eq!(life(policy(), &[gone]), [[Action::Abandon]]);
    assert_eq!(life(policy(), &[exited(WORKLOAD, 0), gone]), [TERMINATE.to_vec(), vec![Action::Abandon]]);
}

/// A supervisor, and its time.
struct Life {
    supervisor: Supervisor,
    now: Instant,
}

impl Life {
    fn of(policy: Policy) -> Self {
        let now = Instant::now();
        Self { supervisor: Supervisor::new(WORKLOAD, policy, now), now }
    }

    /// What is done about an event that happens so many milliseconds after the last one.
    fn after(&mut self, milliseconds: u64, event: Event) -> Vec<Action> {
        self.now += Duration::from_millis(milliseconds);
        self.supervisor.handle(event, self.now).into_iter().flatten().collect()
    }

    /// What is done at the next tick that was asked for, and how many milliseconds later that is.
    fn tick(&mut self) -> (u128, Vec<Action>) {
        let at = self.supervisor.next_tick().expect("a tick");
        let waited = at - self.now;
        self.now = at;
        (waited.as_millis(), self.supervisor.handle(Event::Tick, at).into_iter().flatten().collect())
    }

    /// The run ends with this code, and nobody is left; how long the next one waits.
    fn run_ends(&mut self, pid: i32, code: i32) -> Duration {
        assert_eq!(self.after(0, exited(pid, code)), [&[ended(code, None, true)], &TERMINATE[..]].concat());
        match self.after(0, Event::NoChildren).as_slice() {
            [Action::Tell(Happening::StartsIn(delay))] => *delay,
            other => panic!("{other:?}"),
        }
    }

    /// The next run starts when its time has come.
    fn run_starts(&mut self, pid: i32) {
        assert_eq!(self.tick().1, [Action::Start]);
        assert_eq!(self.after(0, Event::Started { pid }), []);
    }
}

fn service(restart: Restart) -> Policy {
    Policy { restart, term_stops: true, tells: true, ..policy() }
}

fn ended(code: i32, why: Option<Why>, again: bool) -> Action {
    Action::Tell(Happening::RunEnded { outcome: Outcome::Exited(code as u8), why, again })
}

fn ending(why: Why) -> Action {
    Action::Tell(Happening::Ending(why))
}

/// The workload is asked to end.
fn asked(why: Why, signal: i32) -> Vec<Action> {
    vec![ending(why), Action::Forward(sent(signal)), Action::Forward(sent(libc::SIGCONT))]
}

const KILL: [Action; 2] = [Action::SignalEveryone(libc::SIGKILL), Action::Tell(Happening::GraceOver)];

#[test]
fn a_run_follows_the_other_when_those_left_over_are_gone_and_the_back_off_is_over() {
    let mut life = Life::of(service(Restart::Always));
    let mut longest = Duration::ZERO;
    for (pid, step) in (WORKLOAD..).zip([100, 200, 400, 800]) {
        let step = Duration::from_millis(step);
        let delay = life.run_ends(pid, 0);
        assert!(delay > longest && delay <= step, "{delay:?}");
        longest = delay;
        life.run_starts(pid + 1);
    }
    // One that lasted makes it begin again.
    life.now += Duration::from_secs(10);
    assert!(life.run_ends(WORKLOAD + 4, 1) <= Duration::from_millis(100));
}

#[test]
fn those_left_over_have_the_grace_before_the_next_run_and_are_killed_then() {
    let mut life = Life::of(service(Restart::Always));
    life.after(0, exited(WORKLOAD, 1));
    assert_eq!(life.tick(), (2000, KILL.to_vec()));
    assert!(matches!(life.after(5, Event::NoChildren)[..], [Action::Tell(Happening::StartsIn(_))]));
}

#[test]
fn a_failure_is_another_status_than_0_and_so_many_in_a_row_are_enough() {
    let mut life = Life::of(service(Restart::OnFailure { most: Some(2) }));
    life.run_ends(WORKLOAD, 1);
    life.run_starts(3);
    life.run_ends(3, 1);
    life.run_starts(4);
    let last = life.after(0, exited(4, 7));
    assert_eq!(last[0], ended(7, None, false));
    assert_eq!(life.after(0, Event::NoChildren), [Action::Finish(Outcome::Exited(7))]);

    let mut life = Life::of(service(Restart::OnFailure { most: None }));
    assert_eq!(life.after(0, exited(WORKLOAD, 0))[0], ended(0, None, false));

    let mut life = Life::of(service(Restart::No));
    assert_eq!(life.after(0, exited(WORKLOAD, 1))[0], ended(1, None, false));
}

#[test]
fn a_killed_run_is_a_failure() {
    let mut life = Life::of(service(Restart::OnFailure { most: None }));
    let killed = Event::Child { pid: WORKLOAD, status: libc::SIGKILL };
    let outcome = Outcome::Killed(libc::SIGKILL);
    let expected = Action::Tell(Happening::RunEnded { outcome, why: None, again: true });
    assert_eq!(life.after(0, killed)[0], expected);
}

#[test]
fn a_sigterm_stops_a_service_by_its_stop_signal_and_kills_when_the_grace_is_over() {
    let mut life = Life::of(Policy { stop_signal: libc::SIGQUIT, ..service(Restart::Always) });
    let term = Event::Signal(sent(libc::SIGTERM));
    assert_eq!(life.after(0, term), asked(Why::Stop, libc::SIGQUIT));
    // Another one asks again, and does not make it longer.
    let again = [libc::SIGQUIT, libc::SIGCONT].map(|signal| Action::Forward(sent(signal)));
    assert_eq!(life.after(1500, term), again);
    assert_eq!(life.tick(), (500, KILL.to_vec()));
    let killed = Event::Child { pid: WORKLOAD, status: libc::SIGKILL };
    let outcome = Outcome::Killed(libc::SIGKILL);
    let told = Action::Tell(Happening::RunEnded { outcome, why: Some(Why::Stop), again: false });
    assert_eq!(life.after(0, killed)[0], told);
    assert_eq!(life.after(0, Event::NoChildren), [Action::Finish(outcome)]);
}

#[test]
fn a_stop_ends_the_waiting_and_what_is_waited_for() {
    let stops = [
        Event::Signal(sent(libc::SIGTERM)),
        Event::Signal(sent(libc::SIGINT)),
        Event::Order(Order::Stop { grace: None }),
    ];
    for stop in stops {
        let mut life = Life::of(service(Restart::Always));
        life.run_ends(WORKLOAD, 9);
        assert_eq!(life.after(1, stop), [Action::Finish(Outcome::Exited(9))]);

        let mut life = Life::of(service(Restart::Always));
        life.after(0, exited(WORKLOAD, 9));
        assert_eq!(life.after(1, stop), []);
        assert_eq!(life.after(1, Event::NoChildren), [Action::Finish(Outcome::Exited(9))]);
    }
}

#[test]
fn a_sighup_that_meets_a_restart_stops_nothing() {
    let hup = Event::Signal(sent(libc::SIGHUP));
    let mut life = Life::of(service(Restart::Always));
    life.after(0, exited(WORKLOAD, 0));
    assert_eq!(life.after(1, hup), []);
    assert!(matches!(life.after(0, Event::NoChildren)[..], [Action::Tell(Happening::StartsIn(_))]));
    assert_eq!(life.after(1, hup), []);
    life.run_starts(3);
    assert_eq!(life.after(1, hup), [Action::Forward(sent(libc::SIGHUP))]);
}

#[test]
fn no_run_follows_a_ctrl_c() {
    let mut life = Life::of(service(Restart::Always));
    assert_eq!(life.after(0, Event::Signal(sent(libc::SIGINT))), [Action::Forward(sent(libc::SIGINT))]);
    assert_eq!(life.after(0, exited(WORKLOAD, 130))[0], ended(130, None, false));
}

#[test]
fn an_order_stops_with_a_grace_of_its_own() {
    let mut life = Life::of(service(Restart::Always));
    let stop = Event::Order(Order::Stop { grace: Some(Duration::from_millis(70)) });
    assert_eq!(life.after(0, stop), asked(Why::Stop, libc::SIGTERM));
    assert_eq!(life.tick(), (70, KILL.to_vec()));
}

#[test]
fn an_order_restarts_at_once_whatever_the_policy_is() {
    let restart = Event::Order(Order::Restart { grace: None });
    let mut life = Life::of(service(Restart::No));
    assert_eq!(life.after(0, restart), asked(Why::Restart, libc::SIGTERM));
    assert_eq!(life.after(0, exited(WORKLOAD, 0))[0], ended(0, Some(Why::Restart), true));
    assert_eq!(life.after(0, Event::NoChildren), [Action::Start]);
    assert_eq!(life.after(0, Event::Started { pid: 3 }), []);

    let mut life = Life::of(service(Restart::Always));
    life.run_ends(WORKLOAD, 1);
    assert_eq!(life.after(0, restart), [Action::Start]);
}

#[test]
fn a_signal_by_name_is_forwarded_as_it_is_and_only_unless_stopped_minds() {
    for (restart, again) in [(Restart::Always, true), (Restart::UnlessStopped, false)] {
        let mut rewrites = Rewrites::default();
        rewrites.set(libc::SIGTERM, 0);
        let mut life = Life::of(Policy { rewrites, ..service(restart) });
        let term = Event::Order(Order::Signal { signal: libc::SIGTERM });
        assert_eq!(life.after(0, term), [Action::Forward(sent(libc::SIGTERM))]);
        assert_eq!(life.after(0, exited(WORKLOAD, 1))[0], ended(1, None, again));
    }
    let mut life = Life::of(service(Restart::UnlessStopped));
    life.after(0, Event::Order(Order::Signal { signal: libc::SIGUSR1 }));
    assert_eq!(life.after(0, exited(WORKLOAD, 1))[0], ended(1, None, true));
}

#[test]
fn a_run_that_cannot_be_started_is_one_that_failed() {
    let mut life = Life::of(service(Restart::Always));
    life.run_ends(WORKLOAD, 0);
    assert_eq!(life.tick().1, [Action::Start]);
    let not_started = Event::NotStarted { code: 127 };
    assert!(matches!(life.after(0, not_started)[..], [Action::Tell(Happening::StartsIn(_))]));

    let mut life = Life::of(service(Restart::OnFailure { most: Some(1) }));
    life.run_ends(WORKLOAD, 1);
    assert_eq!(life.tick().1, [Action::Start]);
    assert_eq!(life.after(0, not_started), [Action::Finish(Outcome::Exited(127))]);
}

#[test]
fn the_time_is_up_for_all_runs_together() {
    let with = Policy { timeout: Some(Duration::from_millis(50)), ..service(Restart::Always) };
    let mut life = Life::of(with);
    life.run_ends(WORKLOAD, 0);
    assert_eq!(life.tick(), (50, vec![Action::Finish(Outcome::TimedOut)]));

    let mut life = Life::of(with);
    assert_eq!(life.tick(), (50, [&[ending(Why::Timeout)], &TERMINATE[..]].concat()));
    let told = Happening::RunEnded { outcome: Outcome::TimedOut, why: Some(Why::Timeout), again: false };
    assert_eq!(life.after(0, exited(WORKLOAD, 0))[0], Action::Tell(told));
}

#[test]
fn it_is_ready_once_and_again_after_a_reload() {
    let ready = Event::Said(Said::Ready);
    let told = vec![Action::Tell(Happening::Ready)];
    let mut life = Life::of(Policy { readiness: Readiness::Notify, ..service(Restart::No) });
    assert_eq!(life.after(1, ready), told);
    assert_eq!(life.after(1, ready), []);
    assert_eq!(life.after(1, Event::Said(Said::Reloading)), [Action::Tell(Happening::Reloading)]);
    assert_eq!(life.after(1, ready), told);
}

#[test]
fn a_run_that_is_not_ready_in_time_is_ended_and_failed() {
    let with = Policy {
        readiness: Readiness::Notify,
        ready_timeout: Some(Duration::from_millis(300)),
        ..service(Restart::OnFailure { most: None })
    };
    let mut life = Life::of(with);
    assert_eq!(life.tick(), (300, asked(Why::NotReady, libc::SIGTERM)));
    assert_eq!(life.after(0, exited(WORKLOAD, 0))[0], ended(0, Some(Why::NotReady), true));

    let mut life = Life::of(with);
    life.after(299, Event::Said(Said::Ready));
    assert_eq!(life.supervisor.next_tick(), None);
}

#[test]
fn a_watchdog_bites_when_nothing_is_said_for_too_long_and_only_once_it_is_ready() {
    let with = Policy {
        readiness: Readiness::Notify,
        watchdog: Some(Duration::from_millis(100)),
        ..service(Restart::OnFailure { most: None })
    };
    let mut life = Life::of(with);
    assert_eq!(life.supervisor.next_tick(), None);
    life.after(500, Event::Said(Said::Ready));
    for _ in 0..5 {
        assert_eq!(life.after(99, Event::Said(Said::Alive)), [Action::Tell(Happening::Alive)]);
    }
    assert_eq!(life.tick(), (100, asked(Why::Watchdog, libc::SIGABRT)));
    assert_eq!(life.after(0, exited(WORKLOAD, 0))[0], ended(0, Some(Why::Watchdog), true));

    let mut life = Life::of(Policy { readiness: Readiness::Started, ..with });
    assert_eq!(life.tick(), (100, asked(Why::Watchdog, libc::SIGABRT)));
    let mut life = Life::of(with);
    assert_eq!(life.after(0, Event::Said(Said::Trigger)), asked(Why::Watchdog, libc::SIGABRT));
}

#[test]
fn readiness_is_asked_for_until_the_answer_is_yes() {
    let mut life = Life::of(Policy { readiness: Readiness::Command, ..service(Restart::No) });
    for pause in [0, 50, 100, 200, 400, 800, 1000, 1000] {
        assert_eq!(life.tick(), (pause, vec![Action::Probe(Probe::Ready)]));
        life.after(0, Event::ProbeStarted { pid: 9 });
        assert_eq!(life.after(0, exited(9, 1)), []);
    }
    assert_eq!(life.tick().1, [Action::Probe(Probe::Ready)]);
    assert_eq!(life.after(0, Event::ProbeFailed), []);
    assert_eq!(life.tick().1, [Action::Probe(Probe::Ready)]);
    life.after(0, Event::ProbeStarted { pid: 9 });
    assert_eq!(life.after(0, exited(8, 0)), [], "somebody else's end");
    assert_eq!(life.after(0, exited(9, 0)), [Action::Tell(Happening::Ready)]);
    assert_eq!(life.supervisor.next_tick(), None);
}

fn healthy(restarts: bool) -> Policy {
    let (interval, timeout) = (Duration::from_millis(1000), Duration::from_millis(100));
    let health = Some(Health { interval, timeout, retries: 2, restarts });
    Policy { health, ..service(Restart::No) }
}

#[test]
fn so_many_failures_in_a_row_are_unhealthy_and_one_success_is_healthy() {
    let mut life = Life::of(healthy(false));
    let mut check = |code: i32| {
        assert_eq!(life.tick(), (1000, vec![Action::Probe(Probe::Health)]));
        life.after(0, Event::ProbeStarted { pid: 9 });
        life.after(0, exited(9, code))
    };
    let healthy = [Action::Tell(Happening::Healthy)];
    assert_eq!(check(0), healthy);
    assert_eq!(check(0), []);
    assert_eq!(check(1), []);
    assert_eq!(check(0), []);
    assert_eq!(check(1), []);
    assert_eq!(check(1), [Action::Tell(Happening::Unhealthy { failures: 2 })]);
    assert_eq!(check(1), []);
    assert_eq!(check(0), healthy);
}

#[test]
fn a_health_check_that_takes_too_long_is_ended_and_failed() {
    let mut life = Life::of(healthy(false));
    for expected in [
        vec![Action::EndProbe(9)],
        vec![Action::EndProbe(9), Action::Tell(Happening::Unhealthy { failures: 2 })],
    ] {
        assert_eq!(life.tick().1, [Action::Probe(Probe::Health)]);
        life.after(0, Event::ProbeStarted { pid: 9 });
        assert_eq!(life.tick(), (100, expected));
        assert_eq!(life.after(1, Event::Child { pid: 9, status: libc::SIGKILL }), []);
    }
}

#[test]
fn an_unhealthy_run_is_started_again_where_that_is_asked_for() {
    let mut life = Life::of(healthy(true));
    for code in [1, 1] {
        life.tick();
        life.after(0, Event::ProbeStarted { pid: 9 });
        let actions = life.after(0, exited(9, code));
        if !actions.is_empty() {
            let unhealthy = Action::Tell(Happening::Unhealthy { failures: 2 });
            assert_eq!(actions, [&[unhealthy], &asked(Why::Unhealthy, libc::SIGTERM)[..]].concat());
        }
    }
    assert_eq!(life.after(0, exited(WORKLOAD, 0))[0], ended(0, Some(Why::Unhealthy), true));
}

#[test]
fn the_end_of_the_process_that_was_named_is_the_end_and_not_that_of_the_one_before() {
    let mut life = Life::of(service(Restart::No));
    assert_eq!(life.after(0, Event::Said(Said::MainPid(5))), [Action::Tell(Happening::MainPid(5))]);
    assert_eq!(life.after(0, exited(WORKLOAD, 0)), []);
    assert_eq!(life.supervisor.main_process(), Some(5));
    assert_eq!(life.after(0, exited(5, 4))[0], ended(4, None, false));
    let mut life = Life::of(service(Restart::No));
    life.after(0, Event::Said(Said::MainPid(5)));
    assert_eq!(life.after(0, Event::MainVanished)[0], ended(0, None, false));
}

#[test]
fn nothing_is_told_where_nobody_asked() {
    let mut life = Life::of(Policy { tells: false, ..service(Restart::Always) });
    assert_eq!(life.after(0, exited(WORKLOAD, 0)), TERMINATE);
    assert_eq!(life.after(0, Event::NoChildren), []);
}

#[test]
fn a_restart_that_is_asked_for_takes_the_place_of_an_end_that_none_follows() {
    let with = Policy { watchdog: Some(Duration::from_secs(1)), term_stops: true, ..policy() };
    let restart = Event::Order(Order::Restart { grace: None });
    let killed = Event::Child { pid: WORKLOAD, status: libc::SIGKILL };
    let lives = |asked: &[Event]| {
        let events = [&[Event::Said(Said::Trigger)], asked, &[killed, Event::NoChildren]].concat();
        life(with, &events).pop()
    };
    assert_eq!(lives(&[]), Some(vec![Action::Finish(Outcome::Killed(libc::SIGKILL))]));
    assert_eq!(lives(&[restart]), Some(vec![Action::Start]));
    let stop = Event::Order(Order::Stop { grace: None });
    assert_eq!(lives(&[stop, restart]), Some(vec![Action::Finish(Outcome::Killed(libc::SIGKILL))]));
}
