//! What a user does before its first iteration and after its last: `on_start` and `on_stop`. They are hooks: sent through
//! the gate like everything else, but in no rate and no latency.

use std::{sync::Arc, time::Instant};

use super::{
    flow::Tally,
    user::{Life, Model, Shared, Turn, User},
};
use crate::model::clock;

impl Shared {
    /// Does `on_start`, once per user; whoever lets users start together calls it before. `None` ends the user. Else when
    /// its iteration is intended: not before `on_start` is done.
    pub async fn begin(&self, turn: &Turn, user: &mut User, model: Model, intended: Instant) -> Option<Instant> {
        match user.life {
            Life::Started => return Some(intended),
            Life::Gone => return None,
            Life::New => {}
        }
        if self.group.on_start.is_empty() {
            user.life = Life::Started;
            return Some(intended);
        }
        let mut scope = Arc::new(self.scope_of(turn, 0));
        let done = self.hooks(&self.group.on_start, &mut scope, user, Tally::UserHook).await;
        let Err(why) = done else {
            user.kept = Arc::unwrap_or_clone(scope).captures;
            user.life = Life::Started;
            return Some(intended.max(clock::mono()));
        };
        if let Some(why) = why.filter(|_| !self.stop.interrupts()) {
            self.recorder.lose_user(why);
        }
        // The next arrival at this slot is another user.
        user.life = if model == Model::Open { Life::New } else { Life::Gone };
        None
    }

    /// Does `on_stop`, if the user has begun; after its last iteration, within the grace.
    pub async fn end(&self, turn: &Turn, user: &mut User) {
        let begun = user.life == Life::Started || (user.life == Life::New && self.group.on_start.is_empty());
        if self.group.on_stop.is_empty() || !begun {
            return;
        }
        let mut scope = self.scope_of(turn, 0);
        scope.captures.extend(std::mem::take(&mut user.kept));
        scope.captures.extend(std::mem::take(&mut user.last));
        user.life = Life::Gone;
        // Its failure is counted and noted; there is nothing left that it could end.
        let _noted = self.hooks(&self.group.on_stop, &mut Arc::new(scope), user, Tally::UserHook).await;
    }
}
