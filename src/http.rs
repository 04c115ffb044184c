//! One request: connection, phases, classification, captures, checks.
//!
//! The engine drives its connections itself. A pooled client would retry behind our back and hide the phases; a load
//! tool may do neither. The connection is polled in the task of the user who holds it, so a virtual user is one task.

pub mod auth;
pub mod body;
pub mod capture;
pub mod classify;
pub mod conn;
pub mod cookies;
pub mod dial;
pub mod exchange;
pub mod gzip;
pub mod h1;
pub mod h2;
pub mod happy;
pub mod reach;
pub mod request;
pub mod resolve;
pub mod scope;
pub mod shape;
pub mod stream;
pub mod streaming;
pub mod tls;
