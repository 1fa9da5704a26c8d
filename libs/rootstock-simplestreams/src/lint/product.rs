//! One product: its description, and which clients list what of it.

use std::collections::BTreeSet;

use rootstock_model::Architecture;
use serde_json::Value;
use time::{Date, Month};

use super::{Code, Family, Finding, Linter, Minds, Place, ProductNames, schema, version};
use crate::{document::Object, notes::quoted};

/// Spellings that only some clients know: of these, the newest LXD.
const ONLY_LXD: &str = "amd64v3";
/// Spellings that only Rootstock knows.
const NO_CLIENT: &str = "amd64v2";

/// The keys that instances are checked by, and whether they are `true` or `false`.
const REQUIREMENTS: [(&str, bool); 6] = [
    ("cdrom_agent", true),
    ("cdrom_cloud_init", true),
    ("cgroup", false),
    ("nesting", true),
    ("privileged", true),
    ("secureboot", true),
];

/// Checks a product.
pub(super) fn check(linter: &mut Linter<'_>, document: &Place, name: &str, product: &Object) {
    let place = document.product(name);
    let families = families(linter, &place, schema::text(product, "arch"));
    let empty = Object::new();
    let versions = schema::object(product, "versions").unwrap_or(&empty);
    if versions.is_empty() {
        linter.add(Finding::new(
            Code::NoVersions,
            place.clone(),
            "the product has no versions",
        ));
    }
    serials(linter, &place, versions);

    let mut listed = BTreeSet::new();
    // For each family, the versions that only the other lists.
    let mut lacking = [0_usize; 2];
    for (serial, of) in versions {
        // What is no object is of a wrong type, and was said to be.
        let Some(of) = of.as_object() else { continue };
        let dated = is_dated(serial);
        let known: Vec<Family> = families.iter().copied().filter(|_| dated).collect();
        let seen = version::check(linter, &place.serial(serial), of, versions, &known);
        for (family, lacks) in Family::ALL.into_iter().zip(&mut lacking) {
            let others = seen.offered.iter().any(|other| *other != family);
            // An architecture that a family does not know explains it.
            *lacks += usize::from(known.contains(&family) && others && !seen.offered.contains(&family));
        }
        listed.extend(seen.listed);
    }
    one_sided(linter, &place, lacking, versions.len());
    description(
        linter,
        &place,
        product,
        listed.iter().any(|(family, _)| *family == Family::Incus),
    );

    // Aliases of a wrong type were said to be.
    let is_typed = schema::value(product, "aliases").is_none_or(Value::is_string);
    let aliases = aliases(
        linter,
        &place,
        schema::text(product, "aliases"),
        !listed.is_empty() && is_typed,
    );
    linter.products.push(ProductNames {
        product: place.product.clone(),
        document: place.document.clone(),
        architecture: schema::text(product, "arch").to_owned(),
        aliases,
        order: ["os", "release", "variant"].map(|tag| schema::text(product, tag).to_owned()),
        listed,
    });
}

/// The families that know the architecture.
fn families(linter: &mut Linter<'_>, place: &Place, architecture: &str) -> Vec<Family> {
    let (families, minds) = if architecture == ONLY_LXD {
        (vec![Family::Lxd], vec![Minds::Incus])
    } else if architecture == NO_CLIENT {
        (vec![], vec![Minds::Incus, Minds::Lxd])
    } else if architecture.parse::<Architecture>().is_ok() {
        return Family::ALL.into();
    } else {
        (vec![], Code::UnknownArchitecture.minds().to_vec())
    };
    let detail = match architecture {
        "" => "the product names no architecture".to_owned(),
        other => format!("the architecture {} is not known", quoted(other)),
    };
    let finding = Finding::new(Code::UnknownArchitecture, place.clone(), detail);
    linter.add(Finding { minds, ..finding });
    families
}

