//! Delivery against a scripted relay: what is sent, what is tried again, what is given up, and how long it may take.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{
    fixtures::{email, t},
    relay::{Heard, Relay, Reply, Reply::Say, Script},
};
use crate::{
    alert::{
        backoff,
        deliver::{Delivery, DeliveryEvent, DeliveryResult, Outbox, OutboxError},
        smtp::{self, Class, Patience, Reason},
    },
    model::{
        clock::{Clock, ManualClock, mono},
        settings::{EmailSettings, Receiver, SmtpTls},
    },
    store::rows::{MailResult, MailState, NewMail, OutboxMail},
};

/// Generous: a test that waits this long has failed.
const LONG: Duration = Duration::from_secs(20);
/// How long a hanging relay is borne.
const SHORT: Patience = Patience { before_data: Duration::from_millis(300), after_dot: Duration::from_millis(300) };

fn mail(incident: &str, receiver: &str, recipient: &str) -> NewMail {
    let bytes = b"Subject: hello\r\n\r\nfirst\r\n.\r\n..two dots\r\n.x\r\nlast\r\n".to_vec();
    NewMail {
        incident: incident.to_owned(),
        receiver: receiver.into(),
        recipient: recipient.to_owned(),
        kind: "firing".to_owned(),
        subject: "hello".to_owned(),
        message_id: format!("<{incident}@example.com>"),
        bytes,
        created: t(0),
    }
}

fn to_oncall() -> NewMail {
    mail("i", "on_call", "oncall@example.com")
}

async fn send(email: &EmailSettings, patience: Patience) -> Result<String, smtp::SmtpError> {
    let (_keep, stop) = watch::channel(false);
    smtp::send(email, &to_oncall(), patience, &stop).await
}

fn patient() -> Patience {
    Patience { before_data: LONG, after_dot: LONG }
}

/// A certificate for 127.0.0.1, as an acceptor and as a PEM file.
fn certificate() -> (TlsAcceptor, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), made.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("defaults")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a pair");
    (TlsAcceptor::from(Arc::new(config)), file)
}

#[tokio::test]
async fn the_wire_carries_the_frozen_bytes() {
    let relay = Relay::plain(&[Script::GOOD]).await;
    let answer = send(&email(relay.port, &[]), patient()).await.expect("accepted");
    assert_eq!(answer, "250 queued");
    let heard = relay.heard();
    let [heard] = heard.as_slice() else { panic!("one conversation: {heard:?}") };
    assert_eq!(heard.message(), to_oncall().bytes);
    assert!(heard.wire.windows(8).any(|wire| wire == b"\r\n..\r\n.."), "dots are stuffed");
    assert_eq!(
        heard.commands,
        ["EHLO probe.example.com", "MAIL FROM:<plimsoll@example.com>", "RCPT TO:<oncall@example.com>", "DATA"]
    );
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let check = async |script: Script, class: Class, reason: Reason| {
        let relay = Relay::plain(&[script]).await;
        let mut email = email(relay.port, &[]);
        email.credentials = Some(("plimsoll".to_owned(), SecretString::from("hunter2")));
        let error = send(&email, patient()).await.expect_err("refused");
        assert_eq!((error.class, error.reason), (class, reason), "{error}");
        assert!(!error.text.contains("hunter2"), "{error}");
    };
    let good = Script::GOOD;
    check(Script { rcpt: Say("550 no such user"), ..good }, Class::Dead, Reason::Rejected).await;
    check(Script { rcpt: Say("451 later"), ..good }, Class::Retry, Reason::Deferred).await;
    check(Script { dot: Say("554 spam"), ..good }, Class::Dead, Reason::Rejected).await;
    check(Script { dot: Say("452 full"), ..good }, Class::Retry, Reason::Deferred).await;
    check(Script { auth: Say("535 no"), ..good }, Class::Slow, Reason::Auth).await;
    check(Script { mail: Say("530 log in first"), ..good }, Class::Slow, Reason::Auth).await;
    check(Script { banner: Say("421 busy"), ..good }, Class::Retry, Reason::Deferred).await;
    check(Script { ehlo: Say("250 relay"), ..good }, Class::Slow, Reason::Auth).await;
    check(Script { dot: Reply::Drop, ..good }, Class::Retry, Reason::Connect).await;
    check(Script { banner: Reply::Drop, ..good }, Class::Retry, Reason::Connect).await;
    check(Script { rcpt: Say("what?"), ..good }, Class::Retry, Reason::Connect).await;
    // Nobody listens there any more.
    let port = Relay::plain(&[good]).await.port;
    tokio::task::yield_now().await;
    let error = send(&email(port, &[]), patient()).await.expect_err("refused");
    assert_eq!((error.class, error.reason), (Class::Retry, Reason::Connect), "{error}");
}

