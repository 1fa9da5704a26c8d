//! Remotes: what a request may say of one.

use std::time::Duration;

use rootstock_model::{
    Credentials, Endpoint, Protocol, RemoteName, RootFtype, VersionConstraint, limits,
    selection::{Mode, Rule, Selection},
};

use crate::{Error, FieldViolation, catalog::v1 as wire};

/// A remote as asked for, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSpec {
    /// Its name.
    pub name: RemoteName,
    /// How its server is reached.
    pub endpoint: Endpoint,
    /// Which images are taken, in which form. `keep_versions` is 0 when the setting decides.
    pub selection: Selection,
    /// Time between two polls; `None` when the setting decides.
    pub update_interval: Option<Duration>,
    /// Whether it is left alone.
    pub disabled: bool,
}

/// Checks a remote at `remote` of a request.
///
/// # Errors
/// `INVALID_ARGUMENT` with every field that is wrong.
pub fn remote_spec(remote: &wire::Remote) -> Result<RemoteSpec, Error> {
    let mut violations = Vec::new();
    let mut check = |field: &str, problem: Option<String>| {
        violations.extend(problem.map(|description| FieldViolation {
            field: format!("remote.{field}"),
            description,
        }));
    };
    let name = remote.name.parse::<RemoteName>();
    check("name", name.as_ref().err().map(ToString::to_string));
    check("url", url_problem(&remote.url, false));
    let protocol = match remote.protocol.as_str() {
        "" => Ok(Protocol::default()),
        text => text.parse::<Protocol>(),
    };
    check("protocol", protocol.as_ref().err().map(ToString::to_string));
    let update_interval = remote.update_interval.map(Duration::try_from);
    let interval_ok = match update_interval {
        None => true,
        Some(Ok(interval)) => interval >= Duration::from_secs(1),
        Some(Err(_)) => false,
    };
    check(
        "update_interval",
        (!interval_ok).then(|| "must be at least 1s".to_owned()),
    );
    check("ca_pem", length_problem(&remote.ca_pem, limits::MAX_PEM_BYTES));
    let long = length_problem(&remote.auth, limits::MAX_CREDENTIALS_BYTES);
    check("auth", long);
    let credentials = match remote.auth.as_str() {
        "" => Ok(None),
        text => text.parse::<Credentials>().map(Some),
    };
    check("auth", credentials.as_ref().err().map(ToString::to_string));
    let selection = selection(remote);
    if let Err(Error::Invalid(more)) = &selection {
        violations.extend(more.iter().cloned());
    }
    match (name, protocol, selection, credentials, violations.is_empty()) {
        (Ok(name), Ok(protocol), Ok(selection), Ok(credentials), true) => Ok(RemoteSpec {
            name,
            endpoint: Endpoint {
                url: remote.url.trim_end_matches('/').to_owned(),
                protocol,
                ca_pem: remote.ca_pem.clone(),
                insecure: remote.insecure,
                credentials,
            },
            selection,
            update_interval: update_interval.and_then(Result::ok),
            disabled: remote.disabled,
        }),
        _ => Err(Error::Invalid(violations)),
    }
}

/// What is wrong with the length of a text, if anything.
pub(super) fn length_problem(text: &str, max_bytes: usize) -> Option<String> {
    let problem = limits::check_length(text, max_bytes).err();
    problem.map(|problem| problem.to_string())
}

/// What is wrong with the number of a list's elements, if anything.
pub(super) fn count_problem(count: usize, max: usize) -> Option<String> {
    (count > max).then(|| format!("has {count} elements; at most {max} are taken"))
}

/// What is wrong with a URL, if anything. A remote's base takes no query.
pub(super) fn url_problem(url: &str, allow_query: bool) -> Option<String> {
    if let Some(problem) = length_problem(url, limits::MAX_URL_BYTES) {
        return Some(problem);
    }
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let problem = match rest {
        None => "must begin with https:// or http://",
        Some(rest) if rest.is_empty() || rest.starts_with('/') => "names no host",
        Some(rest) if rest.contains('#') || rest.contains('?') && !allow_query => {
            "must not have a query or a fragment"
        }
        Some(rest) if rest.chars().any(|c| c.is_whitespace() || c.is_control()) => "holds white space",
        Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('@')) => {
            "must not hold a user or a password"
        }
        Some(_) => return None,
    };
    Some(problem.to_owned())
}

fn too_many(field: &str, count: usize, max: usize) -> Option<FieldViolation> {
    let field = format!("remote.{field}");
    count_problem(count, max).map(|description| FieldViolation { field, description })
}

