//! SQLite: runs, ledger, alert state, outbox.