#[tokio::test]
async fn a_relay_that_hangs_is_given_up_in_time_at_every_phase() {
    let (acceptor, _file) = certificate();
    let hang = Reply::Hang;
    let good = Script::GOOD;
    let scripts = [
        Script { banner: hang, ..good },
        Script { ehlo: hang, ..good },
        Script { starttls: hang, ..Script::STARTTLS },
        Script { auth: hang, ..good },
        Script { mail: hang, ..good },
        Script { rcpt: hang, ..good },
        Script { data: hang, ..good },
        Script { dot: hang, ..good },
    ];
    for script in scripts {
        let relay = Relay::start(&[script], Some(acceptor.clone()), false).await;
        let mut email = email(relay.port, &[]);
        if script.starttls == hang {
            email.tls = SmtpTls::StartTls;
        }
        email.credentials = Some(("plimsoll".to_owned(), SecretString::from("hunter2")));
        let error = tokio::time::timeout(LONG, send(&email, SHORT)).await.expect("in time").expect_err("it hangs");
        assert_eq!((error.class, error.reason), (Class::Retry, Reason::Timeout), "{script:?}: {error}");
    }
}

#[tokio::test]
async fn tls_is_kept_or_nothing_is_sent() {
    let (acceptor, ca) = certificate();
    let secret = || Some(("plimsoll".to_owned(), SecretString::from("hunter2")));
    let with = |port, tls, known: bool| {
        let tls_ca = known.then(|| ca.path().to_path_buf());
        EmailSettings { tls, tls_ca, credentials: secret(), ..email(port, &[]) }
    };
    for (tls, implicit) in [(SmtpTls::StartTls, false), (SmtpTls::Implicit, true)] {
        let relay = Relay::start(&[Script::STARTTLS], Some(acceptor.clone()), implicit).await;
        send(&with(relay.port, tls, true), patient()).await.unwrap_or_else(|error| panic!("{tls:?}: {error}"));
        let heard = relay.heard();
        assert!(heard[0].encrypted && heard[0].commands.iter().any(|line| line.starts_with("AUTH PLAIN")), "{heard:?}");
        let found = smtp::check(&with(relay.port, tls, true)).await.expect("all is well");
        assert_eq!(found, format!("relay (127.0.0.1:{}) answers over TLS, as plimsoll", relay.port));
        // A certificate that nobody vouches for.
        let error = send(&with(relay.port, tls, false), patient()).await.expect_err("unknown");
        assert_eq!((error.class, error.reason), (Class::Retry, Reason::Tls), "{error}");
    }
    let relay = Relay::plain(&[Script::GOOD]).await;
    let error = send(&with(relay.port, SmtpTls::StartTls, true), patient()).await.expect_err("not offered");
    assert_eq!((error.class, error.reason), (Class::Slow, Reason::Tls), "{error}");
    assert!(error.text.contains("does not offer STARTTLS"), "{error}");
    assert_eq!(relay.heard(), []);
}

/// An outbox in memory.
#[derive(Debug, Default)]
struct Memory {
    mails: Mutex<BTreeMap<i64, OutboxMail>>,
    broken: std::sync::atomic::AtomicBool,
}

