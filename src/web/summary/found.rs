//! What a search tried and found, and the figures of streamed answers.

use std::fmt::Write as _;

use comfy_table::CellAlignment;
use serde_json::Value;

use super::{MAX_GROUPS, show, table};
use crate::model::{
    run::{RunSummary, StreamSummary, TimeStats},
    units::{Unit, human, human_seconds},
};

/// The stages of a search in the order in which they were tried, and why it ended; nothing where there was none.
pub(super) fn search(run: &RunSummary) -> String {
    let Some(search) = &run.search else { return String::new() };
    let load = |value: &Value| {
        let value = value.as_f64().unwrap_or_default();
        let users = if value > 1.0 { "users" } else { "user" };
        if search["variable"] == "vus" { format!("{value} {users}") } else { human(value, Unit::PerSecond) }
    };
    let mut table = table(&["search", "ok", "p95 ok", ""]);
    table.column_mut(3).expect("it has four columns").set_cell_alignment(CellAlignment::Left);
    let stages = search["stages"].as_array().map_or(&[][..], Vec::as_slice);
    for stage in stages.iter().take(MAX_GROUPS) {
        let what = match stage["why"].as_str() {
            Some(why) => why.to_owned(),
            None if stage["confirms"] == true => "sustained, confirmed".to_owned(),
            None => "sustained".to_owned(),
        };
        let figure = |key: &str, unit| stage[key].as_f64().map_or("-".to_owned(), |value| human(value, unit));
        table.add_row([load(&stage["value"]), figure("ok_ratio", Unit::Ratio), figure("p95_s", Unit::Seconds), what]);
    }
    if stages.len() > MAX_GROUPS {
        table.add_row(vec![format!("and {} more: `--json` has them", stages.len() - MAX_GROUPS)]);
    }
    let line = &search["line"];
    let end = match search["end"].as_str() {
        Some("found") => {
            format!("the line is {}; {} was not sustained", load(line), load(&search["broke"]["value"]))
        }
        Some("max") => {
            format!("{} was sustained, and nothing beyond `max` is tried: the line may be higher", load(line))
        }
        Some("doomed") => "not even the lowest load was sustained: lower `start`".to_owned(),
        Some("deadline") if line.is_null() => "ended by its deadline before anything was sustained".to_owned(),
        Some("deadline") => {
            format!("ended by its deadline; {} was sustained, and the line may be higher", load(line))
        }
        _ => "stopped before anything was found".to_owned(),
    };
    let mut out = if stages.is_empty() { String::new() } else { show(&table) };
    let _ = writeln!(out, "  search: {end}\n");
    out
}

/// What was measured of streamed answers; nothing where there were none.
pub(super) fn streams(streams: &StreamSummary) -> String {
    let mut table = table(&["streams", "count", "min", "p50", "p95", "p99", "max"]);
    let mut row = |name: &str, stats: &TimeStats, shown: &dyn Fn(f64) -> String| {
        if stats.count > 0 {
            let figures = [stats.min, stats.p50, stats.p95, stats.p99, stats.max].map(shown);
            table.add_row([vec![name.to_owned(), stats.count.to_string()], figures.to_vec()].concat());
        }
    };
    row("first token (ttft)", &streams.ttft_s, &human_seconds);
    row("between tokens (itl)", &streams.itl_s, &human_seconds);
    row("tokens per second", &streams.tokens_per_s, &|rate| human(rate, Unit::PerSecond));
    row("tokens of an answer", &streams.tokens, &|count| human(count, Unit::Count));
    if streams.ttft_s.count > 0 || streams.stalls > 0 {
        table.add_row(vec!["stalls".to_owned(), streams.stalls.to_string()]);
    }
    if table.row_count() == 0 { String::new() } else { show(&table) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{model::run::Verdict, telemetry::metrics::testing};

    #[test]
    fn a_search_says_what_it_tried_and_why_it_ended() {
        let mut run = testing::summary(Verdict::Pass);
        assert_eq!(search(&run), "");
        run.search = Some(json!({
            "variable": "rate", "line": 10.0, "broke": null, "end": "deadline", "stages": [
                {"value": 5.0, "sustained": true, "confirms": false, "why": null, "ok_ratio": 1.0, "p95_s": 0.08},
                {"value": 10.0, "sustained": true, "confirms": true, "why": null, "ok_ratio": 1.0, "p95_s": 0.1},
                {"value": 20.0, "sustained": false, "confirms": false, "why": "rate(ok) is 40 %", "ok_ratio": 0.4, "p95_s": null},
            ],
        }));
        insta::assert_snapshot!(search(&run), @r"
         search     ok  p95 ok
         5/s     100 %   80 ms  sustained
         10/s    100 %  100 ms  sustained, confirmed
         20/s     40 %       -  rate(ok) is 40 %

        search: ended by its deadline; 10/s was sustained, and the line may be higher
        ");
        run.search = Some(json!({"variable": "vus", "line": null, "broke": null, "end": "doomed", "stages": []}));
        assert!(search(&run).contains("not even the lowest load"));
    }

    #[test]
    fn streams_have_their_figures() {
        let stats = |value: f64| TimeStats {
            count: 3,
            min: value,
            p50: value,
            p95: value,
            p99: value,
            max: value,
            ..TimeStats::default()
        };
        let figures = StreamSummary {
            ttft_s: stats(0.2),
            itl_s: stats(0.02),
            tokens_per_s: stats(48.5),
            stalls: 1,
            ..StreamSummary::default()
        };
        insta::assert_snapshot!(streams(&figures), @r"
        streams               count     min     p50     p95     p99     max
        first token (ttft)        3  200 ms  200 ms  200 ms  200 ms  200 ms
        between tokens (itl)      3   20 ms   20 ms   20 ms   20 ms   20 ms
        tokens per second         3  48.5/s  48.5/s  48.5/s  48.5/s  48.5/s
        stalls                    1
        ");
        assert_eq!(streams(&StreamSummary::default()), "");
    }
}
