//! The log: lines for people on a terminal, JSON otherwise, always to stderr, since stdout is for results.

use std::{io::IsTerminal as _, str::FromStr};

use tracing_subscriber::EnvFilter;

/// What the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("write auto, text or json".to_owned()),
        }
    }
}

/// The variable that holds the filter.
pub const FILTER: &str = "PLIMSOLL_LOG";

/// Libraries that carry our own telemetry: what they log would be about logging. Their failures are told by us, once.
const EXPORTERS: [(&str, &str); 5] = [
    ("opentelemetry", "off"),
    ("hyper", "warn"),
    ("reqwest", "warn"),
    ("h2", "warn"),
    ("tokio_cron_scheduler", "warn"),
];

/// Starts the log; once per process. The error completes "failed to start the log: ".
pub fn init(format: LogFormat) -> Result<(), String> {
    let filter = filter(std::env::var(FILTER).ok().as_deref())?;
    let terminal = std::io::stderr().is_terminal();
    // A log that cannot be written (its reader is gone, its disk is full) must not end the daemon: the library would
    // complain on the same standard error, and panic.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let text = format == LogFormat::Text || (format == LogFormat::Auto && terminal);
    let started = if text {
        let colours = terminal && std::env::var_os("NO_COLOR").is_none();
        builder.with_ansi(colours).with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    started.map_err(|error| error.to_string())
}

/// `info` unless told otherwise; the exporters' own libraries are quiet unless they are named.
fn filter(asked: Option<&str>) -> Result<EnvFilter, String> {
    let asked = asked.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("info");
    let named = |library: &str| {
        asked
            .split(',')
            .any(|part| part.trim().strip_prefix(library).is_some_and(|rest| rest.starts_with(['=', ':', '['])))
    };
    let quiet = EXPORTERS.iter().filter(|(library, _)| !named(library));
    let whole = quiet.fold(asked.to_owned(), |whole, (library, level)| format!("{whole},{library}={level}"));
    EnvFilter::builder().parse(whole).map_err(|error| {
        format!(
            "{FILTER}={asked} is not a filter ({error}): write a level such as info or debug, or plimsoll=debug,warn"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let check = |asked: Option<&str>, has: &[&str], lacks: &[&str]| {
            let text = filter(asked).expect("is a filter").to_string();
            let parts: Vec<&str> = text.split(',').collect();
            assert!(has.iter().all(|part| parts.contains(part)), "{asked:?}: {text}");
            assert!(!lacks.iter().any(|part| parts.contains(part)), "{asked:?}: {text}");
        };
        check(None, &["info", "opentelemetry=off", "hyper=warn"], &[]);
        check(Some(" "), &["info"], &[]);
        check(Some("debug"), &["debug", "reqwest=warn"], &["info"]);
        check(Some("plimsoll=trace,hyper=trace"), &["plimsoll=trace", "hyper=trace", "h2=warn"], &["hyper=warn"]);
        let error = filter(Some("plimsoll=loud")).expect_err("no such level");
        assert!(error.starts_with("PLIMSOLL_LOG=plimsoll=loud is not a filter"), "{error}");
    }

    #[test]
    fn formats() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("JSON".parse::<LogFormat>(), Err("write auto, text or json".to_owned()));
    }
}
