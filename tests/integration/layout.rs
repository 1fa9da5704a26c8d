//! The rules of the tree: what no crate may name, whatever is convenient.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use rootstock_tests::tools::repository_root;

const SERVICES: [&str; 3] = ["rootstock-catalog", "rootstock-sync", "rootstock-gateway"];
const IO: [&str; 6] = ["tokio", "tonic", "sqlx", "object_store", "axum", "reqwest"];

/// (crate's directory, crates that it must not depend on), as ARCHITECTURE.md has it.
fn rules() -> Vec<(&'static str, Vec<&'static str>)> {
    let others = |own: &str| {
        SERVICES
            .into_iter()
            .filter(|service| *service != own)
            .collect::<Vec<_>>()
    };
    vec![
        ("libs/rootstock-model", IO.to_vec()),
        ("libs/rootstock-simplestreams", IO.to_vec()),
        ("libs/rootstock-archive", IO.to_vec()),
        ("libs/rootstock-secret", IO.to_vec()),
        (
            "libs/rootstock-runtime",
            vec![
                "rootstock-model",
                "rootstock-proto",
                "rootstock-simplestreams",
                "rootstock-blobs",
            ],
        ),
        ("libs/rootstock-proto", vec!["sqlx", "object_store", "axum"]),
        ("libs/rootstock-blobs", vec!["tonic", "sqlx"]),
        (
            "libs/rootstock-remote",
            [vec!["tonic", "sqlx", "rootstock-proto"], SERVICES.to_vec()].concat(),
        ),
        (
            "libs/rootstock-cli",
            [vec!["sqlx", "rootstock-blobs", "rootstock"], SERVICES.to_vec()].concat(),
        ),
        (
            "libs/rootstock-ingest",
            [vec!["sqlx", "axum"], SERVICES.to_vec()].concat(),
        ),
        (
            "services/rootstock-catalog",
            [
                vec!["object_store", "reqwest", "rootstock-blobs"],
                others("rootstock-catalog"),
            ]
            .concat(),
        ),
        (
            "services/rootstock-sync",
            [vec!["sqlx"], others("rootstock-sync")].concat(),
        ),
        (
            "services/rootstock-gateway",
            [vec!["sqlx"], others("rootstock-gateway")].concat(),
        ),
    ]
}

/// The names that a manifest depends on outside of tests and build scripts.
fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let section = text
        .split("\n[")
        .find(|section| section.starts_with("dependencies]"))
        .unwrap();
    let names = section
        .lines()
        .skip(1)
        .filter_map(|line| line.split(['.', ' ', '=']).next());
    names
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(|name| name.replace('_', "-"))
        .collect()
}

/// Every file of Rust below a directory, with its text.
fn sources(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// Whether a line of Rust or SQL writes the column `work.due_at`.
fn writes_due_at(line: &str) -> bool {
    let assigns = line.contains("due_at = ") && !line.contains("let due_at");
    assigns || line.contains("INSERT INTO work ")
}

#[test]
fn no_crate_names_what_it_must_not() {
    for (directory, forbidden) in rules() {
        let root = repository_root().join(directory);
        let dependencies = dependencies(&root.join("Cargo.toml"));
        assert!(
            !dependencies.is_empty(),
            "{directory} depends on nothing: the manifest was misread"
        );
        for name in forbidden {
            assert!(
                !dependencies.contains(&name.replace('_', "-")),
                "{directory} must not depend on {name}"
            );
        }
    }
}

#[test]
fn the_runtime_knows_nothing_about_images() {
    let mut found = vec![];
    sources(&repository_root().join("libs/rootstock-runtime/src"), &mut found);
    assert!(found.len() > 5);
    for (_, source) in found {
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            assert!(
                !line.to_lowercase().contains("fingerprint") && !line.contains("Image"),
                "{line}"
            );
        }
    }
}

