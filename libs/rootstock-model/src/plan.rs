//! The plan: what a remote's offer means for the catalog.
//!
//! A pure function of the snapshot, what the catalog knows of the remote, and the remote's rules.
//! The catalog carries a plan out in the transaction that read the state it was made from, so it is
//! never stale; the same plan can be shown without being run.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    AliasName, Architecture, Digest, ImageName, ImageType, LeftOut, Reason, Status,
    selection::{Mode, Selection},
    serial,
    snapshot::{Content, OfferedImage, OfferedVersion, Snapshot},
};

/// Names one line of images.
pub type ImageKey = (ImageName, ImageType);

/// Names one alias: unique per name, type and architecture.
pub type AliasKey = (AliasName, ImageType, Architecture);

/// What the catalog knows, as far as it matters to one remote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownState {
    /// The remote's images that are not deleted.
    pub images: BTreeMap<ImageKey, KnownImage>,
    /// Offered names that belong to images of someone else: who that is, for people.
    pub taken_names: BTreeMap<ImageKey, String>,
    /// Offered aliases that belong to images of someone else: who that is, for people.
    pub taken_aliases: BTreeMap<AliasKey, String>,
    /// The remote's images that a user deleted: they stay so until they are added again.
    pub ignored: BTreeSet<ImageKey>,
}

/// One of the remote's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    /// Whether what the catalog holds of the image itself (architecture, properties, aliases,
    /// support's end) is what is offered; see [`describe`].
    pub description: Description,
    /// Its versions that are not deleted.
    pub versions: Vec<KnownVersion>,
    /// Numbers of versions that retention leaves alone; see [`retire`].
    pub pinned: Vec<i32>,
    /// Serials of versions that a user deleted: they stay so.
    pub ignored_serials: BTreeSet<String>,
}

/// What is recorded of an image beside its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The CPU architecture.
    pub architecture: Architecture,
    /// The properties of the offer.
    pub properties: BTreeMap<String, String>,
    /// The aliases that are the image's by right, in alphabetical order.
    pub aliases: Vec<AliasName>,
    /// The day its support ends.
    pub support_eol: Option<time::Date>,
}

/// One version that the catalog knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVersion {
    /// Its number within the image.
    pub number: i32,
    /// The remote's name of it.
    pub serial: String,
    /// Where it stands.
    pub status: Status,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// Its fingerprint, as far as the remote claims one or it was computed.
    pub fingerprint: Option<Digest>,
    /// Its files: digests and paths, metadata first.
    pub files: Vec<(Digest, String)>,
}

/// The rules that decide.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The remote's selection, with `keep_versions` resolved.
    pub selection: &'a Selection,
    /// See [`TooManyRemoved`].
    pub max_removal_percent: u8,
    /// Whether an operator takes responsibility for the removals.
    pub force: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan<'a> {
    /// Images with something to do, in the order of (name, type).
    pub images: Vec<ImagePlan<'a>>,
    /// What is left out, of the snapshot and by the rules, in order.
    pub left_out: Vec<LeftOut>,
}

/// What is to be done with one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePlan<'a> {
    /// The image.
    pub key: ImageKey,
    /// Set when the image is new or its description changed.
    pub describe: Option<Description>,
    /// Versions to record, oldest first.
    pub add: Vec<NewVersion<'a>>,
    /// Known versions whose status changes: `Queued` (fetch what was only listed), `Available` (list
    /// what was to be fetched).
    pub change: Vec<(KnownVersion, Status)>,
    /// Known versions whose files moved on the remote.
    pub relocate: Vec<(i32, &'a Content)>,
    /// Known versions that are not stored and no longer wanted.
    pub remove: Vec<KnownVersion>,
    /// Stored versions that newer ones have the place of, now.
    pub retire: Vec<KnownVersion>,
    /// Stored versions that will be retired when the versions to fetch are active.
    pub retire_later: Vec<KnownVersion>,
}

impl ImagePlan<'_> {
    fn is_empty(&self) -> bool {
        self.describe.is_none()
            && self.add.is_empty()
            && self.change.is_empty()
            && self.relocate.is_empty()
            && self.remove.is_empty()
            && self.retire.is_empty()
    }
}

