//! What people write who come from other tools, what is planned but not built, and examples of what is required.

use crate::judge::{METRICS, alias};

/// A definition of the schema in words.
pub(crate) fn phrase(def: &str) -> &'static str {
    match def {
        "Fragment" => "an included file",
        "Daemon" => "`daemon`",
        "Retention" => "`retention`",
        "Policy" => "the policy",
        "Secret" => "a secret",
        "Telemetry" => "`telemetry`",
        "Otlp" => "`otlp`",
        "Target" => "a target",
        "Http" => "`http`",
        "Tls" => "`tls`",
        "Classify" => "a `classify` rule",
        "ReasonHeader" => "`reason`",
        "Stats" => "`stats`",
        "Stat" => "a figure",
        "Scenario" => "a scenario",
        "ScheduleMap" => "`schedule`",
        "Load" => "`load`",
        "Stage" => "a stage",
        "Phase" => "a phase",
        "UserGroup" => "a group of users",
        "Task" => "a task",
        "ThinkMap" | "PauseMap" => "`think`",
        "Repeat" => "`repeat`",
        "Data" => "`data`",
        "Metric" => "a metric",
        "Recovery" => "`recovery`",
        "Network" => "`network`",
        "Abort" => "`abort`",
        "Event" => "an event",
        "Defaults" => "`defaults`",
        "Environment" => "an environment",
        "Step" => "a request",
        "Capture" => "a capture",
        "StreamMap" => "`stream`",
        "Auth" => "`auth`",
        "Basic" => "`basic`",
        "PartMap" => "a part",
        "RetryMap" => "a reaction",
        "Retry" => "`retry`",
        "Loop" => "`loop`",
        "TimesBetween" => "`times`",
        "ThresholdMap" => "a threshold",
        "Alerts" => "`alerts`",
        "On" | "AlertInvalid" => "`on`",
        "Receiver" => "a receiver",
        "Email" => "`email`",
        "Route" => "a route",
        "Match" => "`match`",
        _ => "the configuration",
    }
}

/// Keys of the language that this version does not have yet.
pub(crate) fn not_built(def: &str, key: &str) -> bool {
    let keys: &str = match def {
        "File" | "Fragment" => "silences maintenance slos web",
        "Daemon" => "web tls auth",
        "Policy" => "max_requests_per_day max_tokens_per_day max_bytes",
        "Otlp" => "headers tls compression",
        "Target" => "guard cookies",
        "Http" => "proxy http2",
        "Stats" => "facts",
        "Stat" => "label max_labels limit as process read cgroup promql server log match",
        "Scenario" => "state network events artifacts alert on confirm guard",
        "UserGroup" => "data",
        "ScheduleMap" => "continuous after",
        "Step" => "push weight needs",
        "Alerts" => "rules",
        "Receiver" => "webhook alertmanager slack",
        "Email" => "fallback",
        _ => "",
    };
    keys.split(' ').any(|known| known == key)
}

/// Values of the language that this version does not have yet, by the key they stand under.
pub(crate) fn not_built_value(key: &str, value: &str) -> bool {
    let values: &str = match key {
        "misfire" => "catch_up",
        "protocol" => "grpc http/json",
        "version" => "2 h2 http2 3 h3",
        "group_by" => "scenario severity owner threshold",
        "schedule" => "continuous",
        _ => "",
    };
    values.split(' ').any(|known| known == value) || (key == "misfire" && value.starts_with("catch_up"))
}

const EXECUTORS: &str = "write `executor: probe` for a single check, `constant-arrival-rate` for requests per second, \
                         or `constant-vus` for users who go on when they are answered";

/// Keys that an included file cannot have.
const MAIN_ONLY: [&str; 9] =
    ["include", "daemon", "policy", "env", "secrets", "alerts", "telemetry", "defaults", "environments"];

