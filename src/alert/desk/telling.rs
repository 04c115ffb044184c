//! One group's turn: what its receiver is told now.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Alerts, rows::Row};
use crate::{
    alert::{
        group::{Group, GroupKey, Incident, MailKind, Plan, Standing},
        mail::{self, Line, Notice},
        mime,
        state::{AlertKey, AlertState},
        text::clean,
    },
    model::settings::Receiver,
    store::rows::NewMail,
};

impl Alerts {
    /// One group's turn; gives the time of its next one.
    pub(super) fn turn_group(
        &mut self,
        key: &GroupKey,
        firing: &BTreeSet<AlertKey>,
        now: Timestamp,
        mails: &mut Vec<NewMail>,
    ) -> Option<Timestamp> {
        let mut group = self.groups.remove(key).expect("the caller iterates over the groups that exist");
        let before = group.clone();
        let Some(receiver) = self.settings.receivers.iter().find(|receiver| receiver.name == key.receiver).cloned()
        else {
            self.drop_group(&group);
            return None;
        };
        self.dismiss(&mut group, &receiver, firing, now, mails);
        let mut next = None;
        // A mail changes what is due next, so the group is looked at once more after it.
        for _ in 0..2 {
            let standing = self.standing(&group, firing);
            group.note(standing, &self.settings, now);
            match group.plan(standing, &self.settings, now) {
                Plan::Mail(kind) => self.tell(&mut group, &receiver, firing, kind, now, mails),
                Plan::End => end(&mut group, now),
                Plan::Wait(at) => {
                    next = Some(at);
                    break;
                }
                Plan::Idle => break,
            }
        }
        if group != before {
            self.dirty.insert(Row::Group(key.clone()));
        }
        if group.is_done(&self.settings, now) {
            self.dirty.insert(Row::Group(key.clone()));
        } else {
            self.groups.insert(key.clone(), group);
        }
        next
    }

    fn drop_group(&mut self, group: &Group) {
        if group.incident.is_some() {
            let GroupKey { receiver, target } = &group.key;
            self.problems.push(format!(
                "receiver {receiver} left the configuration while alerts of {target} fired: the people it told are not \
                 told that it is over"
            ));
        }
        self.dirty.insert(Row::Group(group.key.clone()));
    }

    /// Addresses that left the receiver during an incident are told that they will hear no more of it.
    fn dismiss(
        &mut self,
        group: &mut Group,
        receiver: &Receiver,
        firing: &BTreeSet<AlertKey>,
        now: Timestamp,
        mails: &mut Vec<NewMail>,
    ) {
        let Some(incident) = &group.incident else { return };
        let gone: Vec<String> =
            incident.recipients.keys().filter(|recipient| !receiver.email.to.contains(recipient)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        self.write(group, receiver, firing, MailKind::Closed, &gone, now, mails);
        if let Some(incident) = &mut group.incident {
            incident.recipients.retain(|recipient, _| !gone.contains(recipient));
        }
    }

    fn standing(&self, group: &Group, firing: &BTreeSet<AlertKey>) -> Standing {
        let mut standing = Standing { firing: firing.len(), ..Standing::default() };
        standing.fresh = firing.iter().filter(|key| !group.told.contains(*key)).count();
        for key in group.told.iter().filter(|key| !firing.contains(*key)) {
            match self.book.get(key).map(|alert| alert.state) {
                Some(AlertState::Resolved | AlertState::Pending) => standing.resolved += 1,
                // Closed, or told to others now.
                _ => standing.closed += 1,
            }
        }
        standing
    }

    /// Writes the mails of `kind` and moves the group on.
    fn tell(
        &mut self,
        group: &mut Group,
        receiver: &Receiver,
        firing: &BTreeSet<AlertKey>,
        kind: MailKind,
        now: Timestamp,
        mails: &mut Vec<NewMail>,
    ) {
        if group.incident.is_none() {
            let flapping = group.reopens(&self.settings, now);
            let first = firing.iter().filter_map(|key| self.book.get(key));
            group.incident = Some(Incident {
                id: mime::incident_id(&group.key, now),
                opened_at: now,
                seq: 0,
                base: mail::base(&group.key.target, &first.collect::<Vec<_>>()),
                recipients: BTreeMap::new(),
                flapping,
                history: Vec::new(),
            });
        }
        self.write(group, receiver, firing, kind, &receiver.email.to, now, mails);
        group.last_mail = Some(now);
        group.changed_at = None;
        if let Some(incident) = &mut group.incident {
            for alert in firing.union(&group.told).filter_map(|key| self.book.get(key)) {
                incident.record(alert);
            }
        }
        group.told.clone_from(firing);
        for key in firing {
            if let Some(alert) = self.book.get_mut(key).filter(|alert| !alert.told) {
                alert.told = true;
                self.dirty.insert(Row::Alert(key.clone()));
            }
        }
        if matches!(kind, MailKind::Resolved | MailKind::Closed) {
            end(group, now);
        }
    }

    /// One mail for each of `recipients`.
    #[expect(clippy::too_many_arguments, reason = "one inner helper of two callers; a struct would only rename them")]
    fn write(
        &mut self,
        group: &mut Group,
        receiver: &Receiver,
        firing: &BTreeSet<AlertKey>,
        kind: MailKind,
        recipients: &[String],
        now: Timestamp,
        mails: &mut Vec<NewMail>,
    ) {
        let Some(incident) = &mut group.incident else { return };
        incident.seq += 1;
        let known = firing.union(&group.told).filter_map(|key| self.book.get(key));
        // The last mail tells the whole story.
        let told = |key: &AlertKey| firing.contains(key) || group.told.contains(key);
        let last = firing.is_empty() && matches!(kind, MailKind::Resolved | MailKind::Closed);
        let past = incident.history.iter().map(|past| &past.alert).filter(|alert| last && !told(&alert.key));
        let lines = known.chain(past).map(|alert| Line {
            alert,
            since: if firing.contains(&alert.key) { alert.since } else { incident.first(alert) },
            firing: firing.contains(&alert.key),
            fresh: firing.contains(&alert.key) && !group.told.contains(&alert.key),
        });
        let notice = Notice {
            kind,
            incident,
            target: &group.key.target,
            lines: lines.collect(),
            facts: &self.facts,
            dossiers: &self.dossiers,
            settings: &self.settings,
            house: &self.house,
            paused: self.paused.as_deref(),
            now,
        };
        let letter = mail::letter(&notice);
        for recipient in recipients {
            let root = incident.recipients.get(recipient).copied();
            match mime::mail(&letter, kind, &incident.id, incident.seq, root, receiver, recipient, now) {
                Ok(mail) => {
                    mails.push(mail);
                    incident.recipients.entry(recipient.clone()).or_insert(incident.seq);
                }
                Err(error) => {
                    self.problems.push(format!("no mail to {} of {}: {error}", clean(recipient, 100), receiver.name));
                }
            }
        }
    }
}

/// Closes the incident of a group.
fn end(group: &mut Group, now: Timestamp) {
    group.incident = None;
    group.changed_at = None;
    group.ended_at = Some(now);
    group.told.clear();
}
