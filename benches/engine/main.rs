//! How honest and how fast the engine is, beside the tools that are installed: `cargo bench --bench engine`.
//!
//! Everything is asked once in each round, so that a busy moment of the machine meets every tool alike, and ratios are
//! taken within a round. The target has a core of its own and so has the tool that is measured; what anybody else used of
//! the machine meanwhile is said as noise. Arguments choose questions: `closed`, `rate`, `memory`, `stall`, `streams`, `flat`.

mod measure;
mod ours;
mod peers;
mod server;
mod stall;
mod streams;
mod table;

use measure::Usage;
use peers::{Load, Tool};
use server::Server;
use table::{Rows, print};

/// How often each question is asked.
const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", ..] => return server::serve(),
        ["--run", ref rest @ ..] => return ours::child(rest),
        // `cargo test --benches` only wants to know that it starts.
        _ if arguments.iter().any(|argument| argument == "--test") => return,
        _ => {}
    }
    let questions: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let asked = |name: &str| questions.is_empty() || questions.contains(&name);
    println!("{}", measure::machine());
    let tools: Vec<Tool> = Tool::ALL.into_iter().filter(|tool| tool.is_there()).collect();
    for tool in Tool::ALL.into_iter().filter(|tool| !tool.is_there()) {
        println!("{tool:?} is not installed: absent below");
    }
    let server = Server::start();
    println!("target: {}, on a core of its own\n", server.name);
    let (mut closed, mut rated, mut memory, mut stalls) = (Rows::new(), Rows::new(), Rows::new(), Vec::new());
    let mut streamed = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}; load average {}", measure::load_average());
        for tool in tools.iter().filter(|_| asked("closed")) {
            closed.add("50 connections, 4 s", *tool, tool.measure(&server, Load::closed(50, 4, "/")));
        }
        for rate in [5_000, 20_000] {
            for tool in tools.iter().filter(|tool| asked("rate") && tool.paces()) {
                rated.add(&format!("{rate}/s, 4 s"), *tool, tool.measure(&server, Load::rate(rate, 4)));
            }
        }
        for tool in tools.iter().filter(|_| asked("memory")) {
            let load = Load::closed(10_000, 8, "/slow");
            memory.add("10,000 users, 1 s each", *tool, tool.measure(&server, load));
        }
        for connections in [10, 200].into_iter().filter(|_| asked("stall")) {
            stalls.push((connections, stall::measure(connections)));
        }
        if asked("streams") {
            streamed.push(streams::measure());
        }
    }
    if asked("closed") {
        print("A closed loop over kept connections", &closed, &[Usage::RATE, Usage::CPU, Usage::RSS, Usage::NOISE]);
    }
    if asked("rate") {
        let columns =
            [Usage::RATE, Usage::CPU, Usage::LAG_P50, Usage::LAG_P99, Usage::LATENCY_P99, Usage::NOISE, Usage::STOLEN];
        print("A constant rate", &rated, &columns);
    }
    if asked("memory") {
        print("Users who wait", &memory, &[Usage::RATE, Usage::RSS, Usage::NOISE]);
    }
    if asked("stall") {
        stall::print(&stalls);
    }
    if asked("streams") {
        streams::print(&streamed);
    }
    if questions.contains(&"flat") {
        // Ten minutes: only where it is asked for.
        let (start, end) = ours::flat(&server);
        println!(
            "\nRSS of a closed loop of 10 minutes: {start:.1} MiB after 10 s, {end:.1} MiB at its end: {:.2}x",
            end / start
        );
    }
}
