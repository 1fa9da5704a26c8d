use proptest::prelude::*;

use super::*;
use crate::{MetadataFtype, RootFtype, snapshot::Artifact};

const PRODUCT: &str = "debian:12:amd64:default";

fn content(text: &str) -> Content {
    let digest = |part: &str| Digest::of(format!("{part} {text}").as_bytes());
    let path = |part: &str| format!("images/{text}/{part}");
    Content::Split {
        metadata: Artifact {
            ftype: MetadataFtype::Incus,
            sha256: digest("metadata"),
            size_bytes: 1,
            path: path("metadata"),
        },
        root: Artifact {
            ftype: RootFtype::Squashfs,
            sha256: digest("root"),
            size_bytes: 10,
            path: path("root"),
        },
        fingerprint: Some(digest("both")),
    }
}

fn offer(product: &str, serials: &[&str]) -> OfferedImage {
    let mut versions: Vec<_> = serials
        .iter()
        .map(|serial| OfferedVersion {
            serial: (*serial).to_owned(),
            label: String::new(),
            created_at: None,
            contents: vec![content(serial)],
        })
        .collect();
    versions.sort_by(|a, b| serial::compare(&a.serial, &b.serial));
    OfferedImage {
        product: product.parse().unwrap(),
        image_type: ImageType::Container,
        architecture: "amd64".parse().unwrap(),
        properties: BTreeMap::new(),
        aliases: vec!["debian/12".parse().unwrap()],
        support_eol: None,
        versions,
    }
}

fn snapshot(images: Vec<OfferedImage>) -> Snapshot {
    Snapshot {
        images,
        left_out: vec![],
    }
}

fn known(versions: &[(i32, &str, Status)]) -> KnownState {
    let versions = versions.iter().map(|(number, serial, status)| KnownVersion {
        number: *number,
        serial: (*serial).to_owned(),
        status: *status,
        size_bytes: 11,
        fingerprint: content(serial).fingerprint(),
        files: content(serial)
            .artifacts()
            .into_iter()
            .map(|a| (a.sha256, a.path))
            .collect(),
    });
    let image = KnownImage {
        description: describe(&offer(PRODUCT, &[])),
        versions: versions.collect(),
        pinned: vec![],
        ignored_serials: BTreeSet::new(),
    };
    KnownState {
        images: [((PRODUCT.parse().unwrap(), ImageType::Container), image)].into(),
        ..KnownState::default()
    }
}

fn run<'a>(snapshot: &'a Snapshot, known: &KnownState, keep: u32, mode: Mode) -> Plan<'a> {
    let selection = Selection {
        mode,
        ..Selection::everything(keep)
    };
    plan(
        snapshot,
        known,
        Rules {
            selection: &selection,
            max_removal_percent: 50,
            force: true,
        },
    )
    .unwrap()
}

/// What a plan does with its only image: (added serials, removed, retired, retired later).
fn outcome<'a>(plan: &Plan<'a>) -> (Vec<&'a str>, Vec<i32>, Vec<i32>, Vec<i32>) {
    match &plan.images[..] {
        [] => Default::default(),
        [image] => (
            image.add.iter().map(|new| new.offered.serial.as_str()).collect(),
            numbers(&image.remove),
            numbers(&image.retire),
            numbers(&image.retire_later),
        ),
        _ => panic!("several images"),
    }
}

fn numbers(versions: &[KnownVersion]) -> Vec<i32> {
    versions.iter().map(|version| version.number).collect()
}

