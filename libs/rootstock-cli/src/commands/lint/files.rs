//! The files of a tree, held against what the documents say of them: a few at a time, and never more
//! than some pieces of each in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal as _},
};

use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use rootstock_model::Digest;
use rootstock_remote::http::FetchErrorKind;
use rootstock_simplestreams::lint::{Code, FileClaim, Finding, FingerprintClaim, Report};
use sha2::{Digest as _, Sha256};

use super::source::{Reading, Source, Trouble};
use crate::failure::Failure;

/// Files that are looked at at a time.
const HEADS: usize = 8;
/// Files that are read at a time.
const READS: usize = 4;
/// What is hashed at once, on a thread that has nothing else to do.
const BATCH_BYTES: usize = 1 << 20;
const BAR: &str = "{msg} [{bar:30}] {pos}/{len} {eta:>4}";
const BYTES_BAR: &str =
    "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta:>4}";

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Files that are there.
    pub(super) files: usize,
    /// Bytes that were read.
    pub(super) bytes: u64,
}

/// What became of one file.
#[derive(Debug, Default)]
struct Looked {
    findings: Vec<Finding>,
    is_there: bool,
    bytes: u64,
    /// The running hash, when all of the file came.
    hash: Option<Sha256>,
    /// Of the fingerprints that end with this file, those that came out, in the order of the claims.
    combined: Vec<Digest>,
}

/// Checks that every file is there, and as long as is said.
pub(super) async fn look(source: &Source, report: &mut Report) -> Result<Seen, Failure> {
    let bar = bar(BAR, report.files.len() as u64, "files");
    let bar = &bar;
    let looks = report.files.iter().map(|file| async move {
        let looked = match source.head(&file.path).await {
            Ok(reading) => head(file, &reading),
            Err(trouble) => absent(file, trouble)?,
        };
        bar.inc(1);
        Ok(looked)
    });
    let looked: Vec<Result<Looked, Failure>> = futures::stream::iter(looks)
        .buffer_unordered(HEADS)
        .collect()
        .await;
    bar.finish_and_clear();
    let looked = looked.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(sum(report, looked))
}

/// Reads every file: metadata first, whose running hashes the roots then go on from.
pub(super) async fn read(source: &Source, report: &mut Report) -> Result<Seen, Failure> {
    let total = report
        .files
        .iter()
        .filter_map(|file| file.size_bytes)
        .fold(0, u64::saturating_add);
    let bar = bar(BYTES_BAR, total, "bytes");
    let metadata: BTreeSet<&str> = report
        .fingerprints
        .iter()
        .map(|claim| claim.metadata.as_str())
        .collect();
    let (first, then): (Vec<&FileClaim>, Vec<&FileClaim>) = report
        .files
        .iter()
        .partition(|file| metadata.contains(file.path.as_str()));

    let mut hashes = BTreeMap::new();
    let mut all = Vec::new();
    for (file, looked) in read_all(source, first, &BTreeMap::new(), &[], &bar).await? {
        hashes.extend(looked.hash.clone().map(|hash| (file.path.clone(), hash)));
        all.push(looked);
    }
    for (_, looked) in read_all(source, then, &hashes, &report.fingerprints, &bar).await? {
        all.push(looked);
    }
    bar.finish_and_clear();
    Ok(sum(report, all))
}

