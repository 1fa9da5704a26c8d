use std::{collections::BTreeMap, io::Write as _, time::Duration};

use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    name: String,
    catalog: Catalog,
    tls: Option<Tls>,
    labels: BTreeMap<String, String>,
    paths: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Catalog {
    pool_size: u16,
    verbose: bool,
    ratio: f64,
    password: Secret,
    #[serde(with = "rootstock_model::duration")]
    interval: Duration,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Mirror,
    OnDemand,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "rootstock".to_owned(),
            catalog: Catalog::default(),
            tls: None,
            labels: BTreeMap::new(),
            paths: vec!["/default".into()],
        }
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            pool_size: 10,
            verbose: false,
            ratio: 0.5,
            password: Secret::default(),
            interval: Duration::from_secs(300),
            mode: Mode::Mirror,
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        problems.require(!self.name.is_empty(), "name", "must not be empty");
        problems.section("catalog", &self.catalog);
    }
}

impl Validate for Catalog {
    fn validate(&self, problems: &mut Problems) {
        problems.require(self.pool_size >= 1, "pool_size", "must be at least 1");
        problems.require(!self.password.is_empty(), "password", "must be set");
    }
}

/// Loads from a file with `toml` in it, `env` and `flags`; `FILE` stands for the file's path.
fn load(toml: &str, env: &[(&str, &str)], flags: serde_json::Value) -> Result<Config, Vec<String>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let env = env
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let loaded = Loader::new()
        .file(Some(file.path().to_owned()))
        .env(env, &["ROOTSTOCK_SERVER"])
        .flags(&flags)
        .load();
    let path = file.path().display().to_string();
    loaded.map_err(|errors: ConfigErrors| {
        errors
            .mistakes
            .iter()
            .map(|mistake| mistake.to_string().replace(&path, "FILE"))
            .collect()
    })
}

fn no_flags() -> serde_json::Value {
    serde_json::json!({})
}

#[test]
fn each_source_wins_over_those_before_it_key_by_key() {
    let config = load(
        r#"
        name = "file"
        paths = ["/a", "/b"]
        [catalog]
        pool_size = 20
        password = "from the file"
        interval = "30s"
        mode = "on-demand"
        [labels]
        any = "thing"
        "#,
        &[
            ("ROOTSTOCK_CATALOG__POOL_SIZE", "30"),
            ("ROOTSTOCK_CATALOG__VERBOSE", "true"),
            ("ROOTSTOCK_NAME", "env"),
            ("ROOTSTOCK_SERVER", "somebody else's"),
            ("ROOTSTOCK_CATALOG__RATIO", ""),
            ("PATH", "/bin"),
        ],
        serde_json::json!({ "name": "flag", "catalog": { "pool_size": null }, "tls": null }),
    )
    .unwrap();
    let expected = Config {
        name: "flag".to_owned(),
        catalog: Catalog {
            pool_size: 30,
            verbose: true,
            ratio: 0.5,
            password: Secret::new("from the file"),
            interval: Duration::from_secs(30),
            mode: Mode::OnDemand,
        },
        tls: None,
        labels: BTreeMap::from([("any".to_owned(), "thing".to_owned())]),
        paths: vec!["/a".into(), "/b".into()],
    };
    assert_eq!(config, expected);
}

