//! Tests on real components: one binary, so that it links once.

mod cli;
mod components;
mod config;
mod dead;
mod deploy;
mod docs;
mod e2e;
mod engine;
mod examples;
mod explain;
mod hit;
mod kill;
mod limits;
mod practice;
mod samples;
mod servers;
mod stop;
mod support;
mod tidy;
mod tls;
mod web;
