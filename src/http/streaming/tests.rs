use proptest::prelude::*;

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn measured(spec: &StreamSpec, pieces: &[(&str, u64)], end: u64) -> (StreamSample, Result<(), StreamFault>) {
    let mut meter = StreamMeter::new(spec);
    for (piece, at) in pieces {
        meter.feed(piece.as_bytes(), ms(*at));
    }
    meter.finish(ms(end))
}

fn fault(spec: &StreamSpec, body: &str) -> String {
    measured(spec, &[(body, 1)], 2).1.expect_err("a fault").to_string()
}

#[test]
fn an_answer_of_openai() {
    let (sample, whole) = measured(
        &StreamSpec::sse(),
        &[
            ("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n", 100),
            ("data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n: keep-alive\n", 300),
            ("\ndata: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n", 350),
            ("data: {\"choices\":[{\"delta\":{\"content\":\"!\"}}]}\n\n", 6000),
            ("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", 6010),
            (
                "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n",
                6020,
            ),
        ],
        6100,
    );
    assert_eq!(whole, Ok(()));
    assert_eq!((sample.first_token, sample.last_token, sample.ended), (Some(ms(300)), Some(ms(6000)), ms(6100)));
    assert_eq!((sample.events, sample.chunks, sample.usage, sample.stalls), (7, 3, Some(5), 1));
    assert_eq!((sample.gaps.count(), sample.gaps.max()), (2, Some(5.65)));
    assert_eq!(sample.tpot(), Some(ms(1450)));
}

#[test]
fn an_answer_of_ollama() {
    for (first, last) in [
        (r#"{"response":"Hi","done":false}"#, r#"{"response":"","done":true,"eval_count":2,"context":[1,2]}"#),
        (
            r#"{"message":{"role":"assistant","content":"Hi"},"done":false}"#,
            r#"{"message":{"role":"assistant","content":""},"done":true,"eval_count":2}"#,
        ),
    ] {
        let line = format!("{first}\n");
        let (sample, whole) = measured(&StreamSpec::ndjson(), &[(&line, 10), (&line, 20), (last, 30)], 40);
        assert_eq!(whole, Ok(()));
        assert_eq!((sample.events, sample.chunks, sample.usage), (3, 2, Some(2)));
        assert_eq!((sample.first_token, sample.last_token, sample.stalls), (Some(ms(10)), Some(ms(20)), 0));
    }
}

#[test]
fn other_ends() {
    let text = StreamSpec { token: Vec::new(), usage: None, done: None, ..StreamSpec::sse() };
    let (sample, whole) = measured(&text, &[("data: not json\n\ndata: at all\n\n", 5)], 9);
    assert_eq!((sample.chunks, whole), (2, Ok(())));

    let named = StreamSpec { done: Some(StreamDone::Event("message_stop".into())), ..text.clone() };
    let (sample, whole) =
        measured(&named, &[("event: d\ndata: a\n\nevent: message_stop\ndata: {}\n\ndata: late\n\n", 5)], 9);
    assert_eq!((sample.events, whole), (2, Ok(())));

    // Many a server ends without the blank line.
    let marked = StreamSpec { done: Some(StreamDone::Text("[DONE]".into())), ..text };
    assert_eq!(measured(&marked, &[("data: a\n\ndata: [DONE]", 5)], 9).1, Ok(()));
    assert_eq!(measured(&marked, &[("data: a\n\ndata: [DONE]\n", 5)], 9).1, Ok(()));
    let cut = measured(&marked, &[("data: a\n\ndata: b", 5)], 9);
    assert_eq!((cut.0.chunks, cut.1.is_err()), (1, true));
}

#[test]
fn silence_at_the_end_is_a_stall() {
    let line = "{\"response\":\"a\"}\n";
    let stalls = |pieces: &[(&str, u64)], end| measured(&StreamSpec::ndjson(), pieces, end).0.stalls;
    assert_eq!(stalls(&[(line, 1)], 5001), 0);
    assert_eq!(stalls(&[(line, 1)], 5002), 1);
    assert_eq!(stalls(&[(line, 1), (line, 5002), ("{\"done\":false}\n", 6000)], 11_000), 2);
    assert_eq!(stalls(&[("{\"done\":false}\n", 1)], 60_000), 0, "the first token has a time of its own");
}

#[test]
fn faults_say_what_is_wrong() {
    insta::assert_snapshot!(fault(&StreamSpec::sse(), ""), @"the stream ended after 0 events, without `[DONE]`");
    insta::assert_snapshot!(
        fault(&StreamSpec::sse(), "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"error\":{\"message\":\"out of memory\"}}\n\n"),
        @r#"the stream ended after 2 events, without `[DONE]`; its last event without a token: {"error":{"message":"out of memory"}}"#
    );
    insta::assert_snapshot!(
        fault(&StreamSpec::ndjson(), "{\"response\":\"a\",\"done\":false}\n"),
        @"the stream ended after 1 events, without a true $.done"
    );
    insta::assert_snapshot!(
        fault(&StreamSpec::ndjson(), "{\"response\":\"a\"}\n<html>\tbad gateway"),
        @"event 2 of the stream is not JSON: <html> bad gateway"
    );
    insta::assert_snapshot!(
        fault(&StreamSpec { done: Some(StreamDone::Event("message_stop".into())), ..StreamSpec::sse() }, "data: {}\n\n"),
        @"the stream ended after 1 events, without an event `message_stop`; its last event without a token: {}"
    );
    insta::assert_snapshot!(
        fault(&StreamSpec::ndjson(), &"x".repeat(300_000)),
        @"a line of the stream is longer than 262144 bytes"
    );
    assert!(fault(&StreamSpec::ndjson(), &"y".repeat(1000)).len() < 300);
}

#[test]
fn an_endless_stream_ends() {
    let spec = StreamSpec { token: Vec::new(), usage: None, done: None, ..StreamSpec::ndjson() };
    let mut meter = StreamMeter::new(&spec);
    let piece = "1\n".repeat(10_000);
    for n in 0..=100 {
        meter.feed(piece.as_bytes(), ms(n));
    }
    assert!(meter.ended());
    let (sample, whole) = meter.finish(ms(200));
    assert_eq!((sample.chunks, whole), (MAX_EVENTS, Err(StreamFault::Endless)));
}

proptest! {
    #[test]
    fn any_split_measures_the_same(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "data: {\"choices\":[{\"delta\":{\"content\":\"ü\"}}]}\r\n\r\n",
                "data: {\"choices\":[]}\n\n", ": ping\n", "\r", "data: [DONE]\n\n", "data: nonsense", "\n\n",
                "data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"x\"}}],\"usage\":{\"completion_tokens\":4}}\n\n",
            ]),
            0..12,
        ),
        cuts in proptest::collection::vec(0_usize..600, 0..10),
    ) {
        let body = parts.concat().into_bytes();
        let of = |pieces: &[&[u8]]| {
            let mut meter = StreamMeter::new(&StreamSpec::sse());
            for piece in pieces {
                meter.feed(piece, ms(7));
            }
            meter.finish(ms(9))
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        let whole = of(&[&body]);
        prop_assert_eq!(&of(&pieces), &whole);
        prop_assert_eq!(&of(&body.chunks(1).collect::<Vec<_>>()), &whole);
    }
}
