//! What this machine can carry: open files, local ports and memory. A plan that needs more is refused before anything is
//! sent, with the arithmetic; what would fail halfway looks like an outage of the target.

use std::{io, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::forecast::{Forecast, forecast};
use crate::model::{address, scenario::Scenario, settings::Policy};

/// The limits of this machine and this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Open files allowed, after [`raise_files`]; `None` = no limit.
    pub files: Option<u64>,
    /// Files open by now.
    pub open: u64,
    /// Local ports for connections to one destination.
    pub ports: u64,
    /// A port is used again for the same destination so long after its connection was closed.
    pub port_rest: Duration,
    /// Memory that can be had, bytes; `None` where the machine does not say.
    pub memory: Option<u64>,
}

/// Something that a plan needs more of than there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// The arithmetic, as a sentence.
    pub what: String,
    /// What to change.
    pub help: String,
    /// It may be otherwise in a minute: memory that others use.
    pub passing: bool,
}

/// A closed connection holds its port for a minute (the kernel's `TCP_TIMEWAIT_LEN`).
const TIME_WAIT: Duration = Duration::from_mins(1);
/// Where the kernel may use such ports again at once (`tcp_tw_reuse`), it does so after a second.
const TIME_WAIT_REUSED: Duration = Duration::from_secs(1);
/// Files that a process needs besides connections to targets: database, page, log, timers.
const OWN_FILES: u64 = 64;

/// Raises the soft limit of open files to the hard one; the limit that holds from now on.
pub fn raise_files() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum)
}

/// What this machine lacks for `scenario`; empty = it can be carried.
pub fn shortages_of(scenario: &Scenario, policy: &Policy) -> Vec<Shortage> {
    Host::read(address::is_loopback_host(&scenario.target.base.host)).shortages(&forecast(scenario, policy))
}

impl Host {
    /// Reads the limits; `loopback` says where the load goes.
    pub fn read(loopback: bool) -> Self {
        let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut range = range.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        let ports = range.next().zip(range.next()).map_or(28_232, |(low, high)| (high + 1).saturating_sub(low));
        let reused = number("/proc/sys/net/ipv4/tcp_tw_reuse").is_some_and(|how| how == 1 || (how == 2 && loopback));
        let group = number("/sys/fs/cgroup/memory.max").zip(number("/sys/fs/cgroup/memory.current"));
        let group = group.map(|(most, used)| most.saturating_sub(used));
        let machine = procfs::Current::current().ok().and_then(|info: procfs::Meminfo| info.mem_available);
        Self {
            files: getrlimit(Resource::Nofile).current,
            open: super::judging::process_figures().1,
            ports,
            port_rest: if reused { TIME_WAIT_REUSED } else { TIME_WAIT },
            memory: group.into_iter().chain(machine).min(),
        }
    }

    /// What `plan` needs more of than there is; empty = it can be carried.
    pub fn shortages(&self, plan: &Forecast) -> Vec<Shortage> {
        let mut found = Vec::new();
        let need = plan.connections + OWN_FILES;
        if let Some(files) = self.files.filter(|files| need > *files) {
            found.push(Shortage {
                what: format!(
                    "open files: {} connections and {OWN_FILES} for itself are {need}, and the limit is {files}",
                    plan.connections
                ),
                help: format!(
                    "raise the hard limit (`ulimit -Hn {need}`, `LimitNOFILE={need}` in systemd), or use fewer users, a \
                     lower `max_in_flight` or a pool: `connections: {}`",
                    files.saturating_sub(OWN_FILES).max(1)
                ),
                passing: false,
            });
        }
        if plan.connections > self.ports {
            found.push(Shortage {
                what: format!(
                    "local ports: {} connections to one destination, and ip_local_port_range has {}",
                    plan.connections, self.ports
                ),
                help: format!(
                    "widen it (`sysctl net.ipv4.ip_local_port_range=\"1024 65535\"`), or use a pool: `connections: {}`",
                    self.ports
                ),
                passing: false,
            });
        }
        if let Some(rate) = plan.opened_per_s {
            let window = plan.duration.map_or(self.port_rest, |length| length.min(self.port_rest)).as_secs_f64();
            let held = (rate * window).ceil() as u64;
            if held > self.ports {
                found.push(Shortage {
                    what: format!(
                        "local ports: {rate}/s with a connection for each request hold {held} for {:.0} s after they are \
                         closed, and ip_local_port_range has {}",
                        self.port_rest.as_secs_f64(),
                        self.ports
                    ),
                    help: format!(
                        "keep connections open (`http: {{reuse: true}}`), or send at most {:.0}/s",
                        (self.ports as f64 / window).floor()
                    ),
                    passing: false,
                });
            }
        }
        if let Some(memory) = self.memory.filter(|memory| plan.memory > *memory) {
            let mega = |bytes: u64| bytes.div_ceil(1_000_000);
            found.push(Shortage {
                what: format!(
                    "memory: {} at once and {} series take about {} MB, and {} MB can be had",
                    plan.concurrency,
                    plan.series.most.unwrap_or(plan.series.least),
                    mega(plan.memory),
                    mega(memory)
                ),
                help: "use fewer users or a lower `max_in_flight`".to_owned(),
                passing: true,
            });
        }
        found
    }
}
