mod data;
mod users;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    config,
    load::{
        fake::{Fake, FakeAnswer},
        feeds::{Feeds, Takes},
        gate::Gate,
        metrics::Metrics,
        perform::Transport,
        recorder::{IterationEnd, Recorder},
        stop::{Cause, Stop},
        user::{Model, Shared, Turn, User},
    },
    measure::data::RunData,
    model::{
        clock::{self, SystemClock},
        outcome::Outcome,
        scenario::Scenario,
        settings::{Policy, Redactor},
    },
};

/// A made-up answer: its status, its headers and its body.
pub(crate) type Reply = (u16, &'static [(&'static str, &'static str)], &'static str);

pub(crate) const OK: Reply = (200, &[], "{}");

/// One scenario, whose requests go to a made-up target that takes 10 ms for each.
pub(crate) struct Bench {
    pub(crate) shared: Rc<Shared>,
    /// The request lines that it saw.
    pub(crate) seen: Rc<RefCell<Vec<String>>>,
}

fn scenario_of(scenario: &str) -> (Scenario, Redactor) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plimsoll.yaml");
    let text =
        format!("version: 1\ntargets: {{t: {{base_url: \"http://localhost\"}}}}\nscenarios:\n  s:\n{scenario}\n");
    std::fs::write(&path, &text).expect("it is writable");
    let options = config::Options { path: Some(path), ..config::Options::default() };
    match config::load(&options) {
        Ok(loaded) => ((*loaded.settings.scenarios[0]).clone(), loaded.settings.redact),
        Err(report) => panic!("{report}\n{text}"),
    }
}

impl Bench {
    /// `scenario` is the rest of the map of a scenario, indented by four blanks; `reply` answers the n-th request.
    pub(crate) fn new(scenario: &str, reply: impl Fn(u64, &str) -> Reply + 'static) -> Self {
        let (scenario, redactor) = scenario_of(scenario);
        Self::of(scenario, redactor, reply)
    }

    fn of(scenario: Scenario, redactor: Redactor, reply: impl Fn(u64, &str) -> Reply + 'static) -> Self {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = seen.clone();
        let fake = Fake::watching(move |n, head| {
            let mut line = format!("{} {}", head.method(), head.uri());
            for name in ["cookie", "authorization", "x-user"] {
                for value in head.headers().get_all(name) {
                    line = format!("{line} {name}: {}", value.to_str().expect("text"));
                }
            }
            let (status, headers, body) = reply(n, &line);
            log.borrow_mut().push(line);
            let status = StatusCode::from_u16(status).expect("a status");
            let pairs =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let mut map = HeaderMap::new();
            pairs.for_each(|(name, value)| _ = map.append(name, value));
            (FakeAnswer { after: Duration::from_millis(10), result: Ok((status, body.into())) }, map)
        });
        let stop = Stop::default();
        let shared = Shared {
            group: scenario.groups[0].clone(),
            constants: scenario.constants.clone().into(),
            literals: crate::http::request::Literals::default(),
            transport: Transport::Fake(Rc::new(fake)),
            probers: Rc::default(),
            samples: None,
            network: scenario.network.map(|spec| Rc::new(crate::load::network::Network::new(spec, scenario.seed))),
            gate: Gate::new(&Policy::default()),
            recorder: Rc::new(Recorder::default()),
            plan: stop.clone(),
            stop,
            clock: Arc::new(SystemClock),
            redactor,
            run_id: "r".into(),
            inherited: RefCell::default(),
            started: std::cell::Cell::new(clock::mono()),
            count: Rc::default(),
            metrics: Metrics::of(&scenario),
            takes: Takes::of(&Feeds::new(&scenario.data, scenario.seed), &scenario.groups[0]),
            scenario: Arc::new(scenario),
        };
        Self { shared: Rc::new(shared), seen }
    }

    /// One user's iterations, one after the other.
    pub(crate) async fn iterate(&self, times: u64) -> Vec<IterationEnd> {
        let mut user = User::default();
        let mut ends = Vec::new();
        for iteration in 1..=times {
            ends.push(self.shared.iterate(&Turn::of(1, iteration), clock::mono(), &mut user, Model::Closed).await);
        }
        ends
    }