/// What to write instead of a word of k6, Artillery, Locust, Gatling, Prometheus, Alertmanager or curl.
pub(crate) fn foreign(def: &str, key: &str) -> Option<&'static str> {
    let load = def == "Load" || def == "Scenario";
    if def == "Fragment" && MAIN_ONLY.contains(&key) {
        return Some("it stands in the main file only; an included file has scenarios, targets, requests and vars");
    }
    Some(match key {
        "stages" if def == "Scenario" => {
            "it belongs under `load:`, such as `load: {executor: ramping-vus, stages: [{duration: 1m, target: 50}]}`"
        }
        "ramping" | "rampUp" | "ramp_up" | "rampTo" | "ramp_to" => {
            "write `executor: ramping-vus` or `ramping-arrival-rate` with `stages: [{duration: 1m, target: …}]`"
        }
        "startVUs" | "startVus" => "write `start_vus: 1` with `executor: ramping-vus`",
        "startRate" => "write `start_rate: 10/s` with `executor: ramping-arrival-rate`",
        "spawnRate" | "spawn-rate" | "hatch_rate" => "write `spawn_rate: 10/s` with `executor: users`",
        "run_time" | "run-time" | "runTime" => "write `hold_for: 5m` with `executor: users`",
        "num_users" | "userCount" | "VUs" | "vu" | "virtual_users" | "concurrency" if load => {
            "write `vus: 10` with `executor: constant-vus`, or `users: 1000` with `executor: users`"
        }
        "spawn_rate" | "hold_for" | "ramp_down" if def == "Scenario" => {
            "it belongs under `load:`, such as `load: {executor: users, users: 1000, spawn_rate: 10/s, hold_for: 5m}`"
        }
        "vus" | "iterations" | "rate" | "executor" | "arrivals" | "duration"
            if ["Scenario", "Phase", "UserGroup"].contains(&def) =>
        {
            "it belongs under `load:`, such as `load: {executor: constant-vus, vus: 10, duration: 5m}`"
        }
        "count" | "times" | "bursts" if def == "Load" => "write `repeat: 10`: how many bursts there are",
        "interval" | "gap" if def == "Load" => {
            "write `every: 10s` from start to start, or `pause: 10s` from end to start"
        }
        "from" | "min" if def == "Load" => "write `start: 5/s` with `executor: search`",
        "to" if def == "Load" => "write `max: 2000/s` with `executor: search`",
        "levels" if def == "Load" => "write `vus: [1, 5, 10]` with `executor: stepped-vus`",
        "steps" | "tasks" | "think" if def == "Load" => "it belongs beside `load:`, not under it",
        "arrivalRate" | "arrival_rate" | "rps" | "qps" | "constantUsersPerSec" | "requests_per_second" => {
            "write `rate: 10/s` with `executor: constant-arrival-rate`"
        }
        "arrivalCount" | "atOnceUsers" | "burst_size" => "write `size: 50` with `executor: burst`",
        "maxVUs" | "max_vus" | "maxVusers" | "preAllocatedVUs" | "pre_allocated_vus" => {
            "write `max_in_flight: 500`: the most unanswered requests at once"
        }
        "gracefulStop" | "stop_timeout" => "write `graceful_stop: 30s`",
        "gracefulRampDown" => "write `graceful_ramp_down: 30s`",
        "maxDuration" => "write `max_duration: 10m`",
        "timeUnit" | "time_unit" => "the rate has its unit with it: write `rate: 10/s` or `rate: 30/m`",
        "startTime" | "start_time" => "scenarios start by their `schedule:`, loads follow each other as `phases:`",
        "exec" | "scenario_type" | "type" if load => EXECUTORS,
        "externally-controlled" => {
            "no load is steered from outside while it goes on: write `executor: constant-vus`, \
             or `ramping-vus` with `stages:`; `plimsoll run NAME --users 50` changes one run"
        }
        "phases" if def == "Load" => {
            "write `phases: [{name: low, load: {…}}, {name: high, load: {…}}]` in the scenario"
        }
        _ => return foreign_in_steps(def, key).or_else(|| foreign_elsewhere(def, key)),
    })
}

