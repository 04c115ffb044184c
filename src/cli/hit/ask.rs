//! From arguments to a configuration of one scenario (pure but for a look at `@FILE`). What is asked
//! for here can be written into a file word for word; so it is checked, redacted and bounded by the same code.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use crate::{
    cli::{args::HitArgs, exit},
    judge,
    model::{
        address,
        scenario::BaseUrl,
        units::{Rate, parse_duration, parse_rate},
    },
};

/// Requests where only `-c` is given, as hey and oha have it.
const REQUESTS: u64 = 200;
/// Users where `-c` is not given, never more than requests.
const USERS: u32 = 50;
/// How long `--rate` goes on by itself.
const FOR: Duration = Duration::from_secs(10);
/// A closed load of so many requests is given up after this long at the latest.
const LONGEST: &str = "24h";

/// The configuration that `args` ask of `place`; `bounded` says that the host has a policy of its own. Values of headers go to
/// `env`, from where they are read as secrets: whoever types a token wants to see it nowhere.
/// The error is whole lines.
pub(super) fn configuration(
    args: &HitArgs,
    place: &Place,
    bounded: bool,
    env: &mut BTreeMap<String, String>,
) -> Result<Value, String> {
    let load = load(args)?;
    let mut http = Map::new();
    if let Some(text) = &args.timeout {
        parse_duration(text).map_err(|why| format!("error: `--timeout {text}`: {why}"))?;
        http.insert("timeout".into(), json!(text));
    }
    if args.no_keepalive {
        http.insert("reuse".into(), json!(false));
    }
    if let Some(ca) = &args.ca {
        http.insert("tls".into(), json!({"ca": absolute(ca)}));
    }
    let mut target = json!({"base_url": place.base.to_string()});
    if !http.is_empty() {
        target["http"] = Value::Object(http);
    }
    if !args.reject.is_empty() {
        let status: Vec<Value> = args
            .reject
            .iter()
            .map(|text| text.parse::<u16>().map_or_else(|_| json!(text), |code| json!(code)))
            .collect();
        target["classify"] = json!([{"outcome": "rejected", "status": status}]);
    }
    let name = place.base.authority().replace(['[', ']'], "");
    let mut asked = json!({
        "version": 1,
        "targets": {name: target},
        "scenarios": {"hit": {"load": load, "steps": [step(args, place, env)?]}},
    });
    if !args.threshold.is_empty() {
        for text in &args.threshold {
            judge::parse_threshold(text).map_err(|error| wrong("--threshold", text, &error))?;
        }
        asked["scenarios"]["hit"]["thresholds"] = json!(args.threshold);
    }
    if !env.is_empty() {
        let secrets = env.keys().map(|name| (name.clone(), json!({"from_env": name})));
        asked["secrets"] = Value::Object(secrets.collect());
    }
    let policy = policy(args, bounded);
    if !policy.is_empty() {
        asked["policy"] = Value::Object(policy);
    }
    Ok(asked)
}

/// A URL in its parts.
#[derive(Debug)]
pub(in crate::cli) struct Place {
    /// Its origin.
    pub(in crate::cli) base: BaseUrl,
    /// Path and query.
    pub(in crate::cli) path: String,
}

impl Place {
    /// Reads a URL; without a scheme it is http. The error is whole lines.
    pub(in crate::cli) fn of(text: &str) -> Result<Self, String> {
        let shown = match (text.find("://").map_or(0, |at| at + 3), text.rfind('@')) {
            (start, Some(end)) if start < end => format!("{}***{}", &text[..start], &text[end..]),
            _ => text.to_owned(),
        };
        let bad = |why: &str| format!("error: `{shown}` {why}\nhelp: write a URL such as http://localhost:8080/health");
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        // Templates are no characters of a URL: they are put back into the path once the origin is known.
        let (scheme, rest) = full.split_once("://").unwrap_or_default();
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(bad("is neither http nor https")),
        };
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if authority.contains('@') {
            return Err(bad("holds a user or a password: give them by `-H 'authorization: Basic …'`"));
        }
        let authority: http::uri::Authority = authority.parse().map_err(|_| bad("is not a URL"))?;
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() {
            return Err(bad("has no host"));
        }
        let port = match authority.as_str().rsplit(']').next().and_then(|rest| rest.split_once(':')) {
            Some((_, port)) => port.parse().map_err(|_| bad("has a port that is none"))?,
            None if https => 443,
            None => 80,
        };
        Ok(Self { base: BaseUrl { https, host: host.as_str().into(), port, prefix: "".into() }, path })
    }
}

