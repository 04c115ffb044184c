//! How alerts go on: what moves them, what repeats, what a restart changes, who is told, and the laws of all stories.

use super::*;

#[test]
fn verdicts_move_alerts() {
    /// Runs one after the other, ten minutes apart, and the state of the alerts after the last.
    fn check(settings: &AlertSettings, runs: &[RunSummary], expected: &[(&str, &str)]) {
        let mut bench = Bench::new(settings.clone(), &["s"]);
        for (index, run) in (0..).zip(runs) {
            bench.desk.observe_run(&facts("s"), run, None, t(600 * index + 300));
        }
        let views = bench.desk.views();
        let states: Vec<_> = views.iter().map(|view| (&*view.alert, view.state.as_str())).collect();
        assert_eq!(states, expected, "{:?}", runs.iter().map(|run| run.verdict).collect::<Vec<_>>());
    }
    let run = |verdict| RunSummary { verdict, reasons: vec!["why".into()], thresholds: Vec::new(), ..passed("s", 0) };
    let (pass, fail) = (passed("s", 0), rejected("s", 0));
    let invalid = run(Verdict::Invalid);
    let interrupted = run(Verdict::Interrupted);
    let slow = |value: f64, for_runs| {
        let mut report = threshold("p95_latency", "p95(latency) < 2s", value, 2.0, "s", value < 2.0);
        report.for_runs = for_runs;
        RunSummary {
            verdict: if value < 2.0 { Verdict::Pass } else { Verdict::Fail },
            thresholds: vec![report],
            ..passed("s", 0)
        }
    };
    let on = settings();
    let firing = [("rate_rejected", "firing")];
    check(&on, std::slice::from_ref(&pass), &[]);
    check(&on, std::slice::from_ref(&fail), &firing);
    check(&on, &[fail.clone(), interrupted.clone()], &firing);
    check(&on, &[fail.clone(), invalid.clone(), invalid.clone()], &firing);
    check(&on, &[fail.clone(), pass.clone()], &[("rate_rejected", "resolved")]);
    // Another threshold fails while this one holds.
    let mut other = slow(3.0, 1);
    other.thresholds.extend(pass.thresholds.clone());
    check(&on, &[fail.clone(), other], &[("p95_latency", "firing"), ("rate_rejected", "resolved")]);
    check(&on, &[slow(3.0, 3), slow(3.0, 3)], &[("p95_latency", "pending")]);
    check(&on, &[slow(3.0, 3), slow(3.0, 3), slow(3.0, 3)], &[("p95_latency", "firing")]);
    check(&on, &[slow(3.0, 3), slow(3.0, 3), slow(1.0, 3), slow(3.0, 3)], &[("p95_latency", "pending")]);
    check(&on, &[slow(3.0, 2), interrupted, slow(3.0, 2)], &[("p95_latency", "firing")]);
    check(&on, &[run(Verdict::Fail)], &[("verdict", "firing")]);
    check(&on, &[run(Verdict::NoData)], &[("verdict", "firing")]);
    check(&on, &[run(Verdict::NoData), fail.clone()], &[("rate_rejected", "firing"), ("verdict", "resolved")]);
    check(&on, &[invalid.clone(), invalid.clone()], &[]);
    check(&on, &[invalid.clone(), invalid.clone(), pass, invalid.clone()], &[]);
    check(&on, &[invalid.clone(), invalid.clone(), invalid.clone()], &[("verdict", "firing")]);
    let mut off = settings();
    off.on = crate::model::settings::AlertOn { fail: false, no_data: false, missed: false, invalid: None };
    check(&off, &[fail, run(Verdict::Fail), run(Verdict::NoData), invalid.clone(), invalid.clone(), invalid], &[]);
}

#[test]
fn a_wish_is_not_a_miss() {
    for (reason, alerts) in [("overlap", 1), ("downtime", 1), ("capacity", 1), ("paused", 0), ("shutdown", 0)] {
        let mut bench = Bench::new(settings(), &["s"]);
        bench.desk.observe_missed(&facts("s"), t(0), reason, t(60));
        assert_eq!(bench.desk.views().len(), alerts, "{reason}");
    }
}

