//! `daemon`, `policy` and `telemetry`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{At, HostPolicy, Lower};
use crate::{
    config::{check::short, raw, source::Span},
    model::{
        address,
        settings::{DaemonSettings, OriginPattern, OtlpSettings, Policy, TelemetrySettings},
        units,
    },
};

impl Lower<'_> {
    pub(super) fn daemon(&mut self) -> Option<DaemonSettings> {
        let at = At::root(0).key("daemon");
        let default = raw::Daemon::default();
        let raw = self.main().daemon.as_ref().unwrap_or(&default);
        let listen = raw.listen.as_deref().unwrap_or("127.0.0.1:9590");
        let listen = self.listen(&at.key("listen"), listen);
        let data_at = at.key("data_dir");
        let data_dir = raw
            .data_dir
            .as_deref()
            .map_or_else(|| PathBuf::from("/var/lib/plimsoll"), |dir| self.resolve(&data_at, dir));
        let zone = raw.timezone.as_deref().unwrap_or("UTC");
        self.zone(&at.key("timezone"), zone);
        let retention = at.key("retention");
        let kept = raw.retention.as_ref();
        let age = kept.and_then(|kept| kept.age.as_ref());
        let age = self.duration(&retention.key("age"), age, Duration::from_hours(30 * 24), Duration::from_hours(1));
        let size = kept.and_then(|kept| kept.size.as_ref()).and_then(|size| units::parse_quantity(&size.0).ok());
        let retention_bytes = size.map_or(1_000_000_000, |size| size.value as u64);
        if retention_bytes < 1_000_000 {
            self.error(
                &retention.key("size"),
                "`size` is too small: the least is 1MB",
                "write a larger size, such as 1GB",
            );
        }
        let pause_file = raw
            .pause_file
            .as_deref()
            .map_or_else(|| data_dir.join("pause"), |file| self.resolve(&at.key("pause_file"), file));
        let listen = listen?;
        Some(DaemonSettings {
            listen,
            data_dir,
            timezone: zone.into(),
            retention_age: age,
            retention_bytes,
            pause_file,
        })
    }

    fn listen(&mut self, at: &At, text: &str) -> Option<SocketAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            let port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or("9590");
            let help = format!("write an address and a port: `listen: \"127.0.0.1:{}\"`", short(port));
            self.error(at, format!("`{}` is not an address to listen on", short(text)), help);
        }
        address
    }

    /// The bounds of what may be loaded: the host's, narrowed by the configuration's own.
    pub(super) fn policy(&mut self, host: Option<&HostPolicy>) -> Policy {
        let mut policy = Policy::default();
        if let Some(host) = host {
            self.read_policy(&host.raw, &mut policy, None, |keys| {
                let path: Vec<_> = keys.iter().map(PolicyKey::seg).collect();
                Some(host.tree.locate(&path))
            });
        }
        let Some(own) = &self.main().policy else { return policy };
        let at = At::root(0).key("policy");
        let files = self.files;
        let locate = |keys: &[PolicyKey]| {
            let mut path = at.path.clone();
            path.extend(keys.iter().map(PolicyKey::seg));
            Some(files[0].tree.locate(&path))
        };
        let outer = host.map(|host| (host.name.as_str(), policy.clone()));
        self.read_policy(own, &mut policy, outer.as_ref().map(|(name, policy)| (*name, policy)), locate);
        policy
    }

    fn read_policy(
        &mut self,
        raw: &raw::Policy,
        policy: &mut Policy,
        outer: Option<(&str, &Policy)>,
        locate: impl Fn(&[PolicyKey]) -> Option<Span>,
    ) {
        if let Some(allow) = &raw.allow {
            // An empty list is loopback, which a list of the host's need not cover.
            if let Some((name, _)) = outer.filter(|(_, host)| allow.is_empty() && !host.allow.is_empty()) {
                let help = format!(
                    "write some of the origins under `allow:` in {name}, or leave `allow` out: then they all are"
                );
                let message = "`allow: []` is more than the host allows: an empty list allows loopback";
                self.problems.error(locate(&[PolicyKey::Name("allow")]), message, help);
            }
            policy.allow = self.patterns(allow, outer, &locate);
        }
        let beyond = |what: &str, own: String, host: String| {
            let name = outer.map(|(name, _)| name).unwrap_or_default();
            (
                format!("`{what}: {own}` is more than the host allows"),
                format!("the policy of the host ({name}) says `{what}: {host}`: a configuration can only narrow it"),
            )
        };
        if let Some(Ok(rate)) = raw.max_rate.as_ref().map(|rate| units::parse_rate(&rate.0)) {
            if let Some((_, host)) = outer.filter(|(_, host)| rate.per_second() > host.max_rate) {
                let (message, help) = beyond("max_rate", rate.to_string(), format!("{}/s", host.max_rate));
                self.problems.error(locate(&[PolicyKey::Name("max_rate")]), message, help);
            }
            policy.max_rate = rate.per_second();
        }
        if let Some(most) = raw.max_concurrency {
            if let Some((_, host)) = outer.filter(|(_, host)| most > host.max_concurrency) {
                let (message, help) = beyond("max_concurrency", most.to_string(), host.max_concurrency.to_string());
                self.problems.error(locate(&[PolicyKey::Name("max_concurrency")]), message, help);
            }
            policy.max_concurrency = most;
        }
        if let Some((text, Ok(most))) = raw.max_duration.as_ref().map(|text| (&text.0, units::parse_duration(&text.0)))
        {
            if let Some((_, host)) = outer.filter(|(_, host)| most > host.max_duration) {
                let longest = units::human_seconds(host.max_duration.as_secs_f64());
                let (message, help) = beyond("max_duration", text.clone(), longest);
                self.problems.error(locate(&[PolicyKey::Name("max_duration")]), message, help);
            }
            policy.max_duration = most;
        }
    }

    fn patterns(
        &mut self,
        allow: &[String],
        outer: Option<(&str, &Policy)>,
        locate: &impl Fn(&[PolicyKey]) -> Option<Span>,
    ) -> Vec<OriginPattern> {
        let mut patterns = Vec::new();
        for (index, text) in allow.iter().enumerate() {
            let span = locate(&[PolicyKey::Name("allow"), PolicyKey::Index(index)]);
            let shown = short(text);
            match address::parse_pattern(text) {
                Err(help) => self.problems.error(span, format!("`{shown}` is not an origin"), help),
                Ok(pattern) => {
                    if let Some((name, host)) = outer
                        && !host.allow.iter().any(|outer| address::narrows(outer, &pattern))
                        && !(host.allow.is_empty() && address::is_loopback_host(&pattern.host))
                    {
                        self.problems.error(span, format!("`{shown}` is more than the host allows"), format!("a configuration can only narrow the policy of the host: add - \"{shown}\" under `allow:` in {name}"));
                    }
                    patterns.push(pattern);
                }
            }
        }
        patterns
    }

    pub(super) fn telemetry(&mut self) -> TelemetrySettings {
        let Some(otlp) = self.main().telemetry.as_ref().and_then(|telemetry| telemetry.otlp.as_ref()) else {
            return TelemetrySettings::default();
        };
        let at = At::root(0).key("telemetry").key("otlp");
        let endpoint = self.text(&at.key("endpoint"), &otlp.endpoint);
        let uri = endpoint.parse::<http::Uri>().ok();
        let fine = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if !fine && !endpoint.is_empty() {
            let shown = short(&endpoint);
            self.error(
                &at.key("endpoint"),
                format!("`{shown}` is not the URL of a collector"),
                "write `endpoint: \"http://collector:4318\"`",
            );
        }
        let (default, least) = (Duration::from_secs(15), Duration::from_secs(1));
        let interval = self.duration(&at.key("interval"), otlp.interval.as_ref(), default, least);
        TelemetrySettings { otlp: Some(OtlpSettings { endpoint: endpoint.trim_end_matches('/').to_owned(), interval }) }
    }
}

/// A step into a policy, which stands under `policy:` in a configuration and alone in the host's file.
enum PolicyKey {
    Name(&'static str),
    Index(usize),
}

impl PolicyKey {
    fn seg(&self) -> crate::config::tree::Seg {
        match self {
            Self::Name(name) => crate::config::tree::Seg::Key((*name).to_owned()),
            Self::Index(index) => crate::config::tree::Seg::Index(*index),
        }
    }
}
