//! The desk's memory: one row each for alerts, scenarios and groups, written with the mails they led to.

use serde::{Serialize, de::DeserializeOwned};

use super::{Alerts, Name};
use crate::alert::{
    group::{Group, GroupKey},
    state::{Alert, AlertKey},
};

/// A stored row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    Alert(AlertKey),
    Dossier(Name),
    Group(GroupKey),
    /// One that nobody understands any more; deleted.
    Unknown(String),
}

impl Row {
    fn key(&self) -> String {
        match self {
            Self::Alert(key) => format!("alert\t{}\t{}", key.scenario, key.alert),
            Self::Dossier(scenario) => format!("scenario\t{scenario}"),
            Self::Group(key) => format!("group\t{}\t{}", key.receiver, key.target),
            Self::Unknown(key) => key.clone(),
        }
    }
}

impl Alerts {
    /// Takes in a stored row; `None` if it is not understood.
    pub(super) fn restore(&mut self, key: &str, value: &str) -> Option<()> {
        fn parse<T: DeserializeOwned>(value: &str) -> Option<T> {
            serde_json::from_str(value).ok()
        }
        let (kind, rest) = key.split_once('\t')?;
        match kind {
            "alert" => {
                let alert: Alert = parse(value)?;
                self.book.insert(alert.key.clone(), alert);
            }
            "scenario" => {
                self.dossiers.insert(rest.into(), parse(value)?);
            }
            "group" => {
                let group: Group = parse(value)?;
                self.groups.insert(group.key.clone(), group);
            }
            _ => return None,
        }
        Some(())
    }

    /// The rows that changed since the last turn.
    pub(super) fn rows(&mut self) -> Vec<(String, Option<String>)> {
        fn json<T: Serialize>(value: Option<&T>) -> Option<String> {
            value.map(|value| serde_json::to_string(value).expect("string keys and finite shapes"))
        }
        let value = |row: &Row| match row {
            Row::Alert(key) => json(self.book.get(key)),
            Row::Dossier(name) => json(self.dossiers.get(name)),
            Row::Group(key) => json(self.groups.get(key)),
            Row::Unknown(_) => None,
        };
        let rows = self.dirty.iter().map(|row| (row.key(), value(row))).collect();
        self.dirty.clear();
        rows
    }
}