/// Whether `base` may be loaded where the host has no policy. The error is whole lines, and the exit code.
pub(super) fn allowed(base: &BaseUrl, allow: &[String]) -> Result<(), (String, u8)> {
    for text in allow {
        address::parse_pattern(text).map_err(|why| (format!("error: `--allow {text}`: {why}"), exit::USAGE))?;
    }
    // What is forbidden whatever is allowed is said by the configuration.
    if !allow.is_empty() || address::is_loopback_host(&base.host) || address::forbidden(&base.host).is_some() {
        return Ok(());
    }
    let problem = format!(
        "error: without a policy only this machine may be loaded, and {base} is another one\n\
         help: if you may load it, add `--allow {base}`; for good, write `allow: [\"{base}\"]` into {}",
        crate::config::HOST_POLICY
    );
    Err((problem, exit::CONFIG))
}

/// Where the host has no policy, the numbers on the command line are the bound: whoever typed them meant them.
fn policy(args: &HitArgs, bounded: bool) -> Map<String, Value> {
    let mut policy = Map::new();
    if !args.allow.is_empty() {
        policy.insert("allow".into(), json!(args.allow));
    }
    if !bounded {
        policy.insert("max_rate".into(), json!("1000000/s"));
        policy.insert("max_concurrency".into(), json!(args.concurrency.unwrap_or(0).max(10_000)));
        policy.insert("max_duration".into(), json!("30d"));
    }
    policy
}

fn load(args: &HitArgs) -> Result<Value, String> {
    let duration = args.duration.as_ref().map(|text| {
        parse_duration(text)
            .ok()
            .filter(|time| !time.is_zero())
            .ok_or_else(|| format!("error: `-z {text}` is not a length of time\nhelp: write one such as 30s or 5m"))
    });
    let duration = duration.transpose()?;
    let rate = args.rate.as_deref().map(rate).transpose()?;
    if args.requests == Some(0) || args.concurrency == Some(0) {
        return Err("error: nothing is to be sent\nhelp: -n and -c are at least 1".to_owned());
    }
    if let Some(rate) = rate {
        return arrivals(args, rate, duration);
    }
    let users = args.concurrency.unwrap_or(USERS);
    match (args.requests, duration) {
        (Some(_), Some(_)) => Err("error: -n and -z both say when it ends\nhelp: leave one of them out".to_owned()),
        (None, Some(duration)) => Ok(json!({"executor": "constant-vus", "vus": users, "duration": written(duration)})),
        (None, None) if args.concurrency.is_none() => Ok(json!({"executor": "probe"})),
        (requests, None) => {
            let requests = requests.unwrap_or(REQUESTS);
            let users = u64::from(users).min(requests);
            Ok(json!({
                "executor": "shared-iterations", "vus": users, "iterations": requests, "max_duration": LONGEST,
            }))
        }
    }
}

/// An open load: `-n` ends it, or `-z`; `-c` is how many may be unanswered at once.
fn arrivals(args: &HitArgs, rate: Rate, duration: Option<Duration>) -> Result<Value, String> {
    let duration = match (args.requests, duration) {
        (Some(_), Some(_)) => {
            return Err("error: -n and -z both say when it ends\nhelp: leave one of them out".to_owned());
        }
        (Some(requests), None) => lasting(requests, rate),
        (None, duration) => duration.unwrap_or(FOR),
    };
    let mut load =
        json!({"executor": "constant-arrival-rate", "rate": rate.to_string(), "duration": written(duration)});
    if let Some(most) = args.concurrency {
        load["max_in_flight"] = json!(most);
    }
    Ok(load)
}

