//! SQLite: runs, ledger, alert state, outbox. One thread owns the connection; everyone else holds a [`rows::Batch`] out to it.

pub mod rows;
