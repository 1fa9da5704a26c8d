//! `docs/promises.md` names a call, a command and tests for each promise: that they exist.

use std::{collections::BTreeSet, fs, process::Command};

use prost::Message as _;
use rootstock_tests::tools::repository_root;

/// What stands between backticks in the cells of the tables, by column title.
fn cells(page: &str, column: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut index = None;
    for line in page.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            index = None;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Some(position) = index else {
            index = Some(cells.iter().position(|cell| *cell == column));
            continue;
        };
        let Some(position) = position else { continue };
        if cells[position].starts_with("---") {
            continue;
        }
        found.extend(cells[position].split('`').skip(1).step_by(2).map(str::to_owned));
    }
    assert!(!found.is_empty(), "no column {column:?}");
    found
}

fn page() -> String {
    fs::read_to_string(repository_root().join("docs/promises.md")).unwrap()
}

#[test]
fn every_test_that_holds_a_promise_exists() {
    let list = Command::new(std::env::current_exe().unwrap())
        .arg("--list")
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let known: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    let model = repository_root().join("libs/rootstock-model/src");
    for name in cells(&page(), "tests") {
        match name.strip_prefix("model::") {
            Some(path) => assert!(is_in_model(&model, path), "no test {name}"),
            None => assert!(known.contains(name.as_str()), "no test {name}"),
        }
    }
}

/// Whether a test of the model's is where its name says: `plan::tests::name` in `plan.rs` or below `plan/`.
fn is_in_model(sources: &std::path::Path, path: &str) -> bool {
    let (module, function) = path.rsplit_once("::").unwrap();
    let module = module.trim_end_matches("::tests").replace("::", "/");
    let files = [format!("{module}.rs"), format!("{module}/tests.rs")];
    let wanted = format!("fn {function}(");
    files
        .iter()
        .any(|file| fs::read_to_string(sources.join(file)).is_ok_and(|text| text.contains(&wanted)))
}

#[test]
fn every_promise_names_a_test() {
    for line in page().lines().filter(|line| line.starts_with('|')) {
        let cell = line.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        let is_head = cell == "tests" || cell.starts_with("---");
        assert!(is_head || cell.contains('`'), "no test holds: {line}");
    }
}

#[test]
fn every_call_that_is_named_is_public() {
    let descriptors = prost_types::FileDescriptorSet::decode(rootstock_proto::PUBLIC_DESCRIPTORS).unwrap();
    let mut calls = BTreeSet::new();
    for service in descriptors.file.iter().flat_map(|file| &file.service) {
        for method in &service.method {
            calls.insert(format!("{}.{}", service.name(), method.name()));
        }
    }
    for call in cells(&page(), "calls") {
        assert!(calls.contains(&call), "no call {call}");
    }
}

#[test]
fn every_command_that_is_named_is_understood() {
    let executable = rootstock_tests::process::executable().unwrap();
    let commands: BTreeSet<String> = cells(&page(), "commands").into_iter().collect();
    for command in commands {
        let help = Command::new(&executable)
            .args(command.split(' '))
            .arg("--help")
            .output()
            .unwrap();
        assert!(help.status.success(), "no command {command:?}");
        // A verb that is not known falls back to its noun's help nowhere.
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(
            text.contains(&format!("rootstock {command}")),
            "{command:?} is told as:\n{text}"
        );
    }
}