    pub(crate) fn data(&self) -> RunData {
        let taken = self.shared.recorder.take().judged;
        assert_eq!(taken.planned(), taken.sent() + taken.dropped());
        taken
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.take()
    }
}

const LOAD: &str = "    load: {executor: per-vu-iterations, vus: 1, iterations: 1, max_duration: 1h}\n";

fn bench(steps: &str, reply: impl Fn(u64, &str) -> Reply + 'static) -> Bench {
    Bench::new(&format!("{LOAD}    steps:\n{steps}"), reply)
}

/// `ok=2 rejected=1`, and how long it took in milliseconds.
pub(crate) fn told(data: &RunData) -> String {
    let counts = data.counts();
    let all = [counts.ok, counts.rejected, counts.failed, counts.interrupted];
    let parts = Outcome::ALL.iter().zip(all).filter(|(_, count)| *count > 0);
    parts.map(|(outcome, count)| format!("{outcome}={count}")).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_loop_does_the_step_once_for_each_value() {
    let check = async |step: &str, expected: &[&str]| {
        let bench = bench(
            &format!("      - {{get: /a, capture: {{list: {{json: $.list, default: []}}}}}}\n      - {step}"),
            |_, _| (200, &[], r#"{"list": ["x", 7]}"#),
        );
        assert_eq!(bench.iterate(1).await, [IterationEnd::Completed], "{step}");
        assert_eq!(&bench.seen()[1..], expected, "{step}");
        assert_eq!(told(&bench.data()), format!("ok={}", expected.len() + 1));
    };
    check(
        "{get: '/v/${s}', loop: {over: [transcript, 2, true], as: s}}",
        &["GET /v/transcript", "GET /v/2", "GET /v/true"],
    )
    .await;
    check("{get: '/v/${item}', loop: {over: list}}", &["GET /v/x", "GET /v/7"]).await;
    check("{get: '/v/${turn}', loop: {times: 2, as: turn}}", &["GET /v/1", "GET /v/2"]).await;
    check("{get: '/v/${turn}', loop: {times: 2, as: turn}, when: 'vu == 2'}", &[]).await;
    check("{get: '/v', when: 'exists(list) and iteration == 1'}", &["GET /v"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_loop_over_what_is_no_list_fails_the_step() {
    let steps = "      - {get: /a, capture: {id: {json: $.id}}}\n      - {get: '/v/${item}', loop: {over: id}}";
    let bench = bench(steps, |_, _| (200, &[], r#"{"id": 1}"#));
    assert_eq!(bench.iterate(1).await, [IterationEnd::Failed]);
    assert_eq!(told(&bench.data()), "ok=1 failed=1");
    let failure = bench.shared.recorder.first_failure().expect("it failed");
    assert_eq!((failure.reason.as_str(), failure.detail.as_str()), ("capture", "not sent: loop: `id` is not a list"));
}

#[tokio::test(start_paused = true)]
async fn how_often_a_loop_goes_round_is_drawn_anew_and_repeatable() {
    let rounds = async || {
        let bench = bench("      - {get: '/${turn}', loop: {times: {between: [2, 4]}, as: turn}}", |_, _| OK);
        bench.iterate(30).await;
        let mut rounds = Vec::new();
        for line in bench.seen.borrow().iter() {
            if line.ends_with("/1") { rounds.push(1) } else { *rounds.last_mut().expect("a first") += 1 }
        }
        rounds
    };
    assert_eq!(rounds().await, rounds().await);
}

#[tokio::test(start_paused = true)]
async fn polls_count_once_with_the_final_answer() {
    let steps = "      - {name: poll, get: /s, until: \"$.status == 'done'\", every: 500ms, timeout: 90s, capture: {status: {json: $.status}}}
      - {get: '/after/${status}'}";
    let bench = bench(steps, |n, _| match n {
        1 => (500, &[], "not yet"),
        2 => (200, &[], r#"{"status": "busy"}"#),
        _ => (200, &[], r#"{"status": "done"}"#),
    });
    let begun = clock::mono();
    assert_eq!(bench.iterate(1).await, [IterationEnd::Completed]);
    assert_eq!(bench.seen(), ["GET /s", "GET /s", "GET /s", "GET /after/done"]);
    let data = bench.data();
    assert_eq!((told(&data).as_str(), data.polls), ("ok=2", 2));
    let whole = clock::mono() - begun;
    let latency = data.total().latency[0].stats();
    assert!(
        latency.max >= 1.02 && latency.max <= whole.as_secs_f64(),
        "from the first poll to the last answer: {latency:?}"
    );
    assert!(data.send_lag.stats().max < 0.1, "what the target made us wait is not our own lateness");
}

#[tokio::test(start_paused = true)]
async fn polling_ends_with_its_time_or_with_the_run() {
    let steps = "      - {get: /s, until: \"$.done == true\", every: 1s, timeout: 10s}";
    let bench = bench(steps, |_, _| (200, &[], r#"{"done": false}"#));
    let begun = clock::mono();
    assert_eq!(bench.iterate(1).await, [IterationEnd::Failed]);
    let took = clock::mono() - begun;
    assert!(took > Duration::from_secs(8) && took <= Duration::from_secs(10), "{took:?}");
    let data = bench.data();
    assert_eq!((told(&data).as_str(), data.polls + 1), ("failed=1", bench.seen().len() as u64));
    let failure = bench.shared.recorder.first_failure().expect("it failed");
    assert_eq!(failure.reason, "timeout");
    assert!(failure.detail.contains("$.done is false"), "{}", failure.detail);
    // A person stops the run between two polls.
    let bench = super::tests::bench(steps, |_, _| (200, &[], r#"{"done": false}"#));
    let stop = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        bench.shared.stop.drain(Cause::Person);
    };
    let (ends, ()) = tokio::join!(bench.iterate(1), stop);
    assert_eq!(ends, [IterationEnd::Interrupted]);
    assert_eq!((told(&bench.data()).as_str(), bench.seen().len()), ("interrupted=1", 3));
}

#[tokio::test(start_paused = true)]
async fn what_was_polled_stays_in_the_ledger_when_the_gate_closes() {
    let steps = "      - {get: /s, until: \"$.done == true\", every: 1s, timeout: 10s}";
    let bench = bench(steps, |_, _| (200, &[], r#"{"done": false}"#));
    let switch = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        bench.shared.gate.set_paused(true);
    };
    let (ends, ()) = tokio::join!(bench.iterate(1), switch);
    assert_eq!(ends, [IterationEnd::Interrupted]);
    let data = bench.data();
    assert_eq!((told(&data).as_str(), bench.seen().len(), data.polls), ("interrupted=1", 3, 2));
}

#[tokio::test(start_paused = true)]
async fn each_try_counts_and_waits_as_long_as_the_target_asks() {
    use IterationEnd::{Completed, Failed};
    const NO: Reply = (429, &[], "");
    const LATER: Reply = (429, &[("retry-after", "30")], "");
    const BAD: Reply = (500, &[], "");

    let check = async |on: &str, answers: &'static [Reply], expected: &str, end: IterationEnd, seconds: u64| {
        let bench =
            bench(&format!("      - {{get: /a, on: {on}}}"), |n, _| answers[(n as usize - 1).min(answers.len() - 1)]);
        let begun = clock::mono();
        assert_eq!(bench.iterate(1).await, [end], "{on}");
        assert_eq!(told(&bench.data()), expected, "{on}");
        assert_eq!((clock::mono() - begun).as_secs(), seconds, "{on}");
    };
    check("{rejected: {retry: {max: 3}}}", &[NO, NO, OK], "ok=1 rejected=2", Completed, 3).await;
    check("{rejected: {retry: {max: 2, backoff: 1s..1s}}}", &[NO], "rejected=3", Failed, 2).await;
    check("{rejected: {retry: {max: 9}}}", &[LATER, OK], "ok=1 rejected=1", Completed, 30).await;
    check("{rejected: {retry: {honor_retry_after: false}}}", &[LATER, OK], "ok=1 rejected=1", Completed, 1).await;
    check("{rejected: {retry: {}}, failed: continue}", &[NO, BAD], "rejected=1 failed=1", Completed, 1).await;
    check("{rejected: continue}", &[NO], "rejected=1", Completed, 0).await;
    check("{rejected: continue}", &[BAD], "failed=1", Failed, 0).await;
    check("{failed: {retry: {max: 1}}}", &[BAD, OK], "ok=1 failed=1", Completed, 1).await;
}

#[tokio::test(start_paused = true)]
async fn tags_label_the_series_of_a_step() {
    let steps = "      - {name: validate, get: '/${stage}', loop: {over: [a, b], as: stage}, tags: {stage: '${stage}', kind: x}}";
    let bench = bench(steps, |_, _| OK);
    bench.iterate(2).await;
    let data = bench.data();
    let keys: Vec<String> = data
        .series
        .iter()
        .map(|(key, series)| {
            let labels: Vec<String> = key.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {} {}", key.step, labels.join(","), series.sent())
        })
        .collect();
    assert_eq!(keys, ["validate kind=x,stage=a 2", "validate kind=x,stage=b 2"]);
}

#[tokio::test(start_paused = true)]
async fn pauses_follow_what_was_done_and_are_drawn_anew() {
    let check = async |step: &str, least: u64, most: u64| {
        let bench = bench(&format!("      - {step}\n      - {{get: /last}}"), |_, _| OK);
        let begun = clock::mono();
        bench.iterate(20).await;
        let took = (clock::mono() - begun).as_millis() as u64;
        assert!((least..=most).contains(&took), "{step}: {took} ms");
    };
    check("{get: /, think: 1s}", 20_000, 21_000).await;
    check("{get: /, think: {between: [1s, 3s]}}", 30_000, 50_000).await;
    check("{get: /, think: {poisson: 2s}}", 10_000, 90_000).await;
    check("{get: /, think: 1s, when: vu == 2}", 0, 1000).await;
    check("{get: /, think: 1s, loop: {times: 3}}", 60_000, 62_000).await;
}

/// Runs its load to its end.
async fn execute(bench: &Bench) -> RunData {
    let tasks = tokio::task::LocalSet::new();
    let run = crate::load::executor::execute(&bench.shared, clock::mono(), Duration::from_secs(30));
    tasks.run_until(run).await.expect("a timer");
    bench.data()
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_part_of_the_latency() {
    let scenario = format!("{LOAD}    network: {{delay: 300ms, jitter: 100ms}}\n    steps: [{{get: /a}}]");
    let bench = Bench::new(&scenario, |_, _| OK);
    bench.iterate(50).await;
    let latency = bench.data().total().latency[0].stats();
    assert!((0.205..0.25).contains(&latency.min) && (0.37..0.42).contains(&latency.max), "{latency:?}");
}

const SAID: Reply = (200, &[], r#"{"reply": {"role": "assistant"}}"#);

const TURNS: &str = r#"
    steps:
      - name: turn
        loop: {times: 3, as: turn}
        post: "/${history | length}/${history[0].content if history else 'nobody'}"
        json: {messages: {append: [history, {role: user, content: "word-${n}-${turn}"}]}}
        capture: {reply: {json: $.reply, required: false}}
        push: {history: [{role: user, content: "${sent}"}, "${reply}"]}
        on_fail: continue"#;

#[tokio::test(start_paused = true)]
async fn a_conversation_grows_with_what_was_said() {
    let check = async |state: &str, reply: fn(u64, &str) -> Reply, expected: &[&str], told_of: &str| {
        let bench = Bench::new(&format!("{LOAD}    state: {{history: []}}\n{state}{TURNS}"), reply);
        bench.iterate(2).await;
        assert_eq!(
            (bench.seen(), told(&bench.data()).as_str()),
            (expected.iter().map(|l| format!("POST {l}")).collect(), told_of)
        );
    };
    let anew = ["/0/nobody", "/2/word-1-1", "/4/word-1-1", "/0/nobody", "/2/word-2-1", "/4/word-2-1"];
    check("", |_, _| SAID, &anew, "ok=6").await;
    let on = ["/0/nobody", "/2/word-1-1", "/4/word-1-1", "/6/word-1-1", "/8/word-1-1", "/10/word-1-1"];
    check("    state_per: vu\n", |_, _| SAID, &on, "ok=6").await;
    // What was not answered was not said.
    let refused = ["/0/nobody", "/0/nobody", "/2/word-1-2", "/0/nobody", "/2/word-2-1", "/4/word-2-1"];
    check("", |n, _| if n == 1 { (500, &[], "") } else { SAID }, &refused, "ok=5 failed=1").await;
    // An answer without what is to be pushed is a failure of the step, and nothing is pushed.
    let lost = ["/0/nobody"; 6];
    check("", |_, _| OK, &lost, "failed=6").await;
}
