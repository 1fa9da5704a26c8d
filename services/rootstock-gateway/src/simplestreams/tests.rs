//! Documents that grow change by change, against documents that are rendered whole.

use std::io::Read as _;

use flate2::read::GzDecoder;
use http_body_util::BodyExt as _;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use rootstock_proto::catalog::v1 as wire;
use rootstock_simplestreams::{parse_index, parse_products, render_index, render_products};
use time::macros::datetime;
use wire::{Alias, Change, ChangeOperation as Operation, change::Resource};

use super::*;
use crate::{
    listing::audience,
    test_catalog::{change, image, version},
};

const NOW: OffsetDateTime = datetime!(2026-11-22 05:24 UTC);
const TYPES: [wire::ImageType; 2] = [wire::ImageType::Container, wire::ImageType::VirtualMachine];

/// Names that compete with each other for those of further products, and some that do not.
const NAMES: [&str; 7] = [
    "debian",
    "debian:version-1",
    "debian:virtual-machine",
    "debian:virtual-machine-2",
    "debian:bookworm",
    "debian:version-1:x",
    "alpine",
];

/// A renderer of these audiences, and all that it works on.
struct Stage {
    renderer: Renderer,
    model: SharedReadModel,
    published: SharedIndex,
    revision: i64,
}

impl Stage {
    fn new(audiences: impl IntoIterator<Item = &'static dyn Audience>) -> Self {
        Self {
            renderer: Renderer::new(audiences.into_iter()),
            model: SharedReadModel::new(Some(ReadModel::new())),
            published: SharedIndex::new(),
            revision: 0,
        }
    }

    /// Makes one transaction, and renders what it changed.
    fn commit(&mut self, changes: impl IntoIterator<Item = (Operation, Resource)>) {
        let changes: Vec<Change> = changes
            .into_iter()
            .map(|(operation, resource)| {
                self.revision += 1;
                change(self.revision, operation, resource)
            })
            .collect();
        let revision = self.revision;
        self.model.send_modify(|model| {
            let model = model.as_mut().unwrap();
            model.apply(changes, revision, NOW);
            model.prune(NOW);
        });
        self.renderer.render(&self.model, &self.published);
    }

    fn index(&self) -> Arc<Index> {
        let index = self.published.subscribe(audience::public()).unwrap();
        let index = index.borrow().clone();
        index.unwrap()
    }

    /// What the documents have to be: everything rendered at once.
    fn fresh(&self) -> Products {
        let model = self.model.borrow();
        FamilyEntries::all(model.as_ref().unwrap(), audience::public()).products()
    }
}

fn bytes(document: &Document, encoding: Encoding) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(document.body(encoding).collect()).unwrap();
    let bytes = body.to_bytes();
    assert_eq!(bytes.len() as u64, document.len_bytes(encoding));
    bytes.into()
}

fn unpacked(document: &Document) -> Vec<u8> {
    let packed = bytes(document, Encoding::Gzip);
    let mut decoder = GzDecoder::new(&*packed);
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).unwrap();
    assert!(decoder.into_inner().is_empty(), "one gzip member");
    plain
}

/// One of few images, so that changes meet.
fn any_image() -> impl Strategy<Value = wire::Image> {
    (0..NAMES.len(), 0..TYPES.len(), prop::bool::weighted(0.8)).prop_map(|(name, image_type, public)| {
        wire::Image {
            r#type: TYPES[image_type].into(),
            public,
            ..image(&format!("i{name}{image_type}"), NAMES[name])
        }
    })
}

/// A version of one of them. Few contents, so that images share them.
fn any_version() -> impl Strategy<Value = wire::VersionChange> {
    let status = prop::sample::select(vec![
        wire::Status::Active,
        wire::Status::Active,
        wire::Status::Deleted,
    ]);
    (
        any_image(),
        0..3_i32,
        0..3_u8,
        0..4_u8,
        status,
        prop::bool::weighted(0.1),
    )
        .prop_map(|(image, number, serial, root, status, hidden)| {
            let serial = format!("2026112{serial}");
            let root = format!("r{root}");
            let mut change = version(&image.id, number, &serial, ["m", &root]);
            let version = change.version.as_mut().unwrap();
            version.set_status(status);
            version.hidden = hidden;
            if image.r#type() == wire::ImageType::VirtualMachine {
                version.artifacts[1].ftype = "disk-kvm.img".to_owned();
            }
            change
        })
}

fn any_alias() -> impl Strategy<Value = Alias> {
    let name = prop::sample::select(vec!["debian/12", "stable", "two words"]);
    (any_image(), name, prop::option::weighted(0.4, 0..3_i32)).prop_map(|(image, name, version)| Alias {
        name: name.to_owned(),
        r#type: image.r#type,
        architecture: "x86_64".to_owned(),
        image_id: image.id,
        version,
        ..Alias::default()
    })
}

fn any_change() -> impl Strategy<Value = (Operation, Resource)> {
    let operation = prop::sample::select(vec![
        Operation::Created,
        Operation::Updated,
        Operation::Updated,
        Operation::Deleted,
    ]);
    let resource = prop_oneof![
        3 => any_image().prop_map(Resource::Image),
        6 => any_version().prop_map(Resource::Version),
        3 => any_alias().prop_map(Resource::Alias),
    ];
    (operation, resource)
}

