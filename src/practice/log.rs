//! What the practice target saw, by its own count: the other side of every claim about what was sent.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::model::Name;

/// Requests kept one by one; older ones stay in the counts.
pub const MAX_REQUESTS: usize = 20_000;
/// Paths counted one by one; further ones are counted as `(other)`.
const MAX_PATHS: usize = 200;

/// Counts since the start or the last reset, and the latest requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// Requests whose head was read.
    pub received: u64,
    /// Requests whose answer was handed to the connection.
    pub answered: u64,
    /// Requests that will get no answer: reset by the target, or the client left.
    pub unanswered: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests by the fault they met, whether they had an answer or not.
    pub by_fault: BTreeMap<Fault, u64>,
    /// The same by path; ids in the endpoints' own paths are written `{id}`.
    pub by_path: BTreeMap<Name, PathLog>,
    /// The most requests received and not yet answered at one time.
    pub max_concurrent: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Of them, those reset at once (`accept_resets`).
    pub connections_reset: u64,
    /// Requests counted above that are no longer in `requests`.
    pub dropped: u64,
    /// The latest requests, in the order in which they were received.
    pub requests: Vec<Entry>,
}

/// The counts of one path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathLog {
    /// Requests whose head was read.
    pub received: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests that will get no answer.
    pub unanswered: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests by the fault they met.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_fault: BTreeMap<Fault, u64>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1 since the start, resets included.
    pub seq: u64,
    /// Without its query.
    pub path: Name,
    /// Milliseconds since the target started, when the head was read.
    pub received_ms: f64,
    /// The same when the answer was handed to the connection; null while it is not.
    pub answered_ms: Option<f64>,
    /// The answer's status; null while there is none.
    pub status: Option<u16>,
}

/// The log as it is written.
#[derive(Debug, Default)]
pub struct Recorder {
    counts: Log,
    paths: HashMap<Name, PathLog>,
    ring: VecDeque<Entry>,
    seq: u64,
    concurrent: u64,
    /// Requests up to this one were received before the last reset and count no more.
    cleared: u64,
}

impl Recorder {
    /// Counts a request; its number and the name its path is counted under.
    pub fn received(&mut self, path: &str, at: Duration) -> (u64, Name) {
        self.seq += 1;
        self.counts.received += 1;
        self.concurrent += 1;
        self.counts.max_concurrent = self.counts.max_concurrent.max(self.concurrent);
        let name = self.name(path);
        self.paths.entry(name.clone()).or_default().received += 1;
        if self.ring.len() == MAX_REQUESTS {
            self.ring.pop_front();
            self.counts.dropped += 1;
        }
        let entry = Entry { seq: self.seq, path: name.clone(), received_ms: ms(at), answered_ms: None, status: None };
        self.ring.push_back(entry);
        (self.seq, name)
    }

    /// Counts the answer to request `seq`, whose path is counted under `path`.
    pub fn answered(&mut self, seq: u64, path: &Name, status: u16, at: Duration) {
        if seq <= self.cleared {
            return;
        }
        self.concurrent -= 1;
        self.counts.answered += 1;
        *self.counts.by_status.entry(status).or_default() += 1;
        let of_path = self.paths.entry(path.clone()).or_default();
        of_path.answered += 1;
        *of_path.by_status.entry(status).or_default() += 1;
        let oldest = self.ring.front().map_or(u64::MAX, |entry| entry.seq);
        if let Some(entry) = seq.checked_sub(oldest).and_then(|index| self.ring.get_mut(index as usize)) {
            entry.answered_ms = Some(ms(at));
            entry.status = Some(status);
        }
    }

    /// Counts that request `seq`, whose path is counted under `path`, will have no answer.
    pub fn gone(&mut self, seq: u64, path: &Name) {
        if seq > self.cleared {
            self.concurrent -= 1;
            self.counts.unanswered += 1;
            self.paths.entry(path.clone()).or_default().unanswered += 1;
        }
    }

    /// Counts that request `seq` meets a fault.
    pub fn faulted(&mut self, seq: u64, path: &Name, fault: Fault) {
        if seq > self.cleared {
            *self.counts.by_fault.entry(fault).or_default() += 1;
            *self.paths.entry(path.clone()).or_default().by_fault.entry(fault).or_default() += 1;
        }
    }

    /// Counts a connection.
    pub fn connected(&mut self, reset: bool) {
        self.counts.connections += 1;
        self.counts.connections_reset += u64::from(reset);
    }

    /// Forgets everything received so far, what is in flight included.
    pub fn clear(&mut self) {
        *self = Self { seq: self.seq, cleared: self.seq, ..Self::default() };
    }

    /// A copy, with the latest `last` requests.
    pub fn snapshot(&self, last: usize) -> Log {
        let skipped = self.ring.len().saturating_sub(last);
        let mut log = self.counts.clone();
        log.dropped += skipped as u64;
        log.by_path = self.paths.iter().map(|(name, counts)| (name.clone(), counts.clone())).collect();
        log.requests = self.ring.iter().skip(skipped).cloned().collect();
        log
    }

    /// Requests received and not yet answered.
    pub fn concurrent(&self) -> u64 {
        self.concurrent
    }

    /// Answers by status so far.
    pub fn by_status(&self) -> &BTreeMap<u16, u64> {
        &self.counts.by_status
    }

