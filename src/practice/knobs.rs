//! What the practice target can be told to do. The same words are flags of `plimsoll target` and keys of
//! `POST /practice`, so that what was tried by hand can be scripted.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::{
    latency::Latency,
    shares::{Errors, PathLatency},
    written::{bytes, duration, optional_duration, parse_bytes, parse_share, parse_stall, rate, share},
};
use super::fault::Fault;
use crate::model::units::{self, Rate};

pub mod latency;
pub mod shares;
mod written;

/// As many connections as the target takes, and so the largest number of requests it can serve at once.
pub const MAX_CONNECTIONS: u32 = 18_000;

/// How the practice target behaves. Every key is optional; the default answers at once and refuses nothing but the
/// eleventh conversation, and a user's fourth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Address to listen on; port 0 takes a free one. Cannot be changed at run time.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// How long a request is worked on (statistics endpoints answer at once): `20ms`, `10ms..50ms` (each as likely),
    /// `exp 20ms` (exponential, by its mean) or `p50 20ms p99 200ms` (log-normal).
    #[arg(long, default_value = "0ms", value_name = "LATENCY")]
    pub latency: Latency,
    /// The same for single paths, as `/practice/log` names them: `/api/agents=800ms,/api/rag=exp 300ms`.
    #[arg(long, default_value = "", value_name = "PATH=LATENCY,…")]
    pub path_latency: PathLatency,
    /// Requests served at once, per model; the rest waits in the queue.
    #[arg(long, default_value_t = MAX_CONNECTIONS, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub parallel_limit: u32,
    /// Requests that may wait, per model; beyond: 503 at once with `x-reject-reason: queue_full`.
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub queue_limit: u32,
    /// Conversations open at once (POST /conversations); beyond: 429, until one is deleted.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub pool_limit: u32,
    /// Conversations of one `user` open at once; beyond: 429.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub user_limit: u32,
    /// Ends conversations that had no turn for so long.
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    #[serde(with = "optional_duration")]
    pub conversation_idle: Option<Duration>,
    /// Blocks of the pool for POST /v1/messages, 16 tokens of question and `max_tokens` each; above 95 %: 429.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub blocks: u32,
    /// From POST /process until GET /session/ID/status says `done`.
    #[arg(long, default_value = "0ms", value_parser = units::parse_duration, value_name = "DURATION")]
    #[serde(with = "duration")]
    pub session_time: Duration,
    /// Tokens of an answer, unless its request asks for fewer.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub tokens: u32,
    /// Streams: from the head to the first token.
    #[arg(long, default_value = "0ms", value_name = "LATENCY")]
    pub first_token: Latency,
    /// Streams: between two tokens.
    #[arg(long, default_value = "0ms", value_name = "LATENCY")]
    pub token_gap: Latency,
    /// Streams: stand still for so long after half of the tokens.
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    #[serde(with = "optional_duration")]
    pub token_stall: Option<Duration>,
    /// Requests per second before 429; as many may come at once.
    #[arg(long, value_parser = units::parse_rate, value_name = "RATE")]
    #[serde(with = "rate")]
    pub rate_limit: Option<Rate>,
    /// Adds a Retry-After header of so many whole seconds to each 429 and 503.
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    #[serde(with = "optional_duration")]
    pub retry_after: Option<Duration>,
    /// Stalls again and again, as in `1s every 10s`: no answer leaves before a window ends. The first window begins
    /// one period after this was set.
    #[arg(long, value_parser = parse_stall, value_name = "FOR every PERIOD")]
    pub stall: Option<Stall>,
    /// Stalls once, from now: no answer leaves before it is over; requests received meanwhile are answered after it.
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    #[serde(with = "optional_duration")]
    pub stall_for: Option<Duration>,
    /// Answers everything with this status (statistics too, unless fail_share is given).
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: Option<u16>,
    /// Answers this share of the requests with `status`, or 500: evenly spread, exact (20% is each fifth).
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    #[serde(with = "share")]
    pub fail_share: Option<f64>,
    /// Answers shares of the requests with statuses, each evenly spread and exact: `500=1%,503=5%`.
    #[arg(long, default_value = "", value_name = "STATUS=SHARE,…")]
    pub errors: Errors,
    /// Makes answers go wrong in this way; for one request: `?fault=NAME` or the header `x-fault: NAME`.
    #[arg(long, value_enum, value_name = "NAME")]
    pub fault: Option<Fault>,
    /// Only for this share of the requests, evenly spread and exact.
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    #[serde(with = "share")]
    pub fault_share: Option<f64>,
    /// Resets the next N connections as soon as they are accepted.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub accept_resets: u32,
    /// GET /health says `degraded`.
    #[arg(long)]
    pub degraded: bool,
    /// Accepts requests and never answers those received while this is on.
    #[arg(long)]
    pub hang: bool,
    /// Resets the connection instead of answering.
    #[arg(long)]
    pub reset: bool,
    /// Sends each answer's body in ten pieces, one per this time.
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    #[serde(with = "optional_duration")]
    pub drip: Option<Duration>,
    /// What the memory gauges show at first (a number, not real memory).
    #[arg(long, default_value = "256MB", value_parser = parse_bytes, value_name = "BYTES")]
    #[serde(with = "bytes")]
    pub memory: u64,
    /// What the memory gauges show as the machine's total.
    #[arg(long, default_value = "32GB", value_parser = parse_bytes, value_name = "BYTES")]
    #[serde(with = "bytes")]
    pub memory_total: u64,
    /// Added to the memory gauges by each request served.
    #[arg(long, default_value = "0B", value_parser = parse_bytes, value_name = "BYTES")]
    #[serde(with = "bytes")]
    pub leak_per_request: u64,
    /// Added to the memory gauges each minute.
    #[arg(long, default_value = "0B", value_parser = parse_bytes, value_name = "BYTES")]
    #[serde(with = "bytes")]
    pub leak_per_minute: u64,
    /// Answers /practice and /admin to other machines too; otherwise only to this one. Cannot be changed at run time.
    #[arg(long)]
    pub open_control: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            latency: Latency::default(),
            path_latency: PathLatency::default(),
            parallel_limit: MAX_CONNECTIONS,
            queue_limit: 512,
            pool_limit: 10,
            user_limit: 3,
            conversation_idle: None,
            blocks: 100_000,
            session_time: Duration::ZERO,
            tokens: 16,
            first_token: Latency::default(),
            token_gap: Latency::default(),
            token_stall: None,
            rate_limit: None,
            retry_after: None,
            stall: None,
            stall_for: None,
            status: None,
            fail_share: None,
            errors: Errors::default(),
            fault: None,
            fault_share: None,
            accept_resets: 0,
            degraded: false,
            hang: false,
            reset: false,
            drip: None,
            memory: 256_000_000,
            memory_total: 32_000_000_000,
            leak_per_request: 0,
            leak_per_minute: 0,
            open_control: false,
        }
    }
}

