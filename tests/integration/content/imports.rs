//! Every form of image, from files to the real clients and back.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use rootstock_blobs::StoreConfig;
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::{ImageType, ImportImageRequest, Status};
use rootstock_tests::{
    clients::{Client, Flavour},
    cluster::Cluster,
    seaweed::SeaweedFs,
    uploads::{header, upload},
};
use tonic::Code;

use super::{Site, cluster, content, failure, fingerprint, metadata, ok, request, root};

/// An image as files, and what is to come of it.
struct Form {
    name: &'static str,
    files: Vec<(&'static str, Bytes)>,
    more: Vec<&'static str>,
    virtual_machine: bool,
}

impl Form {
    fn new(name: &'static str, files: Vec<(&'static str, Bytes)>) -> Self {
        Self {
            name,
            files,
            more: vec![],
            virtual_machine: false,
        }
    }
}

/// `metadata.yaml` and a root in one `.tar.gz`.
fn unified() -> anyhow::Result<Bytes> {
    let yaml =
        "architecture: amd64\ncreation_date: 1767225600\nproperties:\n  os: Alpine\n  release: \"3.20\"\n";
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for (path, text) in [("metadata.yaml", yaml), ("rootfs/etc/hostname", "alpine\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, text.as_bytes())?;
    }
    Ok(archive.into_inner()?.finish()?.into())
}

fn forms() -> anyhow::Result<Vec<Form>> {
    let about = vec!["--os", "Debian", "--release", "12", "--architecture", "amd64"];
    Ok(vec![
        Form::new("unified", vec![("image.tar.gz", unified()?)]),
        Form::new(
            "split-squashfs",
            vec![
                ("meta.tar.xz", metadata("10")?),
                ("root.squashfs", root(1, 3 << 20)?),
            ],
        ),
        Form::new(
            "split-tar",
            vec![
                ("meta.tar.xz", metadata("11")?),
                ("root.tar.xz", content(2, b"\xfd7zXZ\0", 1 << 20)?),
            ],
        ),
        Form {
            virtual_machine: true,
            ..Form::new(
                "split-qcow2",
                vec![
                    ("meta.tar.xz", metadata("12")?),
                    ("disk.qcow2", content(3, b"QFI\xfb", 1 << 20)?),
                ],
            )
        },
        Form {
            more: about.clone(),
            ..Form::new("bare-squashfs", vec![("root.squashfs", root(4, 1 << 20)?)])
        },
        Form {
            more: about.clone(),
            ..Form::new(
                "bare-tar",
                vec![("root.tar.xz", content(5, b"\xfd7zXZ\0", 1 << 20)?)],
            )
        },
        Form {
            more: about,
            virtual_machine: true,
            ..Form::new(
                "bare-qcow2",
                vec![("disk.qcow2", content(6, b"QFI\xfb", 1 << 20)?)],
            )
        },
    ])
}

#[tokio::test]
async fn every_form_goes_through_over_a_local_store() -> anyhow::Result<()> {
    let site = Site::start().await?;
    every_form(&site.cluster).await?;
    site.cluster.stop().await
}

#[tokio::test]
async fn every_form_goes_through_over_s3() -> anyhow::Result<()> {
    let config = SeaweedFs::shared().await?.config();
    let cluster = cluster(StoreConfig::S3(config)).await?;
    every_form(&cluster).await?;
    cluster.stop().await
}

async fn every_form(cluster: &Cluster) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let incus = Client::find(Flavour::Incus)?;
    if let Some(incus) = &incus {
        incus
            .add_remote("gateway", &cluster.edge.url(), cluster.edge.ca_pem())
            .await?;
    }
    let mut imported = Vec::new();
    for form in forms()? {
        let mut arguments = vec!["image", "import", "--public", "--format", "json"];
        arguments.extend(["--name", form.name, "--alias", form.name]);
        let paths = form.files.iter().map(|(name, content)| {
            let path = directory.path().join(name);
            fs::write(&path, content)?;
            Ok(path.display().to_string())
        });
        let paths = paths.collect::<anyhow::Result<Vec<_>>>()?;
        arguments.extend(paths.iter().map(String::as_str));
        arguments.extend(&form.more);
        let printed: serde_json::Value = serde_json::from_str(&ok(cluster, &arguments).await?)?;
        let image = cluster.catalog.image(form.name).await.context(form.name)?;
        assert_eq!(image.status(), Status::Active, "{}", form.name);
        assert_eq!(
            printed["fingerprint"],
            image.fingerprint.as_str(),
            "{}",
            form.name
        );
        if form.more.is_empty() {
            let files: Vec<&Bytes> = form.files.iter().map(|(_, content)| content).collect();
            assert_eq!(image.fingerprint, fingerprint(&files)?.to_hex(), "{}", form.name);
        }
        imported.push((form, image));
    }
    let fingerprints: BTreeSet<String> = imported
        .iter()
        .map(|(_, image)| image.fingerprint.clone())
        .collect();
    assert_eq!(fingerprints.len(), imported.len());
    cluster.edge.wait_for(&fingerprints).await?;
    cluster.edge.fetch_everything().await?;

    for (form, image) in &imported {
        let target = directory.path().join("exported").join(form.name);
        let target_text = target.display().to_string();
        let mut arguments = vec!["image", "export", form.name, &target_text];
        if form.virtual_machine {
            arguments.push("--vm");
        }
        ok(cluster, &arguments).await?;
        let ours = files_in(&target)?;
        assert!(!ours.is_empty());
        let Some(incus) = &incus else { continue };
        let listed = incus.list("gateway").await?;
        let listed = listed
            .iter()
            .find(|listed| listed.fingerprint == image.fingerprint);
        let listed = listed.with_context(|| format!("incus does not list {}", form.name))?;
        ensure!(listed.alias_names().contains(&form.name), "{listed:?}");
        let exported = incus.export("gateway", form.name, form.virtual_machine).await?;
        assert_eq!(exported.fingerprint.to_hex(), image.fingerprint, "{}", form.name);
        let directory = exported.files[0].parent().context("a file in a directory")?;
        // The same names, the same bytes.
        assert_eq!(ours, files_in(directory)?, "{}", form.name);
    }
    Ok(())
}

