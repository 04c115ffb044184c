//! `plimsoll daemon`.

use super::out::say;
use std::sync::Arc;

use tokio::sync::Notify;

use super::{args::DaemonArgs, check, exit, run};
use crate::{config::Overrides, daemon::shell::Daemon, model::clock::SystemClock, store::StoreError, telemetry::log};

/// Runs until SIGTERM or SIGINT.
pub(super) fn main(args: &DaemonArgs) -> anyhow::Result<u8> {
    let loaded = match check::load(&args.config, &Overrides::default(), None) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    if let Err(why) = log::init(args.log_format) {
        say!("error: {why}");
        return Ok(exit::CONFIG);
    }
    if run::refuse_for_good(&loaded) {
        return Ok(exit::CONFIG);
    }
    // Two workers: one for the control loop, one for what it spawns.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async {
        let daemon = Daemon::start(loaded.settings, Arc::new(SystemClock)).await?;
        let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            files = files.join(", "),
            "listening on http://{}",
            daemon.address
        );
        daemon.run(Arc::new(Notify::new())).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    if let Err(error) = &ended
        && let Some(help) = error.downcast_ref::<std::io::Error>().and_then(unheard)
    {
        say!("error: {error:#}");
        say!("help: {help}");
        return Ok(exit::CONFIG);
    }
    match ended.as_ref().err().and_then(|error| error.downcast_ref::<StoreError>()) {
        Some(held @ StoreError::Held { .. }) => {
            say!("error: {held}");
            say!(
                "help: each daemon has a data directory of its own, under `daemon.data_dir`; `plimsoll trigger SCENARIO` \
                 runs a scenario in the daemon that is there"
            );
            Ok(exit::CONFIG)
        }
        _ => ended.map(|()| 0),
    }
}

/// What to do about an address that cannot be listened on.
fn unheard(error: &std::io::Error) -> Option<&'static str> {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    match error.kind() {
        AddrInUse => Some("another program, perhaps another daemon, listens there: stop it, or choose another port"),
        AddrNotAvailable => Some("this machine has no such address: write one that it has, such as 127.0.0.1:9590"),
        PermissionDenied => Some("ports below 1024 are the system's: choose a higher one"),
        _ => None,
    }
}
