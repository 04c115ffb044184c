//! One SMTP conversation, phase by phase, each under a deadline.
//!
//! lettre's own async transport has no deadline after the connect, so a relay that accepts and stays silent would hold
//! a mail for ever; and one deadline for everything would send mails twice, because the answer to the final dot may
//! take ten minutes (RFC 5321, 4.5.3.2.6). So the conversation is driven here on lettre's connection: everything until
//! DATA is accepted within `timeout`, the answer to the final dot within [`Patience::after_dot`]. Whatever is cut has
//! its socket dropped. One recipient per conversation: one refusal never costs another person their mail.

mod failure;

use std::{net::SocketAddr, time::Duration};

use lettre::{
    Address,
    message::Mailbox,
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, Certificate, TlsParameters, TlsVersion},
        commands::{Data, Mail, Noop, Rcpt},
        extension::{ClientId, Extension, MailParameter},
        response::Response,
    },
};
use secrecy::ExposeSecret;
use tokio::{sync::watch, time};

use crate::{
    input,
    model::settings::{EmailSettings, SmtpTls},
    store::rows::NewMail,
};

pub use self::failure::{Class, Reason, SmtpError};
use self::failure::{Stage, of};
use super::text::clean;

const MECHANISMS: &[Mechanism] = &[Mechanism::Plain, Mechanism::Login];
/// Addresses of a relay that are tried.
const ADDRESSES: usize = 4;
/// After a stop: a conversation before DATA has this long to be over or past it.
const GRACE_BEFORE_DATA: Duration = Duration::from_secs(1);
/// After a stop: a conversation past DATA has this long to be answered.
const GRACE_AFTER_DATA: Duration = Duration::from_millis(1800);

/// How long a relay may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For everything until DATA is accepted.
    pub before_data: Duration,
    /// For the message and the answer to its final dot.
    pub after_dot: Duration,
}

impl Patience {
    /// What the settings ask for, and ten minutes after the final dot.
    pub fn of(email: &EmailSettings) -> Self {
        Self { before_data: email.timeout, after_dot: Duration::from_mins(10) }
    }
}

/// Hands one mail to the relay; gives the relay's answer, for the log.
///
/// When `stop` becomes true, a conversation before DATA is abandoned within one second and one past DATA within two.
pub async fn send(
    email: &EmailSettings,
    mail: &NewMail,
    patience: Patience,
    stop: &watch::Receiver<bool>,
) -> Result<String, SmtpError> {
    let mut connection = tokio::select! {
        biased;
        opened = within(patience.before_data, "until DATA was accepted", offer(email, mail)) => opened?,
        () = stopping(stop.clone(), GRACE_BEFORE_DATA) => return Err(failure::abandoned("before DATA")),
    };
    // From here on the relay may have taken the mail even if we never hear so: then the same bytes go out again.
    let bytes = mail.bytes.strip_suffix(b"\r\n").unwrap_or(&mail.bytes);
    let message = async { connection.message(bytes).await.map_err(|error| of(Stage::AfterDot, &error)) };
    let answer = tokio::select! {
        biased;
        answer = within(patience.after_dot, "for the answer to the final dot", message) => answer?,
        () = stopping(stop.clone(), GRACE_AFTER_DATA) => return Err(failure::abandoned("before the relay's answer")),
    };
    part(connection);
    Ok(line_of(&answer))
}

/// Talks to the relay up to AUTH and sends nothing; gives a sentence about what was found.
pub async fn check(email: &EmailSettings) -> Result<String, SmtpError> {
    let (mut connection, peer) = within(email.timeout, "for the relay's answers", open(email)).await?;
    let noop = async { connection.command(Noop).await.map_err(|error| of(Stage::Mail, &error)) };
    within(email.timeout, "for the answer to NOOP", noop).await?;
    let tls = if connection.is_encrypted() { "over TLS" } else { "without TLS" };
    let user = email.credentials.as_ref().map_or_else(String::new, |(user, _)| format!(", as {}", clean(user, 100)));
    let name = clean(connection.server_info().name(), 100);
    part(connection);
    Ok(format!("{name} ({peer}) answers {tls}{user}"))
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, SmtpError>>,
) -> Result<T, SmtpError> {
    time::timeout(limit, work).await.unwrap_or_else(|_| Err(failure::timeout(limit, what)))
}

/// Ends `grace` after a stop.
async fn stopping(mut stop: watch::Receiver<bool>, grace: Duration) {
    // A closed channel is a stop as well: whoever could have asked for it is gone.
    let _ = stop.wait_for(|stop| *stop).await;
    time::sleep(grace).await;
}

/// Says QUIT in the background: the mail is accepted, nobody should wait for a farewell.
fn part(mut connection: AsyncSmtpConnection) {
    tokio::spawn(async move {
        let _ = time::timeout(Duration::from_secs(2), connection.quit()).await;
    });
}

