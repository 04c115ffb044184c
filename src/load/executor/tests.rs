//! Every executor against its plan, to the unit.

mod aborts;
mod closed;
mod limits;
mod open;
