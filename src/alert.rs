//! Alert state, notices, mails and their delivery: said once, and never lost.
