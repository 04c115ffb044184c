//! The routes: what is asked, who answers it, and in what form.

mod body;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{FromRequestParts, Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::{mpsc::error::TrySendError, oneshot},
    time::timeout,
};

use super::{Command, Reply, WebState, guard, mime, page, view::StatusView};
use crate::{
    model::run::RunSummary,
    telemetry::{
        exposition::{CONTENT_TYPE, Exposition},
        series::Snapshot,
    },
};

/// The control loop is called dead when it has not written its status for this long.
const PULSE: Duration = Duration::from_secs(30);
/// For the owner task to answer a command.
const ANSWER: Duration = Duration::from_secs(10);
/// Characters of the reason for a pause.
const REASON_CHARS: usize = 200;
/// Pages load nothing and run nothing; a mail's own styles are inline, and its pictures are part of it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";

struct Shared {
    state: WebState,
    exposition: Exposition,
    rendered: ArcSwapOption<Rendered>,
}

/// A snapshot's text, so that scrapes cost next to nothing however many there are.
struct Rendered {
    of: Arc<Snapshot>,
    text: Bytes,
}

type App = State<Arc<Shared>>;

/// All routes, behind the guard. A request's body has to be there within `body_time` of its head.
pub(super) fn router(state: WebState, body_time: Duration) -> Router {
    let exposition = Exposition::new(state.metrics.clone());
    Router::new()
        .route("/", get(status_page))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/mail/{id}", get(mail))
        .route("/runs/{id}", get(run_page))
        .route("/api/v1/status", get(status))
        .route("/api/v1/runs", get(runs))
        .route("/api/v1/runs/{id}", get(run))
        .route("/api/v1/trigger/{scenario}", post(trigger))
        .route("/api/v1/pause", post(pause))
        .route("/api/v1/resume", post(resume))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "There is no such page; start at /.") })
        .method_not_allowed_fallback(|| async {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "This path is asked in another way; the header Allow says how.")
        })
        .with_state(Arc::new(Shared { state, exposition, rendered: ArcSwapOption::empty() }))
        .layer(middleware::from_fn(move |request, next| body::whole(request, next, body_time)))
        .layer(middleware::from_fn(guarded))
}

/// Refuses what [`guard::admit`] refuses, and puts the security headers on every answer.
async fn guarded(Extension(ends): Extension<guard::Ends>, request: Request, next: Next) -> Response {
    let mut response = match guard::admit(ends, request.method(), request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => refusal(StatusCode::FORBIDDEN, why),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: browsers would then call the origin of our own forms `null`.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(status: StatusCode, sentence: impl Into<String>) -> Response {
    (status, Json(json!({ "error": sentence.into() }))).into_response()
}

/// What `E` takes from a request's head; what it refuses is refused in the form of the API.
struct Asked<E>(E);

impl<S: Send + Sync, E: FromRequestParts<S, Rejection: IntoResponse + fmt::Display>> FromRequestParts<S> for Asked<E> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        E::from_request_parts(parts, state).await.map(Self).map_err(|why| {
            let sentence = why.to_string();
            refusal(why.into_response().status(), sentence)
        })
    }
}

