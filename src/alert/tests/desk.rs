//! The desk as a whole: what fires, who is told what and when, and what it looks like.

mod course;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::fixtures::*;
use crate::{
    alert::{Alerts, House, ScenarioFacts},
    model::{
        run::{RunSummary, Severity, ThresholdReport, ThresholdResult, Verdict},
        settings::{AlertSettings, Route},
    },
    store::rows::NewMail,
};

/// A desk with its clock and its stored rows.
struct Bench {
    desk: Alerts,
    rows: BTreeMap<String, String>,
    sent: Vec<NewMail>,
    next: Option<jiff::Timestamp>,
    settings: AlertSettings,
    scenarios: Vec<ScenarioFacts>,
}

impl Bench {
    fn new(settings: AlertSettings, scenarios: &[&str]) -> Self {
        let scenarios: Vec<_> = scenarios.iter().map(|name| facts(name)).collect();
        let desk = Alerts::new(&settings, house(), Vec::new(), &scenarios, t(0));
        Self { desk, rows: BTreeMap::new(), sent: Vec::new(), next: None, settings, scenarios }
    }

    /// A turn, as the daemon does it; gives the kinds of the mails.
    fn turn(&mut self, now: i64) -> Vec<String> {
        let turn = self.desk.turn(t(now));
        assert_eq!(turn.problems, Vec::<String>::new());
        for (key, value) in turn.batch.alerts {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        self.next = turn.next;
        let kinds = turn.batch.mails.iter().map(|mail| mail.kind.clone()).collect();
        self.sent.extend(turn.batch.mails);
        kinds
    }

    fn run(&mut self, run: &RunSummary, now: i64) -> Vec<String> {
        let good = passed(&run.scenario, -600);
        self.desk.observe_run(&facts(&run.scenario), run, Some(&good), t(now));
        self.turn(now)
    }

    /// kill -9 and start.
    fn restart(&mut self, now: i64) {
        let rows = self.rows.clone().into_iter().collect();
        self.desk = Alerts::new(&self.settings, house(), rows, &self.scenarios, t(now));
    }

    fn last(&self) -> String {
        text_of(self.sent.last().expect("a mail was sent"))
    }
}

/// Head and plain text of a mail.
fn text_of(mail: &NewMail) -> String {
    let raw = String::from_utf8(mail.bytes.clone()).expect("mails are ASCII");
    let (head, _) = raw.split_once("\r\n\r\n").expect("a head");
    format!("{head}\n\n{}", part_of(mail, "text/plain")).replace('\r', "")
}

/// One part of a mail, quoted-printable undone.
fn part_of(mail: &NewMail, kind: &str) -> String {
    let raw = String::from_utf8(mail.bytes.clone()).expect("mails are ASCII");
    let part = raw.split("\r\n--=_plimsoll").find(|part| part.contains(kind)).expect("such a part");
    let (head, body) = part.split_once("\r\n\r\n").expect("a head");
    if head.contains("quoted-printable") { unquote(body) } else { body.to_owned() }
}

fn unquote(text: &str) -> String {
    let joined = text.replace("=\r\n", "");
    let mut pieces = joined.split('=');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).expect("hex"));
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// Head fields of a mail, unfolded.
fn field(mail: &NewMail, name: &str) -> Option<String> {
    let text = text_of(mail);
    let head = text.split("\n\n").next()?.replace("\n ", " ");
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(ToOwned::to_owned))
}

#[test]
fn a_breach_is_told_after_group_wait_and_its_end_in_the_same_thread() {
    let mut bench = Bench::new(settings(), &["sustained"]);
    assert_eq!(bench.run(&rejected("sustained", 0), 300), Vec::<String>::new());
    assert_eq!(bench.next, Some(t(310)));
    assert_eq!(bench.turn(309), Vec::<String>::new());
    assert_eq!(bench.turn(310), ["firing"]);
    insta::assert_snapshot!("firing", bench.last());
    assert_eq!(bench.run(&passed("sustained", 600), 900), Vec::<String>::new());
    assert_eq!(bench.turn(910), ["resolved"]);
    insta::assert_snapshot!("resolved", bench.last());
    let [firing, resolved] = bench.sent.as_slice() else { panic!("two mails") };
    assert_eq!(field(resolved, "In-Reply-To").as_ref(), Some(&firing.message_id));
    assert_eq!(field(resolved, "References").as_ref(), Some(&firing.message_id));
    assert_eq!(resolved.incident, firing.incident);
    assert_ne!(resolved.message_id, firing.message_id);
    assert_eq!(resolved.subject, format!("Re: {}", firing.subject.replace("FIRING", "RESOLVED")));
    // Nothing is left but the memory that slows a flapping target down.
    bench.turn(910 + 300);
    assert_eq!(bench.rows.len(), 0, "{:?}", bench.rows);
    assert_eq!(bench.desk.views(), Vec::new());
}

