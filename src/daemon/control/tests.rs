//! The control loop on a simulated day: no clock, no network, no disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::tz::TimeZone;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::{
    alert::House,
    config::{self, Options},
    model::{
        clock::{Clock, ManualClock},
        run::{OutcomeCounts, ThresholdReport, ThresholdResult},
        settings::Settings,
    },
    store::rows::{Fate, LedgerRow, NewMail},
    telemetry::metrics::Build,
};

const CONFIG: &str = r#"
version: 1
targets:
  api: {base_url: "http://127.0.0.1:1"}
scenarios:
  fast:
    schedule: {every: 5s}
    load: {executor: probe}
    steps: [{get: /}]
  slow:
    schedule: {cron: "*/10 * * * * *", overlap: queue}
    load: {executor: probe}
    steps: [{get: /}]
  shaky:
    schedule: {every: 7s, jitter: 3s}
    load: {executor: probe}
    steps: [{get: /}]
  hand:
    load: {executor: probe}
    steps: [{get: /}]
alerts:
  receivers:
    on_call: {email: {to: [a@example.com], from: p@example.com, smtp: "smtp://127.0.0.1:25", tls: none}}
  group_wait: 2s
  group_interval: 10s
"#;

fn settings(config: &str) -> Settings {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("plimsoll.yaml");
    std::fs::write(&path, config).expect("written");
    let options = Options { path: Some(path), ..Options::default() };
    config::load(&options).unwrap_or_else(|report| panic!("{report}")).settings
}

/// A control loop with everything it asks for carried out at once, except that runs end when the test says so.
struct Sim {
    control: Control,
    clock: ManualClock,
    started: Vec<(Name, Name)>,
    going: BTreeMap<Name, Name>,
    mails: Vec<NewMail>,
    ledger: Vec<LedgerRow>,
    runs: Vec<RunSummary>,
    replies: Vec<Result<Name, String>>,
    drained: BTreeSet<Name>,
    over: bool,
}

impl Sim {
    fn new() -> Self {
        Self::with(CONFIG)
    }

    fn with(config: &str) -> Self {
        let settings = settings(config);
        let clock = ManualClock::at("2026-03-29T00:00:00Z".parse().expect("a time"));
        let scenarios: Vec<_> = (settings.scenarios.iter())
            .map(|scenario| {
                let plan = crate::schedule::compile(&scenario.schedule, &scenario.name).expect("a schedule");
                (scenario.clone(), plan)
            })
            .collect();
        let facts: Vec<_> =
            scenarios.iter().map(|(s, plan)| alert::ScenarioFacts::of(s, plan.describe(), None)).collect();
        let now = clock.now();
        let house = House { page_url: String::new(), zone: TimeZone::UTC, host: "test".to_owned() };
        let mut count = 0;
        let begin = Beginnings {
            scenarios,
            last_due: BTreeMap::new(),
            history: BTreeMap::new(),
            recent: Vec::new(),
            alerts: Alerts::new(&settings.alerts, house, Vec::new(), &facts, now.wall),
            metrics: Metrics::new(&[], &["email".into()], Build::THIS, now.wall),
            paused: None,
            unfinished: Vec::new(),
            ids: Box::new(move |_| {
                count += 1;
                format!("run-{count}").into()
            }),
        };
        let (control, effects) = Control::new(begin, now);
        let mut sim = Self {
            control,
            clock,
            started: Vec::new(),
            going: BTreeMap::new(),
            mails: Vec::new(),
            ledger: Vec::new(),
            runs: Vec::new(),
            replies: Vec::new(),
            drained: BTreeSet::new(),
            over: false,
        };
        sim.carry_out(effects);
        sim
    }

    fn event(&mut self, event: Event) {
        let effects = self.control.handle(event, self.clock.now());
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let commits = effects.iter().position(|effect| matches!(effect, Effect::Commit(_)));
        assert!(commits.is_none_or(|at| at == 0), "the commit comes first: {effects:?}");
        for effect in effects {
            match effect {
                Effect::Commit(batch) => {
                    self.mails.extend(batch.mails);
                    self.ledger.extend(batch.ledger);
                    self.runs.extend(batch.runs);
                }
                Effect::Start(start) => {
                    self.started.push((start.scenario.name.clone(), start.run_id.clone()));
                    self.going.insert(start.run_id, start.scenario.name.clone());
                }
                Effect::Drain(run) | Effect::Cut(run) => {
                    self.drained.insert(run);
                }
                Effect::Reply { result, .. } => self.replies.push(result),
                Effect::Exit => self.over = true,
                Effect::Reap(_) | Effect::Log(_) | Effect::Warn(_) => {}
            }
        }
    }

