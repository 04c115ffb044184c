//! The room as a whole: what is told, and how it arrives.

mod delivery;
mod desk;
mod fixtures;
mod relay;