#[test]
fn what_is_over_within_group_wait_is_not_told() {
    let mut bench = Bench::new(settings(), &["s"]);
    bench.run(&rejected("s", 0), 300);
    bench.run(&passed("s", 301), 305);
    assert_eq!(bench.turn(320), Vec::<String>::new());
    assert_eq!((bench.next, bench.rows.len()), (None, 0));
}

#[test]
fn it_is_told_again_after_repeat_interval_and_not_sooner() {
    let mut bench = Bench::new(settings(), &["s"]);
    bench.run(&rejected("s", 0), 300);
    bench.turn(310);
    for start in (600..14_700).step_by(600) {
        assert_eq!(bench.run(&rejected("s", start), start + 1), Vec::<String>::new(), "{start}");
    }
    assert_eq!(bench.next, Some(t(310 + 4 * 3600)));
    assert_eq!(bench.turn(310 + 4 * 3600), ["repeat"]);
    assert!(bench.sent[1].subject.starts_with("Re: [FIRING critical] "));
    // A wall clock that steps back does not silence it for longer than that.
    bench.turn(0);
    assert_eq!(bench.next, Some(t(4 * 3600)));
}

#[test]
fn a_flapping_target_is_held_to_group_interval() {
    let mut bench = Bench::new(settings(), &["s"]);
    // Fails and passes every half minute for an hour, looked at each second.
    for second in 0..3600 {
        match second % 60 {
            0 => drop(bench.run(&rejected("s", second), second)),
            30 => drop(bench.run(&passed("s", second), second)),
            _ => drop(bench.turn(second)),
        }
    }
    let kinds: Vec<_> = bench.sent.iter().map(|mail| mail.kind.as_str()).collect();
    assert!((10..=26).contains(&kinds.len()), "{} mails: {kinds:?}", kinds.len());
    for pair in kinds.chunks(2) {
        assert!(matches!(pair, ["firing", "resolved"] | ["firing"]), "{kinds:?}");
    }
}

#[test]
fn a_restart_changes_nothing() {
    let story = |restart: bool| {
        let mut bench = Bench::new(settings(), &["s", "z"]);
        let mut steps: Vec<(i64, Option<RunSummary>)> = vec![
            (300, Some(rejected("s", 0))),
            (310, None),
            (320, Some(rejected("z", 20))),
            (400, None),
            (610, None),
            (700, Some(passed("s", 400))),
            (910, None),
            (920, Some(passed("z", 620))),
            (930, None),
            (1300, None),
        ];
        for (now, run) in steps.drain(..) {
            if restart {
                bench.restart(now);
            }
            match run {
                Some(run) => drop(bench.run(&run, now)),
                None => drop(bench.turn(now)),
            }
        }
        assert!(bench.rows.is_empty(), "{:?}", bench.rows);
        bench.sent
    };
    let straight = story(false);
    assert_eq!(
        straight.iter().map(|mail| mail.kind.as_str()).collect::<Vec<_>>(),
        ["firing", "update", "update", "resolved"]
    );
    assert_eq!(straight, story(true));
}

#[test]
fn what_leaves_the_configuration_is_closed() {
    let check = |scenarios: Vec<ScenarioFacts>| {
        let mut bench = Bench::new(settings(), &["s"]);
        bench.run(&rejected("s", 0), 300);
        bench.turn(310);
        bench.scenarios = scenarios;
        bench.restart(400);
        bench.turn(400);
        assert_eq!(bench.turn(410), ["closed"]);
        let text = bench.last();
        assert!(text.contains("Subject: Re: [CLOSED critical] ollama: s rate_rejected\n"), "{text}");
        assert!(text.contains("No longer watched since 2026-11-20 04:06:40 UTC"), "{text}");
        assert_eq!(field(&bench.sent[1], "In-Reply-To").as_ref(), Some(&bench.sent[0].message_id));
        bench.turn(800);
        assert!(bench.rows.is_empty(), "{:?}", bench.rows);
    };
    check(Vec::new());
    check(vec![ScenarioFacts { thresholds: vec!["p95_latency".into()], ..facts("s") }]);
    // Another target: the old target's story is closed, a new one begins.
    let mut bench = Bench::new(settings(), &["s"]);
    bench.run(&rejected("s", 0), 300);
    bench.turn(310);
    bench.scenarios = vec![ScenarioFacts { target: "other".into(), ..facts("s") }];
    bench.restart(400);
    bench.turn(400);
    let mut kinds = bench.turn(410);
    kinds.sort();
    assert_eq!(kinds, ["closed", "firing"]);
}