    /// Moves on by `seconds`, waking the loop as it asks for.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.event(Event::Wake);
        }
    }

    fn end(&mut self, run_id: &Name, verdict: Verdict) {
        let scenario = self.going.remove(run_id).expect("it is going");
        let known = &self.control.known[&scenario];
        let now = self.clock.now().wall;
        let facts = report::Facts {
            run_id: run_id.clone(),
            trigger: Trigger::Every,
            due: now,
            started: now,
            ended: now,
            generator: GeneratorReport { valid: true, ..GeneratorReport::default() },
            first_failure: None,
        };
        let mut run = report::summarise(&known.scenario, &RunData::default(), facts);
        run.verdict = verdict;
        let ok = u64::from(verdict == Verdict::Pass);
        run.outcomes = OutcomeCounts { ok, failed: 1 - ok, ..OutcomeCounts::default() };
        run.thresholds = vec![ThresholdReport {
            expr: "rate(ok) == 100%".to_owned(),
            name: "rate_ok".to_owned(),
            value: Some(ok as f64),
            limit: Some(1.0),
            unit: "ratio".to_owned(),
            margin_ratio: Some(ok as f64 - 1.0),
            result: if ok == 1 { ThresholdResult::Pass } else { ThresholdResult::Fail },
            severity: crate::model::run::Severity::Critical,
            implicit: true,
            for_runs: 1,
            runbook: None,
            hint: None,
        }];
        self.event(Event::Run(RunEvent::Ended(Box::new(run))));
    }

    fn end_all(&mut self, verdict: Verdict) {
        for run in self.going.keys().cloned().collect::<Vec<_>>() {
            self.end(&run, verdict);
        }
    }

    fn subjects(&self) -> Vec<&str> {
        self.mails.iter().map(|mail| &*mail.subject).collect()
    }
}

#[test]
fn a_breach_is_mailed_once_and_its_end_once() {
    let mut sim = Sim::new();
    for second in 0..60 {
        sim.pass(1);
        sim.end_all(if second < 30 { Verdict::Fail } else { Verdict::Pass });
    }
    let [firing, .., resolved] = &*sim.subjects() else { panic!("{:?}", sim.subjects()) };
    assert!(firing.starts_with("[FIRING critical] api"), "{firing}");
    assert!(resolved.starts_with("Re: [RESOLVED critical] api"), "{resolved}");
    assert_eq!(sim.subjects().iter().filter(|subject| subject.contains("RESOLVED")).count(), 1);
    assert!(sim.runs.len() >= 16, "{}", sim.runs.len());
}

/// A run of a minute and a half that is due each minute skips every other start by plan; one that hangs is missed.
#[test]
fn a_start_that_was_never_to_be_is_not_missed() {
    let load = "schedule: {every: 60s}\n    load: {executor: constant-vus, vus: 1, duration: 90s}";
    let mut sim = Sim::with(&CONFIG.replacen("schedule: {every: 5s}\n    load: {executor: probe}", load, 1));
    let fast = |sim: &Sim| sim.going.iter().find(|(_, name)| &***name == "fast").map(|(run, _)| run.clone());
    let skipped = |sim: &Sim| {
        sim.ledger.iter().filter(|row| &*row.scenario == "fast" && row.fate == Fate::Skipped("overlap".into())).count()
    };
    let mut age = 0;
    for _ in 0..600 {
        sim.pass(1);
        age = if fast(&sim).is_some() { age + 1 } else { 0 };
        for run in sim.going.keys().cloned().collect::<Vec<_>>() {
            if Some(&run) != fast(&sim).as_ref() || age > 92 {
                sim.end(&run, Verdict::Pass);
            }
        }
    }
    assert!(skipped(&sim) >= 4, "{:?}", sim.ledger);
    assert_eq!(sim.subjects(), Vec::<&str>::new());
    // It never ends.
    sim.pass(300);
    assert!(sim.subjects().iter().any(|subject| subject.starts_with("[FIRING warning] api")), "{:?}", sim.subjects());
}

#[test]
fn the_kill_switch_drains_and_every_instant_is_accounted_for() {
    let mut sim = Sim::new();
    sim.event(Event::Trigger { ticket: 1, scenario: "hand".into() });
    assert!(sim.replies.pop().expect("a reply").is_ok());
    let going: BTreeSet<Name> = sim.going.keys().cloned().collect();
    assert!(!going.is_empty());
    sim.event(Event::Pause { reason: "test".to_owned() });
    assert_eq!(sim.drained, going);
    sim.end_all(Verdict::Interrupted);
    let before = sim.started.len();
    sim.pass(30);
    assert_eq!(sim.started.len(), before, "nothing starts while paused");
    assert!(sim.ledger.iter().any(|row| row.fate == Fate::Skipped("paused".to_owned())));
    assert!(sim.mails.is_empty(), "a pause is no alert: {:?}", sim.subjects());
    sim.event(Event::Trigger { ticket: 1, scenario: "hand".into() });
    assert!(sim.replies.pop().expect("a reply").expect_err("paused").contains("resume"));
    sim.event(Event::Resume);
    for _ in 0..10 {
        sim.pass(1);
        sim.end_all(Verdict::Pass);
    }
    assert!(sim.started.len() > before);
}

