//! A WebSocket opened, and a message for a message.

use std::sync::Arc;

use ::http::{Request, header};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, Message, error::ProtocolError, handshake::client::generate_key, protocol::WebSocketConfig},
};

use super::{MAX_ANSWER, ProbeError, Reply, add_headers, broken, failed};
use crate::{
    http::{request::AGENT, scope::Scope, stream::Metered},
    model::{clock, outcome::fail, scenario::Target, scenario::TextMatch},
};

/// Messages that are looked at while waiting for the one that is expected.
const MAX_MESSAGES: usize = 1000;

/// The request that asks for a WebSocket at `path`.
pub(super) fn request(target: &Target, path: &str, scope: &Arc<Scope>) -> Result<Request<()>, ProbeError> {
    let base = &target.base;
    let scheme = if base.https { "wss" } else { "ws" };
    let mut request = Request::builder()
        .uri(format!("{scheme}://{}{}{path}", base.authority(), base.prefix))
        .header(header::HOST, base.authority())
        .header(header::USER_AGENT, AGENT)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .body(())
        .map_err(|error| failed(fail::CAPTURE, format!("path `{path}`: {error}")))?;
    add_headers(request.headers_mut(), target, scope)?;
    Ok(request)
}

/// Opens the WebSocket; then sends `send` and reads until a message holds `expect`.
pub(super) async fn ask(
    stream: Metered,
    request: Request<()>,
    send: Option<String>,
    expect: Option<&TextMatch>,
) -> Result<Reply, ProbeError> {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_ANSWER)).max_frame_size(Some(MAX_ANSWER));
    let (mut socket, answer) = match client_async_with_config(request, stream, Some(config)).await {
        Ok(opened) => opened,
        // An answer of HTTP is judged as one: it may be a rejection.
        Err(Error::Http(answer)) if answer.status().is_success() => {
            let detail = format!("status {} instead of 101: the target opened no WebSocket", answer.status());
            return Err(failed(fail::PROTOCOL, detail));
        }
        Err(Error::Http(answer)) => {
            let (head, body) = answer.into_parts();
            let body = Bytes::from(body.unwrap_or_default());
            let reply = Reply { status: Some(head.status), headers: head.headers, ..Reply::new(body) };
            return Ok(reply);
        }
        Err(error) => return Err(fault(&error)),
    };
    if let Some(text) = send {
        socket.send(Message::text(text)).await.map_err(|error| fault(&error))?;
    }
    let body = match expect {
        Some(wanted) => wait(&mut socket, wanted).await?,
        None => Bytes::new(),
    };
    let ended = clock::mono();
    // It is left in good order; whether the other side says goodbye is its own affair.
    let _gone = socket.close(None).await.is_err();
    Ok(Reply { status: Some(answer.status()), headers: answer.headers().clone(), body, ended })
}

async fn wait(socket: &mut WebSocketStream<Metered>, wanted: &TextMatch) -> Result<Bytes, ProbeError> {
    let mut last = Bytes::new();
    for _ in 0..MAX_MESSAGES {
        let message = match socket.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(fault(&error)),
            None => break,
        };
        match message {
            Message::Text(_) | Message::Binary(_) => last = message.into_data(),
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        }
        if wanted.found(&last) {
            return Ok(last);
        }
    }
    let start = String::from_utf8_lossy(&last[..last.len().min(100)]).into_owned();
    Err(failed(fail::EXPECT, format!("no message held {wanted}; the last one is {start:?}")))
}

fn fault(error: &Error) -> ProbeError {
    match error {
        Error::Io(error) => broken(error),
        Error::ConnectionClosed | Error::AlreadyClosed => failed(fail::RESET, "the WebSocket was closed"),
        Error::Capacity(why) => failed(fail::BODY_LIMIT, why.to_string()),
        Error::Protocol(why @ (ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake)) => {
            failed(fail::RESET, why.to_string())
        }
        error => failed(fail::PROTOCOL, error.to_string()),
    }
}