#[test]
fn every_recipient_has_a_mail_and_a_thread_of_their_own() {
    let mut settings = settings();
    settings.receivers = vec![receiver("on_call", &["a@example.com", "b@example.com"])];
    let mut bench = Bench::new(settings.clone(), &["s"]);
    bench.run(&rejected("s", 0), 300);
    assert_eq!(bench.turn(310), ["firing", "firing"]);
    assert_ne!(bench.sent[0].message_id, bench.sent[1].message_id);
    // b is taken off, c is new: b hears that it is over for them, c gets no reply to a mail they never saw.
    settings.receivers = vec![receiver("on_call", &["a@example.com", "c@example.com"])];
    bench.settings = settings;
    bench.restart(400);
    assert_eq!(bench.turn(400), ["closed"]);
    assert_eq!(bench.sent[2].recipient, "b@example.com");
    assert!(bench.last().contains("This address was taken off the receiver"), "{}", bench.last());
    bench.run(&passed("s", 600), 900);
    assert_eq!(bench.turn(910), ["resolved", "resolved"]);
    assert_eq!(field(&bench.sent[3], "In-Reply-To").as_ref(), Some(&bench.sent[0].message_id));
    assert_eq!((field(&bench.sent[4], "In-Reply-To"), bench.sent[4].recipient.as_str()), (None, "c@example.com"));
}

#[test]
fn routes_choose_the_receivers() {
    let mut settings = settings();
    settings.receivers = vec![receiver("on_call", &["a@example.com"]), receiver("team", &["t@example.com"])];
    settings.routes = vec![
        Route { overload: Some(true), to: vec!["team".into()], ..Route::default() },
        Route { severity: Some(Severity::Critical), to: vec!["on_call".into(), "team".into()], ..Route::default() },
        Route { scenario: Some("quiet".into()), to: vec![], ..Route::default() },
        Route { to: vec!["team".into()], ..Route::default() },
    ];
    let check = |scenario: &str, overload: bool, critical: bool, expected: &[&str]| {
        let mut bench = Bench::new(settings.clone(), &[scenario]);
        let facts = ScenarioFacts { overload, ..facts(scenario) };
        let mut run = rejected(scenario, 0);
        run.thresholds[0].severity = if critical { Severity::Critical } else { Severity::Warning };
        bench.desk.observe_run(&facts, &run, None, t(300));
        bench.turn(300);
        bench.turn(310);
        let told: Vec<_> = bench.sent.iter().map(|mail| &*mail.receiver).collect();
        assert_eq!(told, expected, "{scenario} {overload} {critical}");
    };
    check("s", true, true, &["team"]);
    check("s", false, true, &["on_call", "team"]);
    check("s", false, false, &["team"]);
    check("quiet", false, false, &[]);
}

#[test]
fn without_send_resolved_the_end_is_silent() {
    let mut bench = Bench::new(AlertSettings { send_resolved: false, ..settings() }, &["s"]);
    bench.run(&rejected("s", 0), 300);
    bench.turn(310);
    bench.run(&passed("s", 600), 900);
    bench.turn(1000);
    assert_eq!(bench.sent.len(), 1);
    bench.turn(1400);
    assert!(bench.rows.is_empty(), "{:?}", bench.rows);
}

