//! `plimsoll demo` and `plimsoll target`.

use super::args::DemoArgs;
use crate::practice::command::{self, TargetArgs};

/// Runs the practice target.
pub(super) fn target(args: TargetArgs) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(command::main(args))?;
    Ok(0)
}

/// The demo.
pub(super) fn main(_args: &DemoArgs) -> anyhow::Result<u8> {
    Ok(0)
}
