//! shim
#![expect(missing_docs, reason = "temporary")]
use crate::{
    measure::data::{RunData, StatSeries},
    model::{expr::Threshold, run::StatSummary, units::Unit},
};
use std::time::Duration;
#[derive(Debug)]
pub struct WindowJudge;
impl WindowJudge {
    pub fn new(_: &[Threshold]) -> Self {
        Self
    }
    pub fn push(&mut self, _: RunData, _: Duration) -> Option<()> {
        None
    }
}
pub fn stat_summary(_: &StatSeries, _: Unit, _: bool) -> StatSummary {
    StatSummary {
        unit: String::new(),
        samples: 0,
        failed: 0,
        first: None,
        last: None,
        min: None,
        max: None,
        growth_ratio: None,
        slope_per_s: None,
        trend: String::new(),
    }
}
