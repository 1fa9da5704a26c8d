//! One version: from items to the contents that it can be had as.

use std::collections::BTreeSet;

use rootstock_model::{
    Digest, ImageType, MetadataFtype, Reason, RootFtype, serial,
    snapshot::{Artifact, Content, OfferedVersion},
};
use serde_json::Value;

use crate::{
    document::{Object, kind},
    notes::{Notes, Problem, quoted, readable},
    path::item_path,
    tags::{Tags, object},
};

const MAX_SERIAL_CHARS: usize = 128;

/// Real versions have one, or two of the same bytes. The bound keeps pairing them with roots cheap.
const MAX_METADATA: usize = 16;

/// Reads one version: for each type of image the contents it can be had as, at least one of all.
/// Items that cannot be used are noted; the version fails when nothing is left.
pub(super) fn read(
    serial: &str,
    version: &Value,
    product: &Tags<'_>,
    notes: &mut Notes<'_>,
) -> Result<Vec<(ImageType, OfferedVersion)>, Problem> {
    check_serial(serial)?;
    let own = object("the version", Some(version))?;
    let items = object("items", own.get("items"))?;
    let tags = Tags::below(product, own);

    let files = Files::read(items, &tags, &mut |key, problem| {
        notes.item(serial, key, problem);
    });
    let contents = files.contents();
    if contents.is_empty() {
        return Err(files.why_there_is_no_image());
    }
    for key in files.roots_without_metadata() {
        let message = "the root has no metadata tarball beside it";
        notes.item(serial, key, Problem::new(Reason::NotAnInstanceImage, message));
    }
    let label = tags.property("label").unwrap_or_else(|problem| {
        notes.item(serial, "label", problem);
        None
    });
    Ok(by_type(serial, &label.unwrap_or_default(), &contents))
}

fn by_type(serial: &str, label: &str, contents: &[(ImageType, Content)]) -> Vec<(ImageType, OfferedVersion)> {
    ImageType::ALL
        .into_iter()
        .filter_map(|image_type| {
            let contents: Vec<Content> = contents
                .iter()
                .filter(|(of_type, _)| *of_type == image_type)
                .map(|(_, content)| content.clone())
                .collect();
            (!contents.is_empty()).then(|| {
                let version = OfferedVersion {
                    serial: serial.to_owned(),
                    label: label.to_owned(),
                    created_at: serial::moment(serial),
                    contents,
                };
                (image_type, version)
            })
        })
        .collect()
}

/// A serial becomes part of names, messages and queries, though never of a path.
fn check_serial(serial: &str) -> Result<(), Problem> {
    let problem = if serial.trim().is_empty() {
        "is empty"
    } else if serial.chars().count() > MAX_SERIAL_CHARS {
        "is longer than 128 characters"
    } else if serial == "." || serial == ".." {
        "is . or .."
    } else if serial
        .chars()
        .any(|c| c.is_control() || matches!(c, '/' | '\\' | char::REPLACEMENT_CHARACTER))
    {
        "holds a character that is not allowed there"
    } else if serial.trim() != serial {
        "begins or ends with white space"
    } else {
        return Ok(());
    };
    Err(Problem::malformed(format!("the serial {problem}")))
}

/// The files of one version that matter for instances.
#[derive(Default)]
struct Files<'a> {
    /// Most preferred first.
    metadata: Vec<Metadata>,
    /// Most preferred first; at most one per file type. With the item's key.
    roots: Vec<(&'a str, Artifact<RootFtype>)>,
    /// Most preferred first.
    unified: Vec<(ImageType, Artifact<MetadataFtype>)>,
    /// The file types of everything else.
    others: BTreeSet<String>,
}

/// A metadata tarball and the fingerprints that its item claims.
struct Metadata {
    file: Artifact<MetadataFtype>,
    claims: Vec<(RootFtype, Digest)>,
}

