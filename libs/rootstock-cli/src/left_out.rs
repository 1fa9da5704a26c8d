//! What was left out of a remote's offer, for people.

use std::collections::BTreeMap;

use rootstock_proto::catalog::v1::LeftOut;

use crate::table::{Column, Table};

/// Shown in full of each reason.
const EXAMPLES: usize = 3;

/// How many per reason, the most frequent first, each with its first few in full.
pub(super) fn summary(left_out: &[LeftOut]) -> String {
    let mut reasons: BTreeMap<&str, Vec<&LeftOut>> = BTreeMap::new();
    for one in left_out {
        reasons.entry(&one.reason).or_default().push(one);
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, all)| std::cmp::Reverse(all.len()));
    let mut text = String::new();
    for (reason, all) in reasons {
        text += &format!("  {reason}: {}\n", all.len());
        for one in all.iter().take(EXAMPLES) {
            text += &format!("    {}\n", sentence(one));
        }
        if all.len() > EXAMPLES {
            text += &format!("    … and {} more\n", all.len() - EXAMPLES);
        }
    }
    text
}

/// All of it.
pub(super) fn table(left_out: &[LeftOut], width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Column::gives_way("PRODUCT"),
        Column::gives_way("SERIAL"),
        Column::gives_way("ITEM"),
        Column::always("REASON"),
        Column::gives_way("MESSAGE"),
    ]);
    for one in left_out {
        table.row(
            [&one.product, &one.serial, &one.item, &one.reason, &one.message].map(|cell| printable(cell)),
        );
    }
    table.render(width)
}

fn sentence(one: &LeftOut) -> String {
    let place: Vec<_> = [&one.product, &one.serial, &one.item]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| printable(part))
        .collect();
    let place = if place.is_empty() {
        "the index".to_owned()
    } else {
        place.join(" ")
    };
    format!("{place}: {}", printable(&one.message))
}

/// A remote's words may hold what would change the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(product: &str, item: &str, reason: &str) -> LeftOut {
        LeftOut {
            product: product.into(),
            serial: if item.is_empty() {
                String::new()
            } else {
                "20261122".into()
            },
            item: item.into(),
            reason: reason.into(),
            message: "because".into(),
        }
    }

    #[test]
    fn reasons_come_by_number_with_a_few_examples() {
        let mut left_out: Vec<_> = (0..5)
            .map(|n| one(&format!("p{n}"), "", "not-selected"))
            .collect();
        left_out.insert(0, one("bad\x1b[2J", "root", "unsafe-path"));
        left_out.push(one("", "", "malformed"));
        assert_eq!(
            summary(&left_out),
            "  not-selected: 5\n    p0: because\n    p1: because\n    p2: because\n    … and 2 more\n  \
             malformed: 1\n    the index: because\n  \
             unsafe-path: 1\n    bad\u{fffd}[2J 20261122 root: because\n"
        );
        assert_eq!(table(&left_out, None).lines().count(), 8);
    }
}