#[test]
fn a_variable_is_text_where_text_is_wanted() {
    let config = load(
        "",
        &[
            ("ROOTSTOCK_NAME", "true"),
            ("ROOTSTOCK_CATALOG__PASSWORD", "0123"),
            ("ROOTSTOCK_CATALOG__MODE", "on-demand"),
            ("ROOTSTOCK_CATALOG__RATIO", "0.25"),
            ("ROOTSTOCK_PATHS", r#"["/x"]"#),
            ("ROOTSTOCK_TLS__CERTIFICATE", "1"),
            ("ROOTSTOCK_TLS__KEY", "[2]"),
            ("ROOTSTOCK_LABELS__REVISION", "7"),
        ],
        no_flags(),
    )
    .unwrap();
    assert_eq!(config.name, "true");
    assert_eq!(config.catalog.password.expose(), "0123");
    assert_eq!(config.catalog.mode, Mode::OnDemand);
    assert_eq!(config.catalog.ratio, 0.25);
    assert_eq!(config.paths, [PathBuf::from("/x")]);
    assert_eq!(
        config.tls,
        Some(Tls {
            certificate: "1".into(),
            key: "[2]".into()
        })
    );
    assert_eq!(config.labels["revision"], "7");
}

#[test]
fn every_mistake_of_every_source_is_in_one_report() {
    let mistakes = load(
        r#"
        nonsense = 1
        name = 7
        paths = ["/a", 5]
        [catalog]
        pool_size = "many"
        interval = "5 parsecs"
        mode = "sometimes"
        colour = "red"
        [tls]
        certificate = "c"
        "#,
        &[
            ("ROOTSTOCK_CATALOG__POOL_SIZE", "70000"),
            ("ROOTSTOCK_CATALOG__VERBOSE", "maybe"),
            ("ROOTSTOCK_CATALGO__VERBOSE", "true"),
            ("ROOTSTOCK_SERVR", "typo"),
        ],
        serde_json::json!({ "catalog": { "ratio": "half", "pool_size": -1 } }),
    )
    .unwrap_err();
    let expected = [
        "catalgo: unknown key (ROOTSTOCK_CATALGO)",
        "catalog.colour: unknown key (in FILE)",
        r#"catalog.interval: "5 parsecs" is not a duration: expected one such as 30s, 250ms or 1h30m (in FILE)"#,
        r#"catalog.mode: "sometimes" is none of the choices: mirror, on-demand (in FILE)"#,
        "catalog.password: must be set (not set)",
        r#"catalog.pool_size: found "many", expected u16 (in FILE)"#,
        "catalog.pool_size: found 70000, expected u16 (ROOTSTOCK_CATALOG__POOL_SIZE)",
        "catalog.pool_size: found -1, expected u16 (on the command line)",
        r#"catalog.ratio: found "half", expected f64 (on the command line)"#,
        r#"catalog.verbose: found "maybe", expected a boolean (ROOTSTOCK_CATALOG__VERBOSE)"#,
        "name: found 7, expected a string (in FILE)",
        "nonsense: unknown key (in FILE)",
        "paths.1: found 5, expected path string (in FILE)",
        "servr: unknown key (ROOTSTOCK_SERVR)",
        "tls: key is missing (in FILE)",
    ];
    assert_eq!(mistakes, expected, "\n{}", mistakes.join("\n"));
}

#[test]
fn a_broken_file_does_not_hide_the_other_mistakes_nor_show_its_secrets() {
    let mistakes = load(
        "name = \"x\"\n[catalog]\npassword = postgres://user:hunter2@db\n",
        &[
            ("ROOTSTOCK_CATALOG__POOL_SIZE", "zero"),
            ("ROOTSTOCK_CATALOG__PASSWORD", "set"),
        ],
        no_flags(),
    )
    .unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].starts_with("in FILE: line 3: "), "{mistakes:?}");
    assert!(mistakes[1].starts_with("catalog.pool_size: "), "{mistakes:?}");
    assert!(!mistakes.concat().contains("hunter2"), "{mistakes:?}");
}

#[test]
fn findings_of_validation_say_where_the_value_came_from() {
    let mistakes = load(
        "name = \"\"",
        &[("ROOTSTOCK_CATALOG__POOL_SIZE", "0")],
        serde_json::json!({ "catalog": { "password": "" } }),
    )
    .unwrap_err();
    assert_eq!(
        mistakes,
        [
            "catalog.password: must be set (on the command line)",
            "catalog.pool_size: must be at least 1 (ROOTSTOCK_CATALOG__POOL_SIZE)",
            "name: must not be empty (in FILE)",
        ]
    );
}

#[test]
fn a_secret_is_not_taken_from_where_it_was_hidden() {
    let hidden = serde_json::to_value(Config {
        catalog: Catalog {
            password: Secret::new("hunter2"),
            ..Catalog::default()
        },
        ..Config::default()
    })
    .unwrap();
    let mistakes = load("", &[], hidden).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].starts_with("catalog.password: [hidden] is what is printed"),
        "{mistakes:?}"
    );
}

#[test]
fn a_missing_file_and_a_contradiction_are_mistakes() {
    let env = [
        ("ROOTSTOCK_TLS", "x"),
        ("ROOTSTOCK_TLS__KEY", "y"),
        ("ROOTSTOCK_CATALOG__PASSWORD", "set"),
    ]
    .map(|(name, value)| (name.into(), value.into()));
    let errors = Loader::new()
        .file(Some("/nonexistent/rootstock.toml".into()))
        .env(env, &[])
        .load::<Config>()
        .unwrap_err();
    let report = errors.to_string();
    assert!(
        report.starts_with("the configuration has 3 mistakes:\n"),
        "{report}"
    );
    assert!(
        report.contains("in /nonexistent/rootstock.toml: cannot be read: No such file"),
        "{report}"
    );
    assert!(report.contains("ROOTSTOCK_TLS__KEY"), "{report}");
}