async fn metrics(State(app): App) -> Response {
    let now = Arc::clone(&app.state.metrics.borrow());
    let text = match &*app.rendered.load() {
        Some(last) if Arc::ptr_eq(&last.of, &now) => last.text.clone(),
        _ => {
            let before = app.state.clock.mono();
            let text = Bytes::from(app.exposition.render());
            app.state.own.rendered(app.state.clock.mono() - before);
            app.rendered.store(Some(Arc::new(Rendered { of: now, text: text.clone() })));
            text
        }
    };
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

fn latest(app: &Shared) -> Arc<StatusView> {
    Arc::clone(&app.state.status.borrow())
}

/// `None` = alive; otherwise what is wrong.
fn pulse(app: &Shared) -> Option<String> {
    let age = app.state.clock.mono().saturating_duration_since(latest(app).beat);
    (age >= PULSE).then(|| format!("The control loop has not shown itself for {} s.", age.as_secs()))
}

async fn healthy(State(app): App) -> Response {
    match pulse(&app) {
        None => "Plimsoll is healthy.\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}

async fn ready(State(app): App) -> Response {
    match pulse(&app) {
        None if latest(&app).ready => "Plimsoll is ready.\n".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "Plimsoll is starting or stopping.\n").into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}

#[derive(Deserialize)]
struct PageQuery {
    refresh: Option<String>,
}

async fn status_page(State(app): App, Asked(Query(query)): Asked<Query<PageQuery>>) -> Response {
    let refresh = query.refresh.as_deref() != Some("off");
    html(page::status(&latest(&app), app.state.clock.now().wall, refresh))
}

fn html(page: Result<String, minijinja::Error>) -> Response {
    match page {
        Ok(page) => Html(page).into_response(),
        Err(error) => {
            tracing::error!(%error, "failed to render a page");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be rendered; the log says why.")
        }
    }
}

async fn status(State(app): App) -> Response {
    let view = latest(&app);
    let uptime = app.state.clock.now().wall.duration_since(view.started_at);
    let mut body = serde_json::to_value(&*view).expect("the view is plain data");
    body["uptime_s"] = json!(uptime.as_secs_f64());
    Json(body).into_response()
}

/// Sends a command and waits for its answer; the error is the response to give.
async fn ask<T>(app: &Shared, command: impl FnOnce(Reply<T>) -> Command) -> Result<Result<T, String>, Response> {
    let (reply, answer) = oneshot::channel();
    app.state.commands.try_send(command(reply)).map_err(|error| {
        let why = match error {
            TrySendError::Full(_) => "Plimsoll is busy with earlier commands; try again in a moment.",
            TrySendError::Closed(_) => "Plimsoll is stopping.",
        };
        refusal(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    match timeout(ANSWER, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "Plimsoll is stopping.")),
        Err(_) => Err(refusal(StatusCode::GATEWAY_TIMEOUT, "The daemon did not answer within 10 s; look at its log.")),
    }
}

#[derive(Deserialize)]
struct RunsQuery {
    scenario: Option<String>,
    limit: Option<u32>,
}

async fn runs(State(app): App, Asked(Query(query)): Asked<Query<RunsQuery>>) -> Response {
    let limit = query.limit.unwrap_or(20).clamp(1, 200);
    match ask(&app, |reply| Command::Runs { scenario: query.scenario, limit, reply }).await {
        Ok(Ok(runs)) => Json(json!({ "runs": runs })).into_response(),
        Ok(Err(why)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, why),
        Err(response) => response,
    }
}

async fn run(State(app): App, Asked(Path(id)): Asked<Path<String>>) -> Response {
    find_run(&app, id).await.map_or_else(|refused| refused, |run| Json(run).into_response())
}

async fn run_page(State(app): App, Asked(Path(id)): Asked<Path<String>>) -> Response {
    match find_run(&app, id).await {
        Ok(run) => html(page::run(&run, app.state.clock.now().wall, &latest(&app).timezone)),
        Err(refused) => refused,
    }
}

/// One run; the error is the response to give.
async fn find_run(app: &Shared, id: String) -> Result<RunSummary, Response> {
    match ask(app, |reply| Command::Run { id, reply }).await? {
        Ok(Some(run)) => Ok(run),
        Ok(None) => Err(refusal(StatusCode::NOT_FOUND, "There is no such run; /api/v1/runs lists them.")),
        Err(why) => Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, why)),
    }
}

async fn mail(State(app): App, Asked(Path(name)): Asked<Path<String>>) -> Response {
    let (id, raw) = name.strip_suffix(".eml").map_or((name.as_str(), false), |id| (id, true));
    let missing = || refusal(StatusCode::NOT_FOUND, "There is no such mail; the page at / lists the last ones.");
    let Ok(id) = id.parse() else { return missing() };
    match ask(&app, |reply| Command::Mail { id, reply }).await {
        Ok(Ok(Some(row))) if raw => {
            let name = format!("attachment; filename=\"plimsoll-{id}.eml\"");
            let headers = [(header::CONTENT_TYPE, "message/rfc822".to_owned()), (header::CONTENT_DISPOSITION, name)];
            (headers, row.mail.bytes).into_response()
        }
        Ok(Ok(Some(row))) => html(page::mail(&row, &mime::bodies(&row.mail.bytes), &latest(&app).timezone)),
        Ok(Ok(None)) => missing(),
        Ok(Err(why)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, why),
        Err(response) => response,
    }
}

/// A form of our own page goes back to the page; programs get JSON.
fn done(headers: &HeaderMap, body: serde_json::Value) -> Response {
    let form = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let browser = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if form && browser.is_some_and(|accept| accept.contains("text/html")) {
        Redirect::to("/").into_response()
    } else {
        Json(body).into_response()
    }
}

async fn trigger(State(app): App, Asked(Path(scenario)): Asked<Path<String>>, headers: HeaderMap) -> Response {
    if !latest(&app).scenarios.iter().any(|known| *known.name == *scenario) {
        return refusal(StatusCode::NOT_FOUND, "There is no scenario of that name; /api/v1/status lists them.");
    }
    match ask(&app, |reply| Command::Trigger { scenario, reply }).await {
        Ok(Ok(run_id)) => done(&headers, json!({ "run_id": run_id })),
        Ok(Err(why)) => refusal(StatusCode::CONFLICT, why),
        Err(response) => response,
    }
}

#[derive(Default, Deserialize)]
struct PauseBody {
    #[serde(default)]
    reason: String,
}

/// The reason a pause is asked for with, fit to be shown on one line; the error is the sentence to answer with 400.
fn reason(body: &[u8]) -> Result<String, String> {
    // The form of our own page has no fields.
    let asked = match body {
        [] => PauseBody::default(),
        body => serde_json::from_slice(body).map_err(|error| {
            format!("The body is not what a pause takes: {error}. Send {{\"reason\": \"why\"}}, or nothing.")
        })?,
    };
    let words: Vec<_> =
        asked.reason.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let reason: String = words.join(" ").chars().take(REASON_CHARS).collect();
    Ok(if reason.is_empty() { "asked for over HTTP".to_owned() } else { reason })
}

async fn pause(State(app): App, headers: HeaderMap, body: Bytes) -> Response {
    let reason = match reason(&body) {
        Ok(reason) => reason,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, why),
    };
    match ask(&app, |reply| Command::Pause { reason, reply }).await {
        Ok(Ok(())) => done(&headers, json!({ "paused": true })),
        Ok(Err(why)) => refusal(StatusCode::CONFLICT, why),
        Err(response) => response,
    }
}

async fn resume(State(app): App, headers: HeaderMap) -> Response {
    match ask(&app, |reply| Command::Resume { reply }).await {
        Ok(Ok(())) => done(&headers, json!({ "paused": false })),
        Ok(Err(why)) => refusal(StatusCode::CONFLICT, why),
        Err(response) => response,
    }
}

#[cfg(test)]
mod tests;
