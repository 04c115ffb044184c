//! What is sent before the load and after it, one request at a time and beside the gate.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use super::Run;
use crate::{
    http::scope::Scope,
    load::{
        flow::Tally,
        user::{Shared, Turn, User},
    },
    model::scenario::Step,
};

/// Hooks of a run that is stopped early take no longer than this from then on.
pub const HOOKS_AFTER_STOP: Duration = Duration::from_secs(5);

impl Run {
    /// Leaves hooks the time they need; from a stop on only a few seconds, and none from the second signal on.
    pub(super) async fn in_time<T>(&self, hooks: impl Future<Output = T>) -> Option<T> {
        let given_up = async {
            self.stop.wait_hurried().await;
            tokio::select! {
                () = tokio::time::sleep(HOOKS_AFTER_STOP) => {}
                () = self.stop.wait_at_once() => {}
            }
        };
        tokio::select! {
            biased;
            () = given_up => {
                if self.hooking.take() {
                    self.recorder.hook(false);
                }
                None
            }
            done = hooks => Some(done),
        }
    }

    /// Sends the hooks in order while `over` is false; the first that does not end ok ends them, and the error says why.
    pub(super) async fn hooks(
        &self,
        shared: &Rc<Shared>,
        steps: &[Step],
        over: impl Fn() -> bool,
    ) -> Result<(), String> {
        let mut user = User::default();
        let mut scope: Arc<Scope> = Arc::new(shared.scope(&Turn::of(0, 0)));
        for step in steps {
            if over() {
                break;
            }
            self.begun.set(true);
            self.hooking.set(true);
            let done = shared.hooks(std::slice::from_ref(step), &mut scope, &mut user, Tally::RunHook).await;
            self.hooking.set(false);
            shared.inherited.replace(scope.captures.clone());
            if let Err(why) = done {
                return Err(format!("hook {}", why.unwrap_or_else(|| format!("`{}` was cut", step.name))));
            }
        }
        Ok(())
    }

    /// `after:`, which puts the target back in order.
    pub(super) async fn put_back(&self, shared: &Rc<Shared>) {
        let steps = &self.request.scenario.after;
        if steps.is_empty() {
            return;
        }
        let sent = Cell::new(0);
        let over = || {
            let over = self.stop.is_at_once();
            sent.set(sent.get() + usize::from(!over));
            over
        };
        let why = match self.in_time(self.hooks(shared, steps, over)).await {
            Some(Ok(())) if sent.get() == steps.len() => return,
            Some(Err(why)) => why,
            _ => "the run was stopped before it was done".to_owned(),
        };
        self.leaves_changed(format!("`after:` did not go well: {why}"));
    }

    /// The target is not as it was.
    pub(super) fn leaves_changed(&self, why: String) {
        tracing::warn!(scenario = &*self.request.scenario.name, "{why}");
        self.left_changed.borrow_mut().push(why);
    }
}