#[test]
fn a_pause_is_the_first_thing_a_mail_says() {
    const ALARM: &str = "ALL LOAD IS PAUSED (deploy <1>): nothing is being measured, so this alert cannot resolve. \
                         `plimsoll resume` releases it.";
    let mut bench = Bench::new(settings(), &["s"]);
    bench.run(&rejected("s", 0), 300);
    bench.desk.set_paused(Some("deploy <1>".to_owned()));
    assert_eq!(bench.turn(310), ["firing"]);
    let alarmed = |bench: &Bench| {
        let mail = bench.sent.last().expect("a mail");
        let (text, html) = (part_of(mail, "text/plain"), part_of(mail, "text/html"));
        let body = html.split_once("<main").expect("a body").1.split_once("<p ").expect("a paragraph").1;
        let first = body.split_once('>').expect("its end").1;
        let both = (text.starts_with(ALARM), first.starts_with("ALL LOAD IS PAUSED (deploy &lt;1&gt;): nothing"));
        assert_eq!(both.0, both.1, "{text}{html}");
        assert_eq!(text.contains("The next run is due"), !both.0 && text.contains("WHAT IS WRONG"), "{text}");
        assert_eq!(text.contains("    plimsoll pause"), !both.0 && text.contains("WHAT IS WRONG"), "{text}");
        both.0
    };
    assert!(alarmed(&bench));
    assert_eq!(bench.turn(310 + 4 * 3600), ["repeat"]);
    assert!(alarmed(&bench));
    // A run that was still going passes: what is over is over, paused or not.
    bench.run(&passed("s", 14_800), 15_100);
    assert_eq!(bench.turn(15_110), ["resolved"]);
    assert!(!alarmed(&bench));
    bench.desk.set_paused(None);
    bench.scenarios = vec![ScenarioFacts { next_run: Some(t(90_000)), ..facts("s") }];
    bench.turn(20_000);
    bench.desk.observe_run(&bench.scenarios[0], &rejected("s", 20_000), None, t(20_300));
    bench.turn(20_300);
    assert_eq!(bench.turn(20_310), ["firing"]);
    assert!(!alarmed(&bench));
}

#[test]
fn trouble_begins_with_the_first_failure_of_its_kind() {
    let check = |expr: &str, outcome: &str, since: i64| {
        let mut bench = Bench::new(settings(), &["s"]);
        let mut run = rejected("s", 0);
        run.thresholds[0].expr = expr.to_owned();
        run.first_failure.as_mut().expect("the fixture has one").outcome = outcome.to_owned();
        bench.desk.observe_run(&facts("s"), &run, None, t(300));
        assert_eq!(bench.desk.views()[0].since, t(since), "{expr} {outcome}");
    };
    check("rate(rejected) <= 5%", "rejected", 12);
    check("rate(rejected) <= 5%", "failed", 0);
    check("rate(failed) <= 5%", "failed", 12);
    check("rate(ok) == 100%", "failed", 12);
    check("count(ok) > 0", "rejected", 12);
    check("p95(latency) < 1s", "failed", 0);
    let mut bench = Bench::new(settings(), &["s"]);
    let mut run = rejected("s", 0);
    run.first_failure.as_mut().expect("the fixture has one").at_s = f64::NAN;
    bench.desk.observe_run(&facts("s"), &run, None, t(300));
    assert_eq!(bench.desk.views()[0].since, t(0));
}

#[test]
fn new_and_worst_runs_are_shown_first() {
    let mut bench = Bench::new(settings(), &["a", "b", "c"]);
    bench.run(&rejected("a", 0), 300);
    bench.turn(310);
    let mut worse = rejected("c", 20);
    worse.thresholds[0].margin_ratio = Some(-9.0);
    bench.run(&rejected("b", 20), 320);
    bench.run(&worse, 320);
    assert_eq!(bench.turn(610), ["update"]);
    let text = bench.last();
    let shown: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("THE RUN OF ")).collect();
    assert_eq!(shown, ["c", "b"], "{text}");
    assert!(text.contains("\n(the run of a is on the page)\n") && text.contains("Run       run-c-20\n"), "{text}");
}

#[test]
fn a_page_on_loopback_is_reached_through_a_tunnel() {
    let check = |page_url: &str, expected: Option<&str>| {
        let house = House { page_url: page_url.to_owned(), ..house() };
        let mut desk = Alerts::new(&settings(), house, Vec::new(), &[facts("s")], t(0));
        desk.observe_run(&facts("s"), &rejected("s", 0), None, t(300));
        desk.turn(t(300));
        let text = text_of(&desk.turn(t(310)).batch.mails[0]);
        let found = text.lines().find_map(|line| line.strip_prefix("  From elsewhere: "));
        assert_eq!(found, expected, "{page_url}");
    };
    check("http://127.0.0.1:9590", Some("ssh -L 9590:127.0.0.1:9590 probe-1"));
    check("http://localhost/plimsoll", Some("ssh -L 80:localhost:80 probe-1"));
    check("http://[::1]:9590", Some("ssh -L 9590:[::1]:9590 probe-1"));
    check("https://[::1]", Some("ssh -L 443:[::1]:443 probe-1"));
    check("https://plimsoll.example.com", None);
    check("http://10.0.0.1:9590", None);
}