#[test]
fn what_is_offered_and_known_gives_what_is_done() {
    use Status::{Active, Available, Error, Queued};
    type Known<'a> = &'a [(i32, &'a str, Status)];
    type Expected<'a> = (&'a [&'a str], &'a [i32], &'a [i32], &'a [i32]);
    let cases: &[(&str, &[&str], Known<'_>, Expected<'_>)] = &[
        ("first sight", &["1", "2", "3"], &[], (&["2", "3"], &[], &[], &[])),
        (
            "nothing new",
            &["1", "2"],
            &[(0, "1", Active), (1, "2", Active)],
            (&[], &[], &[], &[]),
        ),
        (
            "a new one",
            &["1", "2", "3"],
            &[(0, "1", Active), (1, "2", Active)],
            (&["3"], &[], &[], &[0]),
        ),
        (
            "numbers, not strings",
            &["9", "10"],
            &[(0, "9", Active)],
            (&["10"], &[], &[], &[]),
        ),
        (
            "older offers do not displace",
            &["1", "2"],
            &[(0, "3", Active), (1, "4", Active)],
            (&[], &[], &[], &[]),
        ),
        (
            "the remote went back",
            &["1"],
            &[(0, "1", Active), (1, "2", Active)],
            (&[], &[], &[], &[]),
        ),
        (
            "waiting, and superseded",
            &["2", "3"],
            &[(0, "1", Queued), (1, "2", Queued)],
            (&["3"], &[0], &[], &[]),
        ),
        (
            "in error, still offered",
            &["1"],
            &[(0, "1", Error)],
            (&[], &[], &[], &[]),
        ),
        (
            "in error, gone",
            &["2"],
            &[(0, "1", Error)],
            (&["2"], &[0], &[], &[]),
        ),
        (
            "listed, gone",
            &["2"],
            &[(0, "1", Available), (1, "2", Active)],
            (&[], &[0], &[], &[]),
        ),
        (
            "too many kept",
            &["3"],
            &[(0, "1", Active), (1, "2", Active), (2, "3", Active)],
            (&[], &[], &[0], &[]),
        ),
    ];
    for (name, offered, known_versions, (add, remove, retire, later)) in cases {
        let snapshot = snapshot(vec![offer(PRODUCT, offered)]);
        let state = if known_versions.is_empty() {
            KnownState::default()
        } else {
            known(known_versions)
        };
        let plan = run(&snapshot, &state, 2, Mode::Mirror);
        let expected = (add.to_vec(), remove.to_vec(), retire.to_vec(), later.to_vec());
        assert_eq!(outcome(&plan), expected, "{name}");
    }
}

#[test]
fn other_bytes_under_a_known_serial_are_another_version() {
    let mut image = offer(PRODUCT, &["1"]);
    image.versions[0].contents = vec![content("other bytes")];
    let snapshot = snapshot(vec![image]);
    let plan = run(&snapshot, &known(&[(0, "1", Status::Active)]), 2, Mode::Mirror);
    assert_eq!(outcome(&plan), (vec!["1"], vec![], vec![], vec![0]));
}

#[test]
fn a_mended_claim_is_another_version_until_the_bytes_are_here() {
    let changes: [fn(&mut KnownVersion); 2] = [
        |known| known.size_bytes += 1,
        |known| known.fingerprint = Some(Digest::of(b"another")),
    ];
    for change in changes {
        for (status, expected) in [
            (Status::Error, (vec!["1"], vec![0], vec![], vec![])),
            (Status::Queued, (vec!["1"], vec![0], vec![], vec![])),
            (Status::Active, Default::default()),
        ] {
            let offered = snapshot(vec![offer(PRODUCT, &["1"])]);
            let mut state = known(&[(0, "1", status)]);
            let image = state.images.values_mut().next().unwrap();
            change(&mut image.versions[0]);
            let plan = run(&offered, &state, 2, Mode::Mirror);
            assert_eq!(outcome(&plan), expected, "{status:?}");
        }
    }
}

#[test]
fn files_that_moved_are_found_again() {
    let mut image = offer(PRODUCT, &["1"]);
    let Content::Split { root, .. } = &mut image.versions[0].contents[0] else {
        panic!()
    };
    root.path = "elsewhere".to_owned();
    let snapshot = snapshot(vec![image]);
    let plan = run(&snapshot, &known(&[(0, "1", Status::Queued)]), 2, Mode::Mirror);
    assert_eq!(plan.images[0].relocate.len(), 1);
    assert_eq!(outcome(&plan), Default::default());
}

#[test]
fn turning_a_remote_into_a_mirror_fetches_what_was_listed() {
    let snapshot = snapshot(vec![offer(PRODUCT, &["1", "2"])]);
    let listed = known(&[(0, "1", Status::Available), (1, "2", Status::Available)]);
    let plan = run(&snapshot, &listed, 2, Mode::Mirror);
    let changed: Vec<_> = plan.images[0]
        .change
        .iter()
        .map(|(version, status)| (version.number, *status))
        .collect();
    assert_eq!(changed, [(0, Status::Queued), (1, Status::Queued)]);
    assert!(run(&snapshot, &listed, 2, Mode::OnDemand).images.is_empty());
}

#[test]
fn names_and_aliases_of_others_are_left_alone() {
    let snapshot = snapshot(vec![
        offer("a:x", &["1"]),
        offer("b:x", &["1"]),
        offer("c:x", &["1"]),
    ]);
    let mut state = KnownState::default();
    state.taken_names.insert(
        ("c:x".parse().unwrap(), ImageType::Container),
        "remote other".to_owned(),
    );
    let plan = run(&snapshot, &state, 2, Mode::Mirror);
    let aliases: Vec<_> = plan
        .images
        .iter()
        .map(|image| image.describe.as_ref().unwrap().aliases.len())
        .collect();
    assert_eq!(aliases, [1, 0]);
    let left_out: Vec<_> = plan
        .left_out
        .iter()
        .map(|l| (l.product.as_str(), l.reason))
        .collect();
    assert_eq!(left_out, [("b:x", Reason::NameTaken), ("c:x", Reason::NameTaken)]);
}

#[test]
fn an_index_that_lost_most_of_its_products_is_refused_until_forced() {
    let mut state = known(&[(0, "1", Status::Active)]);
    let image = state.images.values().next().unwrap().clone();
    for product in ["b:x", "c:x"] {
        state
            .images
            .insert((product.parse().unwrap(), ImageType::Container), image.clone());
    }
    let selection = Selection::everything(2);
    let rules = |force| Rules {
        selection: &selection,
        max_removal_percent: 50,
        force,
    };
    let one_left = snapshot(vec![offer(PRODUCT, &["1"])]);
    let refused = TooManyRemoved {
        missing: 2,
        known: 3,
        max_percent: 50,
    };
    assert_eq!(plan(&one_left, &state, rules(false)), Err(refused));
    assert!(plan(&one_left, &state, rules(true)).is_ok());
    let two_left = snapshot(vec![offer(PRODUCT, &["1"]), offer("b:x", &["1"])]);
    assert!(plan(&two_left, &state, rules(false)).is_ok());
}

proptest! {
    /// Carrying a plan out leaves nothing to do, and never leaves an image that had a good version
    /// without one.
    #[test]
    fn a_plan_that_was_run_is_done(
        offered in proptest::collection::btree_set(0u8..12, 1..8),
        held in proptest::collection::btree_map(0u8..12, 0usize..4, 0..8),
        keep in 1u32..5,
        on_demand: bool,
    ) {
        let names: Vec<_> = offered.iter().map(u8::to_string).collect();
        let snapshot = snapshot(vec![offer(PRODUCT, &names.iter().map(String::as_str).collect::<Vec<_>>())]);
        let statuses = [Status::Active, Status::Queued, Status::Available, Status::Error];
        let held: Vec<_> = held.iter().enumerate().map(|(number, (serial, status))| {
            (number as i32, serial.to_string(), statuses[*status])
        }).collect();
        let mut state = known(&held.iter().map(|(n, s, t)| (*n, s.as_str(), *t)).collect::<Vec<_>>());
        let mode = if on_demand { Mode::OnDemand } else { Mode::Mirror };
        let had_active = held.iter().any(|(.., status)| *status == Status::Active);

        let plan = run(&snapshot, &state, keep, mode);
        let image = state.images.values_mut().next().unwrap();
        let mut next = held.len() as i32;
        for image_plan in &plan.images {
            for new in &image_plan.add {
                let files = new.content.artifacts().into_iter().map(|a| (a.sha256, a.path)).collect();
                image.versions.push(KnownVersion {
                    number: next,
                    serial: new.offered.serial.clone(),
                    status: new.status,
                    size_bytes: 11,
                    fingerprint: new.content.fingerprint(),
                    files,
                });
                next += 1;
            }
            for (changed, status) in &image_plan.change {
                image.versions.iter_mut().find(|v| v.number == changed.number).unwrap().status = *status;
            }
            let gone: Vec<_> = image_plan.remove.iter().chain(&image_plan.retire).map(|v| v.number).collect();
            image.versions.retain(|version| !gone.contains(&version.number));
        }
        prop_assert!(run(&snapshot, &state, keep, mode).images.is_empty());
        let versions = &state.images.values().next().unwrap().versions;
        prop_assert_eq!(versions.iter().any(|v| v.status == Status::Active), had_active);
    }
}

#[test]
fn what_is_pinned_is_not_retired_and_the_rest_is_as_ever() {
    let four = [(0, "1.8"), (1, "1.9"), (2, "1.10"), (3, "1.11")];
    assert_eq!(retire(four, 2, &[]), [0, 1]);
    assert_eq!(retire(four, 2, &[0]), [1]);
    assert_eq!(retire(four, 2, &[3]), [0, 1]);
    // The same serial again, while the image is held at the first.
    assert_eq!(retire([(0, "1.8"), (1, "1.8")], 2, &[]), [0]);
    assert_eq!(retire([(0, "1.8"), (1, "1.8")], 2, &[0]), [] as [i32; 0]);
}

#[test]
fn what_a_user_deleted_stays_deleted() {
    let offered = snapshot(vec![offer(PRODUCT, &["1.8", "1.9", "1.10"])]);
    let mut state = known(&[(0, "1.8", Status::Active), (1, "1.9", Status::Active)]);
    let key = (PRODUCT.parse().unwrap(), ImageType::Container);
    state.images.get_mut(&key).unwrap().ignored_serials = ["1.10".to_owned()].into();
    let plan = run(&offered, &state, 2, Mode::Mirror);
    assert_eq!(plan.images, []);
    let reasons: Vec<_> = plan
        .left_out
        .iter()
        .map(|left_out| (left_out.serial.as_str(), left_out.reason))
        .collect();
    assert_eq!(reasons, [("1.10", Reason::Ignored)]);

    let state = KnownState {
        ignored: [key].into(),
        ..KnownState::default()
    };
    let plan = run(&offered, &state, 2, Mode::Mirror);
    assert_eq!(plan.images, []);
    let reasons: Vec<_> = plan
        .left_out
        .iter()
        .map(|left_out| (left_out.serial.as_str(), left_out.reason))
        .collect();
    assert_eq!(reasons, [("", Reason::Ignored)]);
}

#[test]
fn a_newer_release_than_the_constraint_is_left_out_and_never_in_the_way() {
    let offered = [
        "1.9.5-2026.gitx",
        "1.10.0-2026.gita",
        "1.10.1-2026.gitb",
        "1.10.2-2026.gitc",
        "1.11.0-2026.gitd",
        "2.10.0-2026.gite",
    ];
    let snapshot = Snapshot {
        images: vec![offer(PRODUCT, &offered)],
        left_out: vec![],
    };
    let selection = Selection {
        version_constraint: Some("1.10".parse().unwrap()),
        ..Selection::everything(2)
    };
    let rules = Rules {
        selection: &selection,
        max_removal_percent: 50,
        force: false,
    };
    let unknown = KnownState::default();
    let plan = plan(&snapshot, &unknown, rules).unwrap();
    assert_eq!(outcome(&plan).0, [offered[2], offered[3]]);
    let left_out: Vec<_> = plan
        .left_out
        .iter()
        .map(|one| (one.serial.as_str(), one.reason))
        .collect();
    assert_eq!(
        left_out,
        [
            (offered[1], Reason::BeyondKeepVersions),
            (offered[4], Reason::BeyondVersionConstraint),
            (offered[0], Reason::BeyondVersionConstraint),
            (offered[5], Reason::BeyondVersionConstraint),
        ]
    );
}

#[test]
fn what_is_stored_of_another_release_goes_when_one_of_the_right_release_is_there() {
    let admits = |serial: &str| serial.starts_with("1.30");
    for (active, keep, retired) in [
        (vec![(0, "1.31.0")], 1, vec![]),
        (vec![(0, "1.31.0"), (1, "1.32.0")], 1, vec![0]),
        (vec![(0, "1.31.0"), (1, "1.30.0")], 1, vec![0]),
        (vec![(0, "1.31.0"), (1, "1.30.0"), (2, "1.30.1")], 1, vec![0, 1]),
        (vec![(0, "1.31.0"), (1, "1.30.0"), (2, "1.30.1")], 5, vec![0]),
        (vec![], 1, vec![]),
    ] {
        assert_eq!(
            retire_admitted(active.clone(), keep, &[], admits),
            retired,
            "{active:?} {keep}"
        );
    }
    let held = [(0, "1.31.0"), (1, "1.30.0"), (2, "1.30.1")];
    assert_eq!(retire_admitted(held, 1, &[0], admits), [1]);
}
