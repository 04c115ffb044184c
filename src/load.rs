//! How much and when to send it: plans (pure), and the shell that carries them out on a thread of the run's own.
//!
//! A run owns its thread, its runtime, its connections and its counts; nothing is shared in the hot path but the
//! [`gate`], which every request of every run passes.

mod admit;
pub mod answer;
pub mod executor;
pub mod fake;
pub mod feeds;
mod flow;
pub mod forecast;
pub mod gate;
pub mod host;
pub mod judging;
mod life;
pub mod metrics;
pub mod network;
pub mod pacer;
pub mod patience;
pub mod perform;
pub mod plan;
pub mod poller;
pub mod pool;
pub mod probing;
pub mod recorder;
pub mod report;
pub mod run;
pub mod samples;
mod state;
pub mod stop;
mod streamed;
pub mod user;

#[cfg(test)]
mod tests;
