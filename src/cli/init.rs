//! `plimsoll init`: a configuration to begin with, complete enough to run at once and short enough to be read.

use std::{fmt::Write as _, fs::OpenOptions, io::Write as _, path::Path};

use super::{args::InitArgs, exit, hit::Place, out, out::say};
use crate::{
    config::{self, Options},
    model::address,
};

/// Writes the file and says what to type next.
pub(super) fn main(args: &InitArgs) -> anyhow::Result<u8> {
    let text = match Place::of(&args.url).and_then(|place| Ok((configuration(&place, args.mail.as_deref())?, place))) {
        Ok((text, place)) => {
            if let Err(report) = check(&text) {
                say!("{report}");
                say!("error: {} was not written: {} cannot be loaded as it is", args.config.display(), place.base);
                return Ok(exit::CONFIG);
            }
            text
        }
        Err(problem) => {
            say!("{problem}");
            return Ok(exit::USAGE);
        }
    };
    let file = OpenOptions::new().write(true).create_new(true).open(&args.config);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            say!("error: {} is there already, and is left as it is", args.config.display());
            say!("help: name another file, `--config other.yaml`, or look at what there is: `plimsoll check`");
            return Ok(exit::CONFIG);
        }
        Err(error) => {
            say!("error: {} cannot be written: {error}", args.config.display());
            return Ok(exit::CONFIG);
        }
    }
    out::print(&next(&args.config, args.mail.as_deref()))?;
    Ok(0)
}

/// As `plimsoll check` would find it. What is wrong then is the host's policy, or ours.
fn check(text: &str) -> Result<(), config::Report> {
    let options = Options { policy_file: Some(config::HOST_POLICY.into()), ..Options::default() };
    config::load_text(text, &options).map(drop)
}

/// The file's text. The error is whole lines.
fn configuration(place: &Place, mail: Option<&str>) -> Result<String, String> {
    let mut text = String::from(
        "# A health probe and a small load. `plimsoll check` says what it does; all words are in docs/configuration.md.\n\
         version: 1\n\
         daemon:\n  data_dir: ./data        # history, alerts, mails; a service keeps them in /var/lib/plimsoll\n",
    );
    let origin = address::origin(&place.base);
    if !address::is_loopback_host(&place.base.host) {
        let _ =
            write!(text, "policy:\n  allow:                  # nothing else is loaded from here\n    - \"{origin}\"\n");
    }
    let path = yaml(&place.path);
    let _ = write!(
        text,
        r#"targets:
  service:
    base_url: "{base}"
    # A 503 is an outage, unless it has Retry-After. Where it is a full queue, say so:
    # classify:
    #   - {{outcome: rejected, status: 503, reason: queue_full}}
scenarios:
  health:
    schedule: {{every: 1m}}
    load: {{executor: probe, attempts: 2}}
    steps:
      - get: {path}
        expect: status in 2xx
    thresholds:
      - rate(ok) == 100%
      - p95(latency) < 2s
  steady:
    schedule: {{every: 10m}}
    load: {{executor: constant-arrival-rate, rate: 2/s, duration: 30s}}
    steps:
      - get: {path}
    thresholds:
      - rate(ok) >= 99%
      - rate(rejected) <= 1%
      - p95(latency) < 2s
"#,
        base = place.base,
    );
    if let Some(mail) = mail {
        let domain = mail.rsplit_once('@').map(|(_, domain)| domain).filter(|domain| !domain.is_empty());
        let Some(domain) = domain else {
            return Err(format!("error: `{mail}` is not a mail address\nhelp: write one such as oncall@example.com"));
        };
        let _ = write!(
            text,
            r#"alerts:
  receivers:
    on_call:
      email:
        to: [{to}]
        from: {from}
        smtp: "smtp://localhost:25"     # your relay; off this machine it is spoken to by STARTTLS
"#,
            to = yaml(mail),
            from = yaml(&format!("plimsoll@{domain}")),
        );
    }
    Ok(text)
}

/// A text as YAML reads it whatever is in it.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn next(file: &Path, mail: Option<&str>) -> String {
    let shown = file.display().to_string();
    let option = if file == Path::new("plimsoll.yaml") { String::new() } else { format!(" --config {shown}") };
    let lines = [
        ("check", "what it will do"),
        ("run health", "the probe, now"),
        ("run steady", "2 requests a second for 30 s, now"),
        ("daemon", "both on their schedules, and the page on http://127.0.0.1:9590"),
    ];
    let width = lines.iter().map(|(command, _)| command.len()).max().unwrap_or_default() + option.len();
    let mut text = format!("{shown} is written. Next:\n\n");
    for (command, what) in lines {
        let _ = writeln!(text, "  plimsoll {:<width$}   {what}", format!("{command}{option}"));
    }
    if let Some(mail) = mail {
        let _ = writeln!(
            text,
            "\n{mail} is told by mail through smtp://localhost:25; `smtp:` in the file names another relay."
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_passes_its_check() {
        for (url, mail) in [
            ("localhost:8080", None),
            ("http://127.0.0.1:1/a%20b?x=1&y=\"#z", Some("oncall@example.com")),
            ("https://[2001:db8::1]:8443/health", Some("o-n+call@mail.example.com")),
            ("https://api.example.com/${n}", None),
        ] {
            let place = Place::of(url).unwrap_or_else(|why| panic!("{why}"));
            let text = configuration(&place, mail).unwrap_or_else(|why| panic!("{why}"));
            let loaded = config::load_text(&text, &Options::default()).unwrap_or_else(|why| panic!("{why}\n{text}"));
            assert_eq!(loaded.warnings.warnings(), 0, "{}", loaded.warnings);
            assert_eq!(loaded.settings.scenarios.len(), 2);
        }
        let place = Place::of("localhost").expect("a URL");
        assert!(configuration(&place, Some("nobody")).is_err());
    }
}