impl Memory {
    fn with(mails: Vec<NewMail>) -> Arc<Self> {
        let row = |(id, mail): (i64, NewMail)| {
            let not_before = mail.created;
            let state = MailState::Queued;
            (id, OutboxMail { id, mail, state, attempts: 0, not_before, last_error: None, sent_at: None })
        };
        Arc::new(Self { mails: Mutex::new((1..).zip(mails).map(row).collect()), ..Self::default() })
    }

    fn row(&self, id: i64) -> OutboxMail {
        self.mails.lock().expect("no holder panics")[&id].clone()
    }
}

impl Outbox for Memory {
    async fn due_mails(&self, now: Timestamp, limit: usize) -> Result<Vec<OutboxMail>, OutboxError> {
        let mails = self.mails.lock().expect("no holder panics");
        let mut threads = std::collections::BTreeSet::new();
        let queued = mails.values().filter(|mail| mail.state == MailState::Queued);
        let heads = queued.filter(|mail| threads.insert((mail.mail.incident.clone(), mail.mail.recipient.clone())));
        Ok(heads.filter(|mail| mail.not_before <= now).take(limit).cloned().collect())
    }

    async fn next_mail_at(&self) -> Result<Option<Timestamp>, OutboxError> {
        let mails = self.mails.lock().expect("no holder panics");
        Ok(mails.values().filter(|mail| mail.state == MailState::Queued).map(|mail| mail.not_before).min())
    }

    async fn mail_result(&self, id: i64, result: MailResult, _now: Timestamp) -> Result<(), OutboxError> {
        // As slow as a disk: whoever was told before the row is written would be seen to.
        tokio::task::yield_now().await;
        if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(OutboxError("the disk is full".to_owned()));
        }
        let mut mails = self.mails.lock().expect("no holder panics");
        let row = mails.get_mut(&id).expect("such a mail");
        row.attempts += 1;
        match result {
            MailResult::Sent { at } => {
                row.state = MailState::Sent;
                row.sent_at = Some(at);
            }
            MailResult::Retry { not_before, error } => {
                row.not_before = not_before;
                row.last_error = Some(error);
            }
            MailResult::Dead { error } => {
                row.state = MailState::Dead;
                row.last_error = Some(error);
            }
        }
        Ok(())
    }
}

/// A running delivery.
struct Post {
    clock: Arc<ManualClock>,
    wake: Arc<Notify>,
    stop: watch::Sender<bool>,
    _receivers: watch::Sender<Arc<[Receiver]>>,
    events: mpsc::Receiver<DeliveryEvent>,
    task: JoinHandle<()>,
}

impl Post {
    fn start(outbox: &Arc<Memory>, receivers: Vec<Receiver>, patience: Patience) -> Self {
        let clock = Arc::new(ManualClock::at(t(1)));
        let wake = Arc::new(Notify::new());
        let (stop, stopped) = watch::channel(false);
        let (publish, receivers) = watch::channel(Arc::from(receivers));
        let (tell, events) = mpsc::channel(1000);
        let delivery = Delivery {
            outbox: outbox.clone(),
            receivers,
            wake: wake.clone(),
            stop: stopped,
            clock: clock.clone() as Arc<dyn Clock>,
            on_event: Arc::new(move |event| tell.try_send(event).expect("room for every event of a test")),
            patience: Some(patience),
        };
        Self { clock, wake, stop, _receivers: publish, events, task: tokio::spawn(delivery.run()) }
    }

    async fn event(&mut self) -> DeliveryEvent {
        tokio::time::timeout(LONG, self.events.recv()).await.expect("in time").expect("it runs")
    }

    /// Moves the clock past a row's back-off.
    fn skip_to(&self, mail: &OutboxMail) {
        let by = mail.not_before.duration_since(self.clock.now().wall).unsigned_abs();
        self.clock.advance(by);
        self.wake.notify_one();
    }

    async fn end(self) {
        self.stop.send(true).expect("it listens");
        tokio::time::timeout(LONG, self.task).await.expect("in time").expect("no panic");
    }
}

fn on_call(port: u16) -> Receiver {
    Receiver { name: "on_call".into(), email: email(port, &[]) }
}

