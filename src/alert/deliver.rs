//! Takes mails out of the outbox and hands them to their relays, until each is accepted, refused or too old.
//!
//! A mail is taken only from the outbox, so only after it is durable, and its result is written before anything else
//! is thought of it. Every receiver has a lane of its own with at most [`LANE`] conversations, so that a relay that
//! hangs holds up nobody but itself; mails of one incident to one person go one after the other. When a result cannot
//! be written (a full disk), the mail is not sent again meanwhile: the writing is tried again instead.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    task::{self, JoinError, JoinSet},
    time,
};

use crate::{
    model::{Name, clock::Clock, settings::Receiver},
    store::rows::{MailResult, OutboxMail},
};

use super::{
    backoff,
    smtp::{self, Class, Patience, Reason, SmtpError},
};

/// Conversations at once, per receiver.
pub const LANE: usize = 4;
/// Mails fetched at once: more only while all of these wait for lanes that are full.
const PAGE: usize = 32;
/// At most this many, however full the lanes are.
const LONGEST_PAGE: usize = 1024;
/// A clock step, a lost notice or a store in trouble costs no more than this.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);
/// While due mails wait for something other than the time.
const RECHECK: Duration = Duration::from_secs(1);

/// Why the store did not do it, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OutboxError(pub String);

/// What the delivery needs of the store.
pub trait Outbox: Send + Sync + 'static {
    /// Queued mails whose time has come, oldest first, at most `limit`; of one incident and recipient, none before all
    /// earlier ones are sent or dead.
    fn due_mails(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<OutboxMail>, OutboxError>> + Send;

    /// When the next queued mail is due; it may have been due before.
    fn next_mail_at(&self) -> impl Future<Output = Result<Option<Timestamp>, OutboxError>> + Send;

    /// Writes what came of an attempt; durable when it returns.
    fn mail_result(
        &self,
        id: i64,
        result: MailResult,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), OutboxError>> + Send;
}

/// What came of an attempt, for metrics and the log.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryEvent {
    /// Name of the receiver.
    pub receiver: Name,
    /// `firing`, `resolved`, …
    pub kind: String,
    /// What came of it.
    pub result: DeliveryResult,
    /// Why not; absent when it was sent.
    pub reason: Option<Reason>,
    /// Why not, in words, or the relay's answer.
    pub text: String,
    /// From the decision to now.
    pub latency: Duration,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryResult {
    /// Accepted by the relay.
    Sent,
    /// To be tried again.
    Retry,
    /// Given up.
    Dead,
    /// We stopped in the middle; it is tried again after the start.
    Abandoned,
}

impl DeliveryResult {
    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Retry => "retry",
            Self::Dead => "dead",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Called with every attempt's result; must not block.
pub type OnEvent = Arc<dyn Fn(DeliveryEvent) + Send + Sync>;

/// The delivery task.
pub struct Delivery<O> {
    /// Where the mails are.
    pub outbox: Arc<O>,
    /// How each receiver is reached; read anew at every attempt.
    pub receivers: watch::Receiver<Arc<[Receiver]>>,
    /// `notify_one` after a commit with new mails.
    pub wake: Arc<Notify>,
    /// True = finish or abandon within two seconds.
    pub stop: watch::Receiver<bool>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told of every attempt.
    pub on_event: OnEvent,
    /// Patience with relays; that of the receiver's settings when absent.
    pub patience: Option<Patience>,
}

impl<O> fmt::Debug for Delivery<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").finish_non_exhaustive()
    }
}

/// What the relay answered, or why not.
type Outcome = Result<String, SmtpError>;
/// A finished attempt, or how it panicked.
type Attempt = Result<(task::Id, Outcome), JoinError>;

/// What is going on right now.
#[derive(Default)]
struct Desk {
    /// By mail: whom it goes to.
    flying: BTreeMap<i64, Thread>,
    /// Which mail a task tries: all that is known of one that panicked.
    tasks: HashMap<task::Id, OutboxMail>,
    /// Conversations by receiver.
    lanes: BTreeMap<Name, usize>,
    /// Results that are not written yet.
    unwritten: BTreeMap<i64, MailResult>,
}