fn files_in(directory: &std::path::Path) -> anyhow::Result<Vec<(String, Digest)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, Digest::of(&fs::read(entry.path())?)));
    }
    files.sort();
    Ok(files)
}

#[tokio::test]
async fn a_fingerprint_that_nobody_computed_on_the_way_is_verified() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let mut contents = site.contents()?;
    let (metadata, root) = (metadata("12")?, root(1, 1 << 20)?);
    // The root first: nobody knows then what it will belong to.
    for content in [&root, &metadata] {
        upload(&mut contents, header(content), content).await?;
    }
    let answer = contents
        .import_image(request("web", &[&metadata, &root]))
        .await?
        .into_inner();
    let image = answer.image.context("no image")?;
    let expected = fingerprint(&[&metadata, &root])?.to_hex();
    for _ in 0..600 {
        let image = site.cluster.catalog.image(&image.id).await?;
        if image.status() == Status::Active {
            assert_eq!(image.fingerprint, expected);
            return site.cluster.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("it never turns active")
}

/// The server reads for itself what it stores, whatever a client says.
#[tokio::test]
async fn hostile_files_make_no_image() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let mut contents = site.contents()?;
    let link = {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, "metadata.yaml", "/etc/shadow")?;
        Bytes::from(archive.into_inner()?)
    };
    let (good, root, program) = (metadata("12")?, root(1, 1 << 20)?, content(2, b"\x7fELF", 1000)?);
    for content in [&link, &good, &root, &program] {
        upload(&mut contents, header(content), content).await?;
    }
    let before = site.cluster.content().await?;
    for (files, says) in [
        (vec![&link, &root], "symbolic link"),
        (vec![&link], "symbolic link"),
        (vec![&good], "no root"),
        (vec![&root], "without metadata"),
        (vec![&good, &program], "is no root"),
        (vec![&root, &good], "files[0]"),
        (vec![&good, &good, &root], "files"),
        (vec![], "files"),
    ] {
        let status = contents.import_image(request("web", &files)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{says}: {status}");
        assert!(status.message().contains(says), "{says}: {status}");
    }
    let changes: [fn(&mut ImportImageRequest); 5] = [
        |request| request.architecture = "arm64".into(),
        |request| request.r#type = ImageType::VirtualMachine.into(),
        |request| request.fingerprint = "x".into(),
        |request| request.files[1].size_bytes += 1,
        |request| request.properties = [(String::new(), String::new())].into(),
    ];
    for change in changes {
        let mut request = request("web", &[&good, &root]);
        change(&mut request);
        let status = contents.import_image(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    let missing = content(3, b"hsqs", 1000)?;
    let status = contents
        .import_image(request("web", &[&good, &missing]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let after = site.cluster.content().await?;
    assert_eq!(before, after, "something was recorded");
    site.cluster.stop().await
}

#[tokio::test]
async fn the_same_image_twice_is_told_as_such() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let (metadata, root) = (metadata("12")?, root(1, 1 << 20)?);
    let files = [
        site.write("meta.tar.xz", &metadata)?,
        site.write("root.squashfs", &root)?,
    ];
    let import = |more: &[&str]| {
        let mut arguments = vec!["image".to_owned(), "import".to_owned()];
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        arguments.extend(files.iter().cloned());
        arguments
    };
    let run = async |more: &[&str]| {
        let arguments = import(more);
        site.cli(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
            .await
    };
    let first = run(&[]).await?;
    ensure!(first.status.success(), "{}", failure(&first).0);
    let printed = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(
        printed.starts_with("imported version 0 of debian:12:amd64:default ("),
        "{printed}"
    );
    for (more, says) in [
        (
            vec!["--name", "other"],
            "debian:12:amd64:default version 0\" already exists",
        ),
        (vec![], "already exists"),
        (
            vec!["--update", "debian:12:amd64:default"],
            "not changed: its version 0",
        ),
    ] {
        let output = run(&more).await?;
        let (said, code) = failure(&output);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(says), "{says}: {said}");
        let all = String::from_utf8_lossy(&output.stderr);
        assert!(
            !all.contains("sending"),
            "bytes were sent before that was told: {all}"
        );
    }
    // The same with the fingerprint told by nobody before.
    let mut contents = site.contents()?;
    let status = contents
        .import_image(request("third", &[&metadata, &root]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    site.cluster.stop().await
}

#[tokio::test]
async fn an_update_makes_the_next_version() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let first = site.write("first.squashfs", &root(1, 1 << 20)?)?;
    let meta = site.write("meta.tar.xz", &metadata("12")?)?;
    site.ok(&[
        "image",
        "import",
        "--name",
        "web",
        "--alias",
        "web/latest",
        "--public",
        &meta,
        &first,
    ])
    .await?;
    let second = site.write("second.squashfs", &root(2, 1 << 20)?)?;
    let printed = site
        .ok(&[
            "image",
            "import",
            "--update",
            "web/latest",
            "--property",
            "tier=gold",
            &meta,
            &second,
        ])
        .await?;
    assert!(printed.starts_with("imported version 1 of web ("), "{printed}");
    let image = site.cluster.catalog.image("web").await?;
    assert_eq!(image.current_version, Some(1));
    assert_eq!(image.version_count, 2);
    assert_eq!(image.properties["tier"], "gold");
    assert_eq!(image.aliases, ["web/latest"]);
    assert!(!image.immutable && image.source.is_none());
    // What an update cannot change is told before anything is sent.
    let disk = site.write("disk.qcow2", &content(3, b"QFI\xfb", 1000)?)?;
    for (arguments, code, says) in [
        (
            ["image", "import", "--update", "web", &meta, &disk],
            1,
            "other type",
        ),
        (
            ["image", "import", "--update", "nonesuch", &meta, &disk],
            3,
            "not found",
        ),
    ] {
        let (said, actual) = failure(&site.cli(&arguments).await?);
        assert_eq!(actual, code, "{said}");
        assert!(said.contains(says), "{said}");
    }
    site.cluster.stop().await
}

#[tokio::test]
async fn a_request_that_is_repeated_is_answered_the_same() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let mut contents = site.contents()?;
    let (metadata, root) = (metadata("12")?, root(1, 1 << 20)?);
    super::upload_both(&mut contents, &metadata, &root).await?;
    let request = ImportImageRequest {
        request_id: "the-same".to_owned(),
        default: true,
        ..request("web", &[&metadata, &root])
    };
    let one = contents.import_image(request.clone()).await?.into_inner();
    let two = contents.import_image(request).await?.into_inner();
    assert_eq!(one, two);
    let image = one.image.context("no image")?;
    assert!(image.default && image.status() == Status::Active, "{image:?}");
    // The metadata were there first, so the fingerprint came with the root.
    assert_eq!(image.fingerprint, fingerprint(&[&metadata, &root])?.to_hex());
    site.cluster.stop().await
}
