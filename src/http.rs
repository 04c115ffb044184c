//! One request: connection, phases, classification, captures, checks.
