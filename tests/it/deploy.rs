//! What is shipped beside the binary: the unit, the manifests, the containers, the dashboard and the rules.
//!
//! Each is given to the program that will read it one day. Where such a program is absent the check says so and is skipped;
//! with `CI=true` or `PLIMSOLL_REQUIRE_COMPONENTS=1` (as `tests/run` sets it) it fails instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{require, skip};

const DASHBOARD: &str = "dashboards/plimsoll-overview.json";
const CATALOGUE: &str = "src/telemetry/catalogue.tsv";

#[test]
fn systemd_unit_verifies_and_is_hardened() {
    let Some(analyze) = require("systemd-analyze") else { return };
    // On a copy whose program exists: `verify` looks for it.
    let unit = scratch("unit").join("plimsoll.service");
    let text = read("deploy/systemd/plimsoll.service");
    assert!(text.contains("ExecStart=/usr/bin/plimsoll daemon "), "ExecStart is not what the copy replaces");
    fs::write(&unit, text.replace("ExecStart=/usr/bin/plimsoll", "ExecStart=/bin/true")).unwrap();
    // An unknown key is a warning on stderr and exit 0: only silence is good.
    assert_eq!(run(Command::new(&analyze).args(["verify", "--man=no"]).arg(&unit)), "");

    let report = run(Command::new(&analyze).args(["security", "--offline=yes", "--no-pager"]).arg(&unit));
    let exposure = report.lines().find_map(|l| l.split_once("Overall exposure level for plimsoll.service: "));
    let exposure: f64 = exposure.expect("an overall level").1.split(' ').next().unwrap().parse().unwrap();
    assert!(exposure <= 1.2, "exposure {exposure} > 1.2:\n{report}");
    for line in ["Type=notify", "WatchdogSec=30", "TimeoutStopSec=45", "DynamicUser=yes", "StateDirectory=plimsoll"] {
        assert!(text.lines().any(|l| l == line), "{line} is missing");
    }
}

#[test]
fn manifests_are_valid() {
    let Some(validate) = venv("kubernetes-validate") else { return };
    let mut checked = BTreeSet::new();
    for path in list("deploy/kubernetes", "yaml") {
        if !["kustomization.yaml", "plimsoll.yaml"].contains(&name(&path)) {
            let said = run(Command::new(&validate).arg("--strict").arg(&path));
            assert!(said.contains("passed for resource"), "{said}");
            checked.insert(name(&path).to_owned());
        }
    }
    assert_eq!(
        checked.into_iter().collect::<Vec<_>>(),
        ["namespace.yaml", "networkpolicy.yaml", "service.yaml", "statefulset.yaml"]
    );
}

#[test]
fn pod_is_restricted() {
    let Some(set) = yaml("deploy/kubernetes/statefulset.yaml") else { return };
    let pod = &set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for (what, is, wanted) in [
        ("replicas", &set["spec"]["replicas"], json!(1)),
        ("token", &pod["automountServiceAccountToken"], json!(false)),
        ("grace", &pod["terminationGracePeriodSeconds"], json!(45)),
        ("non-root", &pod["securityContext"]["runAsNonRoot"], json!(true)),
        ("seccomp", &pod["securityContext"]["seccompProfile"]["type"], json!("RuntimeDefault")),
        ("root file system", &container["securityContext"]["readOnlyRootFilesystem"], json!(true)),
        ("escalation", &container["securityContext"]["allowPrivilegeEscalation"], json!(false)),
        ("capabilities", &container["securityContext"]["capabilities"], json!({"drop": ["ALL"]})),
        ("liveness", &container["livenessProbe"]["httpGet"]["path"], json!("/-/healthy")),
        ("readiness", &container["readinessProbe"]["httpGet"]["path"], json!("/-/ready")),
        ("port", &container["ports"][0], json!({"name": "http", "containerPort": 9590})),
        ("memory", &container["resources"]["limits"]["memory"], json!("512Mi")),
        ("host network", &pod["hostNetwork"], json!(null)),
        ("image's own user", &pod["securityContext"]["runAsUser"], json!(65532)),
    ] {
        assert_eq!(*is, wanted, "{what}");
    }
    let mounts = container["volumeMounts"].as_array().unwrap();
    let data = mounts.iter().find(|m| m["name"] == "data").expect("a data volume");
    assert_eq!(data["mountPath"], "/var/lib/plimsoll");
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "data");
    let config = yaml("deploy/kubernetes/plimsoll.yaml").unwrap();
    assert_eq!(config["daemon"]["listen"], "0.0.0.0:9590");
    assert_eq!(config["daemon"]["data_dir"], "/var/lib/plimsoll");
}

