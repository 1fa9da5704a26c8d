//! Which image is the default of its type (semantics §2.9, §3).
//!
//! The first that turns active is. From then on the default can be moved, not cleared: it stays
//! with its image for as long as that exists, whatever becomes of its versions. When the image is
//! gone, the oldest active one takes its place; where none is active, the next that turns so does.

/// An image of the type, as far as it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its id; ids sort by age.
    pub id: &'a str,
    /// It is the default, or was until it was deleted.
    pub is_default: bool,
    /// It was made to become the default, and did not yet.
    pub wants_default: bool,
    /// It has an active version.
    pub is_active: bool,
    /// It is not deleted.
    pub exists: bool,
}

/// The id of the image of this type that is to be the default.
pub fn choose<'a>(images: &[Candidate<'a>]) -> Option<&'a str> {
    let active = || images.iter().filter(|image| image.exists && image.is_active);
    let wanted = active()
        .filter(|image| image.wants_default)
        .max_by_key(|image| image.id);
    let present = || images.iter().find(|image| image.exists && image.is_default);
    let oldest = || active().min_by_key(|image| image.id);
    wanted.or_else(present).or_else(oldest).map(|image| image.id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `d`efault, `w`ants to be, `a`ctive, `x` deleted.
    fn image<'a>(id: &'a str, marks: &str) -> Candidate<'a> {
        Candidate {
            id,
            is_default: marks.contains('d'),
            wants_default: marks.contains('w'),
            is_active: marks.contains('a'),
            exists: !marks.contains('x'),
        }
    }

    #[test]
    fn the_default_moves_only_when_it_must_or_is_wanted_elsewhere() {
        for (images, expected) in [
            (vec![], None),
            (vec![image("a", ""), image("b", "a")], Some("b")),
            (vec![image("a", "a"), image("b", "da")], Some("b")),
            (vec![image("a", "a"), image("b", "d")], Some("b")),
            (
                vec![image("b", "a"), image("a", "a"), image("c", "dx")],
                Some("a"),
            ),
            (vec![image("a", ""), image("c", "dx")], None),
            (vec![image("a", "da"), image("b", "wa")], Some("b")),
            (vec![image("a", "da"), image("b", "w")], Some("a")),
            (vec![image("b", "wa"), image("c", "wa")], Some("c")),
        ] {
            assert_eq!(choose(&images), expected, "{images:?}");
        }
    }

    proptest! {
        #[test]
        fn there_is_one_while_any_is_active(
            marks in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..6), default in 0..8usize
        ) {
            let ids: Vec<String> = (0..marks.len()).map(|index| index.to_string()).collect();
            let images: Vec<Candidate<'_>> = marks
                .iter()
                .enumerate()
                .map(|(index, (wants_default, is_active, exists))| Candidate {
                    id: &ids[index],
                    is_default: index == default,
                    wants_default: *wants_default,
                    is_active: *is_active && *exists,
                    exists: *exists,
                })
                .collect();
            let chosen = choose(&images).map(|id| images.iter().find(|image| image.id == id).unwrap());
            prop_assert!(chosen.is_some() || !images.iter().any(|image| image.is_active));
            if let Some(chosen) = chosen {
                prop_assert!(chosen.exists && (chosen.is_active || chosen.is_default));
                // Chosen again, it stays.
                let after: Vec<_> = images
                    .iter()
                    .map(|image| Candidate { is_default: image.id == chosen.id, wants_default: false, ..*image })
                    .collect();
                prop_assert_eq!(choose(&after), Some(chosen.id));
            }
        }
    }
}