async fn read_all<'a>(
    source: &Source,
    files: Vec<&'a FileClaim>,
    hashes: &BTreeMap<String, Sha256>,
    claims: &[FingerprintClaim],
    bar: &ProgressBar,
) -> Result<Vec<(&'a FileClaim, Looked)>, Failure> {
    let mut by_root = BTreeMap::<&str, Vec<(&FingerprintClaim, &Sha256)>>::new();
    for claim in claims {
        if let Some(hash) = hashes.get(&claim.metadata) {
            by_root.entry(&claim.root).or_default().push((claim, hash));
        }
    }
    let by_root = &by_root;
    let reads = files.into_iter().map(|file| async move {
        let claims = by_root
            .get(file.path.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let looked = match source.open_blob(&file.path).await {
            Ok(reading) => whole(file, reading, claims, bar).await,
            Err(trouble) => absent(file, trouble)?,
        };
        Ok((file, looked))
    });
    let read: Vec<Result<_, Failure>> = futures::stream::iter(reads)
        .buffer_unordered(READS)
        .collect()
        .await;
    read.into_iter().collect()
}

/// What the head of a file tells.
fn head(file: &FileClaim, reading: &Reading) -> Looked {
    let mut looked = Looked {
        is_there: true,
        ..Looked::default()
    };
    let encoding = reading.encoding();
    if !encoding.is_empty() {
        let detail = format!("{} comes with Content-Encoding {encoding:?}", file.path);
        looked
            .findings
            .push(Finding::new(Code::ContentEncoding, file.place.clone(), detail));
        return looked;
    }
    if let Some((found, claimed)) = reading.size_bytes().zip(file.size_bytes).filter(|(a, b)| a != b) {
        looked.findings.push(wrong_size(file, found, claimed));
    }
    looked
}

fn wrong_size(file: &FileClaim, found: u64, claimed: u64) -> Finding {
    let detail = format!("{} has {found} bytes, and the item says {claimed}", file.path);
    Finding::new(Code::WrongSize, file.place.clone(), detail)
}

/// Reads a file to its end and holds it against everything that is said of it.
async fn whole(
    file: &FileClaim,
    mut reading: Reading,
    claims: &[(&FingerprintClaim, &Sha256)],
    bar: &ProgressBar,
) -> Looked {
    let mut looked = head(file, &reading);
    if !reading.encoding().is_empty() {
        return looked;
    }
    let prefixes = claims.iter().map(|(_, hash)| (*hash).clone()).collect();
    if let Err(trouble) = hash(&mut reading, prefixes, &mut looked, bar).await {
        let detail = format!("{} breaks off: {}", file.path, trouble.text);
        looked
            .findings
            .push(Finding::new(Code::UnreadableFile, file.place.clone(), detail));
        looked.hash = None;
        return looked;
    }
    let size_is_told = looked
        .findings
        .iter()
        .any(|finding| finding.code == Code::WrongSize);
    match file.size_bytes {
        Some(claimed) if claimed != looked.bytes && !size_is_told => {
            looked.findings.push(wrong_size(file, looked.bytes, claimed));
        }
        _ => {}
    }
    let found = looked
        .hash
        .clone()
        .map(|hash| Digest::new(hash.finalize().into()));
    if let Some((found, claimed)) = found.zip(file.sha256).filter(|(a, b)| a != b) {
        let detail = format!(
            "{} has the SHA-256 {found}, and the item says {claimed}",
            file.path
        );
        looked
            .findings
            .push(Finding::new(Code::WrongHash, file.place.clone(), detail));
    }
    for ((claim, _), found) in claims.iter().zip(&looked.combined) {
        if claim.fingerprint != *found {
            let detail = format!(
                "{} and {} have the fingerprint {found}, and the item says {}",
                claim.metadata, claim.root, claim.fingerprint
            );
            looked
                .findings
                .push(Finding::new(Code::WrongFingerprint, claim.place.clone(), detail));
        }
    }
    looked
}

/// Feeds everything that comes to the file's own hash and to those that it goes on from.
async fn hash(
    reading: &mut Reading,
    prefixes: Vec<Sha256>,
    looked: &mut Looked,
    bar: &ProgressBar,
) -> Result<(), Trouble> {
    let mut hashes = vec![Sha256::new()];
    hashes.extend(prefixes);
    let mut batch = Vec::new();
    loop {
        let piece = reading.next().await?;
        let ended = piece.is_empty();
        looked.bytes += piece.len() as u64;
        bar.inc(piece.len() as u64);
        batch.extend_from_slice(&piece);
        if batch.len() >= BATCH_BYTES || (ended && !batch.is_empty()) {
            let bytes = std::mem::take(&mut batch);
            let work = tokio::task::spawn_blocking(move || {
                for hash in &mut hashes {
                    hash.update(&bytes);
                }
                hashes
            });
            hashes = work.await.map_err(|error| Trouble {
                kind: FetchErrorKind::Failed,
                text: error.to_string(),
            })?;
        }
        if ended {
            break;
        }
    }
    let mut hashes = hashes.into_iter();
    looked.hash = hashes.next();
    looked.combined = hashes.map(|hash| Digest::new(hash.finalize().into())).collect();
    Ok(())
}

/// A file that cannot be had; a failure of the command when the server has gone.
fn absent(file: &FileClaim, trouble: Trouble) -> Result<Looked, Failure> {
    let code = match trouble.kind {
        FetchErrorKind::Gone => Code::MissingFile,
        FetchErrorKind::Failed => Code::UnreadableFile,
        FetchErrorKind::Unreachable => return Err(Failure::unreachable(trouble.text)),
    };
    let finding = Finding::new(code, file.place.clone(), trouble.text);
    Ok(Looked {
        findings: vec![finding],
        ..Looked::default()
    })
}

fn sum(report: &mut Report, all: Vec<Looked>) -> Seen {
    let mut seen = Seen::default();
    for looked in all {
        seen.files += usize::from(looked.is_there);
        seen.bytes += looked.bytes;
        for finding in looked.findings {
            report.add(finding);
        }
    }
    seen
}

/// A bar on a terminal; nothing elsewhere.
fn bar(template: &str, length: u64, what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length)
        .with_style(style.progress_chars("=> "))
        .with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_have_valid_templates() {
        for template in [BAR, BYTES_BAR] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