impl<'a> Files<'a> {
    fn read(items: &'a Object, version: &Tags<'_>, note: &mut dyn FnMut(&str, Problem)) -> Self {
        // By key, whatever order the map keeps: which of two equals is taken must not change.
        let mut items: Vec<_> = items.iter().collect();
        items.sort_by_key(|(key, _)| *key);

        let mut files = Self::default();
        for (key, item) in items {
            let read = object("the item", Some(item)).and_then(|item| {
                let tags = Tags::below(version, item);
                files.add(key, &tags, &mut |problem| note(key, problem))
            });
            if let Err(problem) = read {
                note(key, problem);
            }
        }
        files.metadata.sort_by_key(|metadata| metadata.file.ftype);
        files.roots.sort_by_key(|(_, root)| root.ftype);
        files.unified.sort_by_key(|(_, image)| image.ftype);
        files
    }

    fn add(&mut self, key: &'a str, tags: &Tags<'_>, note: &mut dyn FnMut(Problem)) -> Result<(), Problem> {
        let Some(ftype) = tags.text("ftype")? else {
            return Err(Problem::malformed("the item has no ftype"));
        };
        if let Ok(ftype) = ftype.parse::<RootFtype>() {
            return self.add_root(key, artifact(ftype, tags)?);
        }
        match ftype.parse::<MetadataFtype>() {
            Ok(ftype) if ftype.is_unified() => {
                self.unified.push((unified_type(tags)?, artifact(ftype, tags)?));
            }
            Ok(_) if self.metadata.len() == MAX_METADATA => {
                return Err(Problem::malformed(format!(
                    "the version has more than {MAX_METADATA} metadata tarballs"
                )));
            }
            Ok(ftype) => self.metadata.push(Metadata {
                file: artifact(ftype, tags)?,
                claims: claims(tags, note),
            }),
            Err(_) => {
                self.others.insert(readable(ftype));
            }
        }
        Ok(())
    }

    /// The claimed fingerprints name a root by its file type, so a version has one of each.
    fn add_root(&mut self, key: &'a str, root: Artifact<RootFtype>) -> Result<(), Problem> {
        match self.roots.iter().find(|(_, other)| other.ftype == root.ftype) {
            None => {
                self.roots.push((key, root));
                Ok(())
            }
            Some((_, same)) if same.sha256 == root.sha256 => Ok(()),
            Some((first, _)) => Err(Problem::malformed(format!(
                "another {} is in this version: {}, which is taken",
                root.ftype,
                quoted(first)
            ))),
        }
    }

    /// Every metadata tarball goes with every root, as clients pair them; then the unified files,
    /// one per type.
    fn contents(&self) -> Vec<(ImageType, Content)> {
        let mut contents: Vec<(ImageType, Content)> = self
            .roots
            .iter()
            .filter_map(|(_, root)| {
                let (metadata, fingerprint) = self.metadata_for(root.ftype)?;
                let content = Content::Split {
                    metadata: metadata.clone(),
                    root: root.clone(),
                    fingerprint,
                };
                Some((root.ftype.image_type(), content))
            })
            .collect();
        for image_type in ImageType::ALL {
            let image = self.unified.iter().find(|(of_type, _)| *of_type == image_type);
            contents.extend(image.map(|(_, image)| {
                let image = image.clone();
                (image_type, Content::Unified { image })
            }));
        }
        contents
    }

    /// The most preferred metadata that claims a fingerprint for such a root, or of which a twin
    /// (the same bytes under the other family's name) does; else the most preferred of all: the
    /// fingerprint is computed when the bytes are here.
    fn metadata_for(&self, root: RootFtype) -> Option<(&Artifact<MetadataFtype>, Option<Digest>)> {
        let claim_of = |file: &Artifact<MetadataFtype>| {
            self.metadata
                .iter()
                .filter(|twin| twin.file.sha256 == file.sha256)
                .flat_map(|twin| &twin.claims)
                .find(|(ftype, _)| *ftype == root)
                .map(|(_, fingerprint)| *fingerprint)
        };
        self.metadata
            .iter()
            .find_map(|metadata| Some((&metadata.file, Some(claim_of(&metadata.file)?))))
            .or_else(|| Some((&self.metadata.first()?.file, None)))
    }

