//! The kinds of work, one file each: the rules by which the catalog gives such work out, and records what
//! came of it.

pub(crate) mod auto_update;
pub(crate) mod collect;
pub(crate) mod compact;
pub(crate) mod deliver;
pub(crate) mod expire;
pub(crate) mod poll;
pub(crate) mod sweep;
pub(crate) mod transfer;
pub(crate) mod verify;

use rootstock_proto::Error;

use super::{
    Kind,
    rules::{CatalogKind, Rules, WorkerKind},
};

/// Who does work of this kind, and by which rules.
pub(crate) fn rules(kind: Kind) -> Rules {
    match kind {
        Kind::Poll => Rules::Worker(&poll::Poll),
        Kind::Transfer => Rules::Worker(&transfer::Transfer),
        Kind::Verify => Rules::Worker(&verify::Verify),
        Kind::Sweep => Rules::Worker(&sweep::Sweep),
        Kind::Collect => Rules::Worker(&collect::Collect),
        Kind::Deliver => Rules::Worker(&deliver::Deliver),
        Kind::AutoUpdate => Rules::Catalog(&auto_update::AutoUpdate),
        Kind::Expire => Rules::Catalog(&expire::Expire),
        Kind::Compact => Rules::Catalog(&compact::Compact),
        Kind::Upload => Rules::Gateway,
    }
}

/// The rules of a kind that workers claim; refuses any other.
pub(crate) fn of_worker(kind: Kind) -> Result<&'static dyn WorkerKind, Error> {
    match rules(kind) {
        Rules::Worker(rules) => Ok(rules),
        Rules::Catalog(_) | Rules::Gateway => {
            let problem = format!("is that of work that no worker does: {}", kind.label());
            Err(Error::invalid("lease", problem))
        }
    }
}

/// The kinds that the catalog does itself.
pub(crate) fn of_catalog() -> impl Iterator<Item = (Kind, &'static dyn CatalogKind)> {
    Kind::ALL.iter().filter_map(|kind| match rules(*kind) {
        Rules::Catalog(rules) => Some((*kind, rules)),
        Rules::Worker(_) | Rules::Gateway => None,
    })
}

#[cfg(test)]
mod tests {
    use rootstock_proto::sync::v1::WorkKind;

    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_protocol_and_what_the_catalog_does_is_not_in_it() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.code()), Some(*kind));
            let wire = WorkKind::try_from(i32::from(kind.code())).ok();
            let name = format!("WORK_KIND_{}", kind.label().to_uppercase().replace('-', "_"));
            let expected = match rules(*kind) {
                Rules::Worker(_) | Rules::Gateway => Some(name.as_str()),
                Rules::Catalog(_) => None,
            };
            assert_eq!(wire.map(|wire| wire.as_str_name()), expected);
        }
    }
}
