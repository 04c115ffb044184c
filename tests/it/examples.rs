//! The configurations in `config/examples`, each against a practice target: every scenario sends what its plan says and
//! is green, and is red when the target does what the guide it comes from warns of.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use plimsoll::practice::{
    knobs::Knobs,
    target::{self, Target},
};
use serde_json::{Value, json};

use crate::support::daemon::Plimsoll;

/// The command line of `plimsoll target`.
#[derive(clap::Parser)]
struct Asked {
    #[command(flatten)]
    knobs: Knobs,
}

/// An example and a practice target for it.
struct Example {
    file: PathBuf,
    knobs: Knobs,
    target: Target,
    folder: tempfile::TempDir,
}

/// The result of a run, and how it ended.
struct Run {
    code: i32,
    json: Value,
}

impl Example {
    async fn new(name: &str, knobs: &Value) -> Self {
        let knobs = Knobs::ephemeral().patched(knobs).expect("known knobs");
        let target = target::start(knobs.clone()).await.expect("a free port");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(name);
        Self { file, knobs, target, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Runs a scenario as `quick` has it. How late a busy machine sends is not asked.
    async fn run(&self, scenario: &str, arguments: &[&str]) -> Run {
        let (file, data) = (self.file.display().to_string(), self.folder.path().join(scenario));
        let (data, url) = (format!("daemon.data_dir={}", data.display()), self.target.url());
        let trusted = format!("scenarios.{scenario}.valid_if=[count(clock_steps) == 0]");
        let common = ["run", scenario, "--env", "quick", "--quiet", "--json", "-", "--config", &file];
        let own = ["--target", &url, "--set", &data, "--set", &trusted];
        let output = Plimsoll::run(self.folder.path(), &[&common[..], &own[..], arguments].concat()).await;
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Run { code: output.status.code().expect("it was not killed"), json }
    }

    /// The scenario passes, with `[planned, ok, rejected, failed]` requests.
    async fn green(&self, scenario: &str, expected: [u64; 4]) {
        self.green_with(scenario, &[], expected).await;
    }

    async fn green_with(&self, scenario: &str, arguments: &[&str], expected: [u64; 4]) {
        let run = self.run(scenario, arguments).await;
        assert_eq!((run.code, run.counts()), (0, expected), "{scenario}: {:#}", run.broken());
    }

    /// The scenario passes; how much it sends is up to the target.
    async fn passes(&self, scenario: &str) -> Run {
        let run = self.run(scenario, &[]).await;
        assert_eq!((run.code, run.counts()[2..].to_vec()), (0, vec![0, 0]), "{scenario}: {:#}", run.broken());
        run
    }

    /// The scenario passes although it overloads.
    async fn passes_overloaded(&self, scenario: &str) -> Run {
        let run = self.run(scenario, &[]).await;
        assert_eq!((run.code, run.counts()[3]), (0, 0), "{scenario}: {:#}", run.broken());
        run
    }

    /// With the target changed so, the scenario fails by `threshold`. The target is then as it was.
    async fn red(&self, knobs: &Value, scenario: &str, arguments: &[&str], threshold: &str) {
        self.with(knobs);
        let run = self.run(scenario, arguments).await;
        assert_eq!(run.code, 99, "{scenario} with {knobs}: {:#}", run.json["thresholds"]);
        let broken = run.broken();
        let is = |one: &Value| one["expr"].as_str().is_some_and(|expr| expr.starts_with(threshold));
        let named = broken.as_array().is_some_and(|all| all.iter().any(is));
        assert!(named, "{scenario} with {knobs} breaks something else: {broken:#}");
        self.fresh();
    }

    /// The target with some knobs changed.
    fn with(&self, knobs: &Value) {
        self.target.patch(knobs).expect("known knobs");
    }

    /// The target as it was at first.
    fn fresh(&self) {
        self.target.set(self.knobs.clone()).expect("the knobs it had");
        self.target.reset();
    }
}

impl Run {
    fn counts(&self) -> [u64; 4] {
        let outcomes = &self.json["outcomes"];
        [&self.json["planned"], &outcomes["ok"], &outcomes["rejected"], &outcomes["failed"]]
            .map(|count| count.as_u64().expect("a count"))
    }

    /// The thresholds that do not hold, with the reasons.
    fn broken(&self) -> Value {
        let all = self.json["thresholds"].as_array().expect("thresholds");
        let broken: Vec<_> = all.iter().filter(|one| one["result"] != "pass").cloned().collect();
        if broken.is_empty() { self.json["reasons"].clone() } else { broken.into() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_proxy_for_ollama() {
    tokio::join!(a_good_queue(), a_queue_that_is_too_small_and_worse());
}

async fn a_good_queue() {
    let example = Example::new("ollama-guard-proxy.yaml", &json!({"latency": "20ms", "parallel_limit": 20})).await;
    example.with(&json!({"latency": "500ms"}));
    tokio::join!(
        example.green("health", [1, 1, 0, 0]),
        example.green("memory_endpoint", [1, 1, 0, 0]),
        example.green("queue_stats", [1, 1, 0, 0]),
        // One is served, two wait, and the rest is refused.
        example.green("queue_full", [10, 3, 7, 0]),
    );
    example.fresh();
    example.green("any_answer", [1, 1, 0, 0]).await;
    example.green("single_request", [2, 2, 0, 0]).await;
    example.green("ten_at_once", [10, 10, 0, 0]).await;
    example.green("monitoring", [1, 1, 0, 0]).await;
    tokio::join!(
        example.green("apache_bench", [100, 100, 0, 0]),
        example.green("batches", [100, 100, 0, 0]),
        example.green("gradual", [86, 86, 0, 0]),
    );
    tokio::join!(
        example.green("apache_bench_1000", [1000, 1000, 0, 0]),
        example.green("ten_each_second", [100, 100, 0, 0])
    );
    tokio::join!(example.passes("wrk"), example.green("bursts", [250, 250, 0, 0]));
    example.fresh();
    example.green("sustained", [200, 200, 0, 0]).await;
}

async fn a_queue_that_is_too_small_and_worse() {
    let example = Example::new("ollama-guard-proxy.yaml", &json!({"latency": "20ms", "parallel_limit": 20})).await;
    let small = json!({"parallel_limit": 1, "queue_limit": 1});
    let short = ["--duration", "1s"];
    example.red(&small, "sustained", &short, "rate(rejected) <= 5%").await;
    example.red(&small, "ten_each_second", &[], "rate(rejected) <= 5%").await;
    example.red(&small, "bursts", &[], "rate(rejected) <= 5%").await;
    example.red(&small, "batches", &[], "rate(ok) >= 95%").await;
    example.red(&small, "gradual", &[], "rate(ok{level=last}) >= 95%").await;
    example.red(&small, "apache_bench", &[], "rate(ok) >= 99%").await;
    example.red(&json!({"memory": "31GB"}), "sustained", &short, "max(memory_used) < 90%").await;
    example.red(&json!({"leak_per_request": "1MB"}), "sustained", &[], "growth(memory) < 5%").await;
    let slow = json!({"parallel_limit": 1, "latency": "30ms"});
    example.red(&slow, "sustained", &short, "last(waited) - first(waited) < 500ms").await;
    // A queue that takes everything is not the queue that the guide wants to be full.
    example.red(&json!({"status": 200}), "queue_full", &[], "count(rejected{reason=queue_full}) >= 5").await;
    example.red(&json!({"status": 502}), "ten_at_once", &[], "count(ok) == 10").await;
    example.red(&json!({"errors": "429=10%"}), "batches", &[], "count(failed) == 0").await;
    example.red(&json!({"reset": true}), "any_answer", &[], "rate(ok) == 100%").await;
    example.red(&json!({"memory": "31GB"}), "monitoring", &[], "last(memory_used) < 90%").await;
    example.red(&json!({"fault": "bad_json"}), "health", &[], "rate(ok) == 100%").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_over_sessions() {
    tokio::join!(sessions(), sessions_that_fail());
}

async fn sessions() {
    let example = Example::new("afirgen.yaml", &json!({"latency": "5ms", "session_time": "300ms"})).await;
    // process, validate four times, final_review, wait, fir: eight requests each.
    tokio::join!(
        example.green("health", [1, 1, 0, 0]),
        example.green("performance", [8, 8, 0, 0]),
        example.green("ten_workflows", [80, 80, 0, 0]),
        example.green("high_load", [120, 120, 0, 0]),
    );
    tokio::join!(example.green("stress", [170, 170, 0, 0]), example.green("table", [408, 408, 0, 0]));
    example.with(&json!({"session_time": "800ms"}));
    example.green("sustained", [400, 400, 0, 0]).await;
    example.with(&json!({"degraded": true}));
    example.green("health", [1, 1, 0, 0]).await;
}

async fn sessions_that_fail() {
    let example = Example::new("afirgen.yaml", &json!({"latency": "5ms", "session_time": "300ms"})).await;
    example.red(&json!({"errors": "500=20%"}), "ten_workflows", &[], "rate(ok) == 100%").await;
    example.red(&json!({"errors": "500=2%"}), "sustained", &[], "rate(ok) == 100%").await;
    let leak = json!({"leak_per_request": "50MB"});
    example.red(&leak, "ten_workflows", &[], "last(memory) - first(memory) < 1GB").await;
    example.red(&json!({"leak_per_request": "2MB"}), "sustained", &[], "last(memory) - first(memory) < 500MB").await;
    let slow = json!({"path_latency": "/validate=700ms"});
    let late = ["--timeout", "400ms"];
    example.red(&slow, "ten_workflows", &late, "count(failed{reason=timeout}) == 0").await;
    example.red(&json!({"fault": "bad_json"}), "health", &[], "rate(ok) == 100%").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_semantic_cache_with_a_pool() {
    let second = Example::new("semantic-cache.yaml", &json!({"latency": "100ms"})).await;
    tokio::join!(a_full_pool(), a_pool_that_misbehaves(), second.green("sustained", [600, 600, 0, 0]));
}

async fn a_full_pool() {
    // A message of a hundred tokens takes seven blocks: 108 of them fit below 95 % of 800.
    let example = Example::new("semantic-cache.yaml", &json!({"latency": "4s", "blocks": 800})).await;
    example.green("pool_exhaustion", [150, 108, 42, 0]).await;
    example.with(&json!({"latency": "40ms"}));
    example.passes("below_capacity").await;
    example.passes_overloaded("recovery").await;
    example.with(&json!({"blocks": 100_000, "latency": "2ms"}));
    example.green("ten_agents", [500, 500, 0, 0]).await;
    example.green("multi_turn", [250, 250, 0, 0]).await;
    tokio::join!(example.passes("sustained_workers"), example.passes("conversations"));
}

async fn a_pool_that_misbehaves() {
    let example = Example::new("semantic-cache.yaml", &json!({"latency": "300ms", "blocks": 800})).await;
    example.red(&json!({"blocks": 100_000}), "pool_exhaustion", &[], "count(rejected{reason=status_429}) >= 1").await;
    example.red(&json!({"errors": "500=2%"}), "pool_exhaustion", &[], "count(requests{status=5xx}) == 0").await;
    let early = json!({"rate_limit": "20/s", "latency": "10ms", "blocks": 100_000});
    example.red(&early, "below_capacity", &[], "rate(rejected) == 0%").await;
    let quick = json!({"latency": "2ms", "blocks": 100_000});
    let with = |more: &Value| {
        let mut knobs = quick.clone();
        knobs.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        knobs
    };
    example.red(&with(&json!({"errors": "500=10%"})), "ten_agents", &[], "count(iterations) == 500").await;
    let short = ["--duration", "2s"];
    example.red(&with(&json!({"leak_per_request": "1MB"})), "sustained", &short, "growth(memory) < 5%").await;
    example.red(&with(&json!({"errors": "429=10%"})), "conversations", &[], "rate(ok) > 99%").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_with_limits() {
    let second = Example::new("matrixbot.yaml", &json!({"latency": "1ms"})).await;
    tokio::join!(limits(), limits_that_are_not_kept(), second.passes("sustained"));
}

/// What the head of a file says to type is what docs/guides.md says; the bot's is typed.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_at_the_head() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guides = std::fs::read_to_string(root.join("docs/guides.md")).expect("it is there");
    let command = |name: &str, word: &str| {
        let text = std::fs::read_to_string(root.join("config/examples").join(name)).expect("it is there");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("#   plimsoll {word}")));
        line.unwrap_or_else(|| panic!("{name} has no `plimsoll {word}`")).trim_end_matches(" &").to_owned()
    };
    for name in ["ollama-guard-proxy", "afirgen", "semantic-cache", "matrixbot", "gremlinsai"] {
        let name = format!("{name}.yaml");
        let (start, run) = (command(&name, "target"), command(&name, "run"));
        assert!(
            guides.contains(&format!("(../config/examples/{name}) | `plimsoll target{start}` |")),
            "{name}: {start}"
        );
        assert!(run.contains(&format!("--config config/examples/{name}")), "{name}: {run}");
    }
    let start = command("matrixbot.yaml", "target");
    let words = start.split_whitespace().chain(["--listen", "127.0.0.1:0"]);
    let asked = Asked::try_parse_from(std::iter::once("target").chain(words)).expect("it is understood");
    let target = target::start(asked.knobs).await.expect("a free port");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = command("matrixbot.yaml", "run")
        .replace("config/examples", &root.join("config/examples").display().to_string());
    let text = std::fs::read_to_string(root.join("config/examples/matrixbot.yaml")).expect("it is there");
    let scenarios =
        text.split_once("\nscenarios:\n").expect("it has some").1.split("\nenvironments:").next().expect("one");
    let names = scenarios.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    let names = names.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    let (url, data) = (target.url(), format!("daemon.data_dir={}", folder.path().join("data").display()));
    let sets: Vec<_> = names.map(|name| format!("--set=scenarios.{name}.valid_if=[count(clock_steps) == 0]")).collect();
    let mut arguments = vec!["run"];
    arguments.extend(run.split_whitespace().chain(["--target", &url, "--set", &data]));
    arguments.extend(sets.iter().map(String::as_str));
    let output = Plimsoll::run(folder.path(), &arguments).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

async fn limits() {
    let example = Example::new("matrixbot.yaml", &json!({"latency": "1ms", "pool_limit": 20})).await;
    // Twenty start, talk twice and end; thirty are refused and go home.
    example.with(&json!({"latency": "100ms"}));
    example.green("fifty_users", [110, 80, 30, 0]).await;
    example.with(&json!({"latency": "1ms"}));
    example.green("bursts", [300, 300, 0, 0]).await;
    example.passes("mixed").await;
    example.passes("day").await;
    let far = example.passes("phones").await;
    let p50 = |figure: &str| far.json["latency_s"][figure]["p50"].as_f64();
    assert!(far.json["latency_s"].is_object() && p50("ok") > Some(0.06), "{:#}", far.json["latency_s"]);
    example.green("cycles", [2000, 2000, 0, 0]).await;
    example.green("global_limit", [22, 21, 1, 0]).await;
    example.green("race", [62, 41, 21, 0]).await;
    example.green("user_limit", [6, 5, 1, 0]).await;
    example.passes_overloaded("breaking_point").await;
    example.with(&json!({"conversation_idle": "2s"}));
    example.green("idle_timeout", [2, 2, 0, 0]).await;
}

async fn limits_that_are_not_kept() {
    let example = Example::new("matrixbot.yaml", &json!({"latency": "1ms", "pool_limit": 20})).await;
    let full = "count(ok{step=start}) == 20";
    example.red(&json!({"pool_limit": 30}), "fifty_users", &[], full).await;
    let leak = json!({"leak_per_request": "1MB"});
    example.red(&leak, "fifty_users", &[], "last(memory) - first(memory) < 50MB").await;
    example.red(&leak, "bursts", &[], "last(memory) - first(memory) < 30MB").await;
    example.red(&json!({"pool_limit": 21}), "global_limit", &[], "count(rejected{part=over}) == 1").await;
    example.red(&json!({"pool_limit": 19}), "race", &[], "count(ok{part=race}) == 20").await;
    example.red(&json!({"user_limit": 4}), "user_limit", &[], "count(rejected{part=over}) == 1").await;
    example.red(&json!({"errors": "500=1%"}), "cycles", &[], "count(iterations) == 1000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_users() {
    tokio::join!(users_who_choose_by_weight(), users_of_a_bad_day());
}

async fn users_who_choose_by_weight() {
    let example = Example::new("gremlinsai.yaml", &json!({"latency": "50ms"})).await;
    example.green("alive", [1, 1, 0, 0]).await;
    let run = example.passes("thousand_users").await;
    let sent = |step: &str| run.json["steps"][step]["sent"].as_f64().expect("a count");
    assert!(sent("start") > sent("followup") && sent("followup") > sent("multi_agent"), "{:#}", run.json["steps"]);
}

async fn users_of_a_bad_day() {
    let example = Example::new("gremlinsai.yaml", &json!({"latency": "10ms"})).await;
    let short = ["--duration", "2s"];
    example.red(&json!({"errors": "500=6%"}), "thousand_users", &short, "rate(ok) > 99%").await;
    example.red(&json!({"errors": "503=60%"}), "thousand_users", &short, "rate(ok) > 99%").await;
    example.red(&json!({"latency": "2500ms"}), "thousand_users", &["--duration", "4s"], "p95(latency) < 2s").await;
    let few = ["--duration", "2s", "--users", "5"];
    example.red(&json!({}), "thousand_users", &few, "rps(requests) > 100/s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_ab_is_a_line_of_hit() {
    let line = "-n 100 -c 10 --reject 503 -d @prompt.json";
    assert!(include_str!("../../docs/guides.md").contains(line), "docs/guides.md has another line");
    let example = Example::new("ollama-guard-proxy.yaml", &json!({"latency": "20ms"})).await;
    let prompt = json!({"model": "llama2", "prompt": "What is machine learning?", "stream": false});
    std::fs::write(example.folder.path().join("prompt.json"), prompt.to_string()).expect("the folder is ours");
    let url = format!("{}/api/generate", example.target.url());
    let arguments: Vec<&str> = ["hit", &url, "--json", "-", "--quiet"].into_iter().chain(line.split(' ')).collect();
    let hit = async || {
        let output = Plimsoll::run(example.folder.path(), &arguments).await;
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Run { code: output.status.code().expect("it was not killed"), json }
    };
    let run = hit().await;
    assert_eq!((run.code, run.counts()), (0, [100, 100, 0, 0]), "{:#}", run.broken());
    assert_eq!(example.target.log().by_path["/api/generate"].received, 100);
    example.with(&json!({"parallel_limit": 1, "queue_limit": 2}));
    let run = hit().await;
    assert_eq!((run.code, run.json["failed"].clone()), (99, json!({})), "{:#}", run.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_counts_the_rounds_of_a_loop() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Plimsoll::run(root, &["check", "--config", "config/examples/afirgen.yaml"]).await;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("10 iterations, 80 requests, at most 10 at once"), "{shown}");
}
