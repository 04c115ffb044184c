//! The bytes of a mail, frozen when it is decided: every attempt sends the same ones, under the same Message-ID.
//!
//! lettre's typed builder folds and encodes header fields, so that no text can become a field of its own; nothing here
//! does I/O, reads a clock or draws a random boundary.

use std::time::SystemTime;

use jiff::Timestamp;
use lettre::{
    Message,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use sha2::{Digest, Sha256};

use crate::{model::settings::Receiver, store::rows::NewMail};

use super::{
    group::{GroupKey, MailKind},
    mail::Letter,
    text::clean,
};

/// Why a mail cannot be written; completes "no mail to …: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum MimeError {
    /// `from` or a recipient is not an address.
    #[error("`{address}` is not a mail address: write name@example.com")]
    Address {
        /// As configured.
        address: String,
    },
    /// The builder refused it.
    #[error("the message could not be built: {0}")]
    Build(#[from] lettre::error::Error),
}

/// A UUIDv7 made of the group and the time: unique, sorts by time, and the same when computed again.
pub(super) fn incident_id(group: &GroupKey, opened_at: Timestamp) -> String {
    let mut hash = Sha256::new();
    for part in [&*group.receiver, &*group.target] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(opened_at.as_nanosecond().to_be_bytes());
    let digest = hash.finalize();
    let tail: [u8; 10] = std::array::from_fn(|index| digest[index]);
    let millis = u64::try_from(opened_at.as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid().to_string()
}

/// `<incident.seq.recipient-hash@domain>`.
fn message_id(incident: &str, seq: u32, recipient: &str, domain: &str) -> String {
    let digest = Sha256::digest(recipient.to_lowercase().as_bytes());
    let hash = digest.iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("<{incident}.{seq}.{hash}@{domain}>")
}

/// The mail to one recipient. `root` is the number of the recipient's first mail in the thread, `None` for that one.
#[expect(clippy::too_many_arguments, reason = "each is a field of the mail; a struct would only rename them")]
pub(super) fn mail(
    letter: &Letter,
    kind: MailKind,
    incident: &str,
    seq: u32,
    root: Option<u32>,
    receiver: &Receiver,
    recipient: &str,
    now: Timestamp,
) -> Result<NewMail, MimeError> {
    let from = mailbox(&receiver.email.from)?;
    let domain = from.email.domain().to_owned();
    let id = message_id(incident, seq, recipient, &domain);
    let mut builder = Message::builder()
        .from(from)
        .to(mailbox(recipient)?)
        .date(SystemTime::from(now))
        .subject(letter.subject.clone())
        .message_id(Some(id.clone()));
    if let Some(root) = root {
        let root = message_id(incident, root, recipient, &domain);
        builder = builder.in_reply_to(root.clone()).references(root);
    }
    let list = format!("<{}.alerts.plimsoll.{domain}>", list_label(&letter.target));
    let fields = [
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
        ("List-Id", list.as_str()),
        ("X-Plimsoll-Incident", incident),
        ("X-Plimsoll-Kind", kind.as_str()),
        ("X-Plimsoll-Scenario", letter.scenarios.as_str()),
    ];
    for (name, value) in fields {
        let name = HeaderName::new_from_ascii(name.to_owned()).expect("the names above are header names");
        builder = builder.raw_header(HeaderValue::new(name, value.to_owned()));
    }
    let parts = MultiPart::alternative()
        .boundary(format!("=_plimsoll_{}_{seq}", incident.replace('-', "")))
        .singlepart(SinglePart::plain(letter.text.clone()))
        .singlepart(SinglePart::html(letter.html.clone()));
    Ok(NewMail {
        incident: incident.to_owned(),
        receiver: receiver.name.clone(),
        recipient: recipient.to_owned(),
        kind: kind.as_str().to_owned(),
        subject: letter.subject.clone(),
        message_id: id,
        bytes: builder.multipart(parts)?.formatted(),
        created: now,
    })
}

fn mailbox(address: &str) -> Result<Mailbox, MimeError> {
    address.parse().map_err(|_| MimeError::Address { address: clean(address, 100) })
}

/// A target's name as a label of a List-Id.
fn list_label(name: &str) -> String {
    let label: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    if label.is_empty() { "target".to_owned() } else { label }
}