#[test]
fn what_a_target_says_stays_data() {
    let evil =
        "</div><script>alert(1)</script><img src=\"http://evil.example/x.png\">\r\nBcc: all@example.com\r\n\r\n.\r\n";
    let mut bench = Bench::new(settings(), &["s"]);
    let mut run = rejected("s", 0);
    run.scenario = "s\r\nX-Evil: 1".to_owned();
    run.thresholds[0].runbook = Some("javascript:alert(1)".to_owned());
    run.hints = vec![evil.to_owned()];
    run.reasons = vec![evil.to_owned()];
    run.status = [(evil.to_owned(), 3)].into();
    run.rejected = [(evil.to_owned(), 3)].into();
    let sample = run.first_failure.as_mut().expect("the fixture has one");
    sample.body = evil.repeat(30);
    sample.detail = evil.to_owned();
    sample.request = evil.to_owned();
    run.thresholds[0].name = format!("t\u{e9}\r\nX-Evil: 2 {evil}");
    let facts = ScenarioFacts { name: run.scenario.as_str().into(), target: "o\r\nX-Evil: 3".into(), ..facts("s") };
    bench.desk.observe_run(&facts, &run, None, t(300));
    bench.turn(300);
    assert_eq!(bench.turn(310), ["firing"]);
    let mail = &bench.sent[0];
    let raw = String::from_utf8(mail.bytes.clone()).expect("ASCII");
    let head = raw.split("\r\n\r\n").next().expect("a head");
    assert!(!head.contains("\r\nX-Evil") && !head.contains("\r\nBcc"), "{head}");
    assert!(mail.subject.is_ascii() && !mail.subject.contains(['\r', '\n']), "{}", mail.subject);
    let html = part_of(mail, "text/html");
    for bad in ["<script", "<img", "src=", "url(", "<link", "@import", "<iframe", "href=\"javascript", "onerror="] {
        let escaped = html.replace("&lt;", "").replace("src=&quot;", "");
        assert!(!escaped.contains(bad), "{bad} in {html}");
    }
    assert!(html.contains("&lt;script&gt;"), "{html}");
    let text = part_of(mail, "text/plain");
    assert!(!text.contains("\nBcc"), "{text}");
    assert!(mail.bytes.len() < 40_000, "{}", mail.bytes.len());
    assert!(raw.split("\r\n").all(|line| line.len() <= 998), "a line is too long for SMTP");
}

#[test]
fn a_row_that_is_not_understood_is_dropped_and_said() {
    let rows = vec![("alert\ts\tx".to_owned(), "{}".to_owned()), ("group".to_owned(), String::new())];
    let mut desk = Alerts::new(&settings(), house(), rows, &[facts("s")], t(0));
    let turn = desk.turn(t(0));
    assert_eq!(turn.problems.len(), 2, "{:?}", turn.problems);
    assert_eq!(turn.batch.alerts, [("alert\ts\tx".to_owned(), None), ("group".to_owned(), None)]);
}

#[test]
fn a_bad_address_is_said_and_stops_nobody_else() {
    let mut settings = settings();
    settings.receivers = vec![receiver("on_call", &["nobody", "a@example.com"])];
    let mut desk = Alerts::new(&settings, house(), Vec::new(), &[facts("s")], t(0));
    desk.observe_run(&facts("s"), &rejected("s", 0), None, t(300));
    desk.turn(t(300));
    let turn = desk.turn(t(310));
    assert_eq!(turn.batch.mails.len(), 1);
    assert_eq!(turn.problems, ["no mail to nobody of on_call: `nobody` is not a mail address: write name@example.com"]);
}

#[test]
fn that_nothing_was_ok_is_no_alert_of_its_own_beside_another() {
    let nothing = ThresholdReport {
        implicit: true,
        margin_ratio: None,
        ..threshold("count_ok", "count(ok) > 0", 0.0, 0.0, "", false)
    };
    let check = |others: &[ThresholdReport], subject: &str| {
        let mut bench = Bench::new(settings(), &["s"]);
        let thresholds = others.iter().chain([&nothing]).cloned().collect();
        bench.run(&RunSummary { thresholds, ..rejected("s", 0) }, 300);
        assert_eq!(bench.turn(310), ["firing"]);
        assert_eq!(bench.sent[0].subject, format!("[FIRING critical] ollama: s{subject}"));
        bench.run(&passed("s", 600), 900);
        assert_eq!(bench.turn(910), ["resolved"]);
        assert_eq!(bench.desk.views(), Vec::new());
    };
    let ok = threshold("rate_ok", "rate(ok) == 100%", 0.0, 1.0, "ratio", false);
    let failed = threshold("count_failed", "count( failed{step=a} ) <= 1", 3.0, 1.0, "", false);
    let slow = threshold("p95_latency", "p95(latency) < 1s", 3.0, 1.0, "s", false);
    check(&[], " count_ok");
    check(std::slice::from_ref(&ok), " rate_ok");
    check(std::slice::from_ref(&failed), " count_failed");
    check(&[ok.clone(), failed.clone()], ", 2 alerts");
    // What is about something else, holds, or is told later or less loudly does not stand for it.
    check(&[slow], ", 2 alerts");
    check(&[ThresholdReport { result: ThresholdResult::Pass, ..ok.clone() }], " count_ok");
    check(&[ThresholdReport { for_runs: 3, ..ok.clone() }], " count_ok");
    check(&[ThresholdReport { severity: Severity::Warning, ..ok }], ", 2 alerts");
    // Whoever wrote it means it.
    let written = ThresholdReport { implicit: false, ..nothing.clone() };
    check(&[failed, ThresholdReport { name: "anything".to_owned(), ..written }], ", 2 alerts");
}