/// A version to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVersion<'a> {
    /// What is offered.
    pub offered: &'a OfferedVersion,
    /// The content that the selection chose.
    pub content: &'a Content,
    /// `Queued` or `Available`.
    pub status: Status,
}

/// The offer would remove too much at once: more likely a fault of the remote's than its will
/// (semantics §2.6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the index lacks {missing} of {known} known products, more than images.max_removal_percent ({max_percent}) \
     allows; nothing was changed. If that is right, run the sync with --force"
)]
pub struct TooManyRemoved {
    /// Known products that the offer lacks.
    pub missing: usize,
    /// Known products.
    pub known: usize,
    /// The limit.
    pub max_percent: u8,
}

/// Makes the plan.
///
/// # Errors
/// [`TooManyRemoved`], unless forced.
pub fn plan<'a>(
    snapshot: &'a Snapshot,
    known: &KnownState,
    rules: Rules<'_>,
) -> Result<Plan<'a>, TooManyRemoved> {
    check_removals(snapshot, known, rules)?;
    let mut plan = Plan {
        images: vec![],
        left_out: snapshot.left_out.clone(),
    };
    let mut claimed_aliases = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for offered in &snapshot.images {
        let key = (offered.product.clone(), offered.image_type);
        let left_out = |serial: &str, reason, message| LeftOut {
            product: offered.product.to_string(),
            serial: serial.to_owned(),
            item: String::new(),
            reason,
            message,
        };
        if let Err((reason, message)) = rules.selection.check(offered) {
            plan.left_out
                .push(left_out("", reason, format!("{}: {message}", offered.image_type)));
            continue;
        }
        if known.ignored.contains(&key) {
            let message = format!(
                "this {} was deleted by hand; `rootstock image add` takes it up again",
                offered.image_type
            );
            plan.left_out.push(left_out("", Reason::Ignored, message));
            continue;
        }
        if let Some(owner) = known.taken_names.get(&key) {
            let message = format!("the name of this {} belongs to {owner}", offered.image_type);
            plan.left_out.push(left_out("", Reason::NameTaken, message));
            continue;
        }
        let mut description = describe(offered);
        description.aliases.retain(|alias| {
            let alias_key = (alias.clone(), offered.image_type, offered.architecture);
            let owner = known.taken_aliases.get(&alias_key).map(String::as_str);
            let owner = owner.or((!claimed_aliases.insert(alias_key)).then_some("an earlier product"));
            if let Some(owner) = owner {
                let message = format!("alias {alias} belongs to {owner}");
                plan.left_out.push(left_out("", Reason::NameTaken, message));
            }
            owner.is_none()
        });
        let image = known.images.get(&key);
        let (image_plan, beyond) = plan_versions(key.clone(), offered, image, description, rules);
        for version in &offered.versions {
            if image.is_some_and(|image| image.ignored_serials.contains(&version.serial)) {
                let message = format!("{}: this version was deleted by hand", offered.image_type);
                plan.left_out
                    .push(left_out(&version.serial, Reason::Ignored, message));
            }
        }
        let outside = offered
            .versions
            .iter()
            .filter(|version| !rules.selection.admits(&version.serial));
        plan.left_out.extend(outside.map(|version| {
            let wanted = rules.selection.version_constraint;
            let wanted = wanted.map_or_else(String::new, |constraint| constraint.to_string());
            let message = format!("{}: not of release {wanted}", offered.image_type);
            left_out(&version.serial, Reason::BeyondVersionConstraint, message)
        }));
        plan.left_out.extend(beyond.into_iter().map(|serial| {
            let keep = rules.selection.keep_versions;
            let message = format!("{}: not among the newest {keep}", offered.image_type);
            left_out(serial, Reason::BeyondKeepVersions, message)
        }));
        seen.insert(key);
        if !image_plan.is_empty() {
            plan.images.push(image_plan);
        }
    }
    let unseen = known.images.iter().filter(|(key, _)| !seen.contains(*key));
    plan.images.extend(
        unseen
            .map(|(key, image)| withdraw(key, image))
            .filter(|image| !image.is_empty()),
    );
    plan.images.sort_by(|a, b| a.key.cmp(&b.key));
    plan.left_out.sort();
    Ok(plan)
}