/// The selection that a remote's fields make.
///
/// # Errors
/// `INVALID_ARGUMENT` with every field that is wrong.
pub fn selection(remote: &wire::Remote) -> Result<Selection, Error> {
    let mut violations = Vec::new();
    let mut rules = |field: &str, texts: &[String]| {
        violations.extend(too_many(field, texts.len(), limits::MAX_RULES));
        let mut parsed = Vec::with_capacity(texts.len().min(limits::MAX_RULES));
        for (index, text) in texts.iter().enumerate().take(limits::MAX_RULES) {
            match text.parse::<Rule>() {
                Ok(rule) => parsed.push(rule),
                Err(error) => violations.push(FieldViolation {
                    field: format!("remote.{field}[{index}]"),
                    description: error.to_string(),
                }),
            }
        }
        parsed
    };
    let include = rules("include", &remote.include);
    let exclude = rules("exclude", &remote.exclude);
    let preferred = &remote.root_preference;
    violations.extend(too_many("root_preference", preferred.len(), limits::MAX_CHOICES));
    let mut root_preference = vec![];
    for (index, text) in preferred.iter().enumerate().take(limits::MAX_CHOICES) {
        match text.parse::<RootFtype>() {
            Ok(ftype) => root_preference.push(ftype),
            Err(_) => violations.push(FieldViolation {
                field: format!("remote.root_preference[{index}]"),
                description: format!(
                    "{text:?} is none of: {}",
                    RootFtype::ALL.map(RootFtype::as_str).join(", ")
                ),
            }),
        }
    }
    if !(0..=1000).contains(&remote.keep_versions) {
        violations.push(FieldViolation {
            field: "remote.keep_versions".to_owned(),
            description: format!(
                "is {}; it may be 1 to 1000, or 0 for the setting",
                remote.keep_versions
            ),
        });
    }
    let version_constraint = match remote.version_constraint.as_str() {
        "" => None,
        text => match text.parse::<VersionConstraint>() {
            Ok(constraint) => Some(constraint),
            Err(error) => {
                violations.push(FieldViolation {
                    field: "remote.version_constraint".to_owned(),
                    description: error.to_string(),
                });
                None
            }
        },
    };
    let mode = match remote.mode() {
        wire::RemoteMode::OnDemand => Mode::OnDemand,
        wire::RemoteMode::Mirror | wire::RemoteMode::Unspecified => Mode::Mirror,
    };
    if violations.is_empty() {
        let keep_versions = remote.keep_versions.unsigned_abs();
        Ok(Selection {
            mode,
            include,
            exclude,
            root_preference,
            keep_versions,
            version_constraint,
        })
    } else {
        Err(Error::Invalid(violations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named_at_once() {
        let remote = wire::Remote {
            name: "a/b".into(),
            url: "ftp://x".into(),
            protocol: "oci".into(),
            include: vec!["os=debian".into(), "flavour=x".into()],
            root_preference: vec!["iso".into()],
            keep_versions: -1,
            version_constraint: "1.30.1".into(),
            auth: "hunter2".into(),
            update_interval: Some(prost_types::Duration { seconds: 0, nanos: 5 }),
            ..wire::Remote::default()
        };
        let Err(Error::Invalid(violations)) = remote_spec(&remote) else {
            panic!("accepted")
        };
        let fields: Vec<_> = violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(
            fields,
            [
                "remote.name",
                "remote.url",
                "remote.protocol",
                "remote.update_interval",
                "remote.auth",
                "remote.include[1]",
                "remote.root_preference[0]",
                "remote.keep_versions",
                "remote.version_constraint"
            ]
        );
        assert!(
            violations[2]
                .description
                .starts_with(r#""oci" is none of: simplestreams"#)
        );
    }

    #[test]
    fn what_is_too_long_is_named() {
        let remote = wire::Remote {
            name: "x".into(),
            url: format!("https://host/{}", "x".repeat(limits::MAX_URL_BYTES)),
            include: vec!["os=*".into(); limits::MAX_RULES + 1],
            exclude: vec![format!("os={}", "x".repeat(300))],
            root_preference: vec!["squashfs".into(); limits::MAX_CHOICES + 1],
            ca_pem: "x".repeat(limits::MAX_PEM_BYTES + 1),
            auth: format!("bearer:{}", "x".repeat(limits::MAX_CREDENTIALS_BYTES)),
            ..wire::Remote::default()
        };
        let Err(Error::Invalid(violations)) = remote_spec(&remote) else {
            panic!("accepted")
        };
        let described = violations.iter().map(|violation| {
            let FieldViolation { field, description } = violation;
            format!("{field}: {description}")
        });
        let described: Vec<_> = described.collect();
        let expected = [
            ("remote.url: ", "shorten it to at most 2048"),
            ("remote.ca_pem: ", "shorten it to at most 65536"),
            ("remote.auth: ", "shorten it to at most 4096"),
            ("remote.include: ", "at most 256 are taken"),
            ("remote.exclude[0]: ", "longer than 256 bytes"),
            ("remote.root_preference: ", "at most 32 are taken"),
        ];
        assert_eq!(described.len(), expected.len(), "{described:?}");
        for (found, (field, limit)) in described.iter().zip(expected) {
            assert!(found.starts_with(field) && found.contains(limit), "{found}");
        }
    }

    #[test]
    fn urls_are_plain_bases() {
        for (url, ok) in [
            ("https://images.example.org", true),
            ("http://127.0.0.1:8000/prefix/", true),
            ("https://", false),
            ("https:///x", false),
            ("https://user:password@host", false),
            ("https://host/?x=1", false),
            ("https://ho st", false),
        ] {
            assert_eq!(url_problem(url, false).is_none(), ok, "{url}");
        }
    }
}
