//! The checklists in `docs/how-to` name files: that they exist, and that the list of pages has them all.

use std::{collections::BTreeSet, fs};

use rootstock_tests::tools::repository_root;

/// The pages, by name.
fn pages() -> Vec<(String, String)> {
    let directory = fs::read_dir(repository_root().join("docs/how-to")).unwrap();
    let paths = directory.map(|entry| entry.unwrap().path());
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    paths
        .map(|path| (name(&path), fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn every_file_that_a_checklist_names_exists() {
    let mut seen = 0;
    for (page, text) in pages() {
        for name in text.split('`').skip(1).step_by(2) {
            // A place in the name of a file is the reader's to fill in.
            let is_path = [
                "libs/",
                "services/",
                "proto/",
                "tests/",
                "docs/",
                "scripts/",
                "deploy/",
            ]
            .iter()
            .any(|top| name.starts_with(top));
            let known = name.split(['<', '*', '{']).next().unwrap_or_default();
            let path = known.split(' ').next().unwrap_or_default();
            if is_path && path.contains('/') {
                let path = match path == name {
                    true => path,
                    false => path.rsplit_once('/').map_or(path, |(directory, _)| directory),
                };
                assert!(repository_root().join(path).exists(), "{page} names {name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "the pages were misread: {seen}");
}

#[test]
fn every_checklist_is_listed_and_says_what_it_was_checked_against() {
    let (list, pages): (Vec<_>, Vec<_>) = pages().into_iter().partition(|(page, _)| page == "README.md");
    let listed: BTreeSet<&str> = list[0]
        .1
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    assert_eq!(listed, pages.iter().map(|(page, _)| page.as_str()).collect());
    for (page, text) in &pages {
        assert!(text.contains("hecked against"), "{page}");
        assert!(text.lines().count() <= 40, "{page} is long");
    }
}
