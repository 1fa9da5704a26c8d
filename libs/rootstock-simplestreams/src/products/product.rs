//! One product: its description and its versions.

use std::collections::{BTreeMap, BTreeSet};

use rootstock_model::{
    AliasName, Architecture, ImageName, ImageType, Reason,
    name::InvalidName,
    serial,
    snapshot::{OfferedImage, OfferedVersion},
};
use serde_json::Value;
use time::{Date, macros::format_description};

use super::version;
use crate::{
    document::kind,
    notes::{Notes, Problem, quoted},
    tags::{Tags, object, property_text},
};

/// The tags of a product that become properties of the image.
const PROPERTIES: [&str; 6] = [
    "os",
    "release",
    "release_title",
    "release_codename",
    "version",
    "variant",
];

/// Reads one product into at most one image per type, at least one.
pub(super) fn read(
    name: &str,
    product: &Value,
    document: &Tags<'_>,
    notes: &mut Notes<'_>,
) -> Result<Vec<OfferedImage>, Problem> {
    let name = product_name(name)?;
    let own = object("the product", Some(product))?;
    let tags = Tags::below(document, own);
    let architecture = architecture(&tags)?;
    let versions = versions(own.get("versions"), &tags, notes)?;

    // Only now: what is wrong with the description of a product that is left out, nobody needs.
    let properties = properties(&tags, notes);
    let aliases = aliases(tags.get("aliases"), notes);
    let support_eol = support_eol(&tags).unwrap_or_else(|problem| {
        notes.tag("support_eol", problem);
        None
    });
    Ok(versions
        .into_iter()
        .map(|(image_type, versions)| OfferedImage {
            product: name.clone(),
            image_type,
            architecture,
            properties: properties.clone(),
            aliases: aliases.clone(),
            support_eol,
            versions,
        })
        .collect())
}

fn product_name(name: &str) -> Result<ImageName, Problem> {
    if name.contains(char::REPLACEMENT_CHARACTER) {
        return Err(Problem::malformed("the product's name is not valid text"));
    }
    name.parse()
        .map_err(|error: InvalidName| Problem::malformed(format!("the product's name {}", error.problem)))
}

fn architecture(tags: &Tags<'_>) -> Result<Architecture, Problem> {
    let Some(name) = tags.text("arch")? else {
        return Err(Problem::malformed("the product names no architecture"));
    };
    name.parse().map_err(|_| {
        let message = format!("{} is no architecture that clients know", quoted(name));
        Problem::new(Reason::UnknownArchitecture, message)
    })
}

/// The versions by type of image, oldest first. Fails when there is not one.
fn versions(
    versions: Option<&Value>,
    product: &Tags<'_>,
    notes: &mut Notes<'_>,
) -> Result<BTreeMap<ImageType, Vec<OfferedVersion>>, Problem> {
    let versions = object("versions", versions)?;
    let mut images = BTreeMap::<ImageType, Vec<OfferedVersion>>::new();
    let mut without_image = vec![];
    for (serial, version) in versions {
        match version::read(serial, version, product, notes) {
            Ok(read) => {
                for (image_type, version) in read {
                    images.entry(image_type).or_default().push(version);
                }
            }
            Err(problem) if problem.reason == Reason::NotAnInstanceImage => {
                without_image.push((serial, problem));
            }
            Err(problem) => notes.version(serial, problem),
        }
    }
    if images.is_empty() {
        // One record for the product says more than one for each of its versions.
        return Err(no_image(versions.len(), without_image.pop()));
    }
    for (serial, problem) in without_image {
        notes.version(serial, problem);
    }
    for versions in images.values_mut() {
        versions.sort_by(|a, b| serial::compare(&a.serial, &b.serial));
    }
    Ok(images)
}

