//! How honest and how fast the engine is: `cargo bench --bench engine`.
//!
//! Three questions, asked in interleaved rounds, so that a busy moment of the machine meets every tool alike: is the
//! latency of a stalled target the true one; how late do requests leave; what does a request cost, beside `wrk` and
//! `ab` where they are installed. The tables it prints are the ones in `docs/performance.md`.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use plimsoll::{
    config,
    judge::History,
    load::{
        gate::Gate,
        run::{self, RunEvent, RunRequest},
    },
    model::{
        clock::{Clock as _, SystemClock, mono},
        run::{RunSummary, Trigger},
    },
    practice::{
        knobs::Knobs,
        target::{self, Target},
    },
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::mpsc,
};

/// How often each question is asked.
const ROUNDS: usize = 3;

/// Requests of one closed-loop measurement.
const REQUESTS: u64 = 200_000;

fn main() {
    if std::env::args().any(|arg| arg == "--serve") {
        serve();
        return;
    }
    if std::env::args().any(|arg| arg == "--test") {
        // `cargo test --benches` only wants to know that it starts.
        return;
    }
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let server = Server::start();
    println!("{}", machine());
    let (mut stalls, mut lags, mut loops) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}; load average {}", load_average());
        for connections in [10, 200] {
            stalls.push((connections, stall(&runtime, connections)));
        }
        for rate in [100, 1000, 5000] {
            lags.push((rate, lateness(&runtime, server.addr, rate)));
        }
        for connections in [10, 100] {
            for tool in Tool::ALL {
                if let Some(cost) = tool.measure(&runtime, server.addr, connections) {
                    loops.push(((tool, connections), cost));
                }
            }
        }
    }
    print_stalls(&stalls);
    print_lags(&lags);
    print_loops(&loops);
}

/// The machine, in a line.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown").trim();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "machine: {cores} cores, {}; plimsoll {}\n",
        model.trim_start_matches([':', ' ', '\t']),
        env!("CARGO_PKG_VERSION")
    )
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// A server that does nothing but answer, in a process of its own so that its CPU time is not ours.
struct Server {
    addr: SocketAddr,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let program = std::env::current_exe().expect("our own path");
        let mut child = Command::new(program)
            .arg("--serve")
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("its address");
        Self { addr: line.trim().parse().expect("an address"), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        println!("{}", listener.local_addr().expect("an address"));
        std::io::stdout().flush().expect("a pipe");
        // Ends with the process that started it, which holds the other end of this pipe.
        std::thread::spawn(|| {
            let _ = std::io::stdin().lines().next();
            std::process::exit(0);
        });
        loop {
            let (stream, _) = listener.accept().await.expect("it accepts");
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let answer = service_fn(async |_: hyper::Request<Incoming>| {
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"{\"ok\":true}"))))
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
}

/// Runs one scenario `s` to its end, with no cap of a policy in the way.
fn run(runtime: &Runtime, url: &str, load: &str) -> RunSummary {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plimsoll.yaml");
    let text = format!(
        "version: 1\npolicy: {{allow: ['http://127.0.0.1:*'], max_rate: 1000000/s}}\ntargets: {{t: {{base_url: '{url}'}}}}\n\
         scenarios: {{s: {{load: {{{load}}}, steps: [{{get: /}}]}}}}\n"
    );
    std::fs::write(&path, text).expect("it is writable");
    let options = config::Options { path: Some(path), ..config::Options::default() };
    let settings = match config::load(&options) {
        Ok(loaded) => loaded.settings,
        Err(report) => panic!("{report}"),
    };
    let request = RunRequest {
        run_id: "bench".into(),
        scenario: settings.scenarios[0].clone(),
        trigger: Trigger::Manual,
        due: SystemClock.now().wall,
        history: Arc::new(History::default()),
        gate: Gate::new(&settings.policy),
        policy: Arc::new(settings.policy),
        redactor: settings.redact,
        clock: Arc::new(SystemClock),
    };
    let (sender, mut events) = mpsc::channel(64);
    let handle = run::spawn(request, sender).expect("a thread");
    let ended = runtime.block_on(async {
        loop {
            if let RunEvent::Ended(run) = events.recv().await.expect("a run tells its end") {
                return run;
            }
        }
    });
    handle.join();
    *ended
}

