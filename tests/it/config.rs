//! What a person reads when a configuration is wrong: each broken file under `configs/` is pinned to its exact message
//! in the `.txt` beside it. `UPDATE=1` writes the messages anew; read the difference before committing it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use plimsoll::config::{self, Options};

/// Unique texts that stand as secrets in the broken files: no message may hold one.
const CANARIES: [&str; 2] = ["CANARY-4d8f1c", "4815162342"];

fn options(path: &Path) -> Options {
    let env = [("SET", "value-of-set"), ("EMPTY", "")];
    let name = path.file_name().expect("a file has a name");
    Options {
        path: Some(path.to_path_buf()),
        policy_file: path.parent().map(|dir| dir.join("host").join(name)),
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        credentials_dir: None,
    }
}

fn files(dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[test]
fn broken_configurations_say_what_is_wrong() {
    let files = files("tests/it/configs");
    assert!(files.len() >= 60, "only {} broken configurations", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let report = match config::load(&options(&path)) {
            Ok(_) => {
                wrong.push(format!("{}: loads without an error", path.display()));
                continue;
            }
            Err(report) => report,
        };
        let shown = report.to_string(false);
        let coloured = report.to_string(true);
        for canary in CANARIES {
            if shown.contains(canary) || coloured.contains(canary) || format!("{report:?}").contains(canary) {
                wrong.push(format!("{}: a secret is shown:\n{shown}", path.display()));
            }
        }
        let pinned = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&pinned, &shown).expect("writable");
        } else if fs::read_to_string(&pinned).unwrap_or_default() != shown {
            wrong.push(format!("{}: the message is now\n{shown}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn shipped_configurations_load() {
    let mut paths = files("config/examples");
    paths.push(PathBuf::from("config/plimsoll.yaml"));
    assert!(paths.len() >= 5);
    for path in paths {
        let loaded = config::load(&options(&path)).unwrap_or_else(|report| panic!("{}\n{report}", path.display()));
        assert_eq!(loaded.warnings.to_string(false), "", "{}", path.display());
        assert!(!loaded.settings.scenarios.is_empty(), "{}", path.display());
        assert_eq!(loaded.files, [path]);
    }
}
