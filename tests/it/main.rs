//! Tests on real components: one binary, so that it links once.

mod components;
mod config;
mod dead;
mod deploy;
mod docs;
mod e2e;
mod kill;
mod practice;
mod stop;
mod support;
mod tidy;