/// What is recorded of an offered image beside its versions.
pub fn describe(offered: &OfferedImage) -> Description {
    let aliases: BTreeSet<_> = offered.aliases.iter().cloned().collect();
    Description {
        architecture: offered.architecture,
        properties: offered.properties.clone(),
        aliases: aliases.into_iter().collect(),
        support_eol: offered.support_eol,
    }
}

/// The stored versions that have to make room: those beyond the newest `keep`, and those whose
/// serial a later number has. Never all of them, and never one that is pinned: what an image is held
/// at. Takes (number, serial) of active versions.
pub fn retire<'v>(active: impl IntoIterator<Item = (i32, &'v str)>, keep: u32, pinned: &[i32]) -> Vec<i32> {
    let mut newest_first: Vec<_> = active.into_iter().collect();
    newest_first.sort_by(|a, b| order(*b, *a));
    let mut kept = Vec::new();
    let mut retired = Vec::new();
    for (number, serial) in newest_first {
        if kept.len() >= keep.max(1) as usize || kept.contains(&serial) {
            if !pinned.contains(&number) {
                retired.push(number);
            }
        } else {
            kept.push(serial);
        }
    }
    retired.sort_unstable();
    retired
}

/// As [`retire`], where only versions that `admits` admits count: the others have no place beside one
/// that does, however new they are, and have one as long as there is none.
pub fn retire_admitted<'v>(
    active: impl IntoIterator<Item = (i32, &'v str)>,
    keep: u32,
    pinned: &[i32],
    admits: impl Fn(&str) -> bool,
) -> Vec<i32> {
    let (counting, others): (Vec<_>, Vec<_>) = active.into_iter().partition(|(_, serial)| admits(serial));
    if counting.is_empty() {
        return retire(others, keep, pinned);
    }
    let mut retired = retire(counting, keep, pinned);
    let others = others.iter().map(|(number, _)| *number);
    retired.extend(others.filter(|number| !pinned.contains(number)));
    retired.sort_unstable();
    retired
}

/// The order of an image's versions: by serial, and of one serial by number.
pub fn order(a: (i32, &str), b: (i32, &str)) -> Ordering {
    serial::compare(a.1, b.1).then(a.0.cmp(&b.0))
}

fn check_removals(snapshot: &Snapshot, known: &KnownState, rules: Rules<'_>) -> Result<(), TooManyRemoved> {
    let offered: BTreeSet<_> = snapshot.images.iter().map(|image| &image.product).collect();
    let products: BTreeSet<_> = known.images.keys().map(|(product, _)| product).collect();
    let missing = products
        .iter()
        .filter(|product| !offered.contains(*product))
        .count();
    let max_percent = rules.max_removal_percent;
    if !rules.force && missing * 100 > products.len() * usize::from(max_percent) {
        return Err(TooManyRemoved {
            missing,
            known: products.len(),
            max_percent,
        });
    }
    Ok(())
}

