//! What a process used of the machine, and what others did meanwhile.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use plimsoll::model::clock::mono;

/// The core of the target, and that of the tool that is measured.
pub(crate) const TARGET_CORE: &str = "0";
pub(crate) const TOOL_CORE: &str = "1";

/// What one run of a tool came to. What a tool does not tell is not a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    pub(crate) rss_mib: f64,
    pub(crate) lag_p50: f64,
    pub(crate) lag_p99: f64,
    pub(crate) latency_p99: f64,
    /// Cores that neither tool nor target used.
    pub(crate) noise: f64,
    /// Seconds for which the hypervisor let a processor of ours stand still.
    pub(crate) stolen: f64,
}

/// A column: its name, how to get it, its scale and digits, and whether its ratio to ours is shown.
pub(crate) type Column = (&'static str, fn(&Usage) -> f64, usize, bool);

impl Usage {
    pub(crate) const RATE: Column = ("requests/s", |usage| usage.requests / usage.seconds, 0, true);
    pub(crate) const CPU: Column = ("CPU µs per request", |usage| usage.cpu / usage.requests * 1e6, 1, true);
    pub(crate) const RSS: Column = ("peak RSS MiB", |usage| usage.rss_mib, 1, true);
    pub(crate) const LAG_P50: Column = ("send_lag p50 µs", |usage| usage.lag_p50 * 1e6, 0, false);
    pub(crate) const LAG_P99: Column = ("send_lag p99 µs", |usage| usage.lag_p99 * 1e6, 0, false);
    pub(crate) const LATENCY_P99: Column = ("latency p99 ms", |usage| usage.latency_p99 * 1e3, 2, false);
    pub(crate) const NOISE: Column = ("noise, cores", |usage| usage.noise, 2, false);
    pub(crate) const STOLEN: Column = ("stolen ms", |usage| usage.stolen * 1e3, 0, false);
}

/// A program's words, and what it used. `seconds` is what the whole took.
pub(crate) struct Done {
    pub(crate) text: String,
    pub(crate) usage: Usage,
}

/// Runs `program` on the tools' core to its end. `None` if it cannot be started or fails.
pub(crate) fn run(program: &str, arguments: &[String], target: u32) -> Option<Done> {
    let before = (busy(), cpu_of(target), children(), mono(), stolen());
    let mut child = Command::new("taskset")
        .args(["-c", TOOL_CORE, program])
        .args(arguments)
        .env("TOKIO_WORKER_THREADS", "1")
        .env("GOMAXPROCS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdout = child.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text).unwrap_or_default()
    });
    let mut rss_mib = 0.0f64;
    let status = loop {
        // The peak as the kernel keeps it; a process that has ended has none any more.
        rss_mib = rss_mib.max(status_kib(child.id(), "VmHWM:") / 1024.0);
        match child.try_wait().ok()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let text = reader.join().ok()?;
    let seconds = (mono() - before.3).as_secs_f64();
    let cpu = children() - before.2;
    let noise = ((busy() - before.0) - (cpu_of(target) - before.1) - cpu).max(0.0) / seconds;
    let unknown = f64::NAN;
    let usage = Usage {
        requests: unknown,
        seconds,
        cpu,
        rss_mib,
        lag_p50: unknown,
        lag_p99: unknown,
        latency_p99: unknown,
        noise,
        stolen: stolen() - before.4,
    };
    status.success().then_some(Done { text, usage })
}

/// Whether a program can be found.
pub(crate) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A figure of `/proc/PID/status`, in KiB.
pub(crate) fn status_kib(pid: u32, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// CPU seconds of a process so far.
fn cpu_of(pid: u32) -> f64 {
    let stat = procfs::process::Process::new(pid.cast_signed()).and_then(|process| process.stat());
    stat.map_or(0.0, |stat| (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// CPU seconds of children that have ended.
fn children() -> f64 {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat()).expect("our own figures");
    (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64
}

/// What the processors did so far, in seconds: user, nice, system, idle, waiting, interrupts of two kinds, stolen.
fn processors() -> Vec<f64> {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = text.lines().next().unwrap_or_default().split(' ').filter_map(|number| number.parse::<f64>().ok());
    ticks.take(8).map(|ticks| ticks / procfs::ticks_per_second() as f64).collect()
}

/// CPU seconds of everybody so far.
fn busy() -> f64 {
    processors().iter().enumerate().filter(|(index, _)| ![3, 4].contains(index)).map(|(_, seconds)| seconds).sum()
}

/// Seconds for which the hypervisor let a processor stand still so far.
fn stolen() -> f64 {
    processors().get(7).copied().unwrap_or(0.0)
}

/// The machine, in a line.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("machine: {cores} cores,{}; plimsoll {}", model.trim_start_matches(['\t', ':']), env!("CARGO_PKG_VERSION"))
}

pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Waits until `ready` holds, ten seconds at most.
pub(crate) fn until(mut ready: impl FnMut() -> bool) {
    let end: Instant = mono() + Duration::from_secs(10);
    while !ready() {
        assert!(mono() < end, "it does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
}
