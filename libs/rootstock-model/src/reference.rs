//! References: the ways to name an image, and which of them counts (semantics §3).

use std::fmt;

use crate::{Architecture, Digest, ImageType};

/// The shortest prefix of a fingerprint that names an image, in hex characters.
pub const MIN_FINGERPRINT_PREFIX: usize = 12;

/// How a reference names an image, in the order that decides: the first kind that fits counts, and
/// what fits by a later one is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReferenceKind {
    /// Its id.
    Id,
    /// Its name.
    Name,
    /// An alias.
    Alias,
    /// An alias, `/` and an architecture, as image servers list them: `debian/12/amd64`.
    AliasOfArchitecture,
    /// The fingerprint of one of its versions, or a prefix of it.
    Fingerprint,
    /// Nothing: the default image of its type.
    Default,
}

impl ReferenceKind {
    /// All kinds, in the order that decides.
    pub const ALL: [Self; 6] = [
        Self::Id,
        Self::Name,
        Self::Alias,
        Self::AliasOfArchitecture,
        Self::Fingerprint,
        Self::Default,
    ];
}

/// A reference, read: what is to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The text.
    pub text: &'a str,
    /// Set when the text ends in `/` and the name of an architecture.
    pub alias_of_architecture: Option<(&'a str, Architecture)>,
    /// The first and the last fingerprint that begin with the text, when it is a prefix of one.
    pub fingerprints: Option<(Digest, Digest)>,
}

impl<'a> Reference<'a> {
    /// Reads a reference. Every text is one; an empty one means the default image.
    pub fn parse(text: &'a str) -> Self {
        let alias_of_architecture = text.rsplit_once('/').and_then(|(alias, architecture)| {
            let architecture = architecture.parse().ok()?;
            (!alias.is_empty()).then_some((alias, architecture))
        });
        Self {
            text,
            alias_of_architecture,
            fingerprints: fingerprint_range(text),
        }
    }

    /// Whether it means the default image of a type.
    pub fn is_default(&self) -> bool {
        self.text.is_empty()
    }
}

/// The first and last fingerprint that begin with this prefix.
fn fingerprint_range(prefix: &str) -> Option<(Digest, Digest)> {
    let is_prefix = (MIN_FINGERPRINT_PREFIX..=64).contains(&prefix.len())
        && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_prefix {
        return None;
    }
    let fill = |with: &str| format!("{prefix}{}", with.repeat(64 - prefix.len())).parse().ok();
    Some((fill("0")?, fill("f")?))
}

/// Something that a reference may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// How the reference names it.
    pub kind: ReferenceKind,
    /// Its type.
    pub image_type: ImageType,
    /// Its architecture; `None` when it is none that is known here.
    pub architecture: Option<Architecture>,
}

/// What a request narrows a reference to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// Only this type. Unset: either, and the container when both.
    pub image_type: Option<ImageType>,
    /// Only this architecture. Unset: any.
    pub architecture: Option<Architecture>,
}

impl fmt::Display for Narrowing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(architecture) = self.architecture {
            write!(f, "{architecture} ")?;
        }
        match self.image_type {
            Some(image_type) => write!(f, "{image_type}"),
            None => f.write_str("image"),
        }
    }
}

/// The candidates that a reference means, by their positions: those of the wanted type and
/// architecture that are named by the first kind there is, and of those the containers where there
/// are any and no type was asked for. More than one: the reference is ambiguous.
pub fn choose(candidates: &[Candidate], narrowing: Narrowing) -> Vec<usize> {
    let fits = |candidate: &Candidate| {
        narrowing
            .image_type
            .is_none_or(|wanted| candidate.image_type == wanted)
            && (narrowing.architecture.is_none() || candidate.architecture == narrowing.architecture)
    };
    let fitting = candidates.iter().filter(|candidate| fits(candidate));
    // Clients try a container before a virtual machine of the same name.
    let Some(best) = fitting
        .map(|candidate| (candidate.kind, candidate.image_type))
        .min()
    else {
        return vec![];
    };
    let positions = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| fits(candidate) && (candidate.kind, candidate.image_type) == best);
    positions.map(|(position, _)| position).collect()
}

#[cfg(test)]
mod tests {
    use ImageType::{Container, VirtualMachine};
    use ReferenceKind::*;
    use proptest::prelude::*;

    use super::*;

    fn candidate(kind: ReferenceKind, image_type: ImageType, architecture: &str) -> Candidate {
        Candidate {
            kind,
            image_type,
            architecture: architecture.parse().ok(),
        }
    }

