//! Expectations against responses, and what a person reads when one does not hold.

use std::{cell::OnceCell, time::Duration};

use serde_json::json;

use super::*;

const BODY: &str = r#"{"status":"healthy","n":3,"f":3.0,"nothing":null,"text":"3","list":[1,2],"ready":true,
    "reply":"Agent 3 says hello to Agent 3","deep":{"a":[{"b":"c","d":7}]}}"#;

fn eval(src: &str, status: u16, body: &[u8]) -> Result<(), String> {
    let mut headers = ::http::HeaderMap::new();
    headers.insert("x-cache", "HIT".parse().expect("a value"));
    headers.insert("x-wait", "12".parse().expect("a value"));
    let json = OnceCell::new();
    let variable = |name: &str| match name {
        "vu" => Some(json!(3)),
        "hit" => Some(json!("HIT")),
        "vars" => Some(json!({"model": "m"})),
        _ => None,
    };
    let response = ResponseView {
        status,
        headers: &headers,
        body,
        json: &json,
        latency: Duration::from_millis(1500),
        service_time: Duration::from_millis(900),
        variable: &variable,
    };
    parse_expect(src).unwrap_or_else(|error| panic!("{src}: {error:?}")).eval(&response)
}

#[test]
fn what_holds() {
    for src in [
        "status == 200",
        "status != 500",
        "status in [200, 201]",
        "status in 2xx",
        "status == 2xx",
        "status in [3xx, 200]",
        "status not in [500, 4xx]",
        "status < 300",
        "latency < 2s",
        "latency == 1500ms",
        "service_time <= 0.9s",
        "service_time < latency",
        "exists($.nothing)",
        "not exists($.absent)",
        "exists(header['x-cache'])",
        "exists(vu)",
        "$.status == 'healthy'",
        "$.status in ['healthy', 'degraded']",
        "$.n == 3",
        "$.n == vu",
        "$.f == 3",
        "$.n >= 2.5",
        "$.ready == true",
        "$.nothing == null",
        "$.text == '3'",
        "$.text != 3",
        "$.list[1] == 2",
        "$.deep.a[?@.b == 'c'].d == 7",
        "$.status =~ /^heal/",
        "$.status contains 'eal'",
        "body contains 'Agent 3'",
        "body not contains 'error'",
        r"body =~ /Agent \d/",
        "body !~ /error/",
        "header('x-cache') == 'HIT'",
        "header['x-wait'] < 13",
        "header['x-wait'] == 12",
        "hit == 'HIT'",
        "vars.model == 'm'",
        r"all(body =~ /Agent (\d+)/, $1 == vu)",
        r"all(body =~ /Nobody (\d+)/, $1 == vu)",
        "status == 500 or status == 200 and latency < 2s",
        "not (status == 500 or latency > 2s)",
    ] {
        assert_eq!(eval(src, 200, BODY.as_bytes()), Ok(()), "{src}");
    }
}

#[test]
fn what_does_not_hold_says_why() {
    let check = |src: &str, expected: &str| {
        assert_eq!(eval(src, 503, BODY.as_bytes()), Err(expected.to_owned()), "{src}");
    };
    check("status == 200", "status is 503, expected == 200");
    check("status in 2xx", "status is 503, expected in [2xx]");
    check("status not in [500, 503]", "status is 503, expected not in [500, 503]");
    check("latency < 1s", "latency is 1.5 s, expected < 1 s");
    check("exists($.absent)", "$.absent is not in the body");
    check("$.absent == 1", "$.absent is not in the body");
    check("exists(header['retry-after'])", "header[\"retry-after\"] is absent");
    check("$.n == 4", "$.n is 3, expected == 4");
    check("$.text == 3", "$.text is \"3\", expected == 3");
    check("$.text > 3", "\"3\" is not a number");
    check("$.list[*] == 1", "$.list[*] finds 2 values, expected exactly one");
    check("$.status in ['degraded']", "$.status is \"healthy\", expected in [\"degraded\"]");
    check("header['x-cache'] == 'MISS'", "header[\"x-cache\"] is \"HIT\", expected == \"MISS\"");
    check("hit == vu", "hit is \"HIT\", expected == vu (3)");
    check("unknown == 1", "unknown is not set");
    check("not status == 503", "status == 503 holds, expected not to");
    check("status == 200 or status == 201", "status is 503, expected == 200; status is 503, expected == 201");
    check("status == 503 and $.n == 4", "$.n is 3, expected == 4");
}

#[test]
fn bodies_that_are_not_what_was_expected() {
    let why = |src: &str, body: &[u8]| eval(src, 200, body).expect_err(src);
    assert_eq!(why("$.a == 1", b"<html>"), "the body is not JSON, expected $.a in it");
    assert_eq!(why("exists($.a)", b""), "the body is not JSON, expected $.a in it");
    assert_eq!(why("body contains 'x'", b"a\r\nb"), "body does not contain \"x\": a  b");
    let foreign = why(r"all(body =~ /Agent (\d+)/, $1 == vu)", b"Agent 3, Agent 4");
    assert_eq!(foreign, "at \"Agent 4\" in the body: $1 is \"4\", expected == vu (3)");
    assert!(eval("body =~ /b/", 200, b"\xff\xfeb").is_ok());
    let long = why("body =~ /y/ or body =~ /y/ or body =~ /y/ or body =~ /y/", &[b'x'; 5000]);
    assert_eq!(long.chars().count(), 300);
    assert!(long.ends_with('…'));
}

#[test]
fn only_what_reads_the_body_asks_for_it() {
    let check = |src: &str, expected: bool| {
        assert_eq!(parse_expect(src).expect(src).needs_body(), expected, "{src}");
    };
    check("status == 200 and latency < 1s", false);
    check("header['x'] == vu or not exists(hit)", false);
    check("status == 200 or body contains 'x'", true);
    check("not exists($.a)", true);
    check("vu == $.a", true);
    check("status in [$.a]", true);
    check(r"all(body =~ /(a)/, status == 200)", true);
}