/// Whether clients read a date in the serial: its first eight bytes are one.
fn is_dated(serial: &str) -> bool {
    let number = |from: usize, to: usize| {
        let digits = serial.get(from..to)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let date = || {
        let month = Month::try_from(u8::try_from(number(4, 6)?).ok()?).ok()?;
        let day = u8::try_from(number(6, 8)?).ok()?;
        Date::from_calendar_date(number(0, 4)?.into(), month, day).ok()
    };
    date().is_some()
}

fn serials(linter: &mut Linter<'_>, place: &Place, versions: &Object) {
    let mut widths = BTreeSet::new();
    for serial in versions.keys() {
        if is_dated(serial) {
            widths.insert(serial.len());
        } else {
            let detail = format!("the serial {} does not begin with a date", quoted(serial));
            linter.add(Finding::new(Code::SerialNotADate, place.serial(serial), detail));
        }
    }
    if widths.len() > 1 {
        let widths: Vec<String> = widths.iter().map(ToString::to_string).collect();
        let detail = format!("its serials have {} characters", widths.join(" and "));
        linter.add(Finding::new(Code::MixedSerialWidths, place.clone(), detail));
    }
}

fn one_sided(linter: &mut Linter<'_>, place: &Place, lacking: [usize; 2], versions: usize) {
    for (family, lacks) in Family::ALL.into_iter().zip(lacking) {
        let (code, other) = match family {
            Family::Incus => (Code::LxdOnly, Family::Lxd),
            Family::Lxd => (Code::IncusOnly, Family::Incus),
        };
        if lacks > 0 {
            let detail = format!(
                "{lacks} of {versions} versions have items for {} alone",
                other.name()
            );
            linter.add(Finding::new(code, place.clone(), detail));
        }
    }
}

fn description(linter: &mut Linter<'_>, place: &Place, product: &Object, incus_lists: bool) {
    let eol = schema::text(product, "support_eol");
    let is_date = eol.len() == 10
        && is_dated(&eol.replace('-', ""))
        && eol.as_bytes()[4] == b'-'
        && eol.as_bytes()[7] == b'-';
    if !eol.is_empty() && !is_date {
        let detail = format!("support_eol {} is no date", quoted(eol));
        linter.add(Finding::new(
            Code::BadSupportEol,
            place.item("support_eol"),
            detail,
        ));
    }
    for tag in ["requirements", "lxd_requirements"] {
        for (key, value) in schema::object(product, tag).into_iter().flatten() {
            if let Some(value) = value.as_str() {
                requirement(linter, &place.item(tag), key, value);
            }
        }
    }
    let has = |tag| schema::object(product, tag).is_some_and(|map| map.values().any(Value::is_string));
    if incus_lists && has("lxd_requirements") && !has("requirements") {
        let detail = "the product has lxd_requirements and no requirements";
        linter.add(Finding::new(Code::LxdRequirementsOnly, place.clone(), detail));
    }
}

fn requirement(linter: &mut Linter<'_>, place: &Place, key: &str, value: &str) {
    let Some((_, is_flag)) = REQUIREMENTS.into_iter().find(|(known, _)| *known == key) else {
        let detail = format!("the requirement {} is not known", quoted(key));
        return linter.add(Finding::new(Code::UnknownRequirement, place.clone(), detail));
    };
    let good = match is_flag {
        true => ["true", "false", "1", "0", "yes", "no", "on", "off"].contains(&&*value.to_ascii_lowercase()),
        false => value == "v1",
    };
    if !good {
        let detail = format!("the requirement {key} has the value {}", quoted(value));
        linter.add(Finding::new(Code::BadRequirement, place.clone(), detail));
    }
}

/// The aliases as clients take them, which is with everything between two commas.
fn aliases(linter: &mut Linter<'_>, place: &Place, aliases: &str, is_listed: bool) -> Vec<String> {
    if aliases.is_empty() {
        if is_listed {
            linter.add(Finding::new(
                Code::NoAliases,
                place.clone(),
                "the product has no aliases",
            ));
        }
        return Vec::new();
    }
    let all: Vec<String> = aliases.split(',').map(str::to_owned).collect();
    let bad: Vec<String> = all
        .iter()
        .filter(|alias| alias.is_empty() || alias.contains(char::is_whitespace))
        .map(|alias| quoted(alias))
        .collect();
    if !bad.is_empty() {
        let (all, bad) = (quoted(aliases), bad.join(" and "));
        let detail = format!("of the aliases {all} clients take {bad} as they stand");
        linter.add(Finding::new(Code::BadAlias, place.item("aliases"), detail));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_read_a_date_in_eight_digits() {
        for (serial, expected) in [
            ("20230424_13:01", true),
            ("20230424", true),
            ("20230424.1", true),
            ("2023042", false),
            ("20231324", false),
            ("20230230", false),
            ("latest", false),
            ("+0230424", false),
            ("1.9.1", false),
            ("../../x", false),
            ("2023-04-24", false),
            ("éééééééé", false),
        ] {
            assert_eq!(is_dated(serial), expected, "{serial}");
        }
    }
}
