//! The unmodified `incus` and `lxc` clients, at the end of the whole way.

use std::collections::BTreeMap;

use rootstock_model::{Digest, MetadataFtype, RootFtype};
use rootstock_tests::{
    clients::{Client, Flavour, ListedImage},
    cluster::Cluster,
    remote::FakeRemote,
    tree::{Product, Tree, Version},
};

use super::{FIRST, SECOND, set};

/// The name under which clients know the gateway.
const GATEWAY: &str = "gateway";

/// An image that a client asks for.
struct Wanted {
    alias: &'static str,
    virtual_machine: bool,
    fingerprint: Digest,
}

/// A cluster that has mirrored a server with all kinds of images, and what is there.
struct Stock {
    cluster: Cluster,
    wanted: Vec<Wanted>,
    all: Vec<Digest>,
}

/// Containers and virtual machines with twin metadata in two versions, a product for LXD alone, one
/// for Incus alone.
async fn stock() -> anyhow::Result<Stock> {
    let mut tree = Tree::default();
    let both =
        tree.add_product(Product::new("Debian", "bookworm", "amd64").requirement("secureboot", "false"));
    for serial in [FIRST, SECOND] {
        let version = Version::new(serial)
            .root(RootFtype::Squashfs)
            .root(RootFtype::DiskKvmImg);
        tree.add_version(&both, version)?;
    }
    let lxd = tree.add_product(Product::new("Ubuntu", "jammy", "amd64"));
    let for_lxd = Version::new(FIRST).metadata(&[MetadataFtype::Lxd]);
    tree.add_version(&lxd, for_lxd.root(RootFtype::Squashfs))?;
    let incus = tree.add_product(Product::new("Alpine", "3.20", "amd64"));
    let for_incus = Version::new(FIRST).metadata(&[MetadataFtype::Incus]);
    tree.add_version(&incus, for_incus.root(RootFtype::RootTarXz))?;

    let server = FakeRemote::https()?;
    tree.publish(&server)?;
    let cluster = Cluster::start().await?;
    cluster.mirror("images", &server).await?;
    let container = |alias, fingerprint| Wanted {
        alias,
        virtual_machine: false,
        fingerprint,
    };
    let wanted = vec![
        container(
            "debian/bookworm",
            tree.fingerprint(&both, SECOND, RootFtype::Squashfs)?,
        ),
        Wanted {
            alias: "debian/bookworm",
            virtual_machine: true,
            fingerprint: tree.fingerprint(&both, SECOND, RootFtype::DiskKvmImg)?,
        },
        container(
            "ubuntu/jammy/default",
            tree.fingerprint(&lxd, FIRST, RootFtype::Squashfs)?,
        ),
        container(
            "alpine/3.20/amd64",
            tree.fingerprint(&incus, FIRST, RootFtype::RootTarXz)?,
        ),
    ];
    let mut all: Vec<_> = wanted.iter().map(|wanted| wanted.fingerprint).collect();
    for root in [RootFtype::Squashfs, RootFtype::DiskKvmImg] {
        all.push(tree.fingerprint(&both, FIRST, root)?);
    }
    cluster.edge.wait_for(&set(&all)).await?;
    Ok(Stock { cluster, wanted, all })
}

impl Stock {
    async fn client(&self, flavour: Flavour) -> anyhow::Result<Option<Client>> {
        let Some(client) = Client::find(flavour)? else {
            return Ok(None);
        };
        let edge = &self.cluster.edge;
        client.add_remote(GATEWAY, &edge.url(), edge.ca_pem()).await?;
        Ok(Some(client))
    }
}

async fn gets_what_was_mirrored(flavour: Flavour) -> anyhow::Result<()> {
    let stock = stock().await?;
    let Some(client) = stock.client(flavour).await? else {
        return Ok(());
    };
    let listed: BTreeMap<String, ListedImage> = client
        .list(GATEWAY)
        .await?
        .into_iter()
        .map(|image| (image.fingerprint.clone(), image))
        .collect();
    assert_eq!(
        listed.keys().cloned().collect::<std::collections::BTreeSet<_>>(),
        set(&stock.all)
    );
    for Wanted {
        alias,
        virtual_machine,
        fingerprint,
    } in &stock.wanted
    {
        let hex = fingerprint.to_hex();
        let image = &listed[&hex];
        let image_type = if *virtual_machine {
            "virtual-machine"
        } else {
            "container"
        };
        assert_eq!(image.image_type, image_type, "{alias}");
        for name in [alias, hex.as_str(), &hex[..12]] {
            let exported = client.export(GATEWAY, name, *virtual_machine).await?;
            assert_eq!(exported.fingerprint, *fingerprint, "{name}");
            assert_eq!(exported.files.len(), 2, "{name}");
        }
    }
    let newest = &listed[&stock.wanted[0].fingerprint.to_hex()];
    assert_eq!(newest.properties["serial"], SECOND);
    assert_eq!(newest.properties["requirements.secureboot"], "false");
    stock.cluster.stop().await
}

#[tokio::test]
async fn incus_lists_and_exports_what_was_mirrored() -> anyhow::Result<()> {
    gets_what_was_mirrored(Flavour::Incus).await
}

#[tokio::test]
async fn lxc_lists_and_exports_what_was_mirrored() -> anyhow::Result<()> {
    gets_what_was_mirrored(Flavour::Lxc).await
}