/// Its schema is no part of Kubernetes, so no validator knows it: every field is compared.
#[test]
fn servicemonitor_selects_the_service() {
    let folder = "deploy/kubernetes/components/servicemonitor";
    let Some(monitor) = yaml(&format!("{folder}/servicemonitor.yaml")) else { return };
    let wanted = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "plimsoll", "namespace": "plimsoll", "labels": {"app.kubernetes.io/name": "plimsoll"}},
        "spec": {
            "jobLabel": "app.kubernetes.io/name",
            "selector": {"matchLabels": {"app.kubernetes.io/name": "plimsoll"}},
            "endpoints": [{"port": "http", "path": "/metrics", "interval": "15s", "scrapeTimeout": "10s"}],
        },
    });
    assert_eq!(monitor, wanted);
    let service = yaml("deploy/kubernetes/service.yaml").unwrap();
    assert_eq!(service["metadata"]["labels"], monitor["spec"]["selector"]["matchLabels"]);
    assert_eq!(service["spec"]["ports"][0]["name"], monitor["spec"]["endpoints"][0]["port"]);
    let component = yaml(&format!("{folder}/kustomization.yaml")).unwrap();
    assert_eq!(component["kind"], "Component");
    assert_eq!(component["resources"], json!(["servicemonitor.yaml"]));
}

#[test]
fn kustomize_builds_with_and_without_the_component() {
    // No Debian package: its absence is never an error.
    let (tool, sub) = match (which("kustomize"), which("kubectl")) {
        (Some(tool), _) => (tool, "build"),
        (None, Some(tool)) => (tool, "kustomize"),
        (None, None) => return println!("skipped: neither kustomize nor kubectl is installed"),
    };
    let core = run(Command::new(&tool).arg(sub).arg(root().join("deploy/kubernetes")));
    let kinds =
        |text: &str| text.lines().filter_map(|l| l.strip_prefix("kind: ")).map(str::to_owned).collect::<BTreeSet<_>>();
    let wanted =
        BTreeSet::from(["ConfigMap", "Namespace", "NetworkPolicy", "Service", "StatefulSet"].map(str::to_owned));
    assert_eq!(kinds(&core), wanted);
    assert!(core.contains("image: plimsoll:0.1.0"), "{core}");
    assert_eq!(core.matches("name: plimsoll-config-").count(), 2, "the hashed name is where it is used:\n{core}");

    let overlay = scratch("kustomize");
    let up = "../".repeat(overlay.strip_prefix(root()).expect("below the repository").components().count());
    let text =
        format!("resources: [{up}deploy/kubernetes]\ncomponents: [{up}deploy/kubernetes/components/servicemonitor]\n");
    fs::write(overlay.join("kustomization.yaml"), text).unwrap();
    assert!(kinds(&run(Command::new(&tool).arg(sub).arg(&overlay))).contains("ServiceMonitor"));
}