/// The plan of one offered image, and the serials that are beyond what is kept.
fn plan_versions<'a>(
    key: ImageKey,
    offered: &'a OfferedImage,
    known: Option<&KnownImage>,
    description: Description,
    rules: Rules<'_>,
) -> (ImagePlan<'a>, Vec<&'a str>) {
    let selection = rules.selection;
    let keep = selection.keep_versions.max(1) as usize;
    let known_versions = known.map_or(&[][..], |image| &image.versions);
    let active = || {
        known_versions
            .iter()
            .filter(|version| version.status == Status::Active)
    };

    let is_ignored = |serial: &str| known.is_some_and(|image| image.ignored_serials.contains(serial));
    let offered_versions = || {
        offered
            .versions
            .iter()
            .filter(|version| !is_ignored(&version.serial) && selection.admits(&version.serial))
    };

    // The newest `keep` of what is stored and what is offered together: an older offer never
    // displaces what is stored, only to be retired at once.
    let mut wanted: Vec<&str> = offered_versions()
        .map(|version| version.serial.as_str())
        .collect();
    wanted.extend(active().map(|version| version.serial.as_str()));
    wanted.retain(|serial| selection.admits(serial));
    wanted.sort_by(|a, b| serial::compare(b, a));
    wanted.dedup();
    wanted.truncate(keep);

    let mut plan = ImagePlan {
        key,
        describe: known
            .is_none_or(|image| image.description != description)
            .then_some(description),
        add: vec![],
        change: vec![],
        relocate: vec![],
        remove: vec![],
        retire: vec![],
        retire_later: vec![],
    };
    let not_stored = match selection.mode {
        Mode::Mirror => Status::Queued,
        Mode::OnDemand => Status::Available,
    };
    let mut beyond = Vec::new();
    let mut still_offered = BTreeSet::new();
    for version in offered_versions() {
        if !wanted.contains(&version.serial.as_str()) {
            beyond.push(version.serial.as_str());
            continue;
        }
        let Some(content) = selection.choose(&version.contents) else {
            continue;
        };
        match known_versions
            .iter()
            .find(|known| known.is(&version.serial, content))
        {
            None => plan.add.push(NewVersion {
                offered: version,
                content,
                status: not_stored,
            }),
            Some(known) => {
                still_offered.insert(known.number);
                if !known.lies_at(content) {
                    plan.relocate.push((known.number, content));
                }
                // A version that an operator had fetched stays queued, whatever the mode.
                if known.status == Status::Available && not_stored == Status::Queued {
                    plan.change.push((known.clone(), Status::Queued));
                }
            }
        }
    }
    plan.remove = known_versions
        .iter()
        .filter(|version| version.status != Status::Active && !still_offered.contains(&version.number))
        .cloned()
        .collect();
    let pinned = known.map_or(&[][..], |image| &image.pinned);
    let admits = |serial: &str| selection.admits(serial);
    let retired = retire_admitted(active().map(KnownVersion::place), keep as u32, pinned, admits);
    plan.retire = active()
        .filter(|version| retired.contains(&version.number))
        .cloned()
        .collect();
    if not_stored == Status::Queued {
        let next_number = known_versions
            .iter()
            .map(|version| version.number)
            .max()
            .unwrap_or(0)
            .saturating_add(1);
        let to_come = plan
            .add
            .iter()
            .map(|new| (next_number, new.offered.serial.as_str()));
        let later = active().map(KnownVersion::place).chain(to_come);
        let later = retire_admitted(later, keep as u32, pinned, admits);
        let later = later.iter().filter(|number| !retired.contains(number));
        plan.retire_later = later
            .filter_map(|number| active().find(|version| version.number == *number))
            .cloned()
            .collect();
    }
    // An image of which nothing is taken is not made.
    if known.is_none() && plan.add.is_empty() {
        plan.describe = None;
    }
    (plan, beyond)
}

/// The plan of an image that is no longer offered: what is stored stays.
fn withdraw<'a>(key: &ImageKey, image: &KnownImage) -> ImagePlan<'a> {
    let gone = image
        .versions
        .iter()
        .filter(|version| version.status != Status::Active);
    ImagePlan {
        key: key.clone(),
        describe: None,
        add: vec![],
        change: vec![],
        relocate: vec![],
        remove: gone.cloned().collect(),
        retire: vec![],
        retire_later: vec![],
    }
}

impl KnownVersion {
    fn place(&self) -> (i32, &str) {
        (self.number, &self.serial)
    }

    /// Whether this is the offered version: the same serial and the same bytes. Other bytes under a
    /// known serial are another version; so are other claims about the same bytes while they are not
    /// here, or a remote could not mend a false one.
    fn is(&self, serial: &str, content: &Content) -> bool {
        let offered = content.artifacts();
        self.serial == serial
            && (self.status == Status::Active || self.is_claimed_by(content))
            && self.files.len() == offered.len()
            && self
                .files
                .iter()
                .zip(&offered)
                .all(|((sha256, _), artifact)| *sha256 == artifact.sha256)
    }

    fn is_claimed_by(&self, content: &Content) -> bool {
        let fingerprint = content.fingerprint();
        self.size_bytes == content.size_bytes() && (fingerprint.is_none() || fingerprint == self.fingerprint)
    }

    fn lies_at(&self, content: &Content) -> bool {
        self.files
            .iter()
            .zip(content.artifacts())
            .all(|((_, path), artifact)| *path == artifact.path)
    }
}

#[cfg(test)]
mod tests;