fn foreign_in_steps(def: &str, key: &str) -> Option<&'static str> {
    Some(match key {
        "thinkTime" | "think_time" | "sleep" | "wait_time" | "pace" if def == "Step" => {
            "write `think: 2s`: a pause after the step"
        }
        "constant_pacing" if def == "ThinkMap" => "write `pacing: 5s`",
        "constant_throughput" if def == "ThinkMap" => "write `throughput: 0.1/s`",
        "checks" | "check" | "assert" | "assertions" | "expectations" | "ensure" => {
            "write `expect: [\"status == 200\"]` in a step, or `thresholds:` in a scenario"
        }
        "url" | "uri" | "path" | "method" | "endpoint" if def == "Step" => {
            "write the method as the key: `get: /path` or `post: /path`"
        }
        "url" | "host" | "baseUrl" | "baseURL" | "address" | "endpoint" if def == "Target" => {
            "write `base_url: http://localhost:8080`"
        }
        "target" | "config" | "environments_url" if def == "File" => {
            "write `targets: {NAME: {base_url: http://localhost:8080}}`"
        }
        "flow" | "requests" | "request" if def == "Scenario" => "write `steps: [{get: /path}]`",
        "wait_time" | "thinkTime" | "think_time" | "pace" if def == "Scenario" => "write `think: {between: [1s, 5s]}`",
        "data" | "payload" | "content" if def == "Step" => "write `json: {…}`, `form: {…}` or `body: text`",
        "extract" | "save" | "captures" | "extractors" if def == "Step" => "write `capture: {id: {json: $.id}}`",
        "status" | "expected_status" | "statusCode" if def == "Step" => "write `expect: [\"status == 200\"]`",
        "while" | "repeat" | "poll" if def == "Step" => {
            "write `until: \"$.status == 'done'\"`, with `every: 1s` and `timeout: 90s`"
        }
        "foreach" | "for_each" | "count" | "times" if def == "Step" => {
            "write `loop: {over: [a, b], as: name}` or `loop: {times: 5}`"
        }
        "if" | "ifTrue" | "condition" if def == "Step" => "write `when: \"name == 1\"`",
        "retry" | "retries" | "max_retries" if def == "Step" => {
            "write `on: {rejected: {retry: {max: 3}}, failed: stop}`"
        }
        "files" | "upload" | "formData" if def == "Step" => "write `multipart: {file: \"@speech.wav\"}`",
        "username" | "password" | "token" if def == "Auth" => {
            "write `basic: {username: u, password: \"${secret.p}\"}` or `bearer: \"${secret.token}\"`"
        }
        "continue_on_error" | "continueOnError" | "on_error" if def == "Step" => "write `on_fail: continue`",
        _ => return None,
    })
}