/// Mails of one thread go one after the other.
type Thread = (String, String);

impl Desk {
    /// Takes the mail if it may start now.
    fn admit(&mut self, mail: &OutboxMail) -> bool {
        let thread = (mail.mail.incident.clone(), mail.mail.recipient.clone());
        let lane = self.lanes.entry(mail.mail.receiver.clone()).or_default();
        let busy = self.unwritten.contains_key(&mail.id) || self.flying.values().any(|flying| *flying == thread);
        if busy || *lane >= LANE {
            return false;
        }
        *lane += 1;
        self.flying.insert(mail.id, thread);
        true
    }

    fn release(&mut self, mail: &OutboxMail) {
        self.flying.remove(&mail.id);
        if let Some(lane) = self.lanes.get_mut(&mail.mail.receiver) {
            *lane = lane.saturating_sub(1);
        }
        self.lanes.retain(|_, lane| *lane > 0);
    }
}

impl<O: Outbox> Delivery<O> {
    /// Delivers until `stop` is true (or its sender is gone) and the conversations are over.
    pub async fn run(self) {
        let (mut stop, mut receivers) = (self.stop.clone(), self.receivers.clone());
        let mut desk = Desk::default();
        let mut attempts: JoinSet<Outcome> = JoinSet::new();
        while !self.stopped() {
            self.write_again(&mut desk).await;
            self.start(&mut desk, &mut attempts).await;
            let pause = self.pause(&desk).await;
            tokio::select! {
                biased;
                () = asked(&mut stop) => break,
                Some(attempt) = attempts.join_next_with_id() => self.settle(&mut desk, attempt).await,
                () = self.wake.notified() => {}
                Ok(()) = receivers.changed() => {}
                () = time::sleep(pause) => {}
            }
        }
        // Each conversation sees the stop itself and ends in time.
        while let Some(attempt) = attempts.join_next_with_id().await {
            self.settle(&mut desk, attempt).await;
        }
        self.write_again(&mut desk).await;
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    /// Starts what is due and may start.
    async fn start(&self, desk: &mut Desk, attempts: &mut JoinSet<Outcome>) {
        let mut limit = PAGE;
        loop {
            let now = self.clock.now().wall;
            let due = match self.outbox.due_mails(now, limit).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "failed to read the outbox");
                    return;
                }
            };
            let full = due.len() >= limit;
            let mut threads = BTreeSet::new();
            let mut started = false;
            for mail in due {
                // Only the oldest of each thread, even if the store gives more.
                let thread = (mail.mail.incident.clone(), mail.mail.recipient.clone());
                if threads.insert(thread) && desk.admit(&mail) {
                    started = true;
                    let id = self.spawn(mail.clone(), now, attempts);
                    desk.tasks.insert(id, mail);
                }
            }
            if started || !full || limit >= LONGEST_PAGE {
                return;
            }
            limit *= 2;
        }
    }

    fn spawn(&self, mail: OutboxMail, now: Timestamp, attempts: &mut JoinSet<Outcome>) -> task::Id {
        let receiver = self.receivers.borrow().iter().find(|receiver| receiver.name == mail.mail.receiver).cloned();
        let stop = self.stop.clone();
        let patience = self.patience;
        let attempt = attempts.spawn(async move {
            match receiver {
                _ if age(&mail, now) >= backoff::MAX_AGE => Err(expired(&mail)),
                None => Err(unknown(&mail)),
                Some(receiver) => {
                    let patience = patience.unwrap_or_else(|| Patience::of(&receiver.email));
                    smtp::send(&receiver.email, &mail.mail, patience, &stop).await
                }
            }
        });
        attempt.id()
    }

    /// Writes what came of an attempt, and tells it.
    async fn settle(&self, desk: &mut Desk, attempt: Attempt) {
        let (id, outcome) = attempt.unwrap_or_else(|error| {
            // Only a bug ends here. It counts as a failed attempt, so that its lane goes on and it comes back later.
            tracing::error!(%error, "a delivery attempt panicked");
            (error.id(), Err(panicked()))
        });
        let Some(mail) = desk.tasks.remove(&id) else { return };
        let now = self.clock.now().wall;
        desk.release(&mail);
        let (result, event) = verdict(&mail, outcome, now);
        if let Some(result) = result
            && let Err(error) = self.outbox.mail_result(mail.id, result.clone(), now).await
        {
            tracing::error!(%error, mail = mail.id, "failed to write what came of a mail; it is kept in memory");
            desk.unwritten.insert(mail.id, result);
        }
        // Whoever is told may look into the outbox, and must find it there.
        (self.on_event)(event);
    }

    /// Tries once more to write results that could not be written.
    async fn write_again(&self, desk: &mut Desk) {
        let now = self.clock.now().wall;
        for (id, result) in std::mem::take(&mut desk.unwritten) {
            if self.outbox.mail_result(id, result.clone(), now).await.is_err() {
                desk.unwritten.insert(id, result);
            }
        }
    }

    /// How long to sleep if nothing happens.
    async fn pause(&self, desk: &Desk) -> Duration {
        let Ok(next) = self.outbox.next_mail_at().await else { return RECHECK };
        let wait = next.map_or(LONGEST_SLEEP, |at| {
            let wait = at.duration_since(self.clock.now().wall);
            // Due already, and not started: it waits for a lane, an answer or the disk.
            if wait.is_positive() { wait.unsigned_abs() } else { RECHECK }
        });
        let wait = if desk.unwritten.is_empty() { wait } else { wait.min(RECHECK) };
        wait.min(LONGEST_SLEEP)
    }
}

