//! Every executor against its plan, to the unit.

mod aborts;
mod closed;
mod ledger;
mod limits;
mod open;
