//! `vars`, `env` and `secrets`: what templates may use, known when the configuration is loaded.

use std::{io::ErrorKind, path::Path, sync::Arc};

use serde_json::{Map, Value as Json};

use super::{At, Lower};
use crate::{
    config::{hints, mask, raw},
    input,
    model::{scenario::Constants, settings::Redactor},
};

/// A secret is a line or a key, not a document.
const MAX_SECRET: u64 = 64 * 1024;

impl Lower<'_> {
    pub(super) fn constants(&mut self) {
        let mut hidden = Vec::new();
        let vars = self.vars();
        let env = self.env(&mut hidden);
        let secret = self.secrets(&mut hidden);
        for (root, map, section) in [("vars", &vars, "vars"), ("secret", &secret, "secrets")] {
            // A name that could not be read is known all the same: one error for it is enough.
            let mut names: Vec<String> = map.keys().cloned().collect();
            names.extend(self.section(section).into_iter().map(ToOwned::to_owned));
            self.known.insert(root, names);
        }
        let names = self.main().env.iter().flatten().cloned();
        self.known.insert("env", names.collect());
        self.known.insert("target", vec!["name".to_owned(), "base_url".to_owned()]);
        let constants = [("vars", vars), ("env", env), ("secret", secret)];
        let constants = constants.into_iter().map(|(name, map)| (name.to_owned(), Json::Object(map))).collect();
        self.constants = Constants(Arc::new(constants));
        self.redactor = Redactor::new(hidden);
    }

    fn vars(&mut self) -> Map<String, Json> {
        self.twice("vars");
        let mut out = Map::new();
        for (index, file) in self.files.iter().enumerate() {
            let at = At::root(index).key("vars");
            for (name, value) in file.raw.vars.iter().flat_map(|vars| &vars.0) {
                let at = at.key(name);
                self.identifier(&at, name, "a variable");
                if value.as_str().is_some_and(|text| text.contains("${")) {
                    self.error(
                        &at,
                        "a variable is a constant, not a template",
                        "use the template where the variable is used",
                    );
                }
                let literal = value.is_string() || value.is_number() && !name.to_ascii_lowercase().contains("token");
                if literal && value != "" && mask::names_a_secret(name) {
                    self.error(
                        &at,
                        "a secret is written into the file",
                        format!(
                            "write `secrets: {{{name}: {{from_env: NAME}}}}`, and `${{secret.{name}}}` where it is used"
                        ),
                    );
                }
                out.insert(name.clone(), value.clone());
            }
        }
        out
    }

    fn env(&mut self, hidden: &mut Vec<String>) -> Map<String, Json> {
        let mut out = Map::new();
        for (index, name) in self.main().env.iter().flatten().enumerate() {
            let at = At::root(0).key("env").index(index);
            match self.around.env.get(name) {
                Some(value) => {
                    if mask::sensitive_key(name) {
                        hidden.push(value.clone());
                    }
                    out.insert(name.clone(), Json::from(value.as_str()));
                }
                None => self.error(
                    &at,
                    format!("the environment variable `{name}` is not set"),
                    format!("set it, or remove it from `env:`; a variable with nothing in it is `{name}=`"),
                ),
            }
        }
        out
    }

    fn secrets(&mut self, hidden: &mut Vec<String>) -> Map<String, Json> {
        let mut out = Map::new();
        for (name, secret) in self.main().secrets.iter().flat_map(|secrets| &secrets.0) {
            let at = At::root(0).key("secrets").key(name);
            self.identifier(&at, name, "a secret");
            if let Some(value) = self.secret(&at, secret) {
                hidden.push(value.clone());
                out.insert(name.clone(), Json::from(value));
            }
        }
        out
    }

    fn secret(&mut self, at: &At, secret: &raw::Secret) -> Option<String> {
        const HOW: &str = "write one of `from_env: NAME`, `from_file: PATH` or `from_credential: NAME`";
        match (&secret.from_env, &secret.from_file, &secret.from_credential) {
            (Some(name), None, None) => {
                let at = at.key("from_env");
                match self.around.env.get(name) {
                    Some(value) if !value.is_empty() => Some(value.clone()),
                    Some(_) => {
                        self.error(&at, format!("the environment variable `{name}` is empty"), "set it to the secret");
                        None
                    }
                    None => {
                        let known: Vec<&str> = self.around.env.keys().map(String::as_str).collect();
                        let help = hints::nearest(name, known).map_or_else(
                            || "set it before Plimsoll starts, or use `from_file:`".to_owned(),
                            |near| format!("set it, or did you mean `{near}`?"),
                        );
                        self.error(&at, format!("the environment variable `{name}` is not set"), help);
                        None
                    }
                }
            }
            (None, Some(path), None) => {
                let at = at.key("from_file");
                let path = self.resolve(&at, path);
                self.secret_file(&at, &path)
            }
            (None, None, Some(name)) => {
                let at = at.key("from_credential");
                let Some(dir) = self.around.credentials_dir else {
                    self.error(
                        &at,
                        "there are no credentials: $CREDENTIALS_DIRECTORY is not set",
                        format!("write `LoadCredential={name}:/path` into the systemd unit, or use `from_file:`"),
                    );
                    return None;
                };
                if name.is_empty() || name.contains('/') || name.starts_with('.') {
                    self.error(
                        &at,
                        "a credential's name is a file name without `/`",
                        "write the name that `LoadCredential=` gives it",
                    );
                    return None;
                }
                self.secret_file(&at, &dir.join(name))
            }
            (None, None, None) => {
                if !self.troubled(at) {
                    self.error(at, "a secret says where it is read from", HOW);
                }
                None
            }
            _ => {
                self.error(at, "a secret is read from one place", HOW);
                None
            }
        }
    }

    fn secret_file(&mut self, at: &At, path: &Path) -> Option<String> {
        let shown = path.display();
        match input::read_text(path, MAX_SECRET) {
            Ok(text) => {
                let value = text.strip_suffix('\n').unwrap_or(&text);
                let value = value.strip_suffix('\r').unwrap_or(value);
                if value.is_empty() {
                    self.error(at, format!("`{shown}` is empty"), "write the secret into it");
                    return None;
                }
                Some(value.to_owned())
            }
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                self.error(
                    at,
                    format!("`{shown}` is larger than 64 KiB: that is not a secret"),
                    "name a file that holds the secret and nothing else",
                );
                None
            }
            Err(error) => {
                self.error(
                    at,
                    format!("`{shown}` cannot be read: {}", reason(&error)),
                    "check the path and who may read it",
                );
                None
            }
        }
    }
}

/// An I/O error without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}
