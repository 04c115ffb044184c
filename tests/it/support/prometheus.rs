//! A real Prometheus that scrapes one address each second.

use std::{net::SocketAddr, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use super::{Labels, PATIENCE, Process, http, on_free_port, require, wait_until};

#[derive(Debug)]
pub(crate) struct Prometheus {
    pub(crate) addr: SocketAddr,
    client: reqwest::Client,
    _process: Process,
    _folder: TempDir,
}

/// One sample of one series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) labels: Labels,
    /// Seconds since 1970.
    pub(crate) at: f64,
    pub(crate) value: f64,
}

impl Prometheus {
    /// Starts and waits until it is ready to answer queries (the first scrape may still be to come).
    pub(crate) async fn start(target: SocketAddr) -> Option<Self> {
        let program = require("prometheus")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n  - job_name: plimsoll\n    static_configs: [{{targets: ['{target}']}}]\n"
        );
        std::fs::write(root.join("prometheus.yml"), config).expect("it is ours");
        let (process, addr) = on_free_port(|port| {
            let mut command = Command::new(&program);
            command
                .arg(format!("--config.file={}", root.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", root.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--log.level=warn")
                .current_dir(root);
            Process::spawn("prometheus", &mut command, root)
        })
        .await;
        let client = http();
        let ready = format!("http://{addr}/-/ready");
        wait_until("Prometheus is ready", PATIENCE, async || {
            client.get(&ready).send().await.ok().filter(|response| response.status() == 200)
        })
        .await;
        Some(Self { addr, client, _process: process, _folder: folder })
    }

    /// The samples of an instant query (a vector or a scalar).
    pub(crate) async fn query(&self, expr: &str) -> Vec<Sample> {
        let data = self.ask(expr).await;
        if data["resultType"] == "scalar" {
            return vec![sample(&Value::Null, &data["result"])];
        }
        series(&data).iter().map(|series| sample(&series["metric"], &series["value"])).collect()
    }

    /// The last sample of each series of the last hour as it was scraped, without lookback or extrapolation.
    pub(crate) async fn raw_last(&self, selector: &str) -> Vec<Sample> {
        let data = self.ask(&format!("{selector}[1h]")).await;
        series(&data)
            .iter()
            .filter_map(|series| Some(sample(&series["metric"], series["values"].as_array()?.last()?)))
            .collect()
    }

    async fn ask(&self, expr: &str) -> Value {
        let base = format!("http://{}/api/v1/query", self.addr);
        let url = reqwest::Url::parse_with_params(&base, [("query", expr)]).expect("a URL");
        let response = self.client.get(url).send().await.expect("Prometheus answers");
        let mut answer: Value = response.json().await.expect("JSON");
        assert_eq!(answer["status"], "success", "{expr}: {answer}");
        answer["data"].take()
    }
}

fn series(data: &Value) -> &[Value] {
    data["result"].as_array().map_or(&[], Vec::as_slice)
}

fn sample(metric: &Value, pair: &Value) -> Sample {
    let labels = metric.as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Sample {
        labels: labels.map(|(name, value)| (name.clone(), text(value))).collect(),
        at: pair[0].as_f64().expect("a time"),
        value: text(&pair[1]).parse().expect("a number"),
    }
}