fn line_of(response: &Response) -> String {
    format!("{} {}", response.code(), clean(response.first_line().unwrap_or_default(), 200))
}

/// Connects, and goes as far as an accepted DATA.
async fn offer(email: &EmailSettings, mail: &NewMail) -> Result<AsyncSmtpConnection, SmtpError> {
    let from: Mailbox = email.from.parse().map_err(|_| failure::address(&email.from))?;
    let to: Mailbox = mail.recipient.parse().map_err(|_| failure::address(&mail.recipient))?;
    let (mut connection, _) = open(email).await?;
    let options = smtp_utf8(&connection, &[&from.email, &to.email])?;
    connection.command(Mail::new(Some(from.email), options)).await.map_err(|error| of(Stage::Mail, &error))?;
    connection.command(Rcpt::new(to.email, vec![])).await.map_err(|error| of(Stage::Rcpt, &error))?;
    connection.command(Data).await.map_err(|error| of(Stage::Data, &error))?;
    Ok(connection)
}

fn smtp_utf8(connection: &AsyncSmtpConnection, addresses: &[&Address]) -> Result<Vec<MailParameter>, SmtpError> {
    if addresses.iter().all(|address| address.to_string().is_ascii()) {
        Ok(Vec::new())
    } else if connection.server_info().supports_feature(Extension::SmtpUtfEight) {
        Ok(vec![MailParameter::SmtpUtfEight])
    } else {
        Err(failure::config("the relay does not take addresses beyond ASCII (SMTPUTF8): use one that is ASCII"))
    }
}

/// Connects, protects the connection and logs in.
async fn open(email: &EmailSettings) -> Result<(AsyncSmtpConnection, SocketAddr), SmtpError> {
    let hello = email.hello.clone().map_or_else(ClientId::default, ClientId::Domain);
    let tls = match email.tls {
        SmtpTls::None => None,
        SmtpTls::StartTls | SmtpTls::Implicit => Some(tls_parameters(email).await?),
    };
    let implicit = tls.clone().filter(|_| email.tls == SmtpTls::Implicit);
    let (mut connection, peer) = connect(email, &hello, implicit).await?;
    if email.tls == SmtpTls::StartTls
        && let Some(tls) = tls
    {
        if !connection.can_starttls() {
            return Err(failure::starttls_missing(&email.host));
        }
        connection.starttls(tls, &hello).await.map_err(|error| of(Stage::Tls, &error))?;
    }
    if let Some((user, password)) = &email.credentials {
        if !connection.is_encrypted() && !peer.ip().is_loopback() {
            return Err(failure::config("the password would go unprotected: write `tls: required` or use smtps://"));
        }
        if connection.server_info().get_auth_mechanism(MECHANISMS).is_none() {
            return Err(failure::auth_missing(&email.host));
        }
        let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
        connection.auth(MECHANISMS, &credentials).await.map_err(|error| of(Stage::Auth, &error))?;
    }
    Ok((connection, peer))
}

/// Connects to the first of the relay's addresses that answers.
async fn connect(
    email: &EmailSettings,
    hello: &ClientId,
    implicit: Option<TlsParameters>,
) -> Result<(AsyncSmtpConnection, SocketAddr), SmtpError> {
    let found = tokio::net::lookup_host((email.host.as_str(), email.port)).await;
    let addresses = found.map_err(|error| failure::lookup(&email.host, &error))?;
    let mut last = None;
    for peer in addresses.take(ADDRESSES) {
        // No single black-holed address may use up the time of the others.
        let limit = Some(email.timeout / 3);
        match AsyncSmtpConnection::connect_tokio1(peer, limit, hello, implicit.clone(), None).await {
            Ok(connection) => return Ok((connection, peer)),
            Err(error) => last = Some(of(Stage::Connect, &error)),
        }
    }
    Err(last.unwrap_or_else(|| failure::no_address(&email.host)))
}

/// System roots plus `tls_ca`, TLS 1.2 or later.
async fn tls_parameters(email: &EmailSettings) -> Result<TlsParameters, SmtpError> {
    let mut builder = TlsParameters::builder(email.host.clone()).set_min_tls_version(TlsVersion::Tlsv12);
    if let Some(path) = &email.tls_ca {
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || input::read_bounded(&file, input::MAX_CERTIFICATES)).await;
        let pem = read.map_err(|error| failure::config(&error.to_string()))?;
        let pem = pem.map_err(|error| failure::ca(path, &error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| failure::ca(path, &error.to_string()))?;
        builder = builder.add_root_certificate(certificate);
    }
    // Reading the system's roots is file I/O.
    let built = tokio::task::spawn_blocking(move || builder.build()).await;
    built.map_err(|error| failure::config(&error.to_string()))?.map_err(|error| of(Stage::Tls, &error))
}
