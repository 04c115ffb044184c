//! Tests on real components: one binary, so that it links once.

mod components;
mod config;
mod deploy;
mod docs;
mod practice;
mod support;
mod tidy;