fn foreign_elsewhere(def: &str, key: &str) -> Option<&'static str> {
    Some(match key {
        "setup" | "beforeAll" if def == "Scenario" => "write `before: [{post: /path}]`",
        "teardown" | "afterAll" if def == "Scenario" => "write `after: [{post: /path}]`",
        "interval" | "period" if def == "ScheduleMap" || def == "Scenario" => "write `schedule: {every: 5m}`",
        "payload" | "feeder" | "csv" | "dataset" if def == "Scenario" => {
            "write `data: {questions: {file: q.csv}}`, and `${data.questions.FIELD}` in a step"
        }
        "path" | "csv" if def == "Data" => "write `file: q.csv`",
        "matrix" | "foreach" | "forEach" | "parametrize" if def == "Scenario" => "write `for_each: {model: [a, b]}`",
        "cron" | "every" | "timezone" if def == "Scenario" => {
            "it belongs under `schedule:`, such as `schedule: {cron: \"*/5 * * * *\"}`"
        }
        "latency" | "lag" if def == "Network" => "write `delay: 80ms`",
        "bandwidth" | "download" | "rate" if def == "Network" => "write `down: 2Mbit/s`",
        "upload" if def == "Network" => "write `up: 500kbit/s`",
        "loss" | "drop" | "reset" if def == "Network" => "write `abort: {share: 2%, after: 500ms}`",
        "time" | "after" if def == "Event" => "write `at: 2m`",
        "tz" | "zone" => "write `timezone: Europe/Berlin`",
        "jsonpath" | "json_path" | "jsonPath" if def == "Capture" => "write `json: $.id`",
        "regexp" | "re" | "pattern" if def == "Capture" => "write `regex: \"id=(\\d+)\"`",
        key if def == "ThresholdMap" && (alias(key).is_some() || METRICS.contains(&key)) => {
            "thresholds are a list of conditions: write `- p95(latency) < 500ms` and `- rate(failed) < 1%`"
        }
        key if def == "Stage" && key.starts_with(|c: char| c.is_ascii_digit()) => "write `{duration: 20s, target: 50}`",
        "threshold" | "condition" if def == "ThresholdMap" => "write `expr: p95(latency) < 2s`",
        "abortOnFail" => "write `abort_on_fail: true`",
        "delayAbortEval" => "write `delay_abort_eval: 30s`",
        "for" if def == "ThresholdMap" => "write `for_runs: 2`, or `over 1m for 2m` in the expression",
        "email_configs" | "email" | "emails" if def == "Alerts" => "write `receivers: {on_call: {email: {…}}}`",
        "route" | "receiver" if def == "Alerts" || def == "Route" => "write `routes: [{to: [on_call]}]`",
        "smarthost" | "host" | "server" | "relay" if def == "Email" => "write `smtp: \"smtp://mail.example.com:587\"`",
        "user" | "auth_username" | "login" if def == "Email" => "write `username: plimsoll`",
        "auth_password" | "pass" if def == "Email" => "write `password: \"${secret.smtp}\"`",
        "starttls" | "require_tls" | "ssl" | "use_tls" if def == "Email" => "write `tls: required`",
        "env" | "environment" if def == "Secret" => "write `from_env: NAME`",
        "file" | "path" if def == "Secret" => "write `from_file: /run/credentials/name`",
        "value" | "literal" | "content" if def == "Secret" => {
            "a secret is never written into the file: write `from_file:`, `from_env:` or `from_credential:`"
        }
        "insecure" | "insecureSkipTLSVerify" | "verify" => {
            "certificates are always verified: write `tls: {ca: ca.pem}` for one of your own"
        }
        _ => return None,
    })
}

/// What a selector of another tool, or in other words, is called here.
pub(crate) fn foreign_selector(name: &str) -> Option<&'static str> {
    Some(match name {
        "code" | "status_code" | "http_status" => "select by the status: `{status=503}`, `{status=5xx}`",
        "name" | "request" | "endpoint" | "url" | "path" | "route" => "select by the request's name: `{step=NAME}`",
        "task" => "a task is its steps: select by one, `{step=NAME}`, or tag them: `tags: {task: …}`",
        "vu" | "identity" => {
            "tag the requests by it: write `tags: {who: \"${identity}\"}` in a step, and select by `who`"
        }
        "stage" => "stages are one line of load; `phases:` and the levels of stepped-vus are told apart",
        "expected_response" => "requests that went well are `ok`, others `rejected` and `failed`",
        _ => return None,
    })
}

/// What a variable of another tool is called here.
pub(crate) fn foreign_variable(name: &str) -> Option<&'static str> {
    Some(match name {
        "__VU" | "user_id" | "userId" => "vu",
        "__ITER" | "loopCount" => "iteration",
        "i" | "index" | "counter" => "n",
        "guid" => "uuid",
        "timestamp" => "now",
        "testId" | "test_id" => "run_id",
        _ => return None,
    })
}

/// What to write instead of a text where a map is wanted.
pub(crate) fn shape(key: &str, def: &str, shown: &str) -> Option<String> {
    Some(match (key, def) {
        (_, "Secret") => {
            "a secret is never written into the file: write `{from_env: NAME}`, `{from_file: PATH}` or `{from_credential: NAME}`"
                .to_owned()
        }
        ("load", _) => format!("write `load: {{executor: {shown}}}`"),
        ("expect", _) if shown.parse::<u16>().is_ok() => format!("write `expect: status == {shown}`"),
        ("users", _) => format!("write `load: {{executor: users, users: {shown}, spawn_rate: 10/s, hold_for: 5m}}`"),
        ("repeat", _) => format!("write `repeat: {{times: {shown}, pause: 10s}}`"),
        (_, "Step") => format!("write `{{get: {shown}}}`"),
        (_, "Target") => format!("write `{{base_url: \"{shown}\"}}`"),
        ("stream", _) => "write `stream: sse` (OpenAI) or `stream: ndjson` (Ollama)".to_owned(),
        (_, "Capture") if shown.starts_with('$') => format!("write `{{json: {shown}}}`"),
        (_, "Capture") => "write `{json: $.id}`, `{header: x-id}` or `{regex: \"id=([0-9]+)\"}`".to_owned(),
        (_, "Stat") => "write `{get: /stats, json: $.queued}` or `{prometheus: /metrics, series: queue_length}`".to_owned(),
        _ => return None,
    })
}