/// A stall that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// Start to start; longer than the stall.
    #[serde(with = "duration")]
    pub every: Duration,
    /// How long each lasts.
    #[serde(rename = "for", with = "duration")]
    pub lasts: Duration,
}

/// Why a change of knobs was refused; the text says what can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KnobError(String);

impl Knobs {
    /// The defaults on a free port of the loopback interface.
    pub fn ephemeral() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Self::default() }
    }

    /// These knobs with a JSON object of changes laid over them; `null` puts a knob back to its default.
    pub fn patched(&self, patch: &Value) -> Result<Self, KnobError> {
        let Value::Object(changes) = patch else {
            return Err(KnobError(r#"write a JSON object of knobs, such as {"status": 503}"#.to_owned()));
        };
        let mut all = serde_json::to_value(self).expect("knobs are plain values");
        let object = all.as_object_mut().expect("knobs are an object");
        for (key, value) in changes {
            if value.is_null() && object.contains_key(key) {
                object.remove(key);
            } else {
                object.insert(key.clone(), value.clone());
            }
        }
        if changes.get("listen").is_some_and(|listen| *listen != self.listen.to_string()) {
            return Err(KnobError("listen cannot be changed while the target runs: start it again".to_owned()));
        }
        object.insert("listen".to_owned(), self.listen.to_string().into());
        if changes.get("open_control").is_some_and(|open| *open != self.open_control) {
            return Err(KnobError("open_control cannot be changed while the target runs: start it again".to_owned()));
        }
        object.insert("open_control".to_owned(), self.open_control.into());
        let knobs: Self = serde_json::from_value(all).map_err(|error| KnobError(error.to_string()))?;
        knobs.checked()
    }

    /// The knobs, if they make sense together.
    pub fn checked(self) -> Result<Self, KnobError> {
        let refuse = |text: &str| Err(KnobError(text.to_owned()));
        match (self.stall, self.status) {
            _ if self.parallel_limit == 0 => refuse("parallel_limit is at least 1"),
            (Some(stall), _) if stall.lasts >= stall.every => refuse("stall: `for` must be shorter than `every`"),
            (_, Some(status)) if !(200..=599).contains(&status) => refuse("status is between 200 and 599"),
            _ if !(1..=100_000).contains(&self.tokens) => refuse("tokens is between 1 and 100000"),
            _ => Ok(self),
        }
    }
}

/// Knobs with the instants they were set at, from which stalls are counted.
#[derive(Debug, Clone)]
pub struct Live {
    /// As they were set.
    pub knobs: Knobs,
    stalls_from: Instant,
    stall_until: Option<Instant>,
    /// Connections still to be reset.
    resets: Arc<AtomicU32>,
}

impl Live {
    /// Knobs that take effect `now`.
    pub fn new(knobs: Knobs, now: Instant) -> Self {
        let stall_until = knobs.stall_for.map(|lasts| now + lasts);
        let resets = Arc::new(AtomicU32::new(knobs.accept_resets));
        Self { knobs, stalls_from: now, stall_until, resets }
    }

    /// The same target after a patch: stalls that the patch does not name go on as they were.
    #[must_use]
    pub fn patched(&self, patch: &Value, knobs: Knobs, now: Instant) -> Self {
        let fresh = Self::new(knobs, now);
        Self {
            stalls_from: if patch.get("stall").is_some() { now } else { self.stalls_from },
            stall_until: if patch.get("stall_for").is_some() { fresh.stall_until } else { self.stall_until },
            resets: if patch.get("accept_resets").is_some() { fresh.resets } else { self.resets.clone() },
            knobs: fresh.knobs,
        }
    }

    /// Is the connection just accepted to be reset? Counts it.
    pub fn resets_connection(&self) -> bool {
        self.resets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// The end of the stall that `now` falls into.
    pub fn stalled_until(&self, now: Instant) -> Option<Instant> {
        let once = self.stall_until.filter(|end| now < *end);
        let periodic = self.knobs.stall.and_then(|stall| {
            let since = now.saturating_duration_since(self.stalls_from);
            let into = Duration::from_nanos((since.as_nanos() % stall.every.as_nanos().max(1)) as u64);
            (since >= stall.every && into < stall.lasts).then(|| now + stall.lasts.saturating_sub(into))
        });
        once.max(periodic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::mono;
    use serde_json::json;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn patches_are_strict_and_lie_over_what_is_set() {
        let knobs = Knobs::ephemeral()
            .patched(&json!({"latency": "20ms", "fail_share": "20%", "memory": "1GB", "rate_limit": "5/s", "fault": "bad_json"}))
            .expect("known knobs");
        assert_eq!(
            (knobs.latency, knobs.fail_share, knobs.memory),
            (Latency::Constant(ms(20)), Some(0.2), 1_000_000_000)
        );
        assert_eq!(knobs.fault, Some(Fault::BadJson));
        let later =
            knobs.patched(&json!({"latency": null, "stall": {"every": "10s", "for": "1s"}})).expect("known knobs");
        assert_eq!((later.latency, later.memory), (Latency::default(), 1_000_000_000));
        assert_eq!(serde_json::from_value::<Knobs>(serde_json::to_value(&later).expect("json")).expect("knobs"), later);

        let check = |patch: Value, expected: &str| {
            let error = knobs.patched(&patch).expect_err("is refused").to_string();
            assert!(error.contains(expected), "{patch}: {error}");
        };
        check(json!({"latancy": "1s"}), "unknown field `latancy`, expected one of `listen`, `latency`");
        check(json!({"latancy": null}), "unknown field `latancy`");
        check(json!({"latency": "1"}), "the unit is missing");
        check(json!({"fail_share": "120%"}), "write a share");
        check(json!({"parallel_limit": 0}), "at least 1");
        check(json!({"listen": "127.0.0.1:1"}), "start it again");
        check(json!({"open_control": true}), "start it again");
        check(json!({"errors": "500=60%,503=50%"}), "more than 100%");
        check(json!({"fault": "none"}), "unknown variant");
        check(json!({"tokens": 0}), "between 1 and");
        check(json!({"stall": {"every": "1s", "for": "1s"}}), "shorter than `every`");
        check(json!([]), "JSON object");
    }

    #[test]
    fn a_stall_holds_until_its_window_ends() {
        let start = mono();
        let knobs = Knobs { stall: Some(Stall { every: ms(1000), lasts: ms(100) }), ..Knobs::default() };
        let live = Live::new(knobs, start);
        let check = |at: u64, until: Option<u64>| {
            assert_eq!(live.stalled_until(start + ms(at)), until.map(|until| start + ms(until)), "at {at} ms");
        };
        check(0, None);
        check(999, None);
        check(1000, Some(1100));
        check(1099, Some(1100));
        check(1100, None);
        check(2050, Some(2100));

        let patch = json!({"stall_for": "5s"});
        let knobs = live.knobs.patched(&patch).expect("known knobs");
        let once = live.patched(&patch, knobs, start + ms(500));
        assert_eq!(once.stalled_until(start + ms(600)), Some(start + ms(5500)));
        assert_eq!(once.stalled_until(start + ms(5500)), None);
        assert_eq!(once.stalled_until(start + ms(6000)), Some(start + ms(6100)), "the periodic one keeps its phase");
    }

    #[test]
    fn so_many_connections_are_reset() {
        let live = Live::new(Knobs { accept_resets: 2, ..Knobs::default() }, mono());
        let later = live.patched(&json!({"status": 500}), live.knobs.clone(), mono());
        assert_eq!(
            [live.resets_connection(), later.resets_connection(), live.resets_connection()],
            [true, true, false]
        );
    }

    #[test]
    fn flags_are_read_as_keys_are() {
        use clap::{Args, FromArgMatches};
        let command = Knobs::augment_args(clap::Command::new("target"));
        let read = |args: &[&str]| {
            command
                .clone()
                .try_get_matches_from([&["target"], args].concat())
                .and_then(|matches| Knobs::from_arg_matches(&matches))
        };
        assert_eq!(read(&[]).expect("no flags"), Knobs::default());
        let knobs = read(&["--latency", "20ms", "--stall", "1s every 10s", "--fail-share", "20%"]).expect("good flags");
        assert_eq!(knobs.stall, Some(Stall { every: ms(10_000), lasts: ms(1000) }));
        assert!(read(&["--parallel-limit", "0"]).is_err());
    }
}