#[tokio::test]
async fn later_means_later_and_then_it_arrives() {
    let relay = Relay::plain(&[Script { rcpt: Say("451 greylisted"), ..Script::GOOD }, Script::GOOD]).await;
    let outbox = Memory::with(vec![to_oncall()]);
    let mut post = Post::start(&outbox, vec![on_call(relay.port)], patient());
    let event = post.event().await;
    assert_eq!((event.result, event.reason), (DeliveryResult::Retry, Some(Reason::Deferred)), "{event:?}");
    let row = outbox.row(1);
    assert_eq!(row.attempts, 1, "who is told finds it written");
    assert_eq!(row.not_before, t(1) + backoff::delay(1, 1, false));
    assert!(row.last_error.as_ref().expect("why").contains("greylisted"), "{row:?}");
    post.skip_to(&row);
    assert_eq!(post.event().await.result, DeliveryResult::Sent);
    post.end().await;
    assert_eq!(outbox.row(1).state, MailState::Sent);
    assert_eq!(relay.heard().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_brings_the_same_bytes_again() {
    let relay = Relay::plain(&[Script { dot: Reply::Drop, ..Script::GOOD }, Script::GOOD]).await;
    let outbox = Memory::with(vec![to_oncall()]);
    let mut post = Post::start(&outbox, vec![on_call(relay.port)], patient());
    assert_eq!(post.event().await.result, DeliveryResult::Retry);
    post.skip_to(&outbox.row(1));
    assert_eq!(post.event().await.result, DeliveryResult::Sent);
    post.end().await;
    let heard = relay.heard();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0].wire, heard[1].wire);
    assert_eq!(heard[0].message(), to_oncall().bytes);
}

#[tokio::test]
async fn one_refused_recipient_costs_nobody_else_their_mail() {
    let refuse = Script { rcpt: Say("550 no such user"), ..Script::GOOD };
    let (bad, good) = (Relay::plain(&[refuse]).await, Relay::plain(&[Script::GOOD]).await);
    let outbox = Memory::with(vec![mail("i", "bad", "a@example.com"), mail("i", "good", "b@example.com")]);
    let receivers = vec![
        Receiver { name: "bad".into(), email: email(bad.port, &[]) },
        Receiver { name: "good".into(), email: email(good.port, &[]) },
    ];
    let mut post = Post::start(&outbox, receivers, patient());
    post.event().await;
    post.event().await;
    post.end().await;
    assert_eq!((outbox.row(1).state, outbox.row(2).state), (MailState::Dead, MailState::Sent));
}

#[tokio::test]
async fn relays_that_hang_hold_up_nobody_else() {
    let stuck = Relay::plain(&[Script { banner: Reply::Hang, ..Script::GOOD }]).await;
    let good = Relay::plain(&[Script::GOOD]).await;
    // More mails for the relay that hangs than a page holds, then one for the good one.
    let mut mails: Vec<_> = (0..100).map(|index| mail(&format!("i{index}"), "stuck", "a@example.com")).collect();
    mails.push(mail("i", "good", "b@example.com"));
    let outbox = Memory::with(mails);
    let receivers = vec![
        Receiver { name: "stuck".into(), email: email(stuck.port, &[]) },
        Receiver { name: "good".into(), email: email(good.port, &[]) },
    ];
    let mut post = Post::start(&outbox, receivers, patient());
    let event = post.event().await;
    assert_eq!((&*event.receiver, event.result), ("good", DeliveryResult::Sent), "{event:?}");
    post.end().await;
    assert_eq!(outbox.row(1).attempts, 0, "abandoned by the stop, not counted");
}

#[tokio::test]
async fn mails_of_one_thread_go_in_order() {
    let relay = Relay::plain(&[Script::GOOD]).await;
    let mut second = to_oncall();
    second.bytes = b"Subject: over\r\n\r\nover\r\n".to_vec();
    let outbox = Memory::with(vec![to_oncall(), second.clone()]);
    let mut post = Post::start(&outbox, vec![on_call(relay.port)], patient());
    post.event().await;
    post.event().await;
    post.end().await;
    let bytes: Vec<_> = relay.heard().iter().map(Heard::message).collect();
    assert_eq!(bytes, [to_oncall().bytes, second.bytes]);
}

