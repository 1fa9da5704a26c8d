//! Archives as builders make them, and as attackers do.

use std::io::Write as _;

use proptest::prelude::*;
use tar::{Builder, Header};

use super::*;

const YAML: &str = "architecture: x86_64\ncreation_date: 1767225600\nproperties:\n  os: Debian\n";

/// An entry under a name that nobody checks on the way in.
fn add(archive: &mut Builder<Vec<u8>>, name: &str, entry_type: EntryType, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(entry_type);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    if !matches!(entry_type, EntryType::Regular | EntryType::Directory) {
        header.set_link_name("target").unwrap();
    }
    let field = &mut header.as_gnu_mut().unwrap().name;
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    archive.append(&header, content).unwrap();
}

/// An archive of files.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, content) in files {
        let entry_type = match name.ends_with('/') {
            true => EntryType::Directory,
            false => EntryType::Regular,
        };
        add(&mut archive, name, entry_type, content.as_bytes());
    }
    archive.into_inner().unwrap()
}

/// `metadata.yaml`, and one entry of another type.
fn with_entry(name: &str, entry_type: EntryType) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    add(&mut archive, "metadata.yaml", EntryType::Regular, YAML.as_bytes());
    add(&mut archive, name, entry_type, b"");
    archive.into_inner().unwrap()
}

fn of(archive: &[u8]) -> Result<Contents, String> {
    inspect(archive, &Limits::METADATA).map_err(|error| error.to_string())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn metadata_is_found_however_it_is_packed() {
    let plain = archive(&[
        ("./metadata.yaml", YAML),
        ("templates/", ""),
        ("templates/hosts.tpl", "x"),
    ]);
    let (front, back) = plain.split_at(700);
    let in_frames = [zstd(front), zstd(back)].concat();
    for packed in [
        plain.clone(),
        gzip(&plain),
        xz(&plain),
        bzip2(&plain),
        zstd(&plain),
        in_frames,
    ] {
        let contents = of(&packed).unwrap();
        assert_eq!(contents.root, None);
        assert_eq!(contents.metadata.properties["os"], "Debian");
    }
}

#[test]
fn a_root_in_the_archive_says_what_the_image_is() {
    for (root, image_type) in [
        ("rootfs/", ImageType::Container),
        ("./rootfs/etc/hostname", ImageType::Container),
        ("rootfs.img", ImageType::VirtualMachine),
    ] {
        for files in [
            [("metadata.yaml", YAML), (root, "")],
            [(root, ""), ("metadata.yaml", YAML)],
        ] {
            assert_eq!(of(&archive(&files)).unwrap().root, Some(image_type), "{root}");
        }
    }
    // In a root there may be anything; what is after it is not looked at.
    for entry_type in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Fifo,
    ] {
        assert!(of(&with_entry("rootfs/x", entry_type)).is_ok(), "{entry_type:?}");
    }
    let both = archive(&[("rootfs.img", "x"), ("rootfs/x", "x"), ("metadata.yaml", YAML)]);
    assert!(of(&both).unwrap_err().contains("both"));
}

#[test]
fn whatever_is_no_file_is_refused() {
    for entry_type in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
    ] {
        for name in ["metadata.yaml", "templates/x", "rootfs", "rootfs.img"] {
            let mut hostile = Builder::new(Vec::new());
            add(&mut hostile, name, entry_type, b"");
            let error = of(&hostile.into_inner().unwrap()).unwrap_err();
            assert!(
                error.contains("only files and directories"),
                "{name} {entry_type:?}: {error}"
            );
            assert!(
                of(&with_entry(name, entry_type)).is_err(),
                "{name} {entry_type:?}"
            );
        }
    }
    assert!(of(&with_entry("metadata.yaml", EntryType::Directory)).is_err());
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in [
        "/etc/passwd",
        "../x",
        "templates/../../x",
        "rootfs/../../x",
        "..",
        "./../metadata.yaml",
    ] {
        let error = of(&archive(&[(name, "x"), ("metadata.yaml", YAML)])).unwrap_err();
        assert!(error.contains("leads out"), "{name}: {error}");
    }
}

#[test]
fn too_much_of_anything_is_refused() {
    let limits = Limits {
        metadata_bytes: 200,
        entries: 20,
        unpacked_bytes: 64 << 10,
        name_bytes: 300,
        depth: 5,
        ..Limits::METADATA
    };
    let refused = |archive: &[u8]| inspect(archive, &limits).unwrap_err().to_string();
    let comment = format!("{YAML}# {}", "x".repeat(200));
    assert!(refused(&archive(&[("metadata.yaml", &comment)])).contains("metadata.yaml with"));
    let many: Vec<_> = (0..20)
        .map(|_| ("templates/x", ""))
        .chain([("metadata.yaml", YAML)])
        .collect();
    assert!(refused(&archive(&many)).contains("number of entries"));
    assert!(refused(&archive(&[("a/b/c/d/e/f", ""), ("metadata.yaml", YAML)])).contains("depth"));
    // A bomb: a few KiB that would be a gigabyte.
    let zeros = "\0".repeat(1 << 20);
    let bomb = xz(&archive(&[("templates/zeros", &zeros), ("metadata.yaml", YAML)]));
    assert!(bomb.len() < 4096);
    assert!(refused(&bomb).contains("unpacked"));
    // The same before the metadata of a unified image: another text, that says what to do.
    let late = xz(&archive(&[("rootfs/zeros", &zeros), ("metadata.yaml", YAML)]));
    assert!(refused(&late).contains("put it first"));
}