#[test]
fn no_data_and_missed_read_well() {
    let mut bench = Bench::new(settings(), &["sustained"]);
    bench.run(&no_data("sustained", 0), 300);
    bench.turn(310);
    insta::assert_snapshot!("no_data", bench.last());

    let mut bench = Bench::new(settings(), &["sustained"]);
    bench.desk.observe_missed(&facts("sustained"), t(0), "downtime", t(60));
    bench.turn(60);
    assert_eq!(bench.turn(70), ["firing"]);
    insta::assert_snapshot!("missed", bench.last());
    // The next run that happens resolves it, whatever it came to.
    let interrupted = RunSummary { verdict: Verdict::Interrupted, ..passed("sustained", 600) };
    bench.run(&interrupted, 900);
    assert_eq!(bench.turn(910), ["resolved"]);
}

#[test]
fn ten_scenarios_of_one_target_are_one_mail() {
    let names: Vec<String> = (0..10).map(|index| format!("chat-{index}")).collect();
    let mut bench = Bench::new(settings(), &names.iter().map(String::as_str).collect::<Vec<_>>());
    for (index, name) in (0..).zip(&names) {
        assert_eq!(bench.run(&rejected(name, 0), 300 + index), Vec::<String>::new());
    }
    assert_eq!(bench.turn(310), ["firing"]);
    insta::assert_snapshot!("ten_in_one", bench.last());
    // Nine are fixed: told once, no sooner than group_interval after the last mail. Then the last one: told at once.
    for name in &names[..9] {
        assert_eq!(bench.run(&passed(name, 320), 330), Vec::<String>::new());
    }
    assert_eq!(bench.next, Some(t(610)));
    assert_eq!(bench.turn(610), ["update"]);
    assert!(
        bench.last().contains("1 alert of 1 scenario on ollama (http://localhost:11434); 9 over."),
        "{}",
        bench.last()
    );
    bench.run(&passed(&names[9], 610), 620);
    assert_eq!(bench.turn(630), ["resolved"]);
    assert_eq!(bench.sent.len(), 3);
    // The last mail tells all of it; the subject keeps the thread together.
    let text = bench.last();
    for name in &names {
        assert!(text.contains(&format!("* {name} / rate_rejected (critical)\n")), "{name} in {text}");
    }
    assert_eq!(text.matches("it began at 2026-11-20 04:00:12 UTC").count(), 10, "{text}");
    assert!(text.contains("\nRESOLVED (critical): ollama: 10 alerts\n"), "{text}");
}

#[test]
fn the_headline_says_the_present_and_the_end_says_all() {
    let mut bench = Bench::new(settings(), &["a", "b"]);
    bench.run(&rejected("a", 0), 300);
    bench.turn(310);
    bench.run(&rejected("b", 20), 320);
    bench.turn(610);
    assert!(bench.last().contains("\nFIRING (critical): ollama: 2 alerts\n"), "{}", bench.last());
    assert_eq!(bench.sent[1].subject, "Re: [FIRING critical] ollama: a rate_rejected");
    // a is over, told so, breaks again, told so, and is over with b.
    bench.run(&passed("a", 620), 920);
    assert_eq!(bench.turn(930), ["update"]);
    assert!(bench.last().contains("\nFIRING (critical): ollama: b rate_rejected\n"), "{}", bench.last());
    bench.run(&rejected("a", 1000), 1300);
    bench.turn(1310);
    bench.restart(1320);
    bench.run(&passed("a", 1400), 1700);
    bench.run(&passed("b", 1400), 1700);
    assert_eq!(bench.turn(1710), ["resolved"]);
    let text = bench.last();
    let story = "it began at 2026-11-20 04:00:12 UTC (05:00:12 Europe/Berlin) and lasted 28m08s in all";
    assert!(text.contains(story), "{text}");
    assert_eq!(text.matches("* a / rate_rejected").count(), 1, "{text}");
    assert!(text.contains("* b / rate_rejected"), "{text}");
}

#[test]
fn what_is_no_longer_watched_is_not_called_over() {
    let mut bench = Bench::new(settings(), &["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        bench.run(&rejected(name, 0), 300);
    }
    bench.turn(310);
    bench.scenarios = vec![facts("a"), facts("c")];
    bench.restart(400);
    bench.run(&passed("c", 350), 650);
    assert_eq!(bench.turn(660), ["update"]);
    let text = bench.last();
    assert!(
        text.contains("1 alert of 1 scenario on ollama (http://localhost:11434); 1 over, 1 no longer watched.\n"),
        "{text}"
    );
    let (_, closed) = text.split_once("\nNO LONGER WATCHED\n* b / rate_rejected").expect("such a section");
    assert!(closed.contains("It was still broken when last measured.\n"), "{text}");
    assert_eq!(text.matches("still broken").count(), 1, "{text}");
    bench.run(&passed("a", 700), 1000);
    assert_eq!(bench.turn(1010), ["resolved"]);
    let text = bench.last();
    assert!(
        text.contains("Nothing fires on ollama (http://localhost:11434) any more: 2 over, 1 no longer watched."),
        "{text}"
    );
}
