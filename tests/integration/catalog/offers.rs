//! Offers made up by tests. A file's digest is that of its name; fingerprints are what they claim.

use rootstock_model::{
    Digest, ImageType, MetadataFtype, RootFtype, serial,
    snapshot::{Artifact, Content, OfferedImage, OfferedVersion, Snapshot},
};

/// The fingerprint that metadata and root really have, as the tests have it.
pub(crate) fn fingerprint(metadata: Digest, root: Digest) -> Digest {
    Digest::of(format!("{metadata}{root}").as_bytes())
}

pub(crate) fn artifact<F>(ftype: F, name: &str, size_bytes: u64) -> Artifact<F> {
    Artifact {
        ftype,
        sha256: Digest::of(name.as_bytes()),
        size_bytes,
        path: format!("images/{name}"),
    }
}

pub(crate) fn version(product: &str, serial: &str) -> OfferedVersion {
    let metadata = artifact(MetadataFtype::Incus, &format!("{product} {serial} metadata"), 700);
    let root = artifact(RootFtype::Squashfs, &format!("{product} {serial} root"), 10_000);
    let fingerprint = Some(fingerprint(metadata.sha256, root.sha256));
    OfferedVersion {
        serial: serial.to_owned(),
        label: String::new(),
        created_at: serial::moment(serial),
        contents: vec![Content::Split {
            metadata,
            root,
            fingerprint,
        }],
    }
}

pub(crate) fn image(product: &str, aliases: &[&str], serials: &[&str]) -> OfferedImage {
    OfferedImage {
        product: product.parse().unwrap(),
        image_type: ImageType::Container,
        architecture: "amd64".parse().unwrap(),
        properties: [("os".to_owned(), "Debian".to_owned())].into(),
        aliases: aliases.iter().map(|alias| alias.parse().unwrap()).collect(),
        support_eol: None,
        versions: serials.iter().map(|serial| version(product, serial)).collect(),
    }
}

pub(crate) fn snapshot(images: Vec<OfferedImage>) -> Snapshot {
    Snapshot {
        images,
        left_out: vec![],
    }
}