#[test]
fn compose_is_complete() {
    let Some(compose) = yaml("deploy/compose.yaml") else { return };
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["plimsoll", "target", "prometheus", "grafana", "mail"]);
    for (name, service) in services {
        assert!(service["image"].is_string(), "{name} has no image");
        assert!(service["healthcheck"]["test"].is_array(), "{name} has no health check");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        for port in service["ports"].as_array().unwrap() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} publishes {port} beyond loopback");
        }
        for volume in service["volumes"].as_array().unwrap_or(&Vec::new()) {
            let from = volume.as_str().unwrap().split(':').next().unwrap();
            let there = if from.starts_with('.') {
                root().join("deploy").join(from).exists()
            } else {
                compose["volumes"].get(from).is_some()
            };
            assert!(there, "{name}: {from} does not exist");
        }
        for other in service["depends_on"].as_object().into_iter().flat_map(|d| d.keys()) {
            assert!(services.contains_key(other), "{name} depends on {other}");
        }
    }
    assert_eq!(services["plimsoll"]["stop_grace_period"], "45s");
    let prometheus = yaml("deploy/compose/prometheus.yml").unwrap();
    let config = yaml("deploy/compose/plimsoll.yaml").unwrap();
    assert_eq!(prometheus["scrape_configs"][0]["static_configs"][0]["targets"], json!(["plimsoll:9590"]));
    assert_eq!(prometheus["scrape_configs"][0]["job_name"], "plimsoll", "the rules expect this job");
    assert_eq!(config["daemon"]["listen"], "0.0.0.0:9590");
    let source = yaml("deploy/compose/grafana/provisioning/datasources/plimsoll.yaml").unwrap();
    assert_eq!(source["datasources"][0]["jsonData"]["timeInterval"], prometheus["global"]["scrape_interval"]);
    if let Some(docker) = which("docker")
        && Command::new(&docker).args(["compose", "version"]).output().is_ok_and(|o| o.status.success())
    {
        run(Command::new(docker)
            .args(["compose", "-f"])
            .arg(root().join("deploy/compose.yaml"))
            .args(["config", "-q"]));
    }
}

/// The binary itself understands the configurations and the command lines that are shipped.
#[test]
fn binary_takes_what_is_shipped() {
    let plimsoll = env!("CARGO_BIN_EXE_plimsoll");
    for config in ["deploy/kubernetes/plimsoll.yaml", "deploy/compose/plimsoll.yaml"] {
        run(Command::new(plimsoll).args(["check", "--config"]).arg(root().join(config)));
    }
    assert!(run(Command::new(plimsoll).args(["daemon", "--help"])).contains("--config"));
    let Some(compose) = yaml("deploy/compose.yaml") else { return };
    let help = run(Command::new(plimsoll).args(["target", "--help"]));
    for word in compose["services"]["target"]["command"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()) {
        assert!(!word.starts_with("--") || help.contains(word), "plimsoll target has no {word}:\n{help}");
    }
}

#[test]
fn image_is_non_root_and_has_no_shell_form() {
    let text = read("deploy/Dockerfile");
    let lines: Vec<_> = text.lines().collect();
    for word in ["ENTRYPOINT", "CMD"] {
        assert!(lines.iter().any(|l| l.starts_with(&format!("{word} ["))), "{word} is not in exec form");
    }
    assert!(lines.contains(&"USER 65532:65532"));
    assert!(text.contains("\"--locked\""));
    let rust = read("Cargo.toml")
        .lines()
        .find_map(|l| l.strip_prefix("rust-version = \"")?.strip_suffix('"').map(str::to_owned));
    let from = format!("FROM rust:{}-bookworm AS build", rust.expect("a rust-version"));
    assert!(lines.contains(&from.as_str()), "no line `{from}`");
    // What the build needs is let into the context.
    let context = read(".dockerignore");
    for part in ["Cargo.toml", "Cargo.lock", "src"] {
        assert!(context.lines().any(|l| l == format!("!{part}")), "{part} is not in the context");
    }
}

#[test]
fn rules_pass_promtool() {
    let Some(promtool) = require("promtool") else { return };
    let said = run(Command::new(&promtool).args(["check", "rules"]).arg(root().join("dashboards/rules.yml")));
    assert!(said.contains("SUCCESS"), "{said}");
    let said = run(Command::new(&promtool).args(["test", "rules"]).arg(root().join("dashboards/rules_test.yml")));
    assert!(said.contains("SUCCESS"), "{said}");
    // The scrape configuration of compose, with the rules where they are here.
    let rules = root().join("dashboards/rules.yml").display().to_string();
    let config = scratch("prometheus").join("prometheus.yml");
    fs::write(&config, read("deploy/compose/prometheus.yml").replace("/etc/prometheus/rules.yml", &rules)).unwrap();
    run(Command::new(&promtool).args(["check", "config"]).arg(&config));
    // Every alert has a test that names it.
    let tests = read("dashboards/rules_test.yml");
    for line in read("dashboards/rules.yml").lines() {
        if let Some(alert) = line.trim().strip_prefix("- alert: ") {
            assert!(tests.contains(alert), "no test of dashboards/rules_test.yml names {alert}");
        }
    }
}