#[test]
fn an_alert_that_nobody_is_told_of_is_said_once() {
    let quiet = Route { scenario: Some("quiet".into()), to: vec![], ..Route::default() };
    let team = Route { scenario: Some("other".into()), to: vec!["team".into()], ..Route::default() };
    let check = |receivers: &[&str], routes: &[&Route], scenario: &str, said: bool| {
        let settings = AlertSettings {
            receivers: receivers.iter().map(|name| receiver(name, &["a@example.com"])).collect(),
            routes: routes.iter().copied().cloned().collect(),
            ..settings()
        };
        let mut desk = Alerts::new(&settings, house(), Vec::new(), &[facts(scenario)], t(0));
        let mut problems = Vec::new();
        for start in [0, 600] {
            desk.observe_run(&facts(scenario), &rejected(scenario, start), None, t(start + 300));
            problems.extend(desk.turn(t(start + 300)).problems);
            problems.extend(desk.turn(t(start + 310)).problems);
        }
        let problem = format!(
            "alert rate_rejected of {scenario} fires and nobody is told: no route under alerts.routes matches it; end the \
             list with a route without conditions"
        );
        assert_eq!(problems, if said { vec![problem] } else { Vec::new() }, "{receivers:?} {routes:?}");
    };
    check(&["on_call", "team"], &[], "s", true);
    check(&["on_call", "team"], &[&quiet, &team], "s", true);
    check(&["on_call"], &[&team], "s", true);
    // A route to nobody, or no receiver at all, is a wish.
    check(&["on_call", "team"], &[&quiet, &team], "quiet", false);
    check(&[], &[], "s", false);
    check(&["on_call"], &[], "s", false);
}

/// What can happen to a desk.
#[derive(Debug, Clone)]
enum Happening {
    Run(usize, Verdict),
    Missed(usize),
    Restart,
    Wait(i64),
    /// Reload with these scenarios.
    Configure([bool; 3]),
}

fn happening() -> impl Strategy<Value = Happening> {
    let verdicts =
        [Verdict::Pass, Verdict::Fail, Verdict::Fail, Verdict::NoData, Verdict::Invalid, Verdict::Interrupted];
    prop_oneof![
        4 => (0..3_usize, prop::sample::select(verdicts.to_vec())).prop_map(|(scenario, verdict)| Happening::Run(scenario, verdict)),
        1 => (0..3_usize).prop_map(Happening::Missed),
        1 => Just(Happening::Restart),
        4 => prop::sample::select(vec![1_i64, 5, 20, 120, 400, 3000, 15_000]).prop_map(Happening::Wait),
        1 => prop::array::uniform3(any::<bool>()).prop_map(Happening::Configure),
    ]
}

/// Two scenarios of one target, one of another.
const NAMES: [&str; 3] = ["a", "b", "c"];

fn facts_of(index: usize) -> ScenarioFacts {
    ScenarioFacts { target: if index < 2 { "left".into() } else { "right".into() }, ..facts(NAMES[index]) }
}