/// Measured and true latencies of one stalled run, in seconds.
struct Stall {
    measured: [f64; 3],
    truth: [f64; 3],
    blocked_p99: f64,
    service_p95: f64,
    lag_p99: f64,
    planned: u64,
    ok: u64,
}

/// 100 requests a second for 10 s at a target that stands still for 1 s in the middle.
fn stall(runtime: &Runtime, connections: u32) -> Stall {
    let target = runtime.block_on(target::start(Knobs::ephemeral())).expect("a free port");
    let stall = serde_json::json!({"stall": {"every": "6s", "for": "1s"}});
    target.patch(&stall).expect("known knobs");
    let stalled = (target.now_ms() / 1000.0 + 6.0, target.now_ms() / 1000.0 + 7.0);
    let load = format!("executor: constant-arrival-rate, rate: 100/s, duration: 10s, connections: {connections}");
    let summary = run(runtime, &target.url(), &load);
    let truth = truth(&target, stalled);
    runtime.block_on(target.stop());
    let latency = summary.latency_s["ok"];
    Stall {
        measured: [latency.p95, latency.p99, latency.max],
        truth,
        blocked_p99: summary.timing_s["blocked"].p99,
        service_p95: summary.service_time_s["ok"].p95,
        lag_p99: summary.send_lag_s.p99,
        planned: summary.planned,
        ok: summary.outcomes.ok,
    }
}

/// What an arrival each 10 ms has to wait for, by the target's own clock: its log says when the first one came, and
/// what came later is reckoned from that, so that nothing the engine measured is in it.
fn truth(target: &Target, (from, until): (f64, f64)) -> [f64; 3] {
    let first = target.log().requests[0].received_ms / 1000.0;
    let mut waits: Vec<f64> = (0..1000)
        .map(|index| first + f64::from(index) / 100.0)
        .map(|at| if (from..until).contains(&at) { until - at } else { 0.0 })
        .collect();
    waits.sort_by(f64::total_cmp);
    [waits[949], waits[989], waits[999]]
}

/// p50 and p99 of our own lateness, in seconds, what was dropped for it, and CPU per request.
fn lateness(runtime: &Runtime, server: SocketAddr, rate: u32) -> [f64; 4] {
    let load = format!("executor: constant-arrival-rate, rate: {rate}/s, duration: 5s");
    let before = cpu_seconds();
    let run = run(runtime, &format!("http://{server}"), &load);
    let cpu = (cpu_seconds() - before) / run.sent.max(1) as f64;
    [run.send_lag_s.p50, run.send_lag_s.p99, run.planned as f64 - run.outcomes.ok as f64, cpu]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Plimsoll,
    Wrk,
    Ab,
}

/// Requests per second, and CPU seconds per request.
#[derive(Debug, Clone, Copy)]
struct Cost {
    rate: f64,
    cpu: f64,
}

impl Tool {
    const ALL: [Self; 3] = [Self::Plimsoll, Self::Wrk, Self::Ab];

    /// A closed loop over so many kept connections; `None` if the tool is not installed.
    fn measure(self, runtime: &Runtime, server: SocketAddr, connections: u32) -> Option<Cost> {
        let url = format!("http://{server}/");
        let (clock, cpu, children) = (mono(), cpu_seconds(), children_seconds());
        let done = match self {
            Self::Plimsoll => {
                let each = REQUESTS / u64::from(connections);
                let load = format!("executor: per-vu-iterations, vus: {connections}, iterations: {each}");
                let run = run(runtime, &format!("http://{server}"), &load);
                assert_eq!(run.outcomes.ok, each * u64::from(connections), "{:?}", run.first_failure);
                run.outcomes.ok
            }
            Self::Wrk => {
                let options = ["-t1".to_owned(), format!("-c{connections}"), "-d5s".to_owned(), url];
                let text = output(Command::new("wrk").args(options))?;
                let line = text.lines().find(|line| line.contains("requests in"))?;
                line.trim().split(' ').next()?.parse().ok()?
            }
            Self::Ab => {
                let (count, users) = (REQUESTS.to_string(), connections.to_string());
                let text = output(Command::new("ab").args(["-q", "-k", "-n", &count, "-c", &users, &url]))?;
                assert!(text.contains("Failed requests:        0"), "{text}");
                REQUESTS
            }
        };
        let cpu = if self == Self::Plimsoll { cpu_seconds() - cpu } else { children_seconds() - children };
        let seconds = (mono() - clock).as_secs_f64();
        Some(Cost { rate: done as f64 / seconds, cpu: cpu / done as f64 })
    }
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).ok()
}

