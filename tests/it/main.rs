//! Tests on real components: one binary, so that it links once.

mod components;
mod config;
mod deploy;
mod engine;
mod practice;
mod support;
mod tidy;