/// Lets all of it happen, then everything passes; gives the mails. `restarts` = with the restarts, or without.
fn live(happenings: &[Happening], restarts: bool) -> Vec<NewMail> {
    let mut settings = settings();
    settings.receivers = vec![receiver("on_call", &["a@example.com", "b@example.com"])];
    let mut bench = Bench::new(settings, &[]);
    bench.scenarios = (0..3).map(facts_of).collect();
    bench.desk.reconfigure(&bench.settings, &bench.scenarios, t(0));
    let mut now = 0;
    let mut watched = [true; 3];
    // As the daemon does: a look at `next`, and after every event.
    let wait = |bench: &mut Bench, now: &mut i64, by: i64| {
        let until = *now + by;
        for _ in 0..1000 {
            let Some(next) = bench.next.map(|next| next.as_second() - t(0).as_second()).filter(|next| *next <= until)
            else {
                *now = until;
                return;
            };
            *now = next.max(*now);
            bench.turn(*now);
        }
        panic!("it never comes to rest: {:?}", bench.next);
    };
    let run = |bench: &mut Bench, index: usize, verdict: Verdict, now: i64| {
        let run = match verdict {
            Verdict::Fail => rejected(NAMES[index], now),
            verdict => RunSummary { verdict, ..passed(NAMES[index], now) },
        };
        bench.desk.observe_run(&facts_of(index), &run, None, t(now));
        bench.turn(now);
    };
    for what in happenings {
        match what {
            Happening::Run(index, verdict) if watched[*index] => run(&mut bench, *index, *verdict, now),
            Happening::Missed(index) if watched[*index] => {
                bench.desk.observe_missed(&facts_of(*index), t(now), "overlap", t(now));
                bench.turn(now);
            }
            Happening::Restart if restarts => {
                bench.restart(now);
                bench.turn(now);
            }
            Happening::Wait(by) => wait(&mut bench, &mut now, *by),
            Happening::Configure(which) => {
                watched = *which;
                bench.scenarios = (0..3).filter(|index| which[*index]).map(facts_of).collect();
                bench.desk.reconfigure(&bench.settings, &bench.scenarios, t(now));
                bench.turn(now);
            }
            Happening::Run(..) | Happening::Missed(_) | Happening::Restart => {}
        }
    }
    for index in (0..3).filter(|index| watched[*index]) {
        run(&mut bench, index, Verdict::Pass, now);
    }
    wait(&mut bench, &mut now, 1000);
    bench.turn(now);
    assert!(bench.rows.is_empty() && bench.desk.views().is_empty(), "{:?}", bench.rows);
    bench.sent
}

proptest! {
    /// Whoever was told that something fires is told exactly once, last and in the same thread, that it is over.
    #[test]
    fn every_story_that_is_told_is_told_to_its_end(happenings in prop::collection::vec(happening(), 0..60)) {
        let mut threads: BTreeMap<(String, String), Vec<NewMail>> = BTreeMap::new();
        for mail in live(&happenings, true) {
            threads.entry((mail.incident.clone(), mail.recipient.clone())).or_default().push(mail);
        }
        for (thread, mails) in threads {
            let kinds: Vec<_> = mails.iter().map(|mail| mail.kind.as_str()).collect();
            let over = |kind: &&str| matches!(*kind, "resolved" | "closed");
            prop_assert_eq!(kinds[0], "firing", "{:?}", thread);
            prop_assert!(over(&kinds[kinds.len() - 1]), "{:?}", kinds);
            prop_assert_eq!(kinds.iter().copied().filter(over).count(), 1, "{:?}", kinds);
            for mail in &mails[1..] {
                prop_assert_eq!(field(mail, "In-Reply-To"), Some(mails[0].message_id.clone()));
                prop_assert!(mail.subject.ends_with(mails[0].subject.split_once("] ").expect("a bracket").1));
            }
            let ids: std::collections::BTreeSet<_> = mails.iter().map(|mail| &mail.message_id).collect();
            prop_assert_eq!(ids.len(), mails.len());
        }
    }

    /// A restart loses nothing and adds nothing.
    #[test]
    fn a_restart_changes_no_mail(happenings in prop::collection::vec(happening(), 0..40)) {
        let told = |restarts| live(&happenings, restarts).iter().map(text_of).collect::<Vec<_>>();
        prop_assert_eq!(told(true), told(false));
    }
}