#[test]
fn only_the_catalog_speaks_sql_and_only_blobs_write_objects() {
    for (name, owner) in [
        ("sqlx", "services/rootstock-catalog"),
        ("object_store", "libs/rootstock-blobs"),
    ] {
        for parent in ["libs", "services"] {
            for entry in fs::read_dir(repository_root().join(parent)).unwrap() {
                let directory = entry.unwrap().path();
                // The executable makes the database that it supervises; it queries nothing.
                if directory.ends_with(owner) || directory.ends_with("services/rootstock") {
                    continue;
                }
                let dependencies = dependencies(&directory.join("Cargo.toml"));
                assert!(
                    !dependencies.contains(&name.replace('_', "-")),
                    "{} names {name}",
                    directory.display()
                );
            }
        }
    }
}

/// The modules of the catalog's unit of work, lowest first, and which of them each one stands on.
const UNIT_OF_WORK: [(&str, &[&str]); 5] = [
    ("writer", &[]),
    ("retention", &["writer"]),
    ("activation", &["writer", "retention"]),
    ("follow", &["writer", "retention"]),
    ("commit", &["writer", "follow"]),
];

#[test]
fn no_module_of_the_unit_of_work_names_one_that_stands_on_it() {
    let directory = repository_root().join("services/rootstock-catalog/src/change");
    for (module, below) in UNIT_OF_WORK {
        let source = fs::read_to_string(directory.join(format!("{module}.rs"))).unwrap();
        let named = source
            .split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
            .filter_map(|path| path.split_once("::").map(|(first, _)| first));
        let named: BTreeSet<&str> = named.collect();
        for (other, _) in UNIT_OF_WORK.iter().filter(|(other, _)| *other != module) {
            assert!(
                below.contains(other) || !named.contains(other),
                "change/{module}.rs names {other}, which is not below it"
            );
        }
    }
}

/// Functions of `schedule.rs` that only put work off: no claim that waits need hear of it.
const PUT_OFF: [&str; 4] = ["claim_due", "extend_leases", "unschedule_poll", "claim_upload"];

#[test]
fn only_the_schedule_writes_due_times_and_it_announces_what_falls_due() {
    let mut found = vec![];
    sources(
        &repository_root().join("services/rootstock-catalog/src"),
        &mut found,
    );
    let is_schedule = |path: &Path| path.ends_with("work/schedule.rs");
    for (path, source) in found.iter().filter(|(path, _)| !is_schedule(path)) {
        let writing = source.lines().find(|line| writes_due_at(line));
        assert_eq!(writing, None, "{} writes work.due_at", path.display());
    }
    let (_, schedule) = found.iter().find(|(path, _)| is_schedule(path)).unwrap();
    let functions = schedule.split("async fn ").skip(1);
    let writing: Vec<&str> = functions
        .filter(|function| function.lines().any(writes_due_at))
        .collect();
    assert!(writing.len() > PUT_OFF.len(), "the schedule was misread");
    for function in writing {
        let name = function.split('(').next().unwrap();
        assert!(
            PUT_OFF.contains(&name) || function.contains("announce("),
            "{name} makes work due and announces nothing"
        );
    }
}

/// Files and directories, and the modules built on them, which they must not name.
const BELOW_THE_JOBS: [(&str, &[&str]); 5] = [
    (
        "services/rootstock-sync/src/worker.rs",
        &["job", "jobs", "runner"],
    ),
    ("services/rootstock-sync/src/job.rs", &["jobs", "runner"]),
    ("services/rootstock-sync/src/runner.rs", &["jobs"]),
    ("services/rootstock-sync/src/jobs", &["runner"]),
    (
        "services/rootstock-catalog/src/work/schedule.rs",
        &["kinds", "rules", "runner", "claim"],
    ),
];

#[test]
fn nothing_below_the_list_of_jobs_names_a_job() {
    let names = |line: &str, module: &str| {
        let mut paths = line.split("::").collect::<Vec<_>>();
        paths.pop();
        let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
        paths
            .iter()
            .any(|path| path.rsplit(|c| !is_of_word(c)).next() == Some(module))
    };
    for (path, above) in BELOW_THE_JOBS {
        let path = repository_root().join(path);
        let mut found = vec![];
        if path.is_dir() {
            sources(&path, &mut found);
        } else {
            found.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
        assert!(!found.is_empty(), "{}", path.display());
        for (path, source) in &found {
            let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (line, module) in code.flat_map(|line| above.iter().map(move |module| (line, module))) {
                assert!(!names(line, module), "{} names {module}: {line}", path.display());
            }
        }
    }
}
