//! `alerts`: who is told what, and how.

use std::time::Duration;

use secrecy::SecretString;

use super::{At, Lower, threshold::severity};
use crate::{
    config::{check::short, hints, raw, tree::Node},
    model::{
        address,
        settings::{AlertOn, AlertSettings, EmailSettings, Receiver, Route, SmtpTls},
    },
};

impl Lower<'_> {
    pub(super) fn alerts(&mut self) -> AlertSettings {
        let mut settings = AlertSettings::default();
        let Some(raw) = &self.main().alerts else { return settings };
        let at = At::root(0).key("alerts");
        let second = Duration::from_secs(1);
        settings.group_wait =
            self.duration(&at.key("group_wait"), raw.group_wait.as_ref(), settings.group_wait, Duration::ZERO);
        settings.group_interval =
            self.duration(&at.key("group_interval"), raw.group_interval.as_ref(), settings.group_interval, second);
        let repeat_at = at.key("repeat_interval");
        settings.repeat_interval =
            self.duration(&repeat_at, raw.repeat_interval.as_ref(), settings.repeat_interval, second);
        settings.send_resolved = raw.send_resolved.unwrap_or(settings.send_resolved);
        settings.from_cli = raw.from_cli.unwrap_or(settings.from_cli);
        if let Some(on) = &raw.on {
            settings.on = alert_on(on);
        }
        for (name, receiver) in raw.receivers.iter().flat_map(|receivers| &receivers.0) {
            let at = at.key("receivers").key(name);
            self.name(&at, name, "a receiver");
            if let Some(email) = self.email(&at.key("email"), &receiver.email) {
                settings.receivers.push(Receiver { name: name.as_str().into(), email });
            }
        }
        settings.routes = self.routes(&at, raw);
        settings
    }

    fn routes(&mut self, at: &At, raw: &raw::Alerts) -> Vec<Route> {
        let receivers = self.node(&at.key("receivers")).map(Node::entries).unwrap_or_default();
        let names: Vec<&str> = receivers.iter().map(|entry| entry.key.as_str()).collect();
        let Some(routes) = &raw.routes else {
            // A list that could not be read has an error of its own.
            if names.len() > 1 && self.node(&at.key("routes")).is_none() {
                self.key_error(
                    &at.key("receivers"),
                    format!("there are {} receivers and no routes", names.len()),
                    format!("say who is told what: `routes: [{{to: [{}]}}]`", names.join(", ")),
                );
            }
            return names.iter().map(|name| Route { to: vec![(*name).into()], ..Route::default() }).take(1).collect();
        };
        let mut out = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            let at = at.key("routes").index(index);
            let mut to = Vec::new();
            for (index, name) in route.to.iter() {
                if !names.contains(&name.as_str()) {
                    let help = if names.is_empty() {
                        "write `receivers: {on_call: {email: {…}}}`".to_owned()
                    } else {
                        hints::did_you_mean(name, &names, "receivers")
                    };
                    self.error(&at.key("to").item(index), format!("there is no receiver `{}`", short(name)), help);
                }
                to.push(name.as_str().into());
            }
            let matches = route.matches.as_ref();
            for (key, section, name) in [
                ("scenario", "scenarios", matches.and_then(|matches| matches.scenario.as_deref())),
                ("target", "targets", matches.and_then(|matches| matches.target.as_deref())),
            ] {
                let known = self.section(section);
                if let Some(name) = name.filter(|name| !known.contains(name)) {
                    let at = at.key("match").key(key);
                    let help = hints::did_you_mean(name, &known, section);
                    self.error(&at, format!("there is no {key} `{}`", short(name)), help);
                }
            }
            out.push(Route {
                severity: matches.and_then(|matches| matches.severity).map(severity),
                scenario: matches.and_then(|matches| matches.scenario.as_deref()).map(Into::into),
                target: matches.and_then(|matches| matches.target.as_deref()).map(Into::into),
                overload: matches
                    .and_then(|matches| matches.intent)
                    .map(|intent| matches!(intent, raw::Intent::Overload)),
                to,
            });
        }
        out
    }

    fn email(&mut self, at: &At, raw: &raw::Email) -> Option<EmailSettings> {
        let mut to = Vec::new();
        let to_at = at.key("to");
        for (index, address) in raw.to.iter() {
            to.push(self.address(&to_at.item(index), address));
        }
        if to.is_empty() {
            self.key_error(&to_at, "`to` is empty", "write `to: [oncall@example.com]`");
        }
        let from = self.address(&at.key("from"), &raw.from);
        let relay = self.relay(&at.key("smtp"), &raw.smtp);
        let credentials = self.credentials(at, raw);
        let timeout_at = at.key("timeout");
        let timeout = self.duration(&timeout_at, raw.timeout.as_ref(), Duration::from_secs(30), Duration::from_secs(1));
        let tls_ca = raw.tls_ca.as_deref().map(|file| self.certificates(&at.key("tls_ca"), file));
        let (implicit, host, port) = relay?;
        let tls = match (implicit, raw.tls) {
            (true, Some(raw::MailTls::None)) => {
                self.error(
                    &at.key("tls"),
                    "`smtps://` is TLS from the first byte",
                    "remove `tls: none`, or write `smtp://`",
                );
                SmtpTls::Implicit
            }
            (true, _) => SmtpTls::Implicit,
            (false, Some(raw::MailTls::None)) => SmtpTls::None,
            (false, None) if address::is_loopback_host(&host) => SmtpTls::None,
            (false, None | Some(raw::MailTls::Required)) => SmtpTls::StartTls,
        };
        if tls == SmtpTls::None && credentials.is_some() && !address::is_loopback_host(&host) {
            self.error(&at.key("tls"), "a password would cross the network in the clear", "write `tls: required`");
        }
        let port = port.unwrap_or(match tls {
            SmtpTls::Implicit => 465,
            SmtpTls::StartTls => 587,
            SmtpTls::None => 25,
        });
        Some(EmailSettings { to, from, host, port, tls, tls_ca, credentials, hello: raw.hello.clone(), timeout })
    }

    fn address(&mut self, at: &At, text: &str) -> String {
        let text = self.text(at, text);
        let bare = match text.rsplit_once('<') {
            Some((_, rest)) => rest.strip_suffix('>').unwrap_or(""),
            None => text.as_str(),
        };
        let fine = bare.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@') && !domain.starts_with('.')
        }) && !bare.contains(|c: char| c.is_whitespace() || c.is_control() || ",;<>\"".contains(c));
        if !fine || text.chars().any(char::is_control) {
            let help = if text.contains(',') || text.contains(';') {
                "write one address per item: `to: [a@example.com, b@example.com]`"
            } else {
                "write an address such as oncall@example.com"
            };
            self.error(at, format!("`{}` is not a mail address", short(&text)), help);
        }
        text
    }

    /// Implicit TLS, host and port of a relay.
    fn relay(&mut self, at: &At, text: &str) -> Option<(bool, String, Option<u16>)> {
        const HOW: &str =
            "write `smtp: \"smtp://mail.example.com:587\"` (STARTTLS) or `\"smtps://mail.example.com:465\"`";
        let text = self.text(at, text);
        let shown = short(&text);
        let Some((scheme, rest)) = text.split_once("://") else {
            self.error(
                at,
                format!("`{shown}` has no scheme"),
                format!("write `smtp: \"smtp://{shown}\"` (STARTTLS) or `\"smtps://…\"` (TLS from the first byte)"),
            );
            return None;
        };
        if scheme != "smtp" && scheme != "smtps" {
            self.error(at, format!("`{scheme}` is not a scheme of a mail relay"), HOW);
            return None;
        }
        if rest.contains('@') {
            self.error(
                at,
                "the URL of a relay holds no user or password",
                "write `username:` and `password: \"${secret.smtp}\"`",
            );
            return None;
        }
        let uri = format!("http://{}/", rest.trim_end_matches('/')).parse::<http::Uri>().ok();
        let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
        let path = uri.as_ref().map_or("", http::Uri::path);
        let port = uri.as_ref().and_then(http::Uri::port_u16);
        let bad_port = rest.rsplit(']').next().is_some_and(|rest| rest.contains(':')) && port.is_none();
        if host.is_empty() || path != "/" || bad_port || port == Some(0) {
            self.error(at, format!("`{shown}` is not the URL of a mail relay"), HOW);
            return None;
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some((scheme == "smtps", host, port))
    }

    fn credentials(&mut self, at: &At, raw: &raw::Email) -> Option<(String, SecretString)> {
        let password_at = at.key("password");
        if let Some(password) = &raw.password {
            self.literal_secret(&password_at, password, "a password", "declare it, `secrets: {smtp: {from_file: /run/credentials/smtp}}`, and write `password: \"${secret.smtp}\"`");
        }
        match (&raw.username, &raw.password) {
            (Some(user), Some(password)) => {
                let user = self.text(&at.key("username"), user);
                let password = self.text(&password_at, password);
                Some((user, SecretString::from(password)))
            }
            (None, None) => None,
            // A password that could not be read has an error of its own.
            (Some(_), None) if self.node(&password_at).is_some() => None,
            (Some(_), None) => {
                self.error(
                    &at.key("username"),
                    "`username` without `password`",
                    "write `password: \"${secret.smtp}\"`, or remove it",
                );
                None
            }
            (None, Some(_)) => {
                self.error(&password_at, "`password` without `username`", "write `username: plimsoll`, or remove it");
                None
            }
        }
    }
}

fn alert_on(on: &raw::OneOrMany<raw::AlertOn>) -> AlertOn {
    let mut out = AlertOn { fail: false, no_data: false, missed: false, invalid: None };
    for (_, item) in on.iter() {
        match item {
            raw::AlertOn::Word(raw::AlertWord::Fail) => out.fail = true,
            raw::AlertOn::Word(raw::AlertWord::NoData) => out.no_data = true,
            raw::AlertOn::Word(raw::AlertWord::Missed) => out.missed = true,
            raw::AlertOn::Invalid(count) => out.invalid = Some(count.invalid),
        }
    }
    out
}
