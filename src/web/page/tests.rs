use super::{
    super::{mime, testing},
    *,
};
use crate::{model::run::Verdict, web::view::StatusView};

fn rendered(view: &StatusView) -> String {
    status(view, testing::NOW, true).expect("renders")
}

/// The page as a person reads it: what is inside `main`, a line per row, cells apart, tags off.
fn read(page: &str) -> String {
    let main = page.split_once("<main>").expect("has a main part").1.split_once("</main>").expect("closed").0;
    let mut text = String::new();
    for (index, piece) in main.replace('\n', " ").split('<').enumerate() {
        let (tag, rest) = if index == 0 { ("", piece) } else { piece.split_once('>').expect("tags are closed") };
        match tag.split(' ').next().unwrap_or_default() {
            "tr" | "/table" | "h1" | "h2" | "p" | "div" => text.push('\n'),
            "td" | "th" => text.push_str(" | "),
            "rect" => text.extend(["[", tag.trim_end_matches('/').trim_start_matches("rect "), "]"]),
            _ => text.push(' '),
        }
        text.push_str(rest);
    }
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n").replace("&lt;", "<").replace("&gt;", ">")
}

#[test]
fn a_bad_day() {
    insta::assert_snapshot!(read(&rendered(&testing::bad())), @r#"
        2 alerts firing
        sustained on ollama: rate(rejected) <= 5%, for 7 min, and 1 more
        Firing
        | What | Where | Value | Limit | Since
        | critical rate(rejected) <= 5% What to do | sustained on ollama | 20 % | 5 % | 7 min ago 11:13:20
        | warning p95(latency) < 2s | sustained on ollama | 2.41 s | 2 s | 60 min ago 10:20:00
        Scenarios Stop all load
        | Scenario | Target | Last verdict | p95 | Rejected | Last run | Next run | Start
        | health Is it <b>there<&#x2f;b>? probe, every 30s | ollama http:&#x2f;&#x2f;localhost:8080 | pass | 412 ms | 0 % | 12 s ago 11:19:48 | in 18 s 11:20:18 | Run now
        | sustained ● running, 17 in flight constant-arrival-rate, *&#x2f;10 * * * * UTC | ollama http:&#x2f;&#x2f;localhost:8080 | fail rate(rejected) <= 5%: 20 % of 150 requests were rejected | 412 ms | 20 % | 7 min ago 11:13:20 | in 3 min 11:23:20 | Run now
        | ten_at_once per-vu-iterations, manual | ollama http:&#x2f;&#x2f;localhost:8080 | not yet | – | – | – | by hand | Run now
        Last runs
        | Scenario | Verdict | Ended | Took | Requests
        | health | pass | 12 s ago 11:19:48 | 30.3 s | [class="ok" x="0.0" width="100.0" height="1"] 1 ok
        | sustained | fail | 7 min ago 11:13:20 | 30.3 s | [class="ok" x="0.0" width="72.84" height="1"][class="rejected" x="72.84" width="18.52" height="1"][class="failed" x="91.36" width="1.23" height="1"][class="dropped" x="92.59" width="7.41" height="1"] 118 ok · 30 rejected · 2 failed · 12 dropped
        | sustained | pass | 7 min ago 11:13:20 | 30.3 s | [class="ok" x="0.0" width="99.33" height="1"][class="rejected" x="99.33" width="0.67" height="1"] 2,980 ok · 20 rejected
        | ten_at_once | interrupted | 25 h ago Nov 20, 10:20 | 30.3 s | [class="ok" x="0.0" width="40.0" height="1"][class="interrupted" x="40.0" width="60.0" height="1"] 4 ok · 6 interrupted
        | health | no data | 2 days ago Nov 19, 11:20 | 30.3 s | nothing sent
        Mails 1 waiting · 4 sent · 0 given up
        | Subject | To | State | Decided
        | [FIRING critical] ollama: rate(rejected) <= 5% | oncall@example.com | waiting, 2 attempts connection refused by mail.example.com:587 | 7 min ago 11:13:30
        | [FIRING warning] ollama: p95(latency) < 2s | oncall@example.com | sent | 60 min ago 10:20:00
        "#);
}

#[test]
fn a_first_day() {
    insta::assert_snapshot!(read(&rendered(&testing::fresh())), @r#"
        Waiting for the first run
        The configuration names no scenario.
        Scenarios Stop all load
        The configuration names no scenario.
        Last runs
        Nothing has run yet.
        Mails 0 waiting · 0 sent · 0 given up
        No mail was needed so far.
        "#);
}

#[test]
fn what_comes_from_outside_is_only_text() {
    let mut view = testing::bad();
    view.paused = Some("<script>alert(1)</script>".to_owned());
    view.troubles = vec!["<img src=x onerror=alert(1)>".to_owned()];
    view.scenarios[0].name = "a/b\"><i>".into();
    let page = rendered(&view);
    for markup in ["<script", "<img", "<b>", "<i>", "javascript:"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert!(page.contains("/api/v1/trigger/a%2Fb%22%3E%3Ci%3E\""), "a name is one segment of the path");
}

#[test]
fn a_mail_is_shut_in() {
    let row = testing::mail();
    let page = mail(&row, &mime::bodies(&row.mail.bytes), "UTC").expect("renders");
    assert!(!page.contains("<script"), "the mail's markup is inside an attribute");
    assert!(page.contains(r#"<iframe class="letter" sandbox="""#) && page.contains("srcdoc=\"&lt;html&gt;"));
    insta::assert_snapshot!(read(&page), @r#"
        waiting, 2 attempts [FIRING critical] ollama: rate(rejected) <= 5%
        To oncall@example.com (on_call) Decided 2025-11-21T11:13:30Z Last error connection refused by mail.example.com:587 Message-ID <p.1@example.com> As sent download the .eml file
        As the reader sees it
        As text
        20 % were rejected.
        "#);
}

#[test]
fn the_page_refreshes_unless_told_otherwise() {
    let refreshes = |refresh| {
        let page = status(&testing::calm(), testing::NOW, refresh).expect("renders");
        page.contains(r#"<meta http-equiv="refresh" content="5">"#)
    };
    assert_eq!((refreshes(true), refreshes(false)), (true, false));
}

#[test]
fn the_first_line_is_the_worst_that_there_is() {
    let check = |change: fn(&mut StatusView), tone: &str, title: &str| {
        let mut view = testing::calm();
        change(&mut view);
        let found = headline(&view, &Watch::new(testing::NOW, "UTC"));
        assert_eq!((found.tone, found.title.as_str()), (tone, title), "{}", found.detail);
    };
    check(|_| (), "good", "All well");
    check(|view| *view = testing::bad(), "bad", "2 alerts firing");
    check(|view| view.paused = Some("storm".to_owned()), "warn", "Paused");
    check(
        |view| {
            *view = testing::bad();
            view.paused = Some("storm".to_owned());
            view.firing.truncate(1);
        },
        "bad",
        "1 alert firing",
    );
    check(|view| view.troubles.push("The disk is full.".to_owned()), "warn", "Plimsoll itself needs attention");
    check(
        |view| view.scenarios[1].last = Some(testing::run("sustained", Verdict::Fail, 9, [1; 4], 0)),
        "warn",
        "1 scenario failing",
    );
    check(
        |view| view.scenarios[1].last = Some(testing::run("sustained", Verdict::NoData, 9, [0; 4], 0)),
        "warn",
        "1 scenario without a result to trust",
    );
    check(|view| view.runs.clear(), "idle", "Waiting for the first run");
}

#[test]
fn an_old_state_is_called_old() {
    let mut view = testing::calm();
    view.at = testing::NOW - jiff::SignedDuration::from_secs(STALE_S);
    assert!(rendered(&view).contains("This is the state of 15 s ago"));
    assert!(!rendered(&testing::calm()).contains("This is the state of"));
}

#[test]
fn times_are_near_and_exact() {
    let check = |seconds, expected: &str| assert_eq!(relative(seconds), expected);
    check(0, "now");
    check(-1, "now");
    check(-2, "2 s ago");
    check(119, "in 119 s");
    check(-150, "3 min ago");
    check(7_200, "in 2 h");
    check(-172_800, "2 days ago");
    let berlin = Watch::new(testing::NOW, "Europe/Berlin");
    assert_eq!(berlin.when(testing::NOW).absolute, "12:20:00");
    assert_eq!(berlin.when(testing::NOW - jiff::SignedDuration::from_hours(13)).absolute, "Nov 20, 23:20");
}
