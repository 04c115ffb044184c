//! What a request carries beside its path and headers: credentials and multipart bodies.

use std::path::Path;

use super::{MAX_BODY_FILE, Written};
use crate::{
    config::{
        check::short,
        lower::{At, Lower, Scope},
        raw,
    },
    model::{
        Name,
        scenario::{Auth, BodySpec, Part, PartData},
        template::Escape,
    },
};

/// What the encoder says of a file of which nobody says more.
const ANY_MEDIA: &str = "application/octet-stream";

impl Lower<'_> {
    /// The credentials of a step; an `authorization` beside them would be sent in their place.
    pub(super) fn own_auth(&mut self, written: &Written<'_>, scope: Scope<'_>) -> Option<Auth> {
        let (raw, at) = written.field("auth", |step| step.auth.as_ref())?;
        let auth = self.auth(&at, raw, scope)?;
        let name = match &auth {
            Auth::Header(name, _) => name.as_str(),
            Auth::Basic { .. } | Auth::Bearer(_) => "authorization",
        };
        for (fields, headers) in written.both("headers", |step| step.headers.as_ref()) {
            for (header, _) in fields.0.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name)) {
                let message = format!("the header `{header}` and `auth` are the same header");
                self.key_error(&headers.key(header), message, "keep one of them");
            }
        }
        Some(auth)
    }

    pub(in crate::config::lower) fn auth(&mut self, at: &At, raw: &raw::Auth, scope: Scope<'_>) -> Option<Auth> {
        const HOW: &str = "declare it under `secrets:` and write `${secret.NAME}`";
        match (&raw.basic, &raw.bearer, &raw.header) {
            (Some(basic), None, None) => {
                let at = at.key("basic");
                let password_at = at.key("password");
                self.literal_secret(&password_at, &basic.password.0, "a password", HOW);
                self.hide_pair(&basic.username.0, &basic.password.0);
                Some(Auth::Basic {
                    username: self.template(&at.key("username"), &basic.username.0, Escape::Header, scope),
                    password: self.template(&password_at, &basic.password.0, Escape::Header, scope),
                })
            }
            (None, Some(token), None) => {
                let at = at.key("bearer");
                self.literal_secret(&at, &token.0, "a credential", HOW);
                Some(Auth::Bearer(self.template(&at, &token.0, Escape::Header, scope)))
            }
            (None, None, Some(header)) => {
                let [(name, value)] = &header.0[..] else {
                    self.error(
                        &at.key("header"),
                        "`auth` is one header",
                        "write `header: {x-api-key: \"${secret.key}\"}`",
                    );
                    return None;
                };
                let at = at.key("header").key(name);
                let header = self.header_name(&at, name)?;
                self.literal_secret(&at, &value.0, "a credential", HOW);
                Some(Auth::Header(header, self.template(&at, &value.0, Escape::Header, scope)))
            }
            _ => {
                if !self.troubled(at) {
                    let help = "write one of `basic: {username: u, password: \"${secret.p}\"}`, `bearer: \"${secret.token}\"` or `header: {x-api-key: \"${secret.key}\"}`";
                    self.key_error(at, "`auth` says one kind of credentials", help);
                }
                None
            }
        }
    }

    /// What basic authentication makes of a password is as secret as the password.
    fn hide_pair(&mut self, username: &str, password: &str) {
        let constants = minijinja::Value::from(minijinja::value::Serde(&*self.constants.0));
        let render =
            |text: &str| crate::model::template::Template::compile(text, Escape::None).ok()?.render(&constants).ok();
        if let (Some(username), Some(password)) = (render(username), render(password)) {
            self.redactor = self.redactor.and(vec![format!("{username}:{password}")]);
        }
    }

    pub(super) fn multipart(&mut self, at: &At, raw: &raw::Ordered<raw::Part>, scope: Scope<'_>) -> BodySpec {
        let mut parts = Vec::with_capacity(raw.0.len());
        let mut room = MAX_BODY_FILE;
        for (name, part) in &raw.0 {
            let at = at.key(name);
            if !plain(name) {
                let help = "write letters, digits, _ and -";
                self.key_error(&at, format!("`{}` is not the name of a form field", short(name)), help);
            }
            parts.extend(self.part(&at, name, part, scope, &mut room));
        }
        BodySpec::Multipart(parts)
    }

    fn part(&mut self, at: &At, name: &str, raw: &raw::Part, scope: Scope<'_>, room: &mut u64) -> Option<Part> {
        let text = |this: &mut Self, at: &At, text: &str, kind: Option<&str>| Part {
            name: name.into(),
            file_name: None,
            content_type: kind.map(Name::from),
            data: PartData::Text(this.template(at, text, Escape::None, scope)),
        };
        let long = match raw {
            raw::Part::Short(value) => {
                let value = value.text();
                return match value.strip_prefix('@') {
                    Some(rest) if rest.starts_with('@') => Some(text(self, at, rest, None)),
                    Some(path) => self.upload(at, name, path, (None, None), room),
                    None => Some(text(self, at, &value, None)),
                };
            }
            raw::Part::Long(long) => long,
        };
        let kind = long.content_type.as_deref();
        if kind.is_some_and(|kind| kind.is_empty() || !plain(kind)) {
            self.error(&at.key("content_type"), "this is not a media type", "write `audio/wav` and the like");
        }
        if long.filename.as_deref().is_some_and(|name| !plain(name)) {
            self.error(&at.key("filename"), "a file's name holds no quotes here", "choose another name");
        }
        match (&long.file, &long.text) {
            (Some(path), None) => self.upload(&at.key("file"), name, path, (long.filename.as_deref(), kind), room),
            (None, Some(template)) => {
                let part = text(self, &at.key("text"), &template.0, kind);
                Some(Part { file_name: long.filename.as_deref().map(Name::from), ..part })
            }
            _ => {
                if !self.troubled(at) {
                    self.key_error(
                        at,
                        "a part is a file or a text",
                        "write `\"@speech.wav\"`, `{file: speech.wav}` or a text",
                    );
                }
                None
            }
        }
    }

    fn upload(
        &mut self,
        at: &At,
        name: &str,
        file: &str,
        (file_name, kind): (Option<&str>, Option<&str>),
        room: &mut u64,
    ) -> Option<Part> {
        let bytes = self.read_body(at, file, *room)?;
        *room = room.saturating_sub(bytes.len() as u64);
        let own = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or("file");
        let own = if plain(own) { own } else { "file" };
        Some(Part {
            name: name.into(),
            file_name: Some(file_name.unwrap_or(own).into()),
            content_type: Some(kind.unwrap_or(ANY_MEDIA).into()),
            data: PartData::File(bytes),
        })
    }
}

/// Whether a text can stand between the quotes of a part's head.
fn plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && !text.chars().any(|c| c.is_control() || "\"\\".contains(c))
}
