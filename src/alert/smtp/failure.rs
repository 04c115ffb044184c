//! What went wrong in a conversation, and whether trying again can help.
//!
//! Dead is only what the relay refused for this very mail: 5xx to RCPT, to DATA or to the message. A refused password
//! (530, 535, 538), a wrong certificate or a missing STARTTLS is someone's mistake that someone will mend: the mail
//! waits. lettre marks name, connect and TLS errors with no flag at all, so the stage in which they happened decides.

use std::{error::Error, path::Path, time::Duration};

use crate::alert::text::clean;

/// How far a conversation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Connect, banner and EHLO; the TLS handshake too when TLS is implicit.
    Connect,
    /// STARTTLS and the handshake.
    Tls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, until it is accepted.
    Data,
    /// The message, until it is answered.
    AfterDot,
}

impl Stage {
    fn words(self) -> &'static str {
        match self {
            Self::Connect => "at the connect",
            Self::Tls => "at STARTTLS",
            Self::Auth => "at AUTH",
            Self::Mail => "at MAIL",
            Self::Rcpt => "at RCPT",
            Self::Data => "at DATA",
            Self::AfterDot => "after the message",
        }
    }
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again.
    Retry,
    /// Try again, slowly: a person has to mend something.
    Slow,
    /// The relay refused this mail for good.
    Dead,
    /// We are stopping; the mail stays as it was.
    Abandoned,
}

/// The label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No name, no connection, or it broke.
    Connect,
    /// The handshake, the certificate, or no STARTTLS.
    Tls,
    /// The password, or no AUTH.
    Auth,
    /// 4xx.
    Deferred,
    /// 5xx.
    Rejected,
    /// A deadline.
    Timeout,
    /// The settings.
    Config,
    /// Too old.
    Expired,
    /// We are stopping.
    Stopping,
}

impl Reason {
    /// All reasons, so that metrics can exist before anything fails.
    pub const ALL: [Self; 9] = [
        Self::Connect,
        Self::Tls,
        Self::Auth,
        Self::Deferred,
        Self::Rejected,
        Self::Timeout,
        Self::Config,
        Self::Expired,
        Self::Stopping,
    ];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Deferred => "deferred",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Config => "config",
            Self::Expired => "expired",
            Self::Stopping => "stopping",
        }
    }
}

/// Why a mail was not accepted; completes "failed to send the mail: ". Holds no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SmtpError {
    /// What to do about it.
    pub class: Class,
    /// The label of metrics.
    pub reason: Reason,
    /// In words.
    pub text: String,
}

fn new(class: Class, reason: Reason, text: &str) -> SmtpError {
    SmtpError { class, reason, text: clean(text, 400) }
}

/// What lettre reported in `stage`.
pub(super) fn of(stage: Stage, error: &lettre::transport::smtp::Error) -> SmtpError {
    let code = error.status().map(u16::from);
    let (class, reason) = classify(stage, code, is_tls(error));
    new(class, reason, &format!("{}: {error}", stage.words()))
}

fn classify(stage: Stage, code: Option<u16>, tls: bool) -> (Class, Reason) {
    match code {
        Some(530 | 535 | 538) => (Class::Slow, Reason::Auth),
        Some(500..) => match stage {
            Stage::Rcpt | Stage::Data | Stage::AfterDot => (Class::Dead, Reason::Rejected),
            Stage::Auth => (Class::Slow, Reason::Auth),
            Stage::Tls => (Class::Slow, Reason::Tls),
            Stage::Connect | Stage::Mail => (Class::Slow, Reason::Rejected),
        },
        Some(_) if stage == Stage::Auth => (Class::Retry, Reason::Auth),
        Some(_) => (Class::Retry, Reason::Deferred),
        None if tls || stage == Stage::Tls => (Class::Retry, Reason::Tls),
        None => (Class::Retry, Reason::Connect),
    }
}

/// Whether a TLS error is among the causes.
fn is_tls(error: &lettre::transport::smtp::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(this) = cause {
        let inner = this.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if this.is::<rustls::Error>() || inner.is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>) {
            return true;
        }
        cause = this.source();
    }
    error.is_tls()
}

pub(super) fn timeout(limit: Duration, what: &str) -> SmtpError {
    let limit = crate::model::units::human_seconds(limit.as_secs_f64());
    new(Class::Retry, Reason::Timeout, &format!("the relay took longer than {limit} {what}"))
}

pub(super) fn abandoned(when: &str) -> SmtpError {
    new(Class::Abandoned, Reason::Stopping, &format!("Plimsoll stopped {when}"))
}

pub(super) fn config(text: &str) -> SmtpError {
    new(Class::Slow, Reason::Config, text)
}

pub(super) fn address(address: &str) -> SmtpError {
    new(Class::Dead, Reason::Config, &format!("`{address}` is not a mail address: write name@example.com"))
}

pub(super) fn starttls_missing(host: &str) -> SmtpError {
    let text = format!("{host} does not offer STARTTLS: write `tls: none` if this relay needs none, or use smtps://");
    new(Class::Slow, Reason::Tls, &text)
}

pub(super) fn auth_missing(host: &str) -> SmtpError {
    let text = format!("{host} offers neither AUTH PLAIN nor LOGIN: remove username and password if it needs none");
    new(Class::Slow, Reason::Auth, &text)
}

pub(super) fn lookup(host: &str, error: &std::io::Error) -> SmtpError {
    new(Class::Retry, Reason::Connect, &format!("the name {host} could not be resolved: {error}"))
}

pub(super) fn no_address(host: &str) -> SmtpError {
    new(Class::Retry, Reason::Connect, &format!("the name {host} has no address"))
}

pub(super) fn ca(path: &Path, error: &str) -> SmtpError {
    config(&format!("tls_ca {} cannot be used: {error}: write the path of a PEM file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_this_mail_is_for_good() {
        use Stage::{AfterDot, Auth, Connect, Data, Mail, Rcpt, Tls};
        let check = |stage, code, class, reason| {
            assert_eq!(classify(stage, code, false), (class, reason), "{stage:?} {code:?}");
        };
        check(Rcpt, Some(550), Class::Dead, Reason::Rejected);
        check(Data, Some(554), Class::Dead, Reason::Rejected);
        check(AfterDot, Some(552), Class::Dead, Reason::Rejected);
        check(Rcpt, Some(530), Class::Slow, Reason::Auth);
        check(Auth, Some(535), Class::Slow, Reason::Auth);
        check(Auth, Some(504), Class::Slow, Reason::Auth);
        check(Auth, Some(454), Class::Retry, Reason::Auth);
        check(Mail, Some(550), Class::Slow, Reason::Rejected);
        check(Connect, Some(554), Class::Slow, Reason::Rejected);
        check(Connect, Some(421), Class::Retry, Reason::Deferred);
        check(Rcpt, Some(451), Class::Retry, Reason::Deferred);
        check(AfterDot, Some(451), Class::Retry, Reason::Deferred);
        check(Connect, None, Class::Retry, Reason::Connect);
        check(AfterDot, None, Class::Retry, Reason::Connect);
        check(Tls, None, Class::Retry, Reason::Tls);
        assert_eq!(classify(Connect, None, true), (Class::Retry, Reason::Tls));
    }
}
