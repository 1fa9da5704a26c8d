//! Requirements: what an image's `requirements.*` properties ask of a host (semantics §6).

use std::fmt;

use crate::ImageType;

/// What properties of this kind begin with.
pub const PREFIX: &str = "requirements.";

/// What a host can do, as far as requirements are about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// `v1` or `v2`; empty when it is not known, which meets no requirement of a certain one.
    pub cgroup: String,
    /// Whether the instance's nesting is on.
    pub nesting: bool,
    /// Whether the instance is privileged.
    pub privileged: bool,
    /// Whether the virtual machine's secure boot is on; unset counts as on.
    pub secureboot: Option<bool>,
    /// Whether an `agent:config` disk is attached.
    pub agent_disk: bool,
    /// Whether a `cloud-init:config` disk is attached.
    pub cloud_init_disk: bool,
    /// Whether the instance was started before.
    pub booted_before: bool,
}

/// A key whose requirement a host does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key, e.g. `requirements.cgroup`.
    pub key: String,
    /// What it requires, what the host has, and what to do.
    pub description: &'static str,
}

/// One requirement, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// `requirements.cdrom_agent`
    CdromAgent(bool),
    /// `requirements.cdrom_cloud_init`
    CdromCloudInit(bool),
    /// `requirements.cgroup`: only `v1` can be asked for.
    CgroupV1,
    /// `requirements.nesting`
    Nesting(bool),
    /// `requirements.privileged`
    Privileged(bool),
    /// `requirements.secureboot`
    Secureboot(bool),
}

/// A property under `requirements.` that asks for nothing that is known. It is never taken as met
/// without a word: whoever resolves the image is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// Nothing is known under this key.
    UnknownKey,
    /// The key is known, and the value is none that it can have.
    BadValue {
        /// The refused value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey => f.write_str("is no requirement that is known here, and was not checked"),
            Self::BadValue { value, expected } => {
                write!(f, "is {value:?}, which is not {expected}, and was not checked")
            }
        }
    }
}

/// Reads one property; `None` when it is none under `requirements.`.
pub fn parse(key: &str, value: &str) -> Option<Result<Requirement, Oddity>> {
    let name = key.strip_prefix(PREFIX)?;
    let of_bool = |requirement: fn(bool) -> Requirement| {
        parse_bool(value).map(requirement).ok_or(Oddity::BadValue {
            value: value.to_owned(),
            expected: "true or false",
        })
    };
    Some(match name {
        "cdrom_agent" => of_bool(Requirement::CdromAgent),
        "cdrom_cloud_init" => of_bool(Requirement::CdromCloudInit),
        "nesting" => of_bool(Requirement::Nesting),
        "privileged" => of_bool(Requirement::Privileged),
        "secureboot" => of_bool(Requirement::Secureboot),
        "cgroup" if value == "v1" => Ok(Requirement::CgroupV1),
        "cgroup" => Err(Oddity::BadValue {
            value: value.to_owned(),
            expected: "v1",
        }),
        _ => Err(Oddity::UnknownKey),
    })
}

/// The spellings that Incus and LXD take.
fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

impl Requirement {
    /// Why a host that is like this may not start an image of this type; `None` when it may.
    pub fn refusal(self, image_type: ImageType, host: &HostFacts) -> Option<&'static str> {
        let machine = image_type == ImageType::VirtualMachine;
        match self {
            Self::CdromAgent(true) if machine && !host.agent_disk => {
                Some("the image needs an agent:config disk, and none is attached: attach one")
            }
            Self::CdromCloudInit(true) if machine && !host.cloud_init_disk && !host.booted_before => Some(
                "the image needs a cloud-init:config disk at its first boot, and none is attached: attach one",
            ),
            Self::CgroupV1 if host.cgroup != "v1" => Some(match host.cgroup.as_str() {
                "" => "the image needs cgroup v1, and it is not known what the host runs",
                _ => "the image needs cgroup v1, which the host does not run",
            }),
            Self::Nesting(true) if !host.nesting => {
                Some("the image needs nesting, which is off: set security.nesting=true")
            }
            Self::Privileged(false) if host.privileged => {
                Some("the image does not run privileged: set security.privileged=false")
            }
            Self::Secureboot(false) if machine && host.secureboot != Some(false) => {
                Some("the image does not boot with secure boot: set security.secureboot=false")
            }
            _ => None,
        }
    }
}

/// The requirements among these properties that the host does not meet: one violation per key, in
/// the order of the properties.
pub fn violations<'a>(
    properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    image_type: ImageType,
    host: &HostFacts,
) -> Vec<Violation> {
    let read = properties.into_iter().filter_map(|(key, value)| {
        let requirement = parse(key, value)?.ok()?;
        let description = requirement.refusal(image_type, host)?;
        let key = key.to_owned();
        Some(Violation { key, description })
    });
    read.collect()
}

