//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{config::Overrides, practice::command::TargetArgs, telemetry::log::LogFormat};

/// Continuous synthetic load: scheduled probes and sustained load on HTTP targets, honest latency, alerts by mail.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    max_term_width = 110,
    after_help = "\
Exit codes: 0 pass, 2 usage, 99 a threshold failed, 101 internal error, 104 configuration or policy,
105 interrupted, 111 invalid (the generator was late), 112 no data. The daemon exits 0 on SIGTERM."
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// See it all work on this machine in one minute: target, load, alert, mail, page. Needs nothing else.
    Demo(DemoArgs),
    /// Check a configuration: every problem at once, with its place and what to write instead.
    Check(ConfigArg),
    /// Load one URL now, without a configuration: one request with its timings, or -n, -c, -z, --rate.
    Hit(HitArgs),
    /// Write a plimsoll.yaml to begin with: a health probe, a small load, and mail when something is wrong.
    Init(InitArgs),
    /// Show what a scenario will do before anything is sent: its timeline, its sums, and whether this machine can carry it.
    Explain(ExplainArgs),
    /// Run scenarios now and print what they came to.
    Run(RunArgs),
    /// Run all scenarios on their schedules, serve the page, send the mails. For months.
    Daemon(DaemonArgs),
    /// Run a scenario now in the running daemon, so that a fix resolves its alert at once.
    Trigger(TriggerArgs),
    /// Stop all load now, and keep it stopped over restarts.
    Pause(PauseArgs),
    /// Release load that was paused.
    Resume(ConfigArg),
    /// Run the practice target: a back end whose queue, pool, stalls and faults you set.
    #[command(long_about = crate::practice::command::ABOUT)]
    Target(TargetArgs),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
}