/// How long a rate takes for exactly so many: the last one is due half a period before the end.
fn lasting(requests: u64, rate: Rate) -> Duration {
    let seconds = (requests as f64 - 0.5) / rate.per_second();
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// `10/s`, and `10` for the same.
fn rate(text: &str) -> Result<Rate, String> {
    let full = if text.contains('/') { text.to_owned() } else { format!("{text}/s") };
    parse_rate(&full).map_err(|why| format!("error: `--rate {text}`: {why}"))
}

/// To the nanosecond, as the configuration reads it.
fn written(time: Duration) -> String {
    format!("{}ns", time.as_nanos())
}

/// Whether the value of a header is shown to nobody. A short one is in too much of what is shown, such as a status, to be
/// taken out of it; unless its name says what it is.
fn is_secret(header: &str, value: &str) -> bool {
    let header = header.to_ascii_lowercase();
    let telling = ["auth", "cookie", "key", "token", "secret", "password"].iter().any(|word| header.contains(word));
    value.len() >= 8 || (telling && !value.is_empty())
}

fn step(args: &HitArgs, place: &Place, env: &mut BTreeMap<String, String>) -> Result<Value, String> {
    let method = match &args.method {
        Some(method) => method.to_ascii_lowercase(),
        None => if args.data.is_some() { "post" } else { "get" }.to_owned(),
    };
    if !["get", "post", "put", "patch", "delete", "head", "options"].contains(&method.as_str()) {
        return Err(format!(
            "error: `-m {method}` is not a method\nhelp: get, post, put, patch, delete, head or options"
        ));
    }
    let mut step = json!({"name": "hit"});
    step[&method] = json!(place.path);
    let mut headers = Map::new();
    for (index, (name, value)) in args.headers.iter().enumerate() {
        let secret = format!("header_{}", index + 1);
        if headers.contains_key(&name.to_ascii_lowercase()) {
            return Err(format!("error: `-H {name}` is given twice\nhelp: join the values by a comma"));
        }
        if is_secret(name, value) {
            headers.insert(name.to_ascii_lowercase(), json!(format!("${{secret.{secret}}}")));
            env.insert(secret, value.clone());
        } else {
            headers.insert(name.to_ascii_lowercase(), json!(value));
        }
    }
    match args.data.as_deref().map(|data| (data, data.strip_prefix('@'))) {
        Some((_, Some(file))) => {
            let file = absolute(std::path::Path::new(file));
            if let Err(error) = std::fs::metadata(&file) {
                return Err(format!("error: `-d @{file}`: {error}"));
            }
            step["body_file"] = json!(file);
        }
        Some((text, None)) => {
            step["body"] = json!(text);
            if !headers.contains_key("content-type") {
                let json = serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object() || value.is_array());
                let media = if json { "application/json" } else { "application/x-www-form-urlencoded" };
                headers.insert("content-type".into(), json!(media));
            }
        }
        None => {}
    }
    if !headers.is_empty() {
        step["headers"] = Value::Object(headers);
    }
    if !args.expect.is_empty() {
        for text in &args.expect {
            judge::parse_expect(text).map_err(|error| wrong("--expect", text, &error))?;
        }
        step["expect"] = json!(args.expect);
    }
    Ok(step)
}

/// An expression that cannot be read, with a caret under what is wrong with it.
fn wrong(option: &str, text: &str, error: &judge::ExprError) -> String {
    let before = text.get(..error.offset).map_or(0, |before| before.chars().count());
    let help = error.help.as_ref().map_or(String::new(), |help| format!("\nhelp: {help}"));
    format!("error: {option}: {}\n  {text}\n  {}^{help}", error.message, " ".repeat(before))
}

fn absolute(path: &std::path::Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}
