//! `rootstock lint`: the executable against real, hostile and broken trees, and against what real
//! clients list.

mod hostile;

use std::{collections::BTreeSet, fs, io::Read as _, path::Path};

use rootstock_model::RootFtype;
use rootstock_simplestreams::lint::Code;
use rootstock_tests::{
    clients::{Client, Flavour},
    cluster::Cluster,
    corpus::corpus,
    process,
    remote::{FakeRemote, Fault},
    standalone::run,
    tools::repository_root,
    tree::{INDEX_PATH, PRODUCTS_PATH, Product, Tree, Version},
};
use serde_json::{Value, json};

const SERIAL: &str = "20260101_0524";

/// What a run came to.
struct Linted {
    record: Value,
    code: i32,
    said: String,
}

impl Linted {
    /// Every code that was found.
    fn codes(&self) -> BTreeSet<String> {
        let findings = self.record["findings"].as_array().unwrap();
        findings
            .iter()
            .map(|finding| finding["code"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What a family lists: containers and virtual machines.
    fn listed(&self, family: &str) -> (u64, u64) {
        let listed = &self.record["summary"][family];
        let number = |of: &str| listed[of].as_u64().unwrap();
        (number("containers"), number("virtual_machines"))
    }
}

async fn lint(arguments: &[&str]) -> anyhow::Result<Linted> {
    let mut command = process::command()?;
    command.arg("lint").args(arguments).args(["--format", "json"]);
    let output = run(command).await?;
    Ok(Linted {
        record: serde_json::from_slice(&output.stdout).unwrap_or_default(),
        code: output.status.code().unwrap_or(-1),
        said: String::from_utf8(output.stderr)?,
    })
}

/// Lints a server that [`Authority::shared`](rootstock_tests::certificates::Authority) vouches for.
async fn lint_server(url: &str, ca_pem: &str, arguments: &[&str]) -> anyhow::Result<Linted> {
    let directory = tempfile::tempdir()?;
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, ca_pem)?;
    let ca = ca.display().to_string();
    lint(&[&[url, "--ca", &ca], arguments].concat()).await
}

fn codes(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn good_tree() -> anyhow::Result<(Tree, String)> {
    let mut tree = Tree::default();
    let debian = tree.add_product(Product::new("Debian", "bookworm", "amd64"));
    let version = Version::new(SERIAL)
        .root(RootFtype::RootTarXz)
        .root_of_size(RootFtype::DiskKvmImg, 5 << 20);
    tree.add_version(&debian, version)?;
    Ok((tree, debian))
}

/// Writes documents that lead to `products`.
fn write_documents(directory: &Path, products: &[u8]) -> anyhow::Result<()> {
    let names: Vec<String> = match serde_json::from_slice::<Value>(products) {
        Ok(document) => document["products"]
            .as_object()
            .map(|map| map.keys().cloned().collect())
            .unwrap_or_default(),
        Err(_) => vec!["x".to_owned()],
    };
    let entry = json!({"datatype": "image-downloads", "path": PRODUCTS_PATH, "products": names});
    fs::create_dir_all(directory.join("streams/v1"))?;
    fs::write(
        directory.join(INDEX_PATH),
        json!({"index": {"images": entry}}).to_string(),
    )?;
    Ok(fs::write(directory.join(PRODUCTS_PATH), products)?)
}

#[tokio::test]
async fn a_good_tree_is_clean_on_a_server_and_on_disk() -> anyhow::Result<()> {
    let (mut tree, _) = good_tree()?;
    let directory = tempfile::tempdir()?;
    tree.write_to(directory.path())?;
    let remote = FakeRemote::https()?;
    tree.publish(&remote)?;
    let directory = directory.path().display().to_string();
    for linted in [
        lint(&[&directory]).await?,
        lint(&[&directory, "--blobs"]).await?,
        lint_server(&remote.url(), remote.ca_pem(), &[]).await?,
        lint_server(&remote.url(), remote.ca_pem(), &["--blobs"]).await?,
    ] {
        assert_eq!((linted.codes(), linted.code), (codes(&[]), 0), "{}", linted.said);
        assert_eq!((linted.listed("incus"), linted.listed("lxd")), ((1, 1), (1, 1)));
        assert_eq!(linted.record["summary"]["files_found"], 3);
    }
    Ok(())
}

#[tokio::test]
async fn every_way_for_files_to_be_wrong_is_found() -> anyhow::Result<()> {
    let (mut tree, debian) = good_tree()?;
    let remote = FakeRemote::https()?;
    tree.publish(&remote)?;
    let disk = tree.root(&debian, SERIAL, RootFtype::DiskKvmImg)?.clone();
    let root = tree.root(&debian, SERIAL, RootFtype::RootTarXz)?.clone();
    let blobs = async || lint_server(&remote.url(), remote.ca_pem(), &["--blobs"]).await;

    // One byte of it is another: every hash over it is.
    remote.fault(&disk.path, Fault::FlipByte { offset: 1 << 20 });
    let linted = blobs().await?;
    assert_eq!(
        (linted.codes(), linted.code),
        (codes(&["wrong-hash", "wrong-fingerprint"]), 1)
    );
    remote.clear_faults(&disk.path);

    remote.remove(&disk.path);
    for linted in [
        blobs().await?,
        lint_server(&remote.url(), remote.ca_pem(), &[]).await?,
    ] {
        assert_eq!((linted.codes(), linted.code), (codes(&["missing-file"]), 1));
    }
    remote.put(&disk.path, disk.content.clone())?;

    for (old, new, expected) in [
        (
            format!("\"size\": {}", disk.content.size()),
            format!("\"size\": {}", disk.content.size() + 1),
            "wrong-size",
        ),
        (root.digest.to_hex(), "0".repeat(64), "wrong-hash"),
        (
            tree.fingerprint(&debian, SERIAL, RootFtype::DiskKvmImg)?.to_hex(),
            "0".repeat(64),
            "wrong-fingerprint",
        ),
    ] {
        let [_, (path, text)] = tree.indexes();
        let bent = text.replace(&old, &new);
        assert_ne!(bent, text, "{expected}");
        remote.put(path, bent)?;
        let linted = blobs().await?;
        assert_eq!((linted.codes(), linted.code), (codes(&[expected]), 1));
    }
    Ok(())
}

#[tokio::test]
async fn failures_have_their_exit_codes() -> anyhow::Result<()> {
    let mut remote = FakeRemote::https()?;
    let linted = lint_server(&remote.url(), remote.ca_pem(), &[]).await?;
    assert_eq!((linted.codes(), linted.code), (codes(&["missing-document"]), 1));
    remote.stop();
    for (arguments, code) in [
        (vec![remote.url()], 4),
        (vec!["/nonexistent".to_owned()], 3),
        (
            vec![remote.url(), "--ca".to_owned(), "/nonexistent".to_owned()],
            2,
        ),
        (vec!["ftp://x".to_owned()], 2),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let linted = lint(&arguments).await?;
        assert_eq!(linted.code, code, "{}", linted.said);
        assert_eq!(linted.said.lines().count(), 1, "{}", linted.said);
    }
    Ok(())
}

#[tokio::test]
async fn the_real_tree_is_clean_and_clients_list_what_lint_says() -> anyhow::Result<()> {
    let Some(corpus) = corpus() else { return Ok(()) };
    let tree = corpus.join("tree");
    let remote = FakeRemote::https()?;
    remote.put_directory(&tree)?;
    for linted in [
        lint(&[&tree.display().to_string(), "--blobs"]).await?,
        lint_server(&remote.url(), remote.ca_pem(), &["--blobs"]).await?,
    ] {
        assert_eq!(
            (linted.codes(), linted.code),
            (codes(&["lxd-only"]), 0),
            "{}",
            linted.said
        );
        for (family, flavour) in [("incus", Flavour::Incus), ("lxd", Flavour::Lxc)] {
            let Some(client) = Client::find(flavour)? else {
                continue;
            };
            client.add_remote("tree", &remote.url(), remote.ca_pem()).await?;
            let listed = client.list("tree").await?.len() as u64;
            assert_eq!(linted.listed(family), (listed, 0), "{family}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn real_indexes_are_counted() -> anyhow::Result<()> {
    let Some(corpus) = corpus() else { return Ok(()) };
    for (name, expected, incus, lxd) in [
        (
            "linuxcontainers-2022-11-17",
            &["lxd-only", "delta-without-base"][..],
            (0, 0),
            (2406, 312),
        ),
        (
            "ubuntu-minimal-2023-11-15",
            &["lxd-only", "mixed-serial-widths"],
            (0, 0),
            (811, 471),
        ),
        ("incus-2026-one-product", &["delta-without-base"], (1, 0), (1, 0)),
    ] {
        let packed = fs::File::open(corpus.join(format!("indexes/{name}.json.gz")))?;
        let mut products = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut products)?;
        let directory = tempfile::tempdir()?;
        write_documents(directory.path(), &products)?;
        let linted = lint(&[&directory.path().display().to_string(), "--index-only"]).await?;
        assert_eq!((linted.codes(), linted.code), (codes(expected), 0), "{name}");
        assert_eq!(
            (linted.listed("incus"), linted.listed("lxd")),
            (incus, lxd),
            "{name}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_gateway_of_our_own_is_clean() -> anyhow::Result<()> {
    let (mut tree, debian) = good_tree()?;
    let remote = FakeRemote::https()?;
    tree.publish(&remote)?;
    let cluster = Cluster::start().await?;
    cluster.mirror("images", &remote).await?;
    let roots = [RootFtype::RootTarXz, RootFtype::DiskKvmImg];
    let fingerprints = roots.map(|root| {
        tree.fingerprint(&debian, SERIAL, root)
            .map(|digest| digest.to_hex())
    });
    let fingerprints = fingerprints
        .into_iter()
        .collect::<anyhow::Result<BTreeSet<_>>>()?;
    cluster.edge.wait_for(&fingerprints).await?;
    let linted = lint_server(&cluster.edge.url(), cluster.edge.ca_pem(), &["--blobs"]).await?;
    assert_eq!((linted.codes(), linted.code), (codes(&[]), 0), "{}", linted.said);
    assert_eq!((linted.listed("incus"), linted.listed("lxd")), ((1, 1), (1, 1)));
    cluster.stop().await
}

#[test]
fn the_documentation_lists_every_code_as_it_is() -> anyhow::Result<()> {
    let text = fs::read_to_string(repository_root().join("docs/lint.md"))?;
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let wanted: Vec<String> = Code::ALL
        .iter()
        .map(|code| {
            let minds: Vec<&str> = code.minds().iter().map(|minds| minds.as_str()).collect();
            let (severity, minds) = (code.severity().as_str(), minds.join(", "));
            format!(
                "| `{code}` | {severity} | {minds} | {} | {} |",
                code.cost(),
                code.remedy()
            )
        })
        .collect();
    assert_eq!(rows, wanted, "docs/lint.md should read:\n{}", wanted.join("\n"));
    Ok(())
}
