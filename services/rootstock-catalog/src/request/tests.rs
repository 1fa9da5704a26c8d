use rootstock_model::{Architecture, reference::Candidate};

use super::*;

#[test]
fn architectures_are_read_by_any_of_their_names() {
    let known = |name| {
        architecture(name)
            .ok()
            .map(|found| found.map(Architecture::kernel_name))
    };
    assert_eq!(known(""), Some(None));
    assert_eq!(known("amd64"), Some(Some("x86_64")));
    assert_eq!(known("x86_64"), Some(Some("x86_64")));
    assert_eq!(known("vax"), None);
}

/// Something that a reference was found to mean: version `number` of an image, by `kind`.
#[derive(Clone, Copy)]
struct Match {
    id: &'static str,
    kind: ReferenceKind,
    image_type: ImageType,
    architecture: &'static str,
    /// What the fingerprint or alias is pinned to.
    pinned: Option<i32>,
    number: i32,
    status: wire::Status,
    hidden: bool,
    fingerprint: &'static str,
}

const MATCH: Match = Match {
    id: "one",
    kind: ReferenceKind::Alias,
    image_type: ImageType::Container,
    architecture: "x86_64",
    pinned: None,
    number: 0,
    status: wire::Status::Active,
    hidden: false,
    fingerprint: "f",
};

const BY_FINGERPRINT: Match = Match {
    kind: ReferenceKind::Fingerprint,
    pinned: Some(0),
    ..MATCH
};

fn found(matches: &[Match]) -> Vec<Found> {
    let found = matches.iter().map(|one| Found {
        candidate: Candidate {
            kind: one.kind,
            image_type: one.image_type,
            architecture: one.architecture.parse().ok(),
        },
        image: wire::Image {
            id: one.id.to_owned(),
            name: format!("name-of-{}", one.id),
            r#type: wire::ImageType::from(one.image_type).into(),
            architecture: one.architecture.to_owned(),
            ..wire::Image::default()
        },
        pinned: one.pinned,
        version: Some(wire::Version {
            number: one.number,
            serial: format!("2026010{}", one.number),
            status: one.status.into(),
            hidden: one.hidden,
            fingerprint: one.fingerprint.to_owned(),
            ..wire::Version::default()
        }),
    });
    found.collect()
}

/// What is meant, as the image's id and the version's number; or the error's text.
fn outcome(
    reference: &str,
    narrowing: Narrowing,
    version: Option<i32>,
    matches: &[Match],
) -> Result<(String, i32), String> {
    match meant(reference, narrowing, version, found(matches)) {
        Ok(found) => Ok((found.image.id, found.version.map_or(-1, |version| version.number))),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_reference_means_one_image_or_says_which_there_are() {
    let any = Narrowing::default();
    let arm = Narrowing {
        architecture: "aarch64".parse().ok(),
        ..any
    };
    let other = Match { id: "other", ..MATCH };
    let on_arm = Match {
        id: "arm",
        architecture: "aarch64",
        ..MATCH
    };
    let machine = Match {
        id: "machine",
        image_type: ImageType::VirtualMachine,
        ..MATCH
    };
    let named = Match {
        id: "named",
        kind: ReferenceKind::Name,
        ..MATCH
    };
    let ok = |id: &str| Ok((id.to_owned(), 0));
    assert_eq!(outcome("x", any, None, &[MATCH]), ok("one"));
    assert_eq!(
        outcome("x", any, None, &[MATCH, machine]),
        ok("one"),
        "a container first"
    );
    assert_eq!(
        outcome("x", any, None, &[MATCH, named]),
        ok("named"),
        "a name before an alias"
    );
    assert_eq!(outcome("x", arm, None, &[MATCH, on_arm]), ok("arm"));
    assert_eq!(
        outcome("x", any, None, &[MATCH, MATCH]),
        ok("one"),
        "twice the same image"
    );
    let ambiguous = outcome("x", any, None, &[MATCH, other]).unwrap_err();
    for part in [
        "fits several images",
        "one (name-of-one, container, x86_64)",
        "other (name-of-other",
    ] {
        assert!(ambiguous.contains(part), "{ambiguous}");
    }
    for (reference, narrowing) in [
        ("x", any),
        (
            "",
            Narrowing {
                image_type: Some(ImageType::Container),
                ..any
            },
        ),
    ] {
        let error = meant(reference, narrowing, None, vec![]).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
}

#[test]
fn nothing_means_the_default_of_a_type_that_is_named() {
    let default = Match {
        kind: ReferenceKind::Default,
        ..MATCH
    };
    let containers = Narrowing {
        image_type: Some(ImageType::Container),
        ..Narrowing::default()
    };
    assert_eq!(
        outcome("", containers, None, &[default]),
        Ok(("one".to_owned(), 0))
    );
    let error = meant("", Narrowing::default(), None, vec![]).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

#[test]
fn a_fingerprint_means_a_content_wherever_it_is() {
    let any = Narrowing::default();
    let version = |number, status, hidden| Match {
        pinned: Some(number),
        number,
        status,
        hidden,
        ..BY_FINGERPRINT
    };
    let old = || version(0, wire::Status::Active, false);
    let ok = |id: &str, number| Ok((id.to_owned(), number));
    let newer = version(1, wire::Status::Active, false);
    assert_eq!(
        outcome("f", any, None, &[old(), newer]),
        ok("one", 1),
        "the newest"
    );
    let hidden = version(1, wire::Status::Active, true);
    assert_eq!(
        outcome("f", any, None, &[old(), hidden]),
        ok("one", 0),
        "that can be used"
    );
    let queued = version(1, wire::Status::Queued, false);
    assert_eq!(
        outcome("f", any, None, &[old(), queued]),
        ok("one", 0),
        "that can be used"
    );
    let newer = version(1, wire::Status::Active, false);
    assert_eq!(
        outcome("f", any, Some(0), &[old(), newer]),
        ok("one", 0),
        "the one asked for"
    );
    let elsewhere = Match {
        id: "another",
        ..BY_FINGERPRINT
    };
    assert_eq!(
        outcome("f", any, None, &[old(), elsewhere]),
        ok("another", 0),
        "the first image"
    );
    let content = Match {
        id: "another",
        fingerprint: "f2",
        ..BY_FINGERPRINT
    };
    let ambiguous = outcome("f", any, None, &[old(), content]).unwrap_err();
    assert!(
        ambiguous.contains("fits several images"),
        "a prefix of two: {ambiguous}"
    );
    let contradiction = outcome("f", any, Some(7), &[old()]).unwrap_err();
    assert!(
        contradiction.contains("is 7, and the fingerprint is that of version 0"),
        "{contradiction}"
    );
}

#[test]
fn an_ambiguous_reference_names_no_more_than_ten() {
    let images: Vec<_> = (0..12)
        .map(|number| wire::Image {
            id: format!("id{number}"),
            ..wire::Image::default()
        })
        .collect();
    let error = ambiguous("x", images.iter()).to_string();
    assert!(
        error.contains("id9 (") && !error.contains("id10 (") && error.ends_with(", …"),
        "{error}"
    );
    let error = ambiguous("x", images[..10].iter()).to_string();
    assert!(!error.ends_with('…'), "{error}");
}