/// What a missing key looks like.
pub(crate) fn example(def: &str, key: &str) -> &'static str {
    match (def, key) {
        ("File", "version") => "write `version: 1` as the first line",
        ("Phase" | "UserGroup", "load") => "write `load: {executor: constant-arrival-rate, rate: 2/s, duration: 1m}`",
        ("Scenario" | "Phase" | "UserGroup" | "Task", "steps") => "write `steps: [{get: /health}]`",
        ("Scenario", "phases") => "write `phases: [{name: low, load: {…}}, {name: high, load: {…}}]`",
        ("Scenario" | "Phase" | "UserGroup", "tasks") => {
            "write `tasks: [{name: browse, weight: 3, steps: [{get: /items}]}, {name: buy, steps: [{post: /orders}]}]`"
        }
        ("Phase" | "Task", "name") => "write `name: …`, which reports and metrics show",
        ("Load", "stages") => "write `stages: [{duration: 1m, target: 50}]`",
        ("Load", "vus") => "write `vus: [1, 5, 10, 20]`",
        ("Stage", "duration") => "write `duration: 1m`; 0s is a jump",
        ("Stage", "target") => "write `target: 50` for users, `target: 50/s` for a rate",
        ("ThinkMap", "between") => "write `between: [1s, 5s]`",
        ("Data", "values") => "write `values: [{q: a}, {q: b}]`",
        ("StreamMap", "format") => "write `format: sse` or `format: ndjson`",
        ("Recovery", "after") => "write `after: overload`, the name of a phase",
        ("Recovery", "until") => "write `until: [rate(rejected) == 0%]`",
        ("Recovery", "within") => "write `within: 30s`",
        ("Abort", "share") => "write `share: 2%`",
        ("Abort", "after") => "write `after: 500ms`",
        ("Event", "at") => "write `at: 2m`, from the start of the load",
        ("Event", "do") => "write `do: {post: /chaos/kill-worker}`",
        ("Repeat", "times") => "write `times: 5`",
        ("Load", "executor") => EXECUTORS,
        ("Target", "base_url") => "write `base_url: http://localhost:8080`",
        ("Classify", "outcome") => "write `outcome: rejected`, `ok` or `failed`",
        ("ThresholdMap", "expr") => "write `expr: p95(latency) < 2s`",
        ("Receiver", "email") => {
            "write `email: {to: [oncall@example.com], from: plimsoll@example.com, smtp: \"smtp://mail.example.com:587\"}`"
        }
        ("Email", "to") => "write `to: [oncall@example.com]`",
        ("Email", "from") => "write `from: plimsoll@example.com`",
        ("Email", "smtp") => "write `smtp: \"smtp://mail.example.com:587\"`",
        ("Route", "to") => "write `to: [RECEIVER]`",
        ("Otlp", "endpoint") => "write `endpoint: \"http://collector:4318\"`",
        ("ReasonHeader", "header") => "write `header: x-reject-reason`",
        ("AlertInvalid", "invalid") => "write `{invalid: 3}`",
        _ => "",
    }
}

/// The word among `known` that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' ', '.'], "");
    let word = plain(word);
    let slips = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= slips && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or what there is.
pub(crate) fn did_you_mean<'a>(word: &str, known: &[&'a str], what: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => format!("there are no {what} yet"),
        None => {
            let listed: Vec<&'a str> = known.iter().take(40).copied().collect();
            format!("{what} known here: {}", listed.join(", "))
        }
    }
}