/// CPU time of child processes that have ended.
/// CPU time of this process so far, in seconds.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn children_seconds() -> f64 {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat()).expect("our own figures");
    (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64
}

/// Median, and the least and greatest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

/// The values of `key`, in the order of the rounds.
fn of<K: PartialEq, V>(all: &[(K, V)], key: &K, value: impl Fn(&V) -> f64) -> Vec<f64> {
    all.iter().filter(|(own, _)| own == key).map(|(_, figures)| value(figures)).collect()
}

fn keys<K: PartialEq + Copy, V>(all: &[(K, V)]) -> Vec<K> {
    let mut keys = Vec::new();
    for (key, _) in all {
        if !keys.contains(key) {
            keys.push(*key);
        }
    }
    keys
}

/// `median (least–greatest)` of values times `scale`.
fn cell(values: Vec<f64>, scale: f64, digits: usize) -> String {
    let (median, least, greatest) = spread(values.into_iter().map(|value| value * scale).collect());
    format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
}

fn print_stalls(all: &[(u32, Stall)]) {
    println!("A target that stalls 1 s, 100/s for 10 s; ms, median (least–greatest) of {ROUNDS} rounds\n");
    println!("| connections | figure | true | measured | off by at most |\n|---|---|---|---|---|");
    for key in keys(all) {
        for (index, name) in ["p95", "p99", "max"].iter().enumerate() {
            let off = of(all, &key, |stall| (stall.measured[index] / stall.truth[index] - 1.0).abs());
            println!(
                "| {key} | {name} | {} | {} | {:.1} % |",
                cell(of(all, &key, |stall| stall.truth[index]), 1e3, 0),
                cell(of(all, &key, |stall| stall.measured[index]), 1e3, 0),
                spread(off).2 * 100.0,
            );
        }
        println!("| {key} | blocked p99 | | {} | |", cell(of(all, &key, |stall| stall.blocked_p99), 1e3, 1));
        println!("| {key} | service_time p95 | | {} | |", cell(of(all, &key, |stall| stall.service_p95), 1e3, 1));
        println!("| {key} | send_lag p99 | | {} | |", cell(of(all, &key, |stall| stall.lag_p99), 1e3, 2));
        println!("| {key} | planned | | {} | |", cell(of(all, &key, |stall| stall.planned as f64), 1.0, 0));
        println!("| {key} | ok | | {} | |", cell(of(all, &key, |stall| stall.ok as f64), 1.0, 0));
    }
}

fn print_lags(all: &[(u32, [f64; 4])]) {
    println!("\nHow late requests leave, 5 s each; µs, median (least–greatest) of {ROUNDS} rounds\n");
    println!("| rate | send_lag p50 | send_lag p99 | planned and not ok | CPU per request |\n|---|---|---|---|---|");
    for key in keys(all) {
        let column = |index: usize, scale| cell(of(all, &key, |figures| figures[index]), scale, 0);
        println!("| {key}/s | {} | {} | {} | {} |", column(0, 1e6), column(1, 1e6), column(2, 1.0), column(3, 1e6));
    }
}

fn print_loops(all: &[((Tool, u32), Cost)]) {
    println!("\nA closed loop over kept connections; median (least–greatest) of {ROUNDS} rounds\n");
    println!("| connections | tool | requests/s | CPU µs per request | plimsoll’s rate to it | plimsoll’s CPU to it |");
    println!("|---|---|---|---|---|---|");
    for key in keys(all) {
        let ours = (Tool::Plimsoll, key.1);
        let ratio = |value: fn(&Cost) -> f64| {
            let pairs = of(all, &ours, value).into_iter().zip(of(all, &key, value));
            pairs.map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>()
        };
        println!(
            "| {} | {:?} | {} | {} | {} | {} |",
            key.1,
            key.0,
            cell(of(all, &key, |cost| cost.rate), 1.0, 0),
            cell(of(all, &key, |cost| cost.cpu), 1e6, 1),
            cell(ratio(|cost| cost.rate), 1.0, 2),
            cell(ratio(|cost| cost.cpu), 1.0, 2),
        );
    }
}
