//! The words: values that every other room speaks in. No tokio, no I/O.

pub mod address;
pub mod clock;
pub mod expr;
pub mod jsonpath;
pub mod labels;
pub mod metric;
pub mod outcome;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod settings;
pub mod stream;
pub mod template;
pub mod units;

/// A short immutable name, shared by everything that mentions it.
pub type Name = std::sync::Arc<str>;
