//! What lies beside the code for those who run it, held against the code: no container engine is
//! needed to see that a variable in the compose file is none that a process knows.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, ensure};
use rootstock_tests::{process, tools};
use serde_yaml_ng::Value;

/// A service of the compose file: its name, its command, and its environment.
type Service = (String, String, BTreeMap<String, String>);

/// The services of the compose file that run a process of ours, with its role.
fn services() -> anyhow::Result<Vec<Service>> {
    let text = fs::read_to_string(tools::repository_root().join("docker-compose.yml"))?;
    let mut compose: Value = serde_yaml_ng::from_str(&text)?;
    compose.apply_merge()?;
    let mut ours = Vec::new();
    for (name, service) in compose["services"].as_mapping().context("no services")? {
        if service["image"] != "rootstock" {
            continue;
        }
        let command: Vec<String> = serde_yaml_ng::from_value(service["command"].clone())?;
        let role = command
            .last()
            .context("no command")?
            .replace("migrate", "catalog");
        let environment: BTreeMap<String, String> =
            serde_yaml_ng::from_value(service["environment"].clone())?;
        let environment = environment
            .into_iter()
            .map(|(key, value)| (key, with_defaults(&value)))
            .collect();
        ours.push((name.as_str().context("a name")?.to_owned(), role, environment));
    }
    Ok(ours)
}

/// `${NAME:-default}` → `default`, as compose does where `NAME` is not set.
fn with_defaults(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else {
        return text.to_owned();
    };
    let (variable, after) = rest.split_once('}').unwrap_or((rest, ""));
    let default = variable.split_once(":-").map_or("", |(_, default)| default);
    format!("{before}{default}{}", with_defaults(after))
}

#[test]
fn every_process_of_the_compose_file_accepts_its_configuration() -> anyhow::Result<()> {
    let services = services()?;
    let names: Vec<_> = services.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["migrate", "catalog", "sync", "gateway"]);
    for (name, role, environment) in &services {
        let output = process::command()?
            .args(["check-config", "--for", role])
            .envs(environment)
            .output()?;
        ensure!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[test]
fn a_wrong_variable_would_be_noticed() -> anyhow::Result<()> {
    let (_, role, environment) = services()?.pop().context("no services")?;
    let mut command = process::command()?;
    command
        .args(["check-config", "--for", &role])
        .envs(environment)
        .env("ROOTSTOCK_GATEWAY__TLS__NAME", "x");
    assert!(!command.output()?.status.success());
    Ok(())
}
