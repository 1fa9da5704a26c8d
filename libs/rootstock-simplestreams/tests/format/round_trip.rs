//! What is written reads back as what was meant.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rootstock_model::{
    Architecture, Digest, ImageName, ImageType, MetadataFtype, RootFtype, serial,
    snapshot::{Artifact, Content, OfferedImage, OfferedVersion, Snapshot},
};
use rootstock_simplestreams::{
    FileEntry, ProductEntry, SplitEntry, VersionEntry, parse_index, parse_products, render_index,
    render_products,
};

use crate::assert_sound;

/// A file that is what its number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct File(u8);

impl File {
    fn entry(self) -> FileEntry {
        FileEntry::new(self.digest(), self.size(), &self.path()).unwrap()
    }

    fn artifact<F>(self, ftype: F) -> Artifact<F> {
        Artifact {
            ftype,
            sha256: self.digest(),
            size_bytes: self.size(),
            path: self.path(),
        }
    }

    fn digest(self) -> Digest {
        Digest::of(&[self.0])
    }

    fn size(self) -> u64 {
        u64::from(self.0) + 1
    }

    fn path(self) -> String {
        format!("blobs/{}.tar.xz", self.digest())
    }
}

#[derive(Debug, Clone)]
struct Version {
    label: String,
    /// Root → (metadata, root, fingerprint).
    split: BTreeMap<RootFtype, (File, File, Digest)>,
    unified: BTreeMap<ImageType, File>,
}

impl Version {
    fn entry(&self) -> VersionEntry {
        VersionEntry {
            label: self.label.clone(),
            split: self
                .split
                .iter()
                .map(|(ftype, (metadata, root, fingerprint))| {
                    let entry = SplitEntry {
                        metadata: metadata.entry(),
                        root: root.entry(),
                        fingerprint: *fingerprint,
                    };
                    (*ftype, entry)
                })
                .collect(),
            unified: self
                .unified
                .iter()
                .map(|(image_type, file)| (*image_type, file.entry()))
                .collect(),
        }
    }

    fn offered(&self, serial: &str, image_type: ImageType) -> Option<OfferedVersion> {
        let split = self
            .split
            .iter()
            .filter(|(ftype, _)| ftype.image_type() == image_type)
            .map(|(ftype, (metadata, root, fingerprint))| Content::Split {
                metadata: metadata.artifact(MetadataFtype::Incus),
                root: root.artifact(*ftype),
                fingerprint: Some(*fingerprint),
            });
        let unified = self.unified.get(&image_type).map(|file| Content::Unified {
            image: file.artifact(MetadataFtype::IncusCombined),
        });
        let contents: Vec<_> = split.chain(unified).collect();
        (!contents.is_empty()).then(|| OfferedVersion {
            serial: serial.to_owned(),
            label: self.label.clone(),
            created_at: serial::moment(serial),
            contents,
        })
    }
}

fn version() -> impl Strategy<Value = Version> {
    // Few metadata tarballs, so that images of one version share them and do not.
    let split = (0..3_u8, 10..200_u8, any::<[u8; 32]>())
        .prop_map(|(metadata, root, fingerprint)| (File(metadata), File(root), Digest::new(fingerprint)));
    let content = (
        "[a-zA-Z0-9.]{0,8}",
        prop::collection::btree_map(prop::sample::select(RootFtype::ALL.to_vec()), split, 0..5),
        prop::collection::btree_map(
            prop::sample::select(ImageType::ALL.to_vec()),
            (200..250_u8).prop_map(File),
            0..3,
        ),
    );
    content
        .prop_map(|(label, split, unified)| Version {
            label,
            split,
            unified,
        })
        .prop_filter("holds an image", |version| {
            !version.split.is_empty() || !version.unified.is_empty()
        })
}

type Product = (ProductEntry, BTreeMap<String, Version>);

fn product() -> impl Strategy<Value = Product> {
    let architectures: Vec<Architecture> = [
        "x86_64", "aarch64", "armv7l", "ppc64le", "s390x", "riscv64", "i686",
    ]
    .map(|name| name.parse().unwrap())
    .into();
    let keys = [
        "os",
        "release",
        "release_title",
        "release_codename",
        "version",
        "variant",
        "requirements.secureboot",
        "requirements.cgroup",
    ];
    (
        prop::sample::select(architectures),
        prop::collection::btree_set("[a-z]{1,6}(/[a-z0-9]{1,3})?", 0..4),
        prop::collection::btree_map(
            prop::sample::select(keys.to_vec()),
            "[a-zA-Z\"<>\\\\é0-9]([a-zA-Z \"\\\\é0-9]{0,8}[a-z])?",
            0..6,
        ),
        prop::option::of(0..40_000_i32),
        prop::collection::btree_map(
            "20(1[0-9]|2[0-6])(0[1-9]|1[0-2])(0[1-9]|[12][0-8])_[0-5][0-9]:[0-5][0-9]",
            version(),
            1..4,
        ),
    )
        .prop_map(|(architecture, aliases, properties, eol, versions)| {
            let entry = ProductEntry {
                architecture,
                aliases: aliases.iter().map(|alias| alias.parse().unwrap()).collect(),
                properties: properties
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
                support_eol: eol.map(|days| time::Date::from_julian_day(2_440_588 + days).unwrap()),
                versions: versions
                    .iter()
                    .map(|(serial, version)| (serial.clone(), version.entry()))
                    .collect(),
            };
            (entry, versions)
        })
}

fn offered(name: &ImageName, (entry, versions): &Product) -> Vec<OfferedImage> {
    ImageType::ALL
        .into_iter()
        .filter_map(|image_type| {
            let versions: Vec<_> = versions
                .iter()
                .filter_map(|(serial, version)| version.offered(serial, image_type))
                .collect();
            (!versions.is_empty()).then(|| OfferedImage {
                product: name.clone(),
                image_type,
                architecture: entry.architecture,
                properties: entry.properties.clone(),
                aliases: entry.aliases.clone(),
                support_eol: entry.support_eol,
                versions,
            })
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_reads_back(
        products in prop::collection::btree_map("[a-z]{1,6}:[a-z0-9]{1,4}", product(), 0..4),
    ) {
        let products: BTreeMap<ImageName, Product> =
            products.into_iter().map(|(name, product)| (name.parse().unwrap(), product)).collect();
        let entries = products.iter().map(|(name, (entry, _))| (name.clone(), entry.clone())).collect();
        let expected = Snapshot {
            images: products.iter().flat_map(|(name, product)| offered(name, product)).collect(),
            left_out: vec![],
        };

        let read = parse_products(&render_products(&entries).unwrap()).unwrap();
        assert_sound(&read);
        prop_assert_eq!(&read, &expected);

        if !products.is_empty() {
            let index = parse_index(&render_index(products.keys()).unwrap()).unwrap();
            prop_assert_eq!(index.assemble([read]), expected);
        }
    }
}