#[test]
fn long_names_and_extended_headers_are_read_within_bounds() {
    let long = format!("templates/{}", "x".repeat(200));
    let mut gnu = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    gnu.append_data(&mut header, &long, &b"x"[..]).unwrap();
    add(&mut gnu, "metadata.yaml", EntryType::Regular, YAML.as_bytes());
    assert!(of(&gnu.into_inner().unwrap()).is_ok());

    let pax = |records: &[(&str, &[u8])], name: &str, content: &str| {
        let mut archive = Builder::new(Vec::new());
        archive.append_pax_extensions(records.iter().copied()).unwrap();
        add(&mut archive, name, EntryType::Regular, content.as_bytes());
        archive.into_inner().unwrap()
    };
    // The extended header's word counts: what is called x is metadata.yaml, or leads out.
    assert!(of(&pax(&[("path", b"metadata.yaml")], "x", YAML)).is_ok());
    assert!(
        of(&pax(&[("path", b"../x")], "metadata.yaml", YAML))
            .unwrap_err()
            .contains("leads out")
    );
    let size = YAML.len().to_string();
    assert!(of(&pax(&[("size", size.as_bytes())], "metadata.yaml", YAML)).is_ok());
    assert!(of(&pax(&[("size", b"lots")], "metadata.yaml", YAML)).is_err());
    assert!(of(&pax(&[("size", b"18446744073709551615")], "metadata.yaml", YAML)).is_err());

    let mut huge = Builder::new(Vec::new());
    add(
        &mut huge,
        "././@LongLink",
        EntryType::GNULongName,
        &vec![b'x'; 2 << 20],
    );
    assert!(
        of(&huge.into_inner().unwrap())
            .unwrap_err()
            .contains("extended header")
    );
}

#[test]
fn what_readers_would_not_agree_about_is_refused() {
    let twice = archive(&[("metadata.yaml", YAML), ("./metadata.yaml", YAML)]);
    assert!(of(&twice).unwrap_err().contains("twice"));
    assert!(
        of(&archive(&[("x", "")]))
            .unwrap_err()
            .contains("no metadata.yaml")
    );
    assert!(
        of(&archive(&[("templates/metadata.yaml", YAML)]))
            .unwrap_err()
            .contains("no metadata.yaml")
    );
    for not_an_archive in [&b""[..], b"hsqs", b"QFI\xfb", b"MZ", &[0; 1024]] {
        assert!(of(not_an_archive).is_err(), "{not_an_archive:?}");
    }
}

#[test]
fn a_damaged_archive_is_never_taken() {
    for whole in [
        xz(&archive(&[("metadata.yaml", YAML), ("templates/x", "y")])),
        zstd(&archive(&[("metadata.yaml", YAML)])),
    ] {
        assert!(of(&whole).is_ok());
        for length in 0..whole.len() - 20 {
            // A cut can only be told by an archive that is read to its end.
            let _ = of(&whole[..length]);
        }
        assert!(of(&whole[..whole.len() / 2]).is_err());
    }
    let mut wrong = archive(&[("metadata.yaml", YAML)]);
    wrong[0] ^= 1;
    assert!(of(&wrong).unwrap_err().contains("checksum"));
    let cut = &archive(&[("templates/x", &"y".repeat(2000)), ("metadata.yaml", YAML)])[..1024];
    assert!(of(cut).unwrap_err().contains("ends in the middle"));
}

proptest! {
    /// Whatever is found is found within the archive, and nothing panics.
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..2048), packed in 0..5) {
        let bytes = match packed {
            0 => bytes,
            1 => gzip(&bytes),
            2 => xz(&bytes),
            3 => bzip2(&bytes),
            _ => zstd(&bytes),
        };
        prop_assert!(of(&bytes).is_err());
    }

    #[test]
    fn no_flipped_bits_do_harm(positions in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..8)) {
        for mut bytes in [archive(&[("metadata.yaml", YAML), ("rootfs/x", "y")]), xz(&archive(&[("metadata.yaml", YAML)]))] {
            for (position, bit) in &positions {
                let position = position.index(bytes.len());
                bytes[position] ^= 1_u8 << bit;
            }
            let _ = of(&bytes);
        }
    }

    /// Any tree of sane names with a metadata.yaml somewhere in it is read.
    #[test]
    fn any_sane_archive_is_read(names in prop::collection::vec("[a-z]{1,8}(/[a-z.]{1,8}[a-z]){0,3}", 0..20), at in any::<prop::sample::Index>()) {
        let mut files: Vec<(&str, &str)> = names
            .iter()
            .filter(|name| !name.starts_with("rootfs"))
            .map(|name| (name.as_str(), "content"))
            .collect();
        files.insert(at.index(files.len() + 1), ("metadata.yaml", YAML));
        let contents = of(&gzip(&archive(&files)));
        prop_assert_eq!(contents.map(|contents| contents.root), Ok(None));
    }
}
