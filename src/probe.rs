//! Steps that are no HTTP request: TCP, TLS, DNS, WebSocket and gRPC health. Each opens a connection of its own, asks
//! once and never again by itself: what is retried behind one's back is not measured.

mod dns;
mod grpc;
mod tcp;
mod websocket;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use ::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;

use crate::{
    http::{
        dial::{DialError, DialTimes, Opener},
        h2::Session,
        scope::Scope,
        stream::{Meter, Metered},
        tls::{Tls, TlsError},
    },
    model::{
        clock,
        outcome::{Outcome, fail},
        scenario::{BaseUrl, ProbeSpec, Target},
        settings::Policy,
        template::Template,
    },
};

/// Longest answer that is looked at.
const MAX_ANSWER: usize = 64 * 1024;

/// Does one kind of probe; remembers the names it has resolved.
#[derive(Debug)]
pub struct Prober {
    spec: Arc<ProbeSpec>,
    target: Arc<Target>,
    opener: Opener,
}

/// How far a probe came; filled in as it goes, so that one that was cut still tells where its time went.
#[derive(Debug, Default)]
pub struct Progress {
    /// Opening the connection.
    pub dial: Cell<DialTimes>,
    /// What the connection carried, once it was open.
    pub meter: RefCell<Option<Rc<Meter>>>,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status, where HTTP was spoken.
    pub status: Option<StatusCode>,
    /// Its headers then.
    pub headers: HeaderMap,
    /// What can be expected and captured of: text, or a JSON document.
    pub body: Bytes,
    /// When the last byte was read.
    pub ended: Instant,
}

impl Reply {
    fn new(body: impl Into<Bytes>) -> Self {
        Self { status: None, headers: HeaderMap::new(), body: body.into(), ended: clock::mono() }
    }
}

/// Why there is no answer, or not the one that was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeError {
    /// Failed, or rejected.
    pub outcome: Outcome,
    /// A name of [`fail`], of a rejection, or of a [`DialError`].
    pub reason: &'static str,
    /// In words.
    pub detail: String,
}

impl From<DialError> for ProbeError {
    fn from(error: DialError) -> Self {
        Self { outcome: Outcome::Failed, reason: error.reason, detail: error.detail }
    }
}

fn failed(reason: &'static str, detail: impl Into<String>) -> ProbeError {
    ProbeError { outcome: Outcome::Failed, reason, detail: detail.into() }
}

/// An I/O error on an open connection.
fn broken(error: &std::io::Error) -> ProbeError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => failed(fail::TLS, crate::http::tls::in_words(tls)),
        None => failed(fail::RESET, error.to_string()),
    }
}

impl Prober {
    /// What `spec` needs. Blocks on reading certificates.
    pub fn new(spec: &Arc<ProbeSpec>, target: &Arc<Target>, policy: &Arc<Policy>) -> Result<Self, TlsError> {
        let (place, tls, alpn): (&BaseUrl, bool, &[&[u8]]) = match &**spec {
            ProbeSpec::Tcp { at, .. } | ProbeSpec::Dns { at, .. } => (at, false, &[]),
            ProbeSpec::Tls { at } => (at, true, &[]),
            ProbeSpec::WebSocket { .. } => (&target.base, target.base.https, &[b"http/1.1"]),
            ProbeSpec::Grpc { .. } => (&target.base, target.base.https, &[b"h2"]),
        };
        let http = &target.http;
        let tls = tls.then(|| Tls::new(&http.tls, alpn)).transpose()?;
        let opener = Opener::new(place.clone(), policy.clone(), tls, http.dns_ttl, http.connect_timeout);
        Ok(Self { spec: spec.clone(), target: target.clone(), opener })
    }

    /// Whether it is the one for `spec`.
    pub fn does(&self, spec: &Arc<ProbeSpec>) -> bool {
        Arc::ptr_eq(&self.spec, spec)
    }

    /// How TLS is spoken, and what was seen of it.
    pub fn tls(&self) -> Option<Tls> {
        self.opener.tls()
    }

    /// Asks. The caller bounds the time.
    pub async fn ask(&self, scope: &Arc<Scope>, progress: &Progress) -> Result<Reply, ProbeError> {
        match &*self.spec {
            ProbeSpec::Tcp { send, expect, .. } => {
                let text = send.as_ref().map(|text| fill(text, scope)).transpose()?.unwrap_or_default();
                tcp::ask(self.connect(progress).await?, text.as_bytes(), expect.as_ref()).await
            }
            ProbeSpec::Tls { .. } => {
                self.connect(progress).await?;
                Ok(Reply::new(self.certificate()))
            }
            ProbeSpec::Dns { name, kind, rcode, .. } => {
                let name = fill(name, scope)?;
                dns::ask(&self.opener, &dns::Query { name: &name, kind: *kind, rcode: rcode.as_deref() }, progress)
                    .await
            }
            ProbeSpec::WebSocket { path, send, expect } => {
                let request = websocket::request(&self.target, &fill(path, scope)?, scope)?;
                let send = send.as_ref().map(|text| fill(text, scope)).transpose()?;
                websocket::ask(self.connect(progress).await?, request, send, expect.as_ref()).await
            }
            ProbeSpec::Grpc { service } => {
                let request = grpc::request(&self.target, service, scope)?;
                let (times, stream) = self.opener.open().await;
                progress.dial.set(times);
                let meter = Rc::new(Meter::default());
                progress.meter.replace(Some(meter.clone()));
                grpc::ask(&Session::start(stream?).await?, &request, &meter).await
            }
        }
    }

    async fn connect(&self, progress: &Progress) -> Result<Metered, ProbeError> {
        let (times, opened) = self.opener.open().await;
        progress.dial.set(times);
        let meter = Rc::new(Meter::default());
        let stream = Metered::new(opened?, meter.clone());
        progress.meter.replace(Some(meter));
        Ok(stream)
    }

    /// What the server showed, as a document for `expect` and `capture`.
    fn certificate(&self) -> String {
        let ends = self.opener.tls().and_then(|tls| tls.certificate_ends());
        serde_json::json!({"not_after": ends.map(|ends| ends.to_string())}).to_string()
    }
}

/// The target's own headers.
fn add_headers(headers: &mut HeaderMap, target: &Target, scope: &Arc<Scope>) -> Result<(), ProbeError> {
    for (name, template) in &target.headers {
        let value = HeaderValue::try_from(fill(template, scope)?).map_err(|_| {
            failed(fail::CAPTURE, format!("header {name}: its value holds bytes a header cannot carry"))
        })?;
        headers.insert(name, value);
    }
    Ok(())
}

/// A template filled in. A value that is missing is one that no earlier answer held.
fn fill(template: &Template, scope: &Arc<Scope>) -> Result<String, ProbeError> {
    match template.as_literal() {
        Some(text) => Ok(text.to_owned()),
        None => template.render(&scope.value()).map_err(|error| failed(fail::CAPTURE, error.message)),
    }
}
