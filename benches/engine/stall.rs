//! Whether the latency of a target that stands still is the true one: 100 requests a second for 20 s, and a second of
//! silence each 10 s.

use plimsoll::practice::{
    knobs::Knobs,
    target::{self, Target},
};
use tokio::runtime::Builder;

use crate::{ours, table::cell};

/// Measured and true latencies of one run, in seconds: p95, p99, max.
pub(crate) struct Stall {
    measured: [f64; 3],
    truth: [f64; 3],
    planned: u64,
    sent: u64,
    ok: u64,
}

const ARRIVALS: u32 = 2000;

pub(crate) fn measure(connections: u32) -> Stall {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let target = runtime.block_on(target::start(Knobs::ephemeral())).expect("a free port");
    let stall = serde_json::json!({"stall": {"every": "10s", "for": "1s"}});
    target.patch(&stall).expect("known knobs");
    let begun = target.now_ms() / 1000.0;
    // Two stalls then lie well within the run.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let load = format!("executor: constant-arrival-rate, rate: 100/s, duration: 20s, connections: {connections}");
    let text = format!(
        "version: 1\ntargets: {{t: {{base_url: '{}'}}}}\nscenarios: {{s: {{load: {{{load}}}, steps: [{{get: /}}]}}}}\n",
        target.url()
    );
    let (summary, _) = ours::in_child(&text, std::process::id()).expect("it runs");
    let truth = truth(&target, begun);
    runtime.block_on(target.stop());
    let latency = summary.latency_s["ok"];
    Stall {
        measured: [latency.p95, latency.p99, latency.max],
        truth,
        planned: summary.planned,
        sent: summary.sent,
        ok: summary.outcomes.ok,
    }
}

/// What an arrival each 10 ms has to wait for, by the target's own clock: its log says when the first one came, and what
/// came later is reckoned from that, so that nothing the engine measured is in it.
fn truth(target: &Target, begun: f64) -> [f64; 3] {
    let first = target.log().requests[0].received_ms / 1000.0;
    let mut waits: Vec<f64> = (0..ARRIVALS)
        .map(|index| first + f64::from(index) / 100.0)
        .map(|at| {
            // It stands still from each tenth second on, for one second.
            let since = (at - begun).rem_euclid(10.0);
            if at - begun >= 10.0 && since < 1.0 { 1.0 - since } else { 0.0 }
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[(f64::from(ARRIVALS) * share).ceil() as usize - 1];
    [at(0.95), at(0.99), at(1.0)]
}

pub(crate) fn print(all: &[(u32, Stall)]) {
    println!("\nA target that stalls 1 s each 10 s, 100/s for 20 s; ms, median (least–greatest)\n");
    println!("| connections | figure | true | measured | off by at most |\n|---|---|---|---|---|");
    for connections in [10, 200] {
        let runs: Vec<&Stall> = all.iter().filter(|(own, _)| *own == connections).map(|(_, stall)| stall).collect();
        for (index, name) in ["p95", "p99", "max"].iter().enumerate() {
            let off = runs.iter().map(|stall| (stall.measured[index] / stall.truth[index] - 1.0).abs() * 100.0);
            println!(
                "| {connections} | {name} | {} | {} | {:.1} % |",
                cell(runs.iter().map(|stall| stall.truth[index] * 1e3), 0),
                cell(runs.iter().map(|stall| stall.measured[index] * 1e3), 0),
                off.fold(0.0, f64::max),
            );
        }
        for (name, value) in [("planned", 0), ("sent", 1), ("ok", 2)] {
            let values = runs.iter().map(|stall| [stall.planned, stall.sent, stall.ok][value] as f64);
            println!("| {connections} | {name} | | {} | |", cell(values, 0));
        }
    }
}