#[derive(Debug, Args)]
pub(super) struct ConfigArg {
    /// The configuration; otherwise ./plimsoll.yaml, or /etc/plimsoll/plimsoll.yaml.
    #[arg(short, long, value_name = "FILE", env = "PLIMSOLL_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// One of `environments:`, laid over the configuration.
    #[arg(long = "env", value_name = "NAME", env = "PLIMSOLL_ENVIRONMENT")]
    pub(super) environment: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DaemonArgs {
    #[command(flatten)]
    pub(super) config: ConfigArg,
    /// Log lines for people or for machines; auto is text on a terminal and JSON otherwise.
    #[arg(long, value_enum, default_value = "auto", env = "PLIMSOLL_LOG_FORMAT")]
    pub(super) log_format: LogFormat,
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where the page is; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9590")]
    pub(super) listen: SocketAddr,
    /// Keep database and mails in this directory; otherwise in one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// End after the alert is resolved, or after 120 seconds at the latest.
    #[arg(long)]
    pub(super) once: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
  plimsoll hit http://localhost:8080/health                       one request, and where its time went
  plimsoll hit http://localhost:8080/ -n 1000 -c 10               1000 requests, 10 at once
  plimsoll hit http://localhost:8080/ -z 30s -c 100               100 at once for 30 s
  plimsoll hit http://localhost:8080/ --rate 50/s -z 1m           50 a second, however slow the target is
  plimsoll hit http://localhost:8080/api -d '{\"prompt\": \"Test ${\x1b[mn}\"}' -n 20 --expect 'status == 200'

Nothing is kept, and nothing is read but the policy of the host. The exit codes are those of `plimsoll run`.")]
pub(super) struct HitArgs {
    // Not `{n}` in one piece, which would be a new line.
    #[arg(help = "What is asked for; `${\x1b[mn}` in it is the number of the request")]
    pub(super) url: String,
    /// So many requests; 200 where -c is given, one where nothing is.
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) requests: Option<u64>,
    /// So many at once, each on a connection of its own; 50 by default, never more than -n. With --rate: unanswered at most.
    #[arg(short, long, value_name = "N")]
    pub(super) concurrency: Option<u32>,
    /// For so long instead of -n, such as 30s.
    #[arg(short = 'z', long, value_name = "TIME")]
    pub(super) duration: Option<String>,
    /// So many per time, such as 10/s, whatever became of the others; for 10 s unless -n or -z says otherwise.
    #[arg(long, value_name = "RATE")]
    pub(super) rate: Option<String>,
    /// GET, or POST with -d.
    #[arg(short, long, visible_short_alias = 'X', value_name = "METHOD")]
    pub(super) method: Option<String>,
    #[arg(
        short,
        long,
        value_name = "BODY",
        help = "The body, or @FILE; `${\x1b[mn}`, `${vu}`, `${uuid}`, … are filled in. JSON is sent as application/json"
    )]
    pub(super) data: Option<String>,
    /// A header; its value is shown nowhere if it has 8 characters or the name tells a secret (auth, token, key, …).
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(super) headers: Vec<(String, String)>,
    /// From the hand-over of a request to its last byte; 60s by default.
    #[arg(long, value_name = "TIME")]
    pub(super) timeout: Option<String>,
    /// What must hold of each answer, such as 'status == 200' or '$.status == \"healthy\"'.
    #[arg(long, value_name = "EXPR")]
    pub(super) expect: Vec<String>,
    /// What must hold of the whole, such as 'p95(latency) < 2s'.
    #[arg(long, value_name = "EXPR")]
    pub(super) threshold: Vec<String>,
    /// Statuses that are a rejection and no failure, besides 429 and a 503 with Retry-After: 503, 5xx.
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub(super) reject: Vec<String>,
    /// A connection for each request.
    #[arg(long)]
    pub(super) no_keepalive: bool,
    /// PEM file of additional certificate authorities.
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// You may load this origin, such as https://example.com: without a policy only this machine may be loaded.
    #[arg(long, value_name = "ORIGIN")]
    pub(super) allow: Vec<String>,
    /// Write the result as JSON (schema plimsoll/run/1); - is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write a line of JSON for each request to this file; - is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) samples: Option<PathBuf>,
    /// Show the requests that are rejected or fail as they come, the first five of each kind.
    #[arg(short, long, conflicts_with = "quiet")]
    pub(super) verbose: bool,
    /// No progress and no summary; the exit code tells.
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The service, such as http://localhost:8080/health.
    pub(super) url: String,
    /// Who is told when something is wrong.
    pub(super) mail: Option<String>,
    /// Where it is written; a file that is there is left alone.
    #[arg(short, long, value_name = "FILE", default_value = "plimsoll.yaml")]
    pub(super) config: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct TriggerArgs {
    /// The scenario.
    pub(super) scenario: String,
    #[command(flatten)]
    pub(super) config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    /// Why, for those who find the load stopped.
    #[arg(default_value = "plimsoll pause")]
    pub(super) reason: String,
    #[command(flatten)]
    pub(super) config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The scenario.
    #[arg(conflicts_with_all = ["all", "select"])]
    pub(super) scenario: Option<String>,
    /// All scenarios.
    #[arg(long, conflicts_with = "select")]
    pub(super) all: bool,
    /// The scenarios whose labels fit.
    #[arg(long, value_name = "LABELS")]
    pub(super) select: Option<String>,
    #[command(flatten)]
    pub(super) config: ConfigArg,
    /// As JSON: an array, one object for each scenario.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) overrides: OverrideArgs,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The scenario.
    #[arg(conflicts_with_all = ["all", "select"])]
    pub(super) scenario: Option<String>,
    /// All scenarios, one after the other.
    #[arg(long, conflicts_with = "select")]
    pub(super) all: bool,
    /// The scenarios whose labels fit: 'smoke', 'stress and not slow', 'a or (b and c)'.
    #[arg(long, value_name = "LABELS")]
    pub(super) select: Option<String>,
    #[command(flatten)]
    pub(super) config: ConfigArg,
    /// Write the result as JSON (schema plimsoll/run/1; an array for several scenarios); - is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write a line of JSON for each request to this file; - is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) samples: Option<PathBuf>,
    /// Show the requests that are rejected or fail as they come, the first five of each kind.
    #[arg(short, long, conflicts_with = "quiet")]
    pub(super) verbose: bool,
    /// No progress and no summary; the exit code tells.
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Send alert mails as the daemon would.
    #[arg(long)]
    pub(super) notify: bool,
    #[command(flatten)]
    pub(super) overrides: OverrideArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Changes to the scenario")]
pub(super) struct OverrideArgs {
    /// Base URL of the target.
    #[arg(long, value_name = "URL", env = "PLIMSOLL_TARGET")]
    target: Option<String>,
    /// Users: vus, users, size or max_in_flight, as the executor has it.
    #[arg(long, value_name = "N", env = "PLIMSOLL_USERS")]
    users: Option<u32>,
    /// Arrival rate, such as 10/s.
    #[arg(long, value_name = "RATE", env = "PLIMSOLL_RATE")]
    rate: Option<String>,
    /// New users per time of a load of users, such as 10/s.
    #[arg(long, value_name = "RATE", env = "PLIMSOLL_SPAWN_RATE")]
    spawn_rate: Option<String>,
    /// Duration: duration, max_duration, hold_for or deadline, as the executor has it, such as 5m.
    #[arg(long, value_name = "TIME", env = "PLIMSOLL_DURATION")]
    duration: Option<String>,
    /// Request timeout, such as 10s.
    #[arg(long, value_name = "TIME", env = "PLIMSOLL_TIMEOUT")]
    timeout: Option<String>,
    /// A variable of `vars:`, as name=value.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    vars: Vec<(String, String)>,
    /// Anything in the configuration, as path=value: scenarios.health.load.attempts=3.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

impl OverrideArgs {
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            target: self.target.clone(),
            environment: None,
            users: self.users,
            spawn_rate: self.spawn_rate.clone(),
            rate: self.rate.clone(),
            duration: self.duration.clone(),
            timeout: self.timeout.clone(),
            vars: self.vars.clone(),
            set: self.set.clone(),
        }
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write 'NAME: VALUE'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_hit_shows_the_number_of_the_request_as_it_is_written() {
        let mut command = super::Cli::command();
        let help = command.find_subcommand_mut("hit").expect("it is there").render_help().to_string();
        assert_eq!(help.matches("${n}").count(), 3, "{help}");
        assert!(!help.contains('\u{1b}'), "{help}");
    }
}
