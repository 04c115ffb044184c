//! The mailer's thread: SMTP has its own runtime, so that no relay ever delays a probe.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};

use super::{
    committer::{Bells, Unstored},
    event::Event,
};
use crate::{
    alert::{
        deliver::{Delivery, DeliveryEvent, DeliveryResult, Outbox, OutboxError},
        smtp,
    },
    model::{
        clock::Clock,
        settings::{Receiver, Redactor},
    },
    store::{
        Store,
        rows::{MailResult, OutboxMail},
    },
};

/// The channel's name in metrics.
pub const CHANNEL: &str = "email";

/// The store as the delivery's outbox. What a relay says is redacted before it is kept: some echo the password.
struct Stored {
    store: Store,
    redactor: Redactor,
}

impl Outbox for Stored {
    async fn due_mails(&self, now: Timestamp, limit: usize) -> Result<Vec<OutboxMail>, OutboxError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        self.store.due_mails(now, limit).await.map_err(|error| OutboxError(error.to_string()))
    }

    async fn next_mail_at(&self) -> Result<Option<Timestamp>, OutboxError> {
        self.store.next_mail_at().await.map_err(|error| OutboxError(error.to_string()))
    }

    async fn mail_result(&self, id: i64, result: MailResult, now: Timestamp) -> Result<(), OutboxError> {
        let result = match result {
            MailResult::Sent { at } => MailResult::Sent { at },
            MailResult::Retry { not_before, error } => {
                MailResult::Retry { not_before, error: self.redactor.redact(&error) }
            }
            MailResult::Dead { error } => MailResult::Dead { error: self.redactor.redact(&error) },
        };
        self.store.mail_result(id, result, now).await.map_err(|error| OutboxError(error.to_string()))
    }
}

/// Starts the thread; it ends within about two seconds after `stop` became true.
pub fn start(
    store: Store,
    (receivers, redactor): (Arc<[Receiver]>, Redactor),
    bells: Bells,
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
    unstored: mpsc::Receiver<Unstored>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("mailer".to_owned()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            tracing::error!("failed to start a runtime for the mailer; mails stay in the outbox");
            return;
        };
        let direct = send_unstored(unstored, receivers.clone(), redactor.clone(), stop.clone());
        let (_keep, receivers) = watch::channel(receivers);
        let (events, outbox) = (bells.events.clone(), bells.outbox.clone());
        let delivery = Delivery {
            outbox: Arc::new(Stored { store, redactor: redactor.clone() }),
            receivers,
            wake: bells.mailer,
            stop,
            clock,
            on_event: Arc::new(move |event| tell(&events, &outbox, &redactor, &event)),
            patience: None,
        };
        runtime.block_on(async {
            tokio::select! {
                () = delivery.run() => {}
                () = direct => {}
            }
        });
    })
}

/// Mails that could not be stored first, one after the other, each tried once.
async fn send_unstored(
    mut mails: mpsc::Receiver<Unstored>,
    receivers: Arc<[Receiver]>,
    redactor: Redactor,
    stop: watch::Receiver<bool>,
) {
    while let Some(Unstored { mail, done }) = mails.recv().await {
        let receiver = receivers.iter().find(|receiver| receiver.name == mail.receiver);
        let sent = match receiver {
            Some(receiver) => smtp::send(&receiver.email, &mail, smtp::Patience::of(&receiver.email), &stop).await,
            None => continue,
        };
        match &sent {
            Ok(_) => tracing::warn!(receiver = &*mail.receiver, kind = mail.kind, "mail sent, but not stored"),
            Err(error) => {
                let why = redactor.redact(&error.to_string());
                tracing::error!(receiver = &*mail.receiver, kind = mail.kind, why, "mail neither stored nor sent yet");
            }
        }
        let _gone = done.send(sent.is_ok()).is_err();
    }
    std::future::pending::<()>().await;
}

fn tell(events: &mpsc::Sender<Event>, outbox: &Notify, redactor: &Redactor, event: &DeliveryEvent) {
    let why = redactor.redact(&event.text);
    let seconds = event.latency.as_secs_f64();
    match event.result {
        DeliveryResult::Sent => {
            tracing::info!(receiver = &*event.receiver, kind = event.kind, seconds, "mail accepted by the relay");
        }
        DeliveryResult::Abandoned => {}
        DeliveryResult::Retry => tracing::warn!(
            receiver = &*event.receiver,
            kind = event.kind,
            why,
            "mail not sent yet; it will be tried again"
        ),
        DeliveryResult::Dead => {
            tracing::error!(receiver = &*event.receiver, kind = event.kind, why, "mail given up");
        }
    }
    let result: Result<Duration, &'static str> = match event.reason {
        None => Ok(event.latency),
        Some(reason) => Err(reason.as_str()),
    };
    let _full = events.try_send(Event::Delivered { channel: CHANNEL.into(), result }).is_err();
    outbox.notify_one();
}