/// Ends when a stop is asked for.
async fn asked(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What is written about an attempt, and what is told.
fn verdict(
    mail: &OutboxMail,
    outcome: Result<String, SmtpError>,
    now: Timestamp,
) -> (Option<MailResult>, DeliveryEvent) {
    let event = |result, reason, text| DeliveryEvent {
        receiver: mail.mail.receiver.clone(),
        kind: mail.mail.kind.clone(),
        result,
        reason,
        text,
        latency: age(mail, now),
    };
    let SmtpError { class, reason, text: error } = match outcome {
        Ok(answer) => return (Some(MailResult::Sent { at: now }), event(DeliveryResult::Sent, None, answer)),
        Err(error) => error,
    };
    let (result, what) = match class {
        Class::Abandoned => (None, DeliveryResult::Abandoned),
        Class::Dead => (Some(MailResult::Dead { error: error.clone() }), DeliveryResult::Dead),
        Class::Retry | Class::Slow => {
            let wait = backoff::delay(mail.id, mail.attempts.saturating_add(1), class == Class::Slow);
            let not_before = now.checked_add(wait).unwrap_or(Timestamp::MAX);
            (Some(MailResult::Retry { not_before, error: error.clone() }), DeliveryResult::Retry)
        }
    };
    (result, event(what, Some(reason), error))
}

/// Time since the mail was decided; 0 if the clock stepped back.
fn age(mail: &OutboxMail, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(mail.mail.created)).unwrap_or_default()
}

fn expired(mail: &OutboxMail) -> SmtpError {
    let last = mail.last_error.as_deref().unwrap_or("it was never tried");
    let text = format!("given up after 72 hours and {} attempts: {last}", mail.attempts);
    SmtpError { class: Class::Dead, reason: Reason::Expired, text }
}

fn panicked() -> SmtpError {
    let text = "the attempt panicked, which is a fault of Plimsoll: the log says where".to_owned();
    SmtpError { class: Class::Slow, reason: Reason::Config, text }
}

fn unknown(mail: &OutboxMail) -> SmtpError {
    let text = format!("receiver {} is not in the configuration: add it again, or drop the mail", mail.mail.receiver);
    SmtpError { class: Class::Slow, reason: Reason::Config, text }
}
