//! Everything of a configuration that is not a scenario, checked and immutable.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use secrecy::SecretString;

use super::{Name, run::Severity, scenario::Scenario, template::percent_encode};

/// A whole configuration, ready to be run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The daemon itself.
    pub daemon: DaemonSettings,
    /// What may be loaded, and how hard.
    pub policy: Policy,
    /// Where metrics go.
    pub telemetry: TelemetrySettings,
    /// Who is told what.
    pub alerts: AlertSettings,
    /// In the order of the file; names are unique.
    pub scenarios: Vec<Arc<Scenario>>,
    /// The values of all secrets, so that whatever is shown can be redacted.
    pub redact: Redactor,
}

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonSettings {
    /// Page, API, metrics and probes of life.
    pub listen: SocketAddr,
    /// Database, lock and kill switch.
    pub data_dir: PathBuf,
    /// IANA zone of schedules that name none, and of times shown to people.
    pub timezone: Name,
    /// Runs older than this are deleted.
    pub retention_age: Duration,
    /// Oldest runs are deleted beyond this many bytes of database.
    pub retention_bytes: u64,
    /// A file whose presence stops all load.
    pub pause_file: PathBuf,
}

/// What may be loaded, and how hard; checked below every executor. A scenario can only narrow it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Origins that may be loaded; loopback only when empty.
    pub allow: Vec<OriginPattern>,
    /// Requests per second, all runs together.
    pub max_rate: f64,
    /// Unanswered requests at once, all runs together.
    pub max_concurrency: u32,
    /// Longest planned run.
    pub max_duration: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { allow: Vec::new(), max_rate: 10_000.0, max_concurrency: 10_000, max_duration: Duration::from_hours(24) }
    }
}

/// `http://localhost:*`, `https://*.example.com`: scheme, host (a leading `*.` covers subdomains) and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern {
    /// `None` = http and https.
    pub https: Option<bool>,
    /// Lower case; a leading `*.` covers subdomains, `*` alone every host.
    pub host: String,
    /// `None` = every port.
    pub port: Option<u16>,
}

/// Where metrics go besides `/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// Push by OTLP.
    pub otlp: Option<OtlpSettings>,
}

/// OTLP over HTTP with protobuf bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Base URL; `/v1/metrics` and `/v1/traces` are appended.
    pub endpoint: String,
    /// How often metrics are pushed.
    pub interval: Duration,
}

/// Who is told what.
#[derive(Debug, Clone)]
pub struct AlertSettings {
    /// By name.
    pub receivers: Vec<Receiver>,
    /// First match wins.
    pub routes: Vec<Route>,
    /// Wait before the first mail of a group, so that what breaks together is told together.
    pub group_wait: Duration,
    /// Wait before a mail about changes in a group.
    pub group_interval: Duration,
    /// A firing alert is told again after this long.
    pub repeat_interval: Duration,
    /// Tell when it is over.
    pub send_resolved: bool,
    /// Verdicts that alert without any rule.
    pub on: AlertOn,
    /// `plimsoll run` mails without `--notify`.
    pub from_cli: bool,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            receivers: Vec::new(),
            routes: Vec::new(),
            group_wait: Duration::from_secs(10),
            group_interval: Duration::from_mins(5),
            repeat_interval: Duration::from_hours(4),
            send_resolved: true,
            on: AlertOn::default(),
            from_cli: false,
        }
    }
}

/// Verdicts that alert without any rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertOn {
    /// A threshold was breached.
    pub fail: bool,
    /// Nothing was measured.
    pub no_data: bool,
    /// A run did not happen when it was due.
    pub missed: bool,
    /// So many invalid runs in a row; `None` = never.
    pub invalid: Option<u32>,
}

impl Default for AlertOn {
    fn default() -> Self {
        Self { fail: true, no_data: true, missed: true, invalid: Some(3) }
    }
}

/// Someone who is told.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Unique.
    pub name: Name,
    /// By mail.
    pub email: EmailSettings,
}

/// Which alerts go to which receivers; an empty match takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Only this severity.
    pub severity: Option<Severity>,
    /// Only this scenario.
    pub scenario: Option<Name>,
    /// Only this target.
    pub target: Option<Name>,
    /// Only scenarios with `intent: overload` (`true`) or without (`false`).
    pub overload: Option<bool>,
    /// Names of receivers.
    pub to: Vec<Name>,
}

/// How a mail is sent.
#[derive(Debug, Clone)]
pub struct EmailSettings {
    /// Each gets a mail of its own.
    pub to: Vec<String>,
    /// Sender, and the domain of Message-IDs.
    pub from: String,
    /// The relay's host.
    pub host: String,
    /// The relay's port.
    pub port: u16,
    /// How the conversation is protected.
    pub tls: SmtpTls,
    /// PEM file of a company's certificate authority.
    pub tls_ca: Option<PathBuf>,
    /// User and password for AUTH.
    pub credentials: Option<(String, SecretString)>,
    /// Name given in EHLO; the host's own when absent.
    pub hello: Option<String>,
    /// For the conversation up to the acceptance of DATA.
    pub timeout: Duration,
}

