//! Credentials of a request as a header.

use std::sync::Arc;

use ::http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use base64::Engine as _;

use super::{request::fill, scope::Scope};
use crate::model::scenario::Auth;

/// The header that `auth` comes to. The error says which part cannot be filled in; no value is in it.
pub fn header(auth: &Auth, scope: &Arc<Scope>) -> Result<(HeaderName, HeaderValue), String> {
    let (name, text) = match auth {
        Auth::Basic { username, password } => {
            let username = fill(username, scope).map_err(|why| format!("auth: username: {why}"))?;
            let password = fill(password, scope).map_err(|why| format!("auth: password: {why}"))?;
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
            (AUTHORIZATION, format!("Basic {pair}"))
        }
        Auth::Bearer(token) => {
            let token = fill(token, scope).map_err(|why| format!("auth: bearer: {why}"))?;
            (AUTHORIZATION, format!("Bearer {token}"))
        }
        Auth::Header(name, value) => {
            (name.clone(), fill(value, scope).map_err(|why| format!("auth: header {name}: {why}"))?)
        }
    };
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| format!("auth: {name}: its value holds bytes a header cannot carry"))?;
    value.set_sensitive(true);
    Ok((name, value))
}
