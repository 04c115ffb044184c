//! Histograms, outcome counts and target stats of a run. Fixed in size and mergeable: a month of running is flat.

pub mod custom;
pub mod data;
pub mod dist;
pub mod hist;
pub mod stats;
pub mod stream;
