//! `network`: clients that are far away, on a slow line, or gone before they are answered.

use std::{fmt, time::Duration};

use crate::model::units::{Unit, human, human_seconds};

/// How our own side of the network is made worse than it is. Nothing of the machine is changed by it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NetworkSpec {
    /// The bytes of a request leave this much later.
    pub delay: Duration,
    /// The delay lies evenly between `delay - jitter` and `delay + jitter`; at most `delay`.
    pub jitter: Duration,
    /// Bytes per second that are read from a connection at most; above 0.
    pub down: Option<f64>,
    /// Bytes per second that are written to a connection at most; above 0.
    pub up: Option<f64>,
    /// Clients that do not wait for their answer.
    pub abort: Option<AbortSpec>,
}

/// Clients that do not wait for their answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortSpec {
    /// So many of each [`of`](Self::of) requests; at least 1, and less than `of`.
    pub marked: u32,
    /// At most 10,000.
    pub of: u32,
    /// From the first byte that they may send to when they are gone.
    pub after: Duration,
}

impl AbortSpec {
    /// As a share, 0 to 1.
    pub fn share(&self) -> f64 {
        f64::from(self.marked) / f64::from(self.of)
    }
}

impl NetworkSpec {
    /// Whether what connections carry is slowed down.
    pub fn is_slow(&self) -> bool {
        self.down.is_some() || self.up.is_some()
    }
}

impl fmt::Display for NetworkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Duration| human_seconds(time.as_secs_f64());
        let mut parts = Vec::new();
        if !self.delay.is_zero() {
            let jitter = if self.jitter.is_zero() { String::new() } else { format!(" ± {}", time(self.jitter)) };
            parts.push(format!("each request leaves {}{jitter} later", time(self.delay)));
        }
        for (rate, what) in [(self.down, "read"), (self.up, "written")] {
            if let Some(rate) = rate {
                parts.push(format!("{} {what} per connection", human(rate, Unit::BytesPerSecond)));
            }
        }
        if let Some(abort) = &self.abort {
            parts.push(format!(
                "{} of the clients are gone after {}",
                human(abort.share(), Unit::Ratio),
                time(abort.after)
            ));
        }
        f.write_str(&parts.join(", "))
    }
}