#[test]
fn dashboard_is_sane() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    assert_eq!(dashboard["uid"], "plimsoll-overview");
    assert_eq!(dashboard["editable"], false);
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39));
    let variables: Vec<_> = dashboard["templating"]["list"].as_array().unwrap().iter().map(|v| &v["name"]).collect();
    assert_eq!(variables, ["datasource", "target", "scenario"]);
    assert!(dashboard.get("__inputs").is_none(), "__inputs breaks provisioning");

    let panels = dashboard["panels"].as_array().unwrap();
    assert_eq!(panels[0]["title"], "What is wrong now");
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    let mut cells: BTreeMap<(u64, u64), &Value> = BTreeMap::new();
    for panel in panels {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        assert!(titles.insert(title.as_str().unwrap()), "{title} is there twice");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|k| panel["gridPos"][k].as_u64().unwrap());
        assert!(x + w <= 24 && w > 0 && h > 0, "{title}: beyond the grid of 24 columns");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            if let Some(other) = cells.insert(cell, title) {
                panic!("{title} overlaps {other}");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|d| d.ends_with(['.', '?'])), "{title}: no description");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let refs: BTreeSet<_> = panel["targets"].as_array().unwrap().iter().map(|t| t["refId"].as_str()).collect();
        assert_eq!(refs.len(), panel["targets"].as_array().unwrap().len(), "{title}: refIds are not unique");
        assert!(!refs.is_empty(), "{title}: asks for nothing");
    }
    for (title, target) in targets(&dashboard) {
        let expr = target["expr"].as_str().unwrap();
        assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        assert!(
            !expr.contains("rate(") || expr.contains("[$__rate_interval]"),
            "{title}: rate without $__rate_interval"
        );
        // A legend names labels that are left after the aggregation.
        for label in target["legendFormat"].as_str().unwrap().split("{{").skip(1).map(|l| l.split("}}").next().unwrap())
        {
            let by: BTreeSet<_> =
                expr.split("by (").skip(1).flat_map(|e| e.split(')').next().unwrap().split(", ")).collect();
            assert!(by.is_empty() || by.contains(label), "{title}: the legend's {label} is not in {expr}");
        }
    }
}

/// Every expression, asked by promtool over one series for each value of each label of the catalogue, has an answer:
/// a misspelt name, label or value has none.
#[test]
fn dashboard_expressions_find_the_catalogue() {
    let Some(promtool) = require("promtool") else { return };
    let families = catalogue();
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    let mut asked = Vec::new();
    for (title, target) in targets(&dashboard) {
        let mut expr = target["expr"].as_str().unwrap().to_owned();
        for name in metrics(&expr) {
            assert!(families.contains_key(family(&name)), "{title}: {name} is no line of {CATALOGUE}");
        }
        for group in expr.split("by (").skip(1).map(|e| e.split(')').next().unwrap()) {
            for label in group.split(", ").filter(|l| *l != "le") {
                let has = |name: &String| families[family(name)].1.iter().any(|l| l == label);
                assert!(metrics(&expr).iter().any(has), "{title}: no metric of it has the label {label}");
            }
        }
        for (from, to) in [
            ("$__rate_interval", "5m"),
            ("$__range", "1h"),
            ("$__interval", "5m"),
            ("$scenario", ".*"),
            ("$target", ".*"),
        ] {
            expr = expr.replace(from, to);
        }
        assert!(!expr.contains('$'), "{title}: an unknown variable in {expr}");
        let expr = format!("clamp_max(count({expr}), 1)");
        asked.push(json!({"eval_time": "30m", "expr": expr, "exp_samples": [{"labels": "{}", "value": 1}]}));
    }
    let series: Vec<_> = families.iter().flat_map(|(name, (kind, labels))| fixture(name, kind, labels)).collect();
    let test = json!({"evaluation_interval": "1m", "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": asked}]});
    let file = scratch("dashboard").join("test.yml");
    fs::write(&file, test.to_string()).unwrap();
    run(Command::new(promtool).args(["test", "rules"]).arg(&file));
}

