//! Commands to a running daemon: over its API where that answers, and for the kill switch by its file where it does not.

use super::out::say;
use std::{net::SocketAddr, time::Duration};

use super::{
    args::{ConfigArg, PauseArgs, TriggerArgs},
    check, exit, out,
};
use crate::{config::Overrides, daemon::pause, judge, model::settings::DaemonSettings};

/// The daemon answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// It has followed the pause file, and shows it, no later than this; it is asked so often.
const FOLLOWS: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);

/// Runs a scenario in the daemon.
pub(super) fn trigger(args: &TriggerArgs) -> anyhow::Result<u8> {
    let loaded = match check::load(&args.config, &Overrides::default(), None) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    let settings = loaded.settings.daemon;
    match post(&settings, &format!("/api/v1/trigger/{}", encode(&args.scenario)), None) {
        Ok((status, body)) if status < 300 => {
            out::print(&format!("{}\n", text_of(&body)))?;
            Ok(0)
        }
        Ok((404, _)) => {
            say!("error: the daemon on {} has no scenario `{}`", settings.listen, args.scenario);
            let names: Vec<&str> = loaded.settings.scenarios.iter().map(|scenario| &*scenario.name).collect();
            say!("help: {}", unknown_to_it(&args.scenario, &names));
            Ok(exit::CONFIG)
        }
        Ok((_, body)) => {
            say!("error: {}", text_of(&body));
            Ok(exit::CONFIG)
        }
        Err(error) => {
            say!("error: no daemon answers on {}: {error:#}", settings.listen);
            say!(
                "help: start it with `plimsoll daemon`, or run the scenario here with `plimsoll run {}`",
                args.scenario
            );
            Ok(exit::CONFIG)
        }
    }
}

/// What to do about a scenario that the daemon does not know, when the configuration has these.
fn unknown_to_it(scenario: &str, names: &[&str]) -> String {
    if names.contains(&scenario) {
        return "the configuration has it: restart the daemon, which reads it when it starts".to_owned();
    }
    match judge::suggest(scenario, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", names.join(", ")),
    }
}

/// Throws the kill switch.
pub(super) fn pause(args: &PauseArgs) -> anyhow::Result<u8> {
    let settings = match settings(&args.config) {
        Ok(settings) => settings,
        Err(code) => return Ok(code),
    };
    // The file first: it works whether or not the daemon answers, and the daemon looks for it ten times a second.
    match pause::write(&settings.pause_file, &args.reason) {
        Ok(()) => {
            followed(&settings, true);
            out::print(&format!(
                "all load is paused by {}; `plimsoll resume` releases it\n",
                settings.pause_file.display()
            ))?;
            Ok(0)
        }
        Err(error) => {
            let body = serde_json::json!({"reason": args.reason}).to_string();
            match post(&settings, "/api/v1/pause", Some(body)) {
                Ok((status, _)) if status < 300 => {
                    out::print("all load is paused; `plimsoll resume` releases it\n")?;
                    Ok(0)
                }
                _ => {
                    say!(
                        "error: failed to write {}: {error}, and no daemon answers on {}",
                        settings.pause_file.display(),
                        settings.listen
                    );
                    say!("help: SIGUSR1 to the daemon's process pauses it too: `pkill -USR1 -f 'plimsoll daemon'`");
                    Ok(exit::CONFIG)
                }
            }
        }
    }
}

/// Releases the kill switch.
pub(super) fn resume(args: &ConfigArg) -> anyhow::Result<u8> {
    let settings = match settings(args) {
        Ok(settings) => settings,
        Err(code) => return Ok(code),
    };
    match pause::remove(&settings.pause_file) {
        Ok(()) => {
            followed(&settings, false);
            out::print("load is released\n")?;
            Ok(0)
        }
        Err(error) => match post(&settings, "/api/v1/resume", None) {
            Ok((status, _)) if status < 300 => {
                out::print("load is released\n")?;
                Ok(0)
            }
            _ => {
                say!(
                    "error: failed to remove {}: {error}, and no daemon answers on {}",
                    settings.pause_file.display(),
                    settings.listen
                );
                Ok(exit::CONFIG)
            }
        },
    }
}

fn settings(config: &ConfigArg) -> Result<DaemonSettings, u8> {
    check::load(config, &Overrides::default(), None).map(|loaded| loaded.settings.daemon)
}

/// Waits until a daemon that answers shows that load is paused, or that it is not: what is typed next finds it so.
fn followed(settings: &DaemonSettings, paused: bool) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let url = format!("http://{}/api/v1/status", address(settings));
    let shown = async {
        let client = reqwest::Client::builder().no_proxy().timeout(FOLLOWS).build().ok()?;
        loop {
            let status = client.get(&url).send().await.ok()?.text().await.ok()?;
            let status: serde_json::Value = serde_json::from_str(&status).ok()?;
            if status.get("paused")?.is_null() != paused {
                return Some(());
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    // Without a daemon the file alone decides, when there is one again.
    let _nobody = runtime.block_on(async { tokio::time::timeout(FOLLOWS, shown).await });
}

/// Where the daemon is reached from this machine.
fn address(settings: &DaemonSettings) -> SocketAddr {
    let address = settings.listen;
    if !address.ip().is_unspecified() {
        return address;
    }
    let loopback: std::net::IpAddr =
        if address.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(loopback, address.port())
}

fn post(settings: &DaemonSettings, path: &str, body: Option<String>) -> anyhow::Result<(u16, String)> {
    let address = address(settings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let mut request = client.post(format!("http://{address}{path}"));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, response.text().await?))
    })
}

fn encode(text: &str) -> String {
    let mut out = String::new();
    crate::model::template::percent_encode(text, &mut out);
    out
}

/// The sentence in an answer of the API.
fn text_of(body: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let found = json.as_ref().and_then(|json| {
        let run = json.get("run_id").and_then(|id| id.as_str()).map(|id| format!("run {id} has started"));
        run.or_else(|| json.get("error").and_then(|error| error.as_str()).map(ToOwned::to_owned))
    });
    found.unwrap_or_else(|| body.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scenario_is_explained() {
        let check = |scenario: &str, expected: &str| {
            assert_eq!(unknown_to_it(scenario, &["health", "sustained"]), expected);
        };
        check("health", "the configuration has it: restart the daemon, which reads it when it starts");
        check("helth", "did you mean `health`?");
        check("checkout", "there are: health, sustained");
    }
}
