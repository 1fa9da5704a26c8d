//! The unmodified `incus` and `lxc` clients against the gateway.

use std::collections::BTreeSet;

use rootstock_model::{Digest, MetadataFtype, RootFtype};
use rootstock_proto::catalog::v1::change::Resource;
use rootstock_tests::{
    clients::{Client, Flavour, ListedImage},
    tree::{Product, Tree, Version},
};

use super::{Gateway, Site, alias, created, image};

const FIRST: &str = "20260101_0524";
const SECOND: &str = "20260102_0524";

/// What the clients are shown, and what they should find in it.
struct Stock {
    site: Site,
    gateway: Gateway,
    fingerprints: BTreeSet<String>,
    container: Digest,
    older_container: Digest,
    machine: Digest,
    unified: Digest,
}

/// A container and a virtual machine under one name in two versions, a container for another
/// architecture, a unified image, and an image whose serials are no dates.
async fn stock() -> anyhow::Result<Stock> {
    let mut tree = Tree::default();
    let debian =
        tree.add_product(Product::new("Debian", "bookworm", "amd64").requirement("secureboot", "false"));
    for serial in [FIRST, SECOND] {
        let version = Version::new(serial)
            .root(RootFtype::Squashfs)
            .root(RootFtype::DiskKvmImg);
        tree.add_version(&debian, version)?;
    }
    let alpine = tree.add_product(Product::new("Alpine", "3.20", "arm64"));
    tree.add_version(&alpine, Version::new(FIRST).root(RootFtype::RootTarXz))?;
    let whole = tree.add_product(Product::new("Anbox", "jammy", "amd64"));
    tree.add_version(
        &whole,
        Version::new(FIRST).metadata(&[MetadataFtype::LxdCombined]),
    )?;

    let site = Site::new().await?;
    site.add_tree(&tree).await?;
    let files = [
        ("lxd.tar.xz", "own metadata".into()),
        ("root.tar.xz", "own root".into()),
    ];
    let own = site.version("own", 0, "1.10.0", &files).await?;
    let own_alias = alias(
        "own/image",
        rootstock_model::ImageType::Container,
        "x86_64",
        "own",
    );
    site.catalog
        .commit(created([image("own", "own"), own, own_alias]));
    let gateway = site.gateway().await?;

    let split = |product: &str, serial, root| tree.fingerprint(product, serial, root);
    let container = split(&debian, SECOND, RootFtype::Squashfs)?;
    let older_container = split(&debian, FIRST, RootFtype::Squashfs)?;
    let machine = split(&debian, SECOND, RootFtype::DiskKvmImg)?;
    let unified = tree.metadata(&whole, FIRST, MetadataFtype::LxdCombined)?.digest;
    let all = [
        container,
        older_container,
        machine,
        split(&debian, FIRST, RootFtype::DiskKvmImg)?,
        split(&alpine, FIRST, RootFtype::RootTarXz)?,
        unified,
        Digest::of(b"own metadataown root"),
    ];
    Ok(Stock {
        site,
        gateway,
        fingerprints: all.map(Digest::to_hex).into(),
        container,
        older_container,
        machine,
        unified,
    })
}

impl Stock {
    /// A client that knows the gateway under the name `gw`.
    async fn client(&self, flavour: Flavour) -> anyhow::Result<Option<Client>> {
        let Some(client) = Client::find(flavour)? else {
            return Ok(None);
        };
        client
            .add_remote("gw", &self.gateway.url(""), &self.gateway.ca_pem)
            .await?;
        Ok(Some(client))
    }
}

fn find<'a>(listed: &'a [ListedImage], fingerprint: &Digest) -> &'a ListedImage {
    let hex = fingerprint.to_hex();
    listed
        .iter()
        .find(|image| image.fingerprint == hex)
        .unwrap_or_else(|| panic!("{hex} is not in {listed:#?}"))
}

async fn lists_what_there_is(flavour: Flavour) -> anyhow::Result<()> {
    let stock = stock().await?;
    let Some(client) = stock.client(flavour).await? else {
        return Ok(());
    };
    let listed = client.list("gw").await?;
    let fingerprints: BTreeSet<_> = listed.iter().map(|image| image.fingerprint.clone()).collect();
    assert_eq!(fingerprints, stock.fingerprints);

    let container = find(&listed, &stock.container);
    assert_eq!(
        (container.image_type.as_str(), container.architecture.as_str()),
        ("container", "x86_64")
    );
    assert!(
        container.alias_names().contains(&"debian/bookworm"),
        "{container:?}"
    );
    assert_eq!(container.properties["serial"], SECOND);
    assert_eq!(container.properties["requirements.secureboot"], "false");
    // The newest has the names.
    assert_eq!(find(&listed, &stock.older_container).alias_names(), [""; 0]);
    let machine = find(&listed, &stock.machine);
    assert_eq!(machine.image_type, "virtual-machine");
    assert!(machine.alias_names().contains(&"debian/bookworm"), "{machine:?}");
    let own = find(&listed, &Digest::of(b"own metadataown root"));
    assert_eq!(own.properties["label"], "1.10.0");
    stock.gateway.stop().await
}

