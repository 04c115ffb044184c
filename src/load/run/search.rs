//! The search for the breaking point, stage by stage, each judged by what it was to sustain.

use std::{io, rc::Rc, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::Run;
use crate::{
    judge::{self, Evidence},
    load::{
        executor, plan,
        plan::search::{Found, Move, Search, SearchPlan},
        user::Shared,
    },
    measure::data::RunData,
    model::{
        clock,
        run::ThresholdResult,
        scenario::{Arrivals, Executor, Group, Load, SearchSpec, SearchVariable},
        units::Rate,
    },
};

/// Of what a stage planned, more than this share not sent means that it was not sustained.
const DROPPED: f64 = 0.01;

/// Stages that the document lists.
const LISTED: usize = 200;

impl Run {
    /// Searches until the line is found, or the run is over.
    pub(super) async fn search(&self, shared: &Rc<Shared>, spec: &SearchSpec) -> io::Result<Value> {
        let mut search = Search::new(SearchPlan::from(spec));
        let (begun, mut stages) = (clock::mono(), Vec::new());
        loop {
            let (pause, value, length, confirms) = match search.next(clock::mono() - begun) {
                Move::Done(found) => return Ok(document(spec, &found, &stages)),
                Move::Try { pause, value, length, confirms } => (pause, value, length, confirms),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shared.stop.wait_over() => {}
            }
            if shared.stop.is_over() {
                return Ok(unfinished(spec, &stages));
            }
            let data = self.stage(shared, spec.variable, value, length).await?;
            if shared.stop.is_over() {
                return Ok(unfinished(spec, &stages));
            }
            let sustained = self.sustained(spec, &data);
            if stages.len() < LISTED {
                let (counts, latency) = (data.counts(), data.total().latency[0].stats());
                let answered = counts.answered();
                stages.push(json!({
                    "value": value,
                    "sustained": sustained.is_ok(),
                    "confirms": confirms,
                    "why": sustained.as_ref().err(),
                    "sent": data.sent(),
                    "dropped": data.dropped(),
                    "ok_ratio": (answered > 0).then(|| counts.ok as f64 / answered as f64),
                    "p95_s": (latency.count > 0).then_some(latency.p95),
                }));
            }
            search.report(sustained);
        }
    }

    /// One stage, and what was measured in it.
    async fn stage(
        &self,
        shared: &Rc<Shared>,
        variable: SearchVariable,
        value: f64,
        length: Duration,
    ) -> io::Result<RunData> {
        let executor = match variable {
            SearchVariable::Rate => {
                let rate = Rate { count: value, per: Duration::from_secs(1) };
                Executor::ConstantArrivalRate { rate, duration: length, arrivals: Arrivals::Uniform }
            }
            SearchVariable::Vus => Executor::ConstantVus { vus: value as u32, duration: length },
        };
        let load = Load { executor, ..shared.group.load.clone() };
        let group = Arc::new(Group { load, ..Group::clone(&shared.group) });
        let stage = shared.part(shared.stop.part(), group);
        self.flush();
        self.stage.replace(Some(RunData::default()));
        let grace = plan::group_grace(&self.request.scenario, &stage.group);
        let ended = executor::execute(&stage, clock::mono(), grace).await;
        self.flush();
        let data = self.stage.take().unwrap_or_default();
        ended.map(|_| data)
    }

    /// Whether the target sustained a stage; if not, why.
    fn sustained(&self, spec: &SearchSpec, data: &RunData) -> Result<(), String> {
        let evidence =
            Evidence { data, history: &self.request.history, windows: None, clock_steps: self.clock_steps.get() };
        for threshold in &*spec.sustain {
            let report = judge::evaluate(threshold, &evidence);
            if !matches!(report.result, ThresholdResult::Pass | ThresholdResult::Skipped) {
                return Err(judge::sentence(threshold, &report));
            }
        }
        let (dropped, planned) = (data.dropped() as f64, data.planned() as f64);
        if dropped > planned * DROPPED {
            return Err(format!("{dropped} of {planned} planned requests could not be sent"));
        }
        if data.counts().ok == 0 {
            return Err("nothing was answered ok".to_owned());
        }
        Ok(())
    }
}

fn unit(spec: &SearchSpec) -> &'static str {
    match spec.variable {
        SearchVariable::Rate => "rate",
        SearchVariable::Vus => "vus",
    }
}

fn document(spec: &SearchSpec, found: &Found, stages: &[Value]) -> Value {
    let broke = found.broke.as_ref().map(|(value, why)| json!({"value": value, "why": why}));
    json!({
        "variable": unit(spec),
        "line": found.line,
        "broke": broke,
        "end": found.end.as_str(),
        "stages": stages,
    })
}

/// A search that was stopped has found nothing: what it knew by then may be far from the line.
fn unfinished(spec: &SearchSpec, stages: &[Value]) -> Value {
    json!({"variable": unit(spec), "line": null, "broke": null, "end": "stopped", "stages": stages})
}