#[test]
fn after_any_changes_the_documents_are_those_of_a_fresh_rendering() {
    let transactions = prop::collection::vec(prop::collection::vec(any_change(), 1..4), 1..40);
    let mut runner = TestRunner::new(Config {
        cases: 60,
        ..Config::default()
    });
    let checked = runner.run(&transactions, |transactions| {
        let mut stage = Stage::new(served());
        for transaction in transactions {
            stage.commit(transaction);
            let (index, fresh) = (stage.index(), stage.fresh());
            prop_assert_eq!(
                String::from_utf8(bytes(&index.products, Encoding::Plain)).unwrap(),
                String::from_utf8(render_products(&fresh.products).unwrap()).unwrap()
            );
            prop_assert_eq!(
                bytes(&index.index, Encoding::Plain),
                render_index(fresh.products.keys()).unwrap()
            );
            for document in [&index.products, &index.index] {
                prop_assert_eq!(unpacked(document), bytes(document, Encoding::Plain));
            }
            let skipped: BTreeSet<String> = stage.renderer.views[0]
                .skipped
                .values()
                .flatten()
                .cloned()
                .collect();
            prop_assert_eq!(skipped, fresh.skipped);
            let parsed = parse_products(&bytes(&index.products, Encoding::Plain)).unwrap();
            prop_assert_eq!(parsed.left_out, vec![]);
        }
        // A gateway that starts now serves the same bytes.
        let changes = stage
            .model
            .borrow()
            .as_ref()
            .unwrap()
            .resources()
            .snapshot()
            .changes()
            .collect();
        let mut other = Stage::new(served());
        other.model = SharedReadModel::new(Some(ReadModel::from_state(changes, stage.revision, NOW)));
        other.renderer.render(&other.model, &other.published);
        for encoding in [Encoding::Plain, Encoding::Gzip] {
            let (grown, fresh) = (stage.index(), other.index());
            let (grown, fresh) = (&grown.products, &fresh.products);
            prop_assert_eq!(&grown.validators(encoding).etag, &fresh.validators(encoding).etag);
            prop_assert_eq!(bytes(grown, encoding), bytes(fresh, encoding));
        }
        Ok(())
    });
    checked.unwrap();
}

/// So many images, each with a version.
fn many(count: usize) -> Vec<(Operation, Resource)> {
    let one = |number: usize| {
        let (id, root) = (format!("i{number}"), format!("r{number}"));
        let resources = [
            Resource::Image(image(&id, &format!("product{number}"))),
            Resource::Version(version(&id, 0, "20261122", ["m", &root])),
        ];
        resources.map(|resource| (Operation::Created, resource))
    };
    (0..count).flat_map(one).collect()
}

#[test]
fn a_change_packs_its_own_block_and_passes_the_others_on() {
    let mut stage = Stage::new(served());
    stage.commit(many(1500));
    assert_eq!(
        bytes(&stage.index().products, Encoding::Plain),
        render_products(&stage.fresh().products).unwrap()
    );
    assert_eq!(
        unpacked(&stage.index().products),
        bytes(&stage.index().products, Encoding::Plain)
    );
    parse_index(&bytes(&stage.index().index, Encoding::Plain)).unwrap();
    let blocks = |stage: &Stage| stage.renderer.views[0].blocks.as_slice().to_vec();
    let before = blocks(&stage);
    assert!(before.len() > 20, "{} blocks", before.len());
    let newer = version("i700", 1, "20261123", ["m", "newer"]);
    stage.commit([(Operation::Created, Resource::Version(newer))]);
    let after = blocks(&stage);
    let is_there = |block: &&Arc<blocks::Block>| before.iter().any(|other| Arc::ptr_eq(block, other));
    assert_eq!(after.len(), before.len());
    assert_eq!(after.iter().filter(is_there).count(), before.len() - 1);
}

#[test]
fn what_is_not_kept_unpacked_is_unpacked_for_who_wants_it() {
    let mut stage = Stage::new(served());
    stage.renderer.pool = Pool::new(0);
    stage.commit(many(700));
    let newer = version("i70", 1, "20261123", ["m", "newer"]);
    stage.commit([(Operation::Created, Resource::Version(newer))]);
    assert_eq!(
        bytes(&stage.index().products, Encoding::Plain),
        render_products(&stage.fresh().products).unwrap()
    );
    assert_eq!(
        bytes(&stage.index().index, Encoding::Plain),
        unpacked(&stage.index().index)
    );
}

#[test]
fn audiences_share_the_blocks_that_are_the_same_for_them() {
    let mut stage = Stage::new(["public", "operator"].map(|name| audience::by_name(name).unwrap()));
    stage.commit(many(1000));
    let private = wire::Image {
        public: false,
        ..image("i7", "product7")
    };
    stage.commit([(Operation::Updated, Resource::Image(private))]);
    let [one, other] = &*stage.renderer.views else {
        panic!("two audiences")
    };
    let names = |view: &View| view.blocks.names_from("").count();
    assert_eq!((names(one), names(other)), (999, 1000));
    let shared = one.blocks.as_slice().iter().filter(|block| {
        let others = other.blocks.as_slice();
        others.iter().any(|other| Arc::ptr_eq(block, other))
    });
    assert!(shared.count() + 2 >= one.blocks.as_slice().len());
}

#[test]
fn a_family_is_what_may_compete_for_a_name() {
    for (name, expected) in [
        ("debian", "debian"),
        ("debian:12:amd64:default", "debian:12:amd64:default"),
        ("debian:virtual-machine", "debian"),
        ("debian:virtual-machine-2", "debian"),
        ("debian:version-3", "debian"),
        ("debian:version-3:virtual-machine", "debian"),
        ("debian:version-3:x", "debian:version-3:x"),
        ("version-3", "version-3"),
    ] {
        assert_eq!(family(name), expected, "{name}");
    }
}
