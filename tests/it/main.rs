//! Tests on real components: one binary, so that it links once.

mod components;
mod config;
mod practice;
mod support;
