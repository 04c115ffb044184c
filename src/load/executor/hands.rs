//! Tasks that outlive their work: whoever is done waits for more, since making a task anew costs more than waking one.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// The tasks that wait for work. The one that was busy last is given the next: what it uses is still warm.
pub(super) struct Hands<T> {
    idle: RefCell<Vec<Rc<Hand<T>>>>,
    dismissed: Cell<bool>,
}

/// Where one of them is given its work.
struct Hand<T> {
    work: Cell<Option<T>>,
    bell: Cell<Option<Waker>>,
}

impl<T> Default for Hands<T> {
    fn default() -> Self {
        Self { idle: RefCell::default(), dismissed: Cell::new(false) }
    }
}

impl<T> Hands<T> {
    /// Gives `work` to a task that waits, or back if none does.
    pub(super) fn give(&self, work: T) -> Result<(), T> {
        let Some(hand) = self.idle.borrow_mut().pop() else { return Err(work) };
        hand.work.set(Some(work));
        hand.ring();
        Ok(())
    }

    /// What a task does: the work that it was made for, then what it is given, until it is dismissed.
    pub(super) async fn work<F: Future<Output = ()>>(&self, first: T, act: impl Fn(T) -> F) {
        let hand = Rc::new(Hand { work: Cell::new(Some(first)), bell: Cell::new(None) });
        while let Some(work) = poll_fn(|cx| self.poll(&hand, cx)).await {
            act(work).await;
            if !self.dismissed.get() {
                self.idle.borrow_mut().push(hand.clone());
            }
        }
    }

    /// Ready with work, or with none once there will be none any more.
    fn poll(&self, hand: &Hand<T>, cx: &Context<'_>) -> Poll<Option<T>> {
        let work = hand.work.take();
        if work.is_some() || self.dismissed.get() {
            return Poll::Ready(work);
        }
        let bell = hand.bell.take().filter(|bell| bell.will_wake(cx.waker()));
        hand.bell.set(Some(bell.unwrap_or_else(|| cx.waker().clone())));
        Poll::Pending
    }

    /// Ends those who wait, and whoever is busy when it is done.
    pub(super) fn dismiss(&self) {
        self.dismissed.set(true);
        for hand in self.idle.take() {
            hand.ring();
        }
    }
}

impl<T> Hand<T> {
    /// The bell stays: a task that is woken hears the same one again.
    fn ring(&self) {
        if let Some(bell) = self.bell.take() {
            bell.wake_by_ref();
            self.bell.set(Some(bell));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    #[tokio::test]
    async fn tasks_are_as_many_as_were_ever_busy_at_once() {
        let hands = Rc::new(Hands::<u32>::default());
        let (made, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let give = |work| {
            if let Err(first) = hands.give(work) {
                made.set(made.get() + 1);
                let (hands, done) = (hands.clone(), done.clone());
                spawn_local(async move {
                    let act = async |work| {
                        yield_now().await;
                        assert_ne!(work, 0, "made up");
                        done.set(done.get() + work);
                    };
                    hands.work(first, act).await;
                });
            }
        };
        let settle = async || {
            for _ in 0..8 {
                yield_now().await;
            }
        };
        let all = async {
            for round in 1..=3 {
                give(1);
                give(1);
                settle().await;
                assert_eq!((made.get(), done.get()), (2, 2 * round));
            }
            // One that panics is gone, and is replaced where it is missed.
            give(0);
            settle().await;
            give(1);
            give(1);
            settle().await;
            assert_eq!((made.get(), done.get()), (3, 8));
            give(1);
            hands.dismiss();
            settle().await;
            assert_eq!((done.get(), Rc::strong_count(&done)), (9, 1), "nobody waits any more");
        };
        LocalSet::new().run_until(all).await;
    }
}