#[test]
fn a_trigger_starts_one_run_and_says_why_it_does_not() {
    let mut sim = Sim::new();
    sim.event(Event::Trigger { ticket: 1, scenario: "hand".into() });
    sim.event(Event::Trigger { ticket: 2, scenario: "hand".into() });
    sim.event(Event::Trigger { ticket: 3, scenario: "nobody".into() });
    let [first, second, third] = &*sim.replies else { panic!("{:?}", sim.replies) };
    let run = first.as_ref().expect("started");
    assert!(second.as_ref().expect_err("going on").contains(&**run));
    assert!(third.as_ref().expect_err("unknown").contains("fast, slow, shaky, hand"));
}

#[test]
fn a_stop_drains_then_cuts_then_ends() {
    let mut sim = Sim::new();
    sim.pass(12);
    sim.event(Event::Stop);
    assert!(!sim.over && !sim.drained.is_empty());
    let before = sim.started.len();
    sim.pass(10);
    assert_eq!(sim.started.len(), before);
    sim.event(Event::Stop);
    sim.end_all(Verdict::Interrupted);
    assert!(sim.over);
    assert!(sim.runs.iter().any(|run| run.verdict == Verdict::Interrupted));
}

#[test]
fn a_run_that_leaves_no_result_is_no_data() {
    let mut sim = Sim::new();
    sim.event(Event::Trigger { ticket: 1, scenario: "hand".into() });
    let run = sim.going.keys().next().expect("started").clone();
    sim.event(Event::Lost { run_id: run, error: "its thread panicked".to_owned() });
    assert_eq!(sim.runs.last().map(|run| run.verdict), Some(Verdict::NoData));
    sim.pass(5);
    assert!(sim.subjects().iter().any(|subject| subject.contains("FIRING")), "{:?}", sim.subjects());
}

#[test]
fn a_pause_also_gives_up_what_waits_for_its_jitter() {
    let mut sim = Sim::new();
    while sim.control.pending.is_empty() {
        sim.pass(1);
        sim.end_all(Verdict::Pass);
    }
    sim.event(Event::Pause { reason: "test".to_owned() });
    sim.end_all(Verdict::Interrupted);
    let before = sim.started.len();
    sim.pass(10);
    assert_eq!(sim.started.len(), before, "nothing starts while paused");
}

#[test]
fn a_run_that_the_process_did_not_survive_is_seen_and_alerts_nobody() {
    let mut sim = Sim::new();
    let due = sim.clock.now().wall;
    let unfinished = Unfinished { run_id: "old".into(), scenario: "hand".into(), due };
    let now = sim.clock.now();
    sim.control.killed(&unfinished, now);
    sim.event(Event::Wake);
    sim.pass(5);
    let run = sim.runs.iter().find(|run| run.run_id == "old").expect("it is written");
    assert_eq!(run.verdict, Verdict::Interrupted);
    assert!(sim.subjects().is_empty(), "{:?}", sim.subjects());
}

/// Whatever happens, in whatever order: each due instant ends once, runs of a scenario that queues never overlap, and
/// no more terminal mails go out than firing ones.
#[test]
fn laws_hold_over_random_days() {
    for seed in 0..40 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut sim = Sim::new();
        for _ in 0..300 {
            sim.pass(1);
            match random.random_range(0..12) {
                0..6 => {
                    if let Some(run) = sim.going.keys().next().cloned() {
                        let verdict = [Verdict::Pass, Verdict::Fail, Verdict::Invalid, Verdict::Interrupted];
                        sim.end(&run, verdict[random.random_range(0..4)]);
                    }
                }
                6 => sim.event(Event::Pause { reason: "chance".to_owned() }),
                7..9 => sim.event(Event::Resume),
                9 => sim.event(Event::Trigger { ticket: 1, scenario: "fast".into() }),
                10 => sim.clock.advance(Duration::from_secs(random.random_range(0..90))),
                _ => {}
            }
            for name in ["fast", "slow", "shaky"] {
                let going = sim.going.values().filter(|scenario| ***scenario == *name).count();
                assert!(going <= 1, "seed {seed}: {going} runs of {name}");
            }
        }
        let mut seen = BTreeSet::new();
        for row in &sim.ledger {
            assert!(seen.insert((row.scenario.clone(), row.due)), "seed {seed}: {row:?} twice");
        }
        let count = |word: &str| sim.subjects().iter().filter(|subject| subject.contains(word)).count();
        assert!(count("RESOLVED") <= count("FIRING"), "seed {seed}: {:?}", sim.subjects());
    }
}