/// What is odd about the requirements among these properties, a sentence each.
pub fn warnings<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let read = properties.into_iter().filter_map(|(key, value)| {
        let oddity = parse(key, value)?.err()?;
        Some(format!("{key} {oddity}"))
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use ImageType::{Container, VirtualMachine};
    use proptest::prelude::*;

    use super::*;

    /// A host that no requirement can refuse.
    fn obliging() -> HostFacts {
        HostFacts {
            cgroup: "v1".to_owned(),
            nesting: true,
            privileged: false,
            secureboot: Some(false),
            agent_disk: true,
            cloud_init_disk: true,
            booted_before: false,
        }
    }

    fn refused(key: &str, value: &str, image_type: ImageType, host: &HostFacts) -> bool {
        let key = format!("{PREFIX}{key}");
        let found = violations([(key.as_str(), value)], image_type, host);
        assert!(found.iter().all(|violation| violation.key == key));
        !found.is_empty()
    }

    #[test]
    fn each_key_refuses_what_the_table_says_and_nothing_else() {
        let host = |change: fn(&mut HostFacts)| {
            let mut host = obliging();
            change(&mut host);
            host
        };
        let plain = HostFacts::default();
        for (key, value, image_type, host, expected) in [
            (
                "cdrom_agent",
                "true",
                VirtualMachine,
                host(|h| h.agent_disk = false),
                true,
            ),
            ("cdrom_agent", "true", VirtualMachine, obliging(), false),
            ("cdrom_agent", "true", Container, plain.clone(), false),
            ("cdrom_agent", "false", VirtualMachine, plain.clone(), false),
            (
                "cdrom_cloud_init",
                "true",
                VirtualMachine,
                host(|h| h.cloud_init_disk = false),
                true,
            ),
            ("cdrom_cloud_init", "true", VirtualMachine, obliging(), false),
            (
                "cdrom_cloud_init",
                "true",
                VirtualMachine,
                host(|h| (h.cloud_init_disk, h.booted_before) = (false, true)),
                false,
            ),
            ("cdrom_cloud_init", "true", Container, plain.clone(), false),
            (
                "cgroup",
                "v1",
                Container,
                host(|h| h.cgroup = "v2".to_owned()),
                true,
            ),
            ("cgroup", "v1", Container, plain.clone(), true),
            ("cgroup", "v1", Container, obliging(), false),
            ("nesting", "true", Container, host(|h| h.nesting = false), true),
            ("nesting", "true", Container, obliging(), false),
            ("nesting", "false", Container, plain.clone(), false),
            (
                "privileged",
                "false",
                Container,
                host(|h| h.privileged = true),
                true,
            ),
            ("privileged", "false", Container, obliging(), false),
            (
                "privileged",
                "true",
                Container,
                host(|h| h.privileged = true),
                false,
            ),
            (
                "secureboot",
                "false",
                VirtualMachine,
                host(|h| h.secureboot = None),
                true,
            ),
            (
                "secureboot",
                "false",
                VirtualMachine,
                host(|h| h.secureboot = Some(true)),
                true,
            ),
            ("secureboot", "false", VirtualMachine, obliging(), false),
            ("secureboot", "false", Container, plain.clone(), false),
            ("secureboot", "true", VirtualMachine, plain.clone(), false),
            // As Incus spells booleans.
            ("nesting", "Yes", Container, plain.clone(), true),
            ("secureboot", "OFF", VirtualMachine, plain.clone(), true),
        ] {
            let found = refused(key, value, image_type, &host);
            assert_eq!(found, expected, "{key}={value} of a {image_type}, {host:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_a_warning_that_names_it() {
        for (key, value, about) in [
            ("requirements.gpu", "true", "no requirement that is known"),
            ("requirements.nesting", "maybe", "\"maybe\""),
            ("requirements.nesting", "", "true or false"),
            ("requirements.cgroup", "v2", "not v1"),
            ("requirements.", "x", "no requirement that is known"),
        ] {
            let found = warnings([(key, value)]);
            assert_eq!(found.len(), 1, "{key}={value}");
            assert!(found[0].starts_with(key) && found[0].contains(about), "{found:?}");
        }
        assert_eq!(parse("os", "Debian"), None);
        assert_eq!(
            warnings([("os", "Debian"), ("requirements.nesting", "true")]),
            [""; 0]
        );
    }

    proptest! {
        /// Every property under the prefix is either checked or warned of, never passed over.
        #[test]
        fn nothing_is_silently_met(
            name in prop_oneof![
                "[a-z_]{0,12}",
                prop::sample::select(vec![
                    "cdrom_agent", "cdrom_cloud_init", "cgroup", "nesting", "privileged", "secureboot",
                ]).prop_map(str::to_owned),
            ],
            value in prop_oneof!["true|false|v1", ".{0,8}"],
        ) {
            let key = format!("{PREFIX}{name}");
            let understood = matches!(parse(&key, &value), Some(Ok(_)));
            let warned = !warnings([(key.as_str(), value.as_str())]).is_empty();
            prop_assert!(understood != warned, "{key}={value}");
            // What is understood can be refused by some host, unless it asks for nothing.
            let hosts = [HostFacts::default(), HostFacts { privileged: true, ..HostFacts::default() }];
            let refused = hosts.iter().any(|host| {
                !violations([(key.as_str(), value.as_str())], VirtualMachine, host).is_empty()
            });
            let asks = matches!(
                parse(&key, &value),
                Some(Ok(Requirement::CdromAgent(true)
                    | Requirement::CdromCloudInit(true)
                    | Requirement::CgroupV1
                    | Requirement::Nesting(true)
                    | Requirement::Privileged(false)
                    | Requirement::Secureboot(false)))
            );
            prop_assert_eq!(refused, asks);
        }

        #[test]
        fn an_obliging_host_may_start_anything(
            properties in prop::collection::btree_map("requirements\\.[a-z_]{0,16}", "true|false|v1|.{0,4}", 0..6),
            machine in any::<bool>(),
        ) {
            let image_type = if machine { VirtualMachine } else { Container };
            let pairs = properties.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            prop_assert_eq!(violations(pairs, image_type, &obliging()), vec![]);
        }
    }
}