#[tokio::test]
async fn a_stop_ends_every_conversation_within_two_seconds() {
    for script in [Script { rcpt: Reply::Hang, ..Script::GOOD }, Script { dot: Reply::Hang, ..Script::GOOD }] {
        let relay = Relay::plain(&[script]).await;
        let outbox = Memory::with(vec![to_oncall()]);
        let mut post = Post::start(&outbox, vec![on_call(relay.port)], patient());
        // Let the conversation get to where it hangs.
        tokio::time::timeout(Duration::from_millis(200), post.event()).await.expect_err("it hangs");
        let before = mono();
        post.stop.send(true).expect("it listens");
        assert_eq!(post.event().await.result, DeliveryResult::Abandoned);
        post.task.await.expect("no panic");
        let took = mono() - before;
        assert!(took < Duration::from_secs(4), "{took:?}");
        assert_eq!((outbox.row(1).state, outbox.row(1).attempts), (MailState::Queued, 0));
    }
}

#[tokio::test]
async fn an_accepted_mail_is_not_sent_again_while_its_result_cannot_be_written() {
    let relay = Relay::plain(&[Script::GOOD]).await;
    let outbox = Memory::with(vec![to_oncall()]);
    outbox.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut post = Post::start(&outbox, vec![on_call(relay.port)], patient());
    assert_eq!(post.event().await.result, DeliveryResult::Sent);
    for _ in 0..20 {
        post.wake.notify_one();
        tokio::task::yield_now().await;
    }
    outbox.broken.store(false, std::sync::atomic::Ordering::Relaxed);
    post.end().await;
    assert_eq!(outbox.row(1).state, MailState::Sent);
    assert_eq!(relay.heard().len(), 1);
}

#[tokio::test]
async fn after_three_days_it_is_given_up_and_says_so() {
    let relay = Relay::plain(&[Script { banner: Say("421 busy"), ..Script::GOOD }]).await;
    let outbox = Memory::with(vec![to_oncall()]);
    let mut post = Post::start(&outbox, vec![on_call(relay.port)], patient());
    assert_eq!(post.event().await.result, DeliveryResult::Retry);
    post.clock.advance(backoff::MAX_AGE);
    post.wake.notify_one();
    let event = post.event().await;
    assert_eq!((event.result, event.reason), (DeliveryResult::Dead, Some(Reason::Expired)), "{event:?}");
    assert!(event.text.contains("given up after 72 hours and 1 attempts: at the connect"), "{}", event.text);
    post.end().await;
}

#[tokio::test]
async fn a_receiver_that_left_the_configuration_is_waited_for() {
    let outbox = Memory::with(vec![to_oncall()]);
    let mut post = Post::start(&outbox, Vec::new(), patient());
    let event = post.event().await;
    assert_eq!((event.result, event.reason), (DeliveryResult::Retry, Some(Reason::Config)), "{event:?}");
    post.end().await;
    assert_eq!(outbox.row(1).state, MailState::Queued);
}

#[test]
fn attempts_that_panic_keep_no_lane() {
    // Without its I/O driver tokio panics in each connect.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mails: Vec<_> = (0..6).map(|number| mail(&number.to_string(), "on_call", "oncall@example.com")).collect();
        let outbox = Memory::with(mails);
        let mut post = Post::start(&outbox, vec![on_call(9)], patient());
        for _ in 0..6 {
            let event = post.event().await;
            assert_eq!(event.result, DeliveryResult::Retry, "{event:?}");
        }
        for id in 1..=6 {
            let row = outbox.row(id);
            assert!(row.attempts == 1 && row.not_before > t(60), "tried once, and not in a circle: {row:?}");
        }
        post.skip_to(&outbox.row(3));
        assert_eq!(post.event().await.result, DeliveryResult::Retry);
        post.end().await;
    });
}