fn no_image(versions: usize, example: Option<(&String, Problem)>) -> Problem {
    let message = match (versions, example) {
        (0, _) => "the product has no versions".to_owned(),
        (_, None) => format!("none of the {versions} versions can be used"),
        (_, Some((serial, problem))) => format!(
            "none of the {versions} versions holds an image for instances; {}: {}",
            quoted(serial),
            problem.message
        ),
    };
    Problem::new(Reason::NotAnInstanceImage, message)
}

fn properties(tags: &Tags<'_>, notes: &mut Notes<'_>) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for tag in PROPERTIES {
        match tags.property(tag) {
            Ok(Some(value)) => {
                properties.insert(tag.to_owned(), value);
            }
            Ok(None) => {}
            Err(problem) => notes.tag(tag, problem),
        }
    }
    for (key, value) in requirements(tags, notes) {
        properties.insert(format!("requirements.{key}"), value);
    }
    properties
}

/// `lxd_requirements` when there is such a map, else `requirements`; the two are never merged
/// (incus-protocol §1.2).
fn requirements(tags: &Tags<'_>, notes: &mut Notes<'_>) -> Vec<(String, String)> {
    for tag in ["lxd_requirements", "requirements"] {
        let Some(value) = tags.get(tag) else { continue };
        let map = match object(tag, Some(value)) {
            Ok(map) => map,
            Err(problem) => {
                notes.tag(tag, problem);
                continue;
            }
        };
        let mut requirements = vec![];
        for (key, value) in map {
            match requirement(key, value) {
                Ok(Some(value)) => requirements.push((key.clone(), value)),
                Ok(None) => {}
                Err(problem) => notes.tag(tag, problem),
            }
        }
        return requirements;
    }
    vec![]
}

fn requirement(key: &str, value: &Value) -> Result<Option<String>, Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if key.is_empty() || key.len() > 64 || !key.chars().all(plain) {
        return Err(Problem::malformed(format!(
            "{} is no key of a requirement",
            quoted(key)
        )));
    }
    match value {
        Value::Null => Ok(None),
        Value::String(text) => property_text(key, text),
        Value::Bool(_) | Value::Number(_) => Ok(Some(value.to_string())),
        other => Err(Problem::malformed(format!(
            "{key} must be a text, but is {}",
            kind(other)
        ))),
    }
}

/// The aliases in the index's order, each once: a text with commas, or a list of texts.
fn aliases(value: Option<&Value>, notes: &mut Notes<'_>) -> Vec<AliasName> {
    let mut problems = vec![];
    let names: Vec<&str> = match value {
        None => vec![],
        Some(Value::String(names)) => names.split(',').collect(),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(|name| {
                let text = name.as_str();
                if text.is_none() {
                    problems.push(format!("an alias must be a text, but is {}", kind(name)));
                }
                text
            })
            .collect(),
        Some(other) => {
            problems.push(format!("aliases must be a text, but is {}", kind(other)));
            vec![]
        }
    };
    let mut seen = BTreeSet::new();
    let mut aliases = vec![];
    for name in names.into_iter().map(str::trim).filter(|name| !name.is_empty()) {
        match name.parse::<AliasName>() {
            Ok(_) if name.contains(char::REPLACEMENT_CHARACTER) => {
                problems.push(format!("the alias {} is not valid text", quoted(name)));
            }
            Ok(alias) if seen.insert(name) => aliases.push(alias),
            Ok(_) => {}
            Err(error) => problems.push(format!("the alias {} {}", quoted(name), error.problem)),
        }
    }
    for problem in problems {
        notes.tag("aliases", Problem::malformed(problem));
    }
    aliases
}

fn support_eol(tags: &Tags<'_>) -> Result<Option<Date>, Problem> {
    let Some(text) = tags.text("support_eol")? else {
        return Ok(None);
    };
    Date::parse(text, format_description!("[year]-[month]-[day]"))
        .map(Some)
        .map_err(|_| Problem::malformed(format!("support_eol {} is no date YYYY-MM-DD", quoted(text))))
}

#[cfg(test)]
mod tests;
