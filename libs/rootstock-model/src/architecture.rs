//! Architectures: the kernel's names, and the other spellings that servers use for them.

use std::{fmt, str::FromStr};

/// The known architectures: kernel name, simplestreams (Debian) name, further spellings.
/// The set is the one Incus and LXD accept (incus-protocol §1.2); an unknown one hides a product
/// from real clients, so it is left out here too.
const KNOWN: &[(&str, &str, &[&str])] = &[
    ("i686", "i386", &["i586", "x86", "generic_32"]),
    ("x86_64", "amd64", &["generic_64", "amd64v2", "amd64v3"]),
    ("armv6l", "armel", &["armv6", "arm"]),
    (
        "armv7l",
        "armhf",
        &["armhfp", "armv7", "armv7a_hardfp", "armv7a_vfpv3_hardfp"],
    ),
    (
        "armv8l",
        "armv8l",
        &["armv8", "armv8a_hardfp", "armv8a_vfpv3_hardfp"],
    ),
    ("aarch64", "arm64", &[]),
    ("ppc", "powerpc", &[]),
    ("ppc64", "powerpc64", &[]),
    ("ppc64le", "ppc64el", &["powerpc64le"]),
    ("s390x", "s390x", &[]),
    ("mips", "mips", &["mipsel"]),
    ("mips64", "mips64", &["mips64el"]),
    ("riscv32", "riscv32", &[]),
    ("riscv64", "riscv64", &["rv64gc_lp64d"]),
    ("loongarch64", "loong64", &[]),
];

/// A CPU architecture, by the kernel's name (`x86_64`, `aarch64`, …).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Architecture(usize);

/// The name is none that Incus or LXD know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture {0:?}")]
pub struct UnknownArchitecture(pub String);

impl Architecture {
    /// The kernel's name, e.g. `x86_64`.
    pub fn kernel_name(self) -> &'static str {
        KNOWN[self.0].0
    }

    /// The name that simplestreams indexes use, e.g. `amd64`.
    pub fn simplestreams_name(self) -> &'static str {
        KNOWN[self.0].1
    }

    /// The architecture of the machine this runs on, when it is a known one.
    pub fn native() -> Option<Self> {
        std::env::consts::ARCH.parse().ok()
    }
}

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(name: &str) -> Result<Self, UnknownArchitecture> {
        KNOWN
            .iter()
            .position(|(kernel, streams, more)| *kernel == name || *streams == name || more.contains(&name))
            .map(Self)
            .ok_or_else(|| UnknownArchitecture(name.to_owned()))
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kernel_name())
    }
}

impl fmt::Debug for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_finds_one_architecture_and_both_names_read_back() {
        let mut seen = std::collections::BTreeSet::new();
        for (kernel, streams, more) in KNOWN {
            let architecture: Architecture = kernel.parse().unwrap();
            assert_eq!(architecture.kernel_name(), *kernel);
            assert_eq!(streams.parse(), Ok(architecture));
            for spelling in more.iter().chain([kernel]) {
                assert!(seen.insert(*spelling), "{spelling} is listed twice");
                assert_eq!(spelling.parse(), Ok(architecture));
            }
        }
        assert!("riscv64+unmatched".parse::<Architecture>().is_err());
        assert!("".parse::<Architecture>().is_err());
    }
}
