//! Where to go from a mail: commands to type, and on which machine; links, and how to reach them from elsewhere.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::alert::text::clean;

use super::{Line, Notice, view::Run};

#[derive(Debug, Serialize)]
pub(super) struct Command {
    why: &'static str,
    lines: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Link {
    name: String,
    url: String,
}

pub(super) fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

pub(super) fn commands(notice: &Notice<'_>, firing: &[Line<'_>]) -> Vec<Command> {
    if firing.is_empty() {
        return Vec::new();
    }
    let scenarios: BTreeSet<_> = firing.iter().map(|line| &line.alert.key.scenario).collect();
    let triggers = scenarios.iter().take(3).map(|name| format!("plimsoll trigger {}", shell_word(name)));
    if notice.paused.is_some() {
        return vec![Command {
            why: "When it is fixed, release the load and run it; a good run resolves the alert:",
            lines: std::iter::once("plimsoll resume".to_owned()).chain(triggers).collect(),
        }];
    }
    vec![
        Command { why: "When it is fixed, run it now; a good run resolves the alert:", lines: triggers.collect() },
        Command {
            why: "If our load makes it worse, stop all load (`plimsoll resume` starts it again):",
            lines: vec!["plimsoll pause".to_owned()],
        },
    ]
}

/// A name as one word of a shell's command line: it will be pasted.
fn shell_word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    let name = clean(name, 200);
    if !name.is_empty() && name.chars().all(plain) { name } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

pub(super) fn links(notice: &Notice<'_>, runs: &[Run]) -> Vec<Link> {
    let page = clean(notice.house.page_url.trim_end_matches('/'), 500);
    if !is_web(&page) {
        return Vec::new();
    }
    let plain = |id: &str| id.len() <= 100 && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let link = |run: &Run| Link {
        name: if runs.len() == 1 { "This run".to_owned() } else { format!("Run of {}", run.scenario) },
        url: format!("{page}/runs/{}", run.id),
    };
    let mut links: Vec<Link> = runs.iter().filter(|run| plain(&run.id)).map(link).collect();
    links.push(Link { name: "Status page".to_owned(), url: format!("{page}/") });
    links.push(Link { name: "Status as JSON".to_owned(), url: format!("{page}/api/v1/status") });
    links
}

/// A command that brings a page on loopback to the reader's machine.
pub(super) fn tunnel(notice: &Notice<'_>) -> Option<String> {
    let (scheme, rest) = notice.house.page_url.split_once("://").filter(|_| !notice.house.host.is_empty())?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let port = |text: &str| text.parse::<u16>().ok();
    let (host, port) = match authority.rsplit_once(':').and_then(|(host, text)| Some((host, port(text)?))) {
        Some(both) => both,
        None => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback.then(|| format!("ssh -L {port}:{host}:{port} {}", shell_word(&notice.house.host)))
}