    /// Roots that lie beside a unified image only.
    fn roots_without_metadata(&self) -> impl Iterator<Item = &'a str> {
        let lonely = self.metadata.is_empty();
        self.roots.iter().filter(move |_| lonely).map(|(key, _)| *key)
    }

    fn why_there_is_no_image(&self) -> Problem {
        let message = if !self.roots.is_empty() {
            "it has a root but no metadata tarball".to_owned()
        } else if !self.metadata.is_empty() {
            "it has a metadata tarball but no root".to_owned()
        } else if self.others.is_empty() {
            "it has no item that can be used".to_owned()
        } else {
            let others: Vec<&str> = self.others.iter().map(String::as_str).collect();
            readable(&format!("it holds only {}", others.join(", ")))
        };
        Problem::new(Reason::NotAnInstanceImage, message)
    }
}

/// The file that an item names: where it lies and what to verify it by.
fn artifact<F>(ftype: F, tags: &Tags<'_>) -> Result<Artifact<F>, Problem> {
    let Some(path) = tags.text("path")? else {
        return Err(Problem::malformed("the item has no path"));
    };
    let path = item_path(path).map_err(|error| Problem::new(Reason::UnsafePath, error.to_string()))?;
    Ok(Artifact {
        ftype,
        sha256: sha256(tags)?,
        size_bytes: size(tags.get("size"))?,
        path: path.into_owned(),
    })
}

fn sha256(tags: &Tags<'_>) -> Result<Digest, Problem> {
    match tags.text("sha256")? {
        Some(text) => text
            .parse()
            .map_err(|_| Problem::malformed(format!("sha256 {} is not 64 hex characters", quoted(text)))),
        None if tags.get("md5").is_some() => Err(Problem::new(
            Reason::Unverifiable,
            "the item has an MD5 but no SHA-256, and MD5 proves nothing",
        )),
        None => Err(Problem::new(Reason::Unverifiable, "the item has no SHA-256")),
    }
}

/// A whole number of bytes from 1 to the largest that clients can hold, or its digits as a text.
fn size(value: Option<&Value>) -> Result<u64, Problem> {
    let size = match value {
        None => return Err(Problem::malformed("the item has no size")),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok()
        }
        Some(_) => None,
    };
    size.filter(|size| (1..=i64::MAX.unsigned_abs()).contains(size))
        .ok_or_else(|| {
            let found = value
                .map(|value| readable(&value.to_string()))
                .unwrap_or_default();
            Problem::malformed(format!(
                "size {found} is not a number of bytes from 1 to {}",
                i64::MAX
            ))
        })
}

/// A unified image is a container's unless it says otherwise (incus-protocol §1.2).
fn unified_type(tags: &Tags<'_>) -> Result<ImageType, Problem> {
    match tags.text("combined_type")? {
        None => Ok(ImageType::Container),
        Some(text) => ImageType::ALL
            .into_iter()
            .find(|image_type| image_type.as_str() == text)
            .ok_or_else(|| Problem::malformed(format!("combined_type {} is no type of image", quoted(text)))),
    }
}

/// The fingerprints that a metadata item claims, one per root at most. A claim that cannot be read
/// is noted and counts as none.
fn claims(tags: &Tags<'_>, note: &mut dyn FnMut(Problem)) -> Vec<(RootFtype, Digest)> {
    let mut claims = vec![];
    for root in RootFtype::ALL {
        for field in root.combined_fields() {
            let Some(value) = tags.get(field) else { continue };
            match value.as_str().map(str::parse::<Digest>) {
                Some(Ok(fingerprint)) => {
                    claims.push((root, fingerprint));
                    break;
                }
                Some(Err(error)) => note(Problem::malformed(format!("{field}: {error}"))),
                None => note(Problem::malformed(format!(
                    "{field} must be a text, but is {}",
                    kind(value)
                ))),
            }
        }
    }
    claims
}

#[cfg(test)]
mod tests;