    #[test]
    fn texts_are_read_as_all_that_they_can_mean() {
        let reference = Reference::parse("debian/12/amd64");
        let amd64: Architecture = "x86_64".parse().unwrap();
        assert_eq!(reference.alias_of_architecture, Some(("debian/12", amd64)));
        for text in ["debian/12", "/amd64", "amd64", "debian/12/", "debian/12/vax"] {
            assert_eq!(Reference::parse(text).alias_of_architecture, None, "{text}");
        }
        assert!(Reference::parse("").is_default());
    }

    #[test]
    fn prefixes_of_fingerprints_span_a_range() {
        let (first, last) = Reference::parse("0123456789ABc").fingerprints.unwrap();
        let (first, last) = (first.as_bytes(), last.as_bytes());
        assert_eq!((first[6], last[6], last[31]), (0xc0, 0xcf, 0xff));
        for text in [
            "0123456789a",
            "debian:bookworm",
            "0123456789abcg",
            &"0".repeat(65),
        ] {
            assert_eq!(Reference::parse(text).fingerprints, None, "{text}");
        }
        let whole = "ab".repeat(32);
        let (first, last) = Reference::parse(&whole).fingerprints.unwrap();
        assert_eq!((first, first.to_hex()), (last, whole));
    }

    #[test]
    fn the_first_kind_counts_and_a_container_comes_before_a_virtual_machine() {
        let any = Narrowing::default();
        let machines = Narrowing {
            image_type: Some(VirtualMachine),
            ..any
        };
        let arm = Narrowing {
            architecture: "arm64".parse().ok(),
            ..any
        };
        let both = [
            candidate(Name, VirtualMachine, "amd64"),
            candidate(Name, Container, "amd64"),
            candidate(Alias, Container, "arm64"),
        ];
        let several = [
            candidate(Alias, Container, "amd64"),
            candidate(Alias, Container, "arm64"),
        ];
        for (what, candidates, narrowing, expected) in [
            ("nothing", &[][..], any, vec![]),
            ("a name of both types", &both, any, vec![1]),
            ("a name of both types, the machine", &both, machines, vec![0]),
            ("what does not fit is not looked at", &both, arm, vec![2]),
            ("an alias of two architectures", &several, any, vec![0, 1]),
            ("an alias of two architectures, one", &several, arm, vec![1]),
            (
                "an alias of two architectures, no machine",
                &several,
                machines,
                vec![],
            ),
        ] {
            assert_eq!(choose(candidates, narrowing), expected, "{what}");
        }
    }

    proptest! {
        #[test]
        fn what_is_chosen_fits_and_nothing_better_was_passed_over(
            drawn in prop::collection::vec((0..6usize, any::<bool>(), any::<bool>()), 0..8),
            wanted_type in prop::option::of(any::<bool>()),
            wanted_arm in prop::option::of(any::<bool>()),
        ) {
            let image_type = |machine| if machine { VirtualMachine } else { Container };
            let architecture = |arm: bool| if arm { "arm64" } else { "amd64" };
            let candidates: Vec<_> = drawn
                .into_iter()
                .map(|(kind, machine, arm)| candidate(ReferenceKind::ALL[kind], image_type(machine), architecture(arm)))
                .collect();
            let narrowing = Narrowing {
                image_type: wanted_type.map(image_type),
                architecture: wanted_arm.and_then(|arm| architecture(arm).parse().ok()),
            };
            let chosen = choose(&candidates, narrowing);
            let fits = |one: &Candidate| {
                narrowing.image_type.is_none_or(|wanted| wanted == one.image_type)
                    && narrowing.architecture.is_none_or(|wanted| Some(wanted) == one.architecture)
            };
            prop_assert_eq!(chosen.is_empty(), !candidates.iter().any(fits));
            for position in &chosen {
                let one = candidates[*position];
                prop_assert!(fits(&one));
                for other in candidates.iter().filter(|other| fits(other)) {
                    prop_assert!((one.kind, one.image_type) <= (other.kind, other.image_type));
                }
            }
            // Each is chosen that is as good as another that is.
            if let Some(first) = chosen.first() {
                let equals = candidates.iter().filter(|other| {
                    fits(other) && (other.kind, other.image_type) == (candidates[*first].kind, candidates[*first].image_type)
                });
                prop_assert_eq!(equals.count(), chosen.len());
            }
        }
    }
}