/// One series for each combination of the values a label may take, in the text form of promtool.
fn fixture(name: &str, kind: &str, labels: &[String]) -> Vec<Value> {
    let mut sets = vec![format!("job=\"plimsoll\",instance=\"a\"")];
    for label in labels {
        let values: &[&str] = match label.as_str() {
            "outcome" => &["ok", "rejected", "failed", "interrupted"],
            "verdict" => &["pass", "fail", "invalid", "no_data", "interrupted"],
            "state" => &["inactive", "pending", "firing"],
            "unit" => &["s", "B", "ratio", "count"],
            _ => &["x"],
        };
        sets = sets.iter().flat_map(|set| values.iter().map(move |v| format!("{set},{label}=\"{v}\""))).collect();
    }
    let values = if ["counter", "histogram"].contains(&kind) { "0+7x60" } else { "1x60" };
    let one = |name: String| json!({"series": name, "values": values});
    let all = sets.iter().flat_map(|set| match kind {
        "histogram" => [("_sum", ""), ("_count", ""), ("_bucket", ",le=\"1\""), ("_bucket", ",le=\"+Inf\"")]
            .map(|(end, le)| one(format!("{name}{end}{{{set}{le}}}")))
            .to_vec(),
        _ => vec![one(format!("{name}{{{set}}}"))],
    });
    all.collect()
}

/// Panel titles with what they ask.
fn targets(dashboard: &Value) -> Vec<(&str, &Value)> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let of = |p: &'_ Value| p["targets"].as_array().map_or(0, Vec::len);
    panels.flat_map(|p| (0..of(p)).map(move |i| (p["title"].as_str().unwrap(), &p["targets"][i]))).collect()
}

/// Name to (kind, labels).
type Families = BTreeMap<String, (String, Vec<String>)>;

/// The metric catalogue.
fn catalogue() -> Families {
    let text = read(CATALOGUE);
    let rows = text.lines().filter(|l| !l.starts_with('#')).map(|l| l.split('|').collect::<Vec<_>>());
    let labels = |l: &str| l.split(',').filter(|l| !l.is_empty()).map(str::to_owned).collect();
    rows.map(|r| (r[0].to_owned(), (r[1].to_owned(), labels(r[4])))).collect()
}

/// The metrics an expression names.
fn metrics(expr: &str) -> Vec<String> {
    let names = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    names.filter(|n| n.starts_with("plimsoll_") || n.starts_with("process_")).map(str::to_owned).collect()
}

fn family(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("failed to read {path}: {e}"))
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).expect("a name in UTF-8")
}

/// The files of one folder, by extension.
fn list(folder: &str, ext: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(root().join(folder)).expect("a folder").map(|e| e.unwrap().path());
    all.filter(|p| p.extension().is_some_and(|e| e == ext)).collect()
}

/// An empty folder below the build's own.
fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy").join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

/// All it said; a failure shows it.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("failed to start {command:?}: {e}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// A program of the tests' own Python environment.
fn venv(program: &str) -> Option<PathBuf> {
    let path = root().join("target/test-venv/bin").join(program);
    if !path.is_file() {
        skip(&format!("{} does not exist (tests/run makes it)", path.display()));
        return None;
    }
    Some(path)
}

/// A YAML file as JSON, read by PyYAML as the tools in the field read it.
fn yaml(path: &str) -> Option<Value> {
    let python = venv("python")?;
    let program = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let text = run(Command::new(python).args(["-c", program]).arg(root().join(path)));
    Some(serde_json::from_str(&text).expect("JSON"))
}