    /// Answers to paths that begin so, and those of them with a status of 400 or more.
    pub fn under(&self, prefix: &str) -> (u64, u64) {
        let paths = self.paths.iter().filter(|(name, _)| name.starts_with(prefix));
        let statuses = paths.flat_map(|(_, counts)| &counts.by_status);
        statuses.fold((0, 0), |(all, errors), (status, count)| {
            (all + count, errors + if *status >= 400 { *count } else { 0 })
        })
    }

    fn name(&self, path: &str) -> Name {
        let label = label(path);
        match self.paths.get_key_value(label) {
            Some((name, _)) => name.clone(),
            None if self.paths.len() < MAX_PATHS => Arc::from(label),
            None => Arc::from("(other)"),
        }
    }
}

/// The path with the ids of the target's own endpoints taken out.
fn label(path: &str) -> &str {
    let mut parts = path.trim_start_matches('/').splitn(5, '/');
    let mut next = || parts.next().unwrap_or_default();
    match [next(), next(), next(), next(), next()] {
        ["session", _, "status", "", ""] => "/session/{id}/status",
        ["fir", id, "", "", ""] if !id.is_empty() => "/fir/{id}",
        ["conversations", id, "", "", ""] if !id.is_empty() => "/conversations/{id}",
        ["conversations", _, "turns", "", ""] => "/conversations/{id}/turns",
        ["api", "conversations", id, "", ""] if !id.is_empty() => "/api/conversations/{id}",
        ["api", "conversations", _, "messages", ""] => "/api/conversations/{id}/messages",
        ["api", "v1", "conversations", id, ""] if !id.is_empty() => "/api/v1/conversations/{id}",
        ["api", "v1", "conversations", _, "messages"] => "/api/v1/conversations/{id}/messages",
        _ => path,
    }
}

fn ms(at: Duration) -> f64 {
    at.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn counts_and_entries() {
        let mut log = Recorder::default();
        let (a, name) = log.received("/a", at(1));
        let (b, status) = log.received("/session/77/status", at(2));
        let (c, _) = log.received("/a", at(3));
        log.answered(b, &status, 404, at(4));
        log.answered(a, &name, 200, at(5));
        log.faulted(c, &name, Fault::ResetRequestHead);
        log.gone(c, &name);
        log.connected(true);
        let seen = log.snapshot(usize::MAX);
        insta::assert_json_snapshot!(seen, @r#"
        {
          "received": 3,
          "answered": 2,
          "unanswered": 1,
          "by_status": {
            "200": 1,
            "404": 1
          },
          "by_fault": {
            "reset_request_head": 1
          },
          "by_path": {
            "/a": {
              "received": 2,
              "answered": 1,
              "unanswered": 1,
              "by_status": {
                "200": 1
              },
              "by_fault": {
                "reset_request_head": 1
              }
            },
            "/session/{id}/status": {
              "received": 1,
              "answered": 1,
              "unanswered": 0,
              "by_status": {
                "404": 1
              }
            }
          },
          "max_concurrent": 3,
          "connections": 1,
          "connections_reset": 1,
          "dropped": 0,
          "requests": [
            {
              "seq": 1,
              "path": "/a",
              "received_ms": 1.0,
              "answered_ms": 5.0,
              "status": 200
            },
            {
              "seq": 2,
              "path": "/session/{id}/status",
              "received_ms": 2.0,
              "answered_ms": 4.0,
              "status": 404
            },
            {
              "seq": 3,
              "path": "/a",
              "received_ms": 3.0,
              "answered_ms": null,
              "status": null
            }
          ]
        }
        "#);
        assert_eq!(log.snapshot(1).requests, seen.requests[2..]);
        assert_eq!(log.snapshot(1).dropped, 2);
    }

    #[test]
    fn ids_are_taken_out_of_known_paths() {
        let check = |path: &str, expected: &str| assert_eq!(label(path), expected);
        check("/conversations/7", "/conversations/{id}");
        check("/conversations/7/turns", "/conversations/{id}/turns");
        check("/conversations", "/conversations");
        check("/conversations/", "/conversations/");
        check("/api/v1/conversations/7/messages", "/api/v1/conversations/{id}/messages");
        check("/api/conversations/7", "/api/conversations/{id}");
        check("/api/conversations/7/other", "/api/conversations/7/other");
        check("/fir/7", "/fir/{id}");
    }

    #[test]
    fn it_is_bounded_and_counts_what_it_dropped() {
        let mut log = Recorder::default();
        let (first, name) = log.received("/first", at(0));
        for n in 1..MAX_REQUESTS + 10 {
            let (seq, name) = log.received(&format!("/{n}"), at(0));
            log.answered(seq, &name, 200, at(1));
        }
        log.answered(first, &name, 200, at(2));
        let seen = log.snapshot(usize::MAX);
        assert_eq!((seen.requests.len(), seen.dropped, seen.by_path.len()), (MAX_REQUESTS, 10, MAX_PATHS + 1));
        assert_eq!(seen.requests[0].seq, 11);
        assert_eq!((seen.received, seen.answered), (MAX_REQUESTS as u64 + 10, MAX_REQUESTS as u64 + 10));
    }

    #[test]
    fn a_reset_forgets_what_is_in_flight() {
        let mut log = Recorder::default();
        let (old, name) = log.received("/a", at(0));
        log.clear();
        let (new, _) = log.received("/a", at(1));
        log.answered(old, &name, 200, at(2));
        log.answered(new, &name, 200, at(3));
        let seen = log.snapshot(usize::MAX);
        assert_eq!((seen.received, seen.answered, seen.max_concurrent), (1, 1, 1));
        assert_eq!((seen.requests[0].seq, seen.requests[0].answered_ms), (2, Some(3.0)));
    }
}