async fn exports_what_was_asked_for(flavour: Flavour) -> anyhow::Result<()> {
    let stock = stock().await?;
    let Some(client) = stock.client(flavour).await? else {
        return Ok(());
    };
    let short = &stock.older_container.to_hex()[..12];
    for (name, virtual_machine, wanted, files) in [
        ("debian/bookworm", false, stock.container, 2),
        ("debian/bookworm/default", false, stock.container, 2),
        ("debian/bookworm/amd64", false, stock.container, 2),
        ("debian/bookworm", true, stock.machine, 2),
        (&stock.older_container.to_hex(), false, stock.older_container, 2),
        (short, false, stock.older_container, 2),
        ("anbox/jammy", false, stock.unified, 1),
    ] {
        let exported = client.export("gw", name, virtual_machine).await?;
        assert_eq!(exported.fingerprint, wanted, "{name}");
        assert_eq!(exported.files.len(), files, "{name}: {:?}", exported.files);
    }
    let missing = client.export("gw", "debian/nonesuch", false).await;
    assert!(missing.is_err());
    stock.gateway.stop().await
}

async fn follows_a_new_version(flavour: Flavour) -> anyhow::Result<()> {
    let stock = stock().await?;
    let Some(client) = stock.client(flavour).await? else {
        return Ok(());
    };
    let before = client.export("gw", "own/image", false).await?;
    let files = [
        ("lxd.tar.xz", "own metadata".into()),
        ("root.tar.xz", "newer root".into()),
    ];
    let newer = stock.site.version("own", 1, "1.11.0", &files).await?;
    let Resource::Version(old) = stock
        .site
        .version(
            "own",
            0,
            "1.10.0",
            &[
                ("lxd.tar.xz", "own metadata".into()),
                ("root.tar.xz", "own root".into()),
            ],
        )
        .await?
    else {
        unreachable!()
    };
    let old = super::retired(&Resource::Version(old), time::OffsetDateTime::now_utc());
    stock
        .site
        .catalog
        .commit(created([newer]).into_iter().chain(super::updated(old)));
    stock
        .gateway
        .wait_for_products(|products| {
            let versions = products["own"]["versions"].as_object();
            versions.is_some_and(|versions| {
                versions.len() == 1 && versions.values().all(|version| version["label"] == "1.11.0")
            })
        })
        .await?;
    // With the index of before, the image of before is still there; with the new one, the new.
    if flavour == Flavour::Incus {
        let cached = client.export("gw", "own/image", false).await?;
        assert_eq!(
            cached.fingerprint, before.fingerprint,
            "incus keeps an index for minutes"
        );
    }
    client.forget_cache()?;
    let after = client.export("gw", "own/image", false).await?;
    assert_eq!(after.fingerprint, Digest::of(b"own metadatanewer root"));
    stock.gateway.stop().await
}

/// A large index is packed block by block; each ends in these bytes, since it is flushed.
const BLOCK_END: [u8; 4] = [0, 0, 0xff, 0xff];

async fn reads_an_index_of_several_blocks(flavour: Flavour) -> anyhow::Result<()> {
    let Some(client) = Client::find(flavour)? else {
        return Ok(());
    };
    let site = Site::new().await?;
    let mut fingerprints = BTreeSet::new();
    for number in 0..200 {
        let id = format!("i{number}");
        let files = [
            ("lxd.tar.xz", format!("metadata {number}").into()),
            ("root.tar.xz", format!("root {number}").into()),
        ];
        let version = site.version(&id, 0, FIRST, &files).await?;
        if let Resource::Version(change) = &version {
            fingerprints.extend(change.version.iter().map(|version| version.fingerprint.clone()));
        }
        let name = format!("distribution:{number}:amd64:default");
        site.catalog.commit(created([image(&id, &name), version]));
    }
    let gateway = site.gateway().await?;
    let packed = [(http::header::ACCEPT_ENCODING, "gzip")];
    let packed = gateway
        .get("/streams/v1/images.json", &packed)
        .await?
        .bytes()
        .await?;
    let blocks = packed
        .windows(BLOCK_END.len())
        .filter(|end| **end == BLOCK_END)
        .count();
    assert!(blocks > 2, "{blocks} blocks");

    client.add_remote("gw", &gateway.url(""), &gateway.ca_pem).await?;
    let listed = client.list("gw").await?;
    let listed: BTreeSet<_> = listed.into_iter().map(|image| image.fingerprint).collect();
    assert_eq!(listed, fingerprints);
    gateway.stop().await
}

#[tokio::test]
async fn incus_reads_an_index_of_several_blocks() -> anyhow::Result<()> {
    reads_an_index_of_several_blocks(Flavour::Incus).await
}

#[tokio::test]
async fn lxc_reads_an_index_of_several_blocks() -> anyhow::Result<()> {
    reads_an_index_of_several_blocks(Flavour::Lxc).await
}

#[tokio::test]
async fn incus_lists_what_there_is() -> anyhow::Result<()> {
    lists_what_there_is(Flavour::Incus).await
}

#[tokio::test]
async fn lxc_lists_what_there_is() -> anyhow::Result<()> {
    lists_what_there_is(Flavour::Lxc).await
}

#[tokio::test]
async fn incus_exports_what_was_asked_for() -> anyhow::Result<()> {
    exports_what_was_asked_for(Flavour::Incus).await
}

#[tokio::test]
async fn lxc_exports_what_was_asked_for() -> anyhow::Result<()> {
    exports_what_was_asked_for(Flavour::Lxc).await
}

#[tokio::test]
async fn incus_follows_a_new_version() -> anyhow::Result<()> {
    follows_a_new_version(Flavour::Incus).await
}

#[tokio::test]
async fn lxc_follows_a_new_version() -> anyhow::Result<()> {
    follows_a_new_version(Flavour::Lxc).await
}