/// How an SMTP conversation is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Not at all: loopback and test relays.
    None,
    /// STARTTLS, or no mail.
    StartTls,
    /// TLS from the first byte (port 465).
    Implicit,
}

/// Replaces the values of all secrets by `***` in whatever is shown, as they are and as they are written in paths, forms,
/// JSON and Base64: a target echoes what it was sent, and rarely in the form that was configured.
#[derive(Clone, Default)]
pub struct Redactor {
    forms: Arc<[String]>,
    secrets: usize,
}

impl Redactor {
    /// Redacts these values; empty ones are left out, longer ones go first.
    pub fn new(mut values: Vec<String>) -> Self {
        values.retain(|value| !value.is_empty());
        let mut forms: Vec<String> = values.iter().flat_map(|value| forms(value)).collect();
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms: forms.into(), secrets: values.len() }
    }

    /// The same, and these values too.
    #[must_use]
    pub fn and(&self, values: Vec<String>) -> Self {
        let more = Self::new(values);
        let mut forms: Vec<String> = self.forms.iter().chain(&*more.forms).cloned().collect();
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms: forms.into(), secrets: self.secrets + more.secrets }
    }

    /// `text` without secrets, and without the beginnings of secrets that were cut off in it.
    pub fn redact(&self, text: &str) -> String {
        let whole = self.forms.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), "***") } else { text }
        });
        self.forms.iter().fold(whole, |text, secret| without_beginnings(text, secret))
    }
}

/// So many characters of a secret are worth hiding even if the rest was cut off.
const BEGINNING: usize = 8;

fn without_beginnings(mut text: String, secret: &str) -> String {
    let Some((end, _)) = secret.char_indices().nth(BEGINNING) else { return text };
    let mut from = 0;
    while let Some(at) = text[from..].find(&secret[..end]).map(|at| at + from) {
        let same = text[at..].chars().zip(secret.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8());
        let length: usize = same.sum();
        text.replace_range(at..at + length, "***");
        from = at + 3;
    }
    text
}

/// The ways in which a value is written into requests and answers.
fn forms(value: &str) -> Vec<String> {
    let mut path = String::new();
    percent_encode(value, &mut path);
    let form = path.replace("%20", "+");
    let json = serde_json::Value::from(value).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let slashes = json.replace('/', "\\/");
    let mut forms = vec![lower_hex(&path), lower_hex(&form), path, form, slashes, json, value.to_owned()];
    // Shorter ones are too likely to be part of a word.
    if value.len() >= 6 {
        forms.extend([&STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|engine| engine.encode(value)));
    }
    forms
}

/// A percent-encoded text with its hexadecimal digits in lower case.
fn lower_hex(text: &str) -> String {
    let mut parts = text.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| {
        let (hex, rest) = part.split_at(part.len().min(2));
        format!("{out}%{}{rest}", hex.to_ascii_lowercase())
    })
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced_longest_first() {
        let redactor = Redactor::new(vec!["abc".into(), "abcdef".into(), String::new()]);
        assert_eq!(redactor.redact("x abcdef y abc"), "x *** y ***");
        assert_eq!(format!("{redactor:?}"), "Redactor(2 secrets)");
    }

    #[test]
    fn secrets_are_replaced_however_they_are_written() {
        let redactor = Redactor::new(vec!["p/ä \"w+d".into(), "..".into()]);
        for echo in [
            "p/ä \"w+d",
            "p%2F%C3%A4%20%22w%2Bd",
            "p%2f%c3%a4%20%22w%2bd",
            "p%2F%C3%A4+%22w%2Bd",
            "p/ä \\\"w+d",
            "p\\/ä \\\"w+d",
            "cC/DpCAidytk",
            "cC_DpCAidytk",
        ] {
            assert_eq!(redactor.redact(&format!("<{echo}>")), "<***>", "{echo}");
        }
        assert_eq!(redactor.redact("%2E%2E"), "***");
    }

    #[test]
    fn a_secret_that_is_cut_off_is_hidden_as_far_as_it_goes() {
        let redactor = Redactor::new(vec!["eyJhbGciOiJIUzI1NiJ9.payload.signature".into()]);
        assert_eq!(redactor.redact("token is \"eyJhbGciOiJIUzI1…\""), "token is \"***…\"");
        assert_eq!(redactor.redact("a eyJhbGciOiJ b eyJhbGciO"), "a *** b ***");
        assert_eq!(redactor.redact("eyJhbG is too short to tell"), "eyJhbG is too short to tell");
    }
}
