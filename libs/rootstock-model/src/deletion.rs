//! What may be deleted (semantics §5).

/// An image that somebody wants deleted, as far as it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// It comes from a remote.
    pub immutable: bool,
    /// It is the default of its type.
    pub is_default: bool,
    /// Other images of its type exist.
    pub others_of_type: bool,
}

/// Why an image or a version may not be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// The default goes last; force does not help.
    IsDefault,
    /// Only with force.
    Immutable,
    /// An image keeps at least one version.
    LastVersion,
    /// The image is held at this version.
    Held,
}

/// Whether an image may be deleted.
///
/// # Errors
/// What stands against it; of several, the one that force does not help against.
pub const fn check_image(image: Candidate, force: bool) -> Result<(), Objection> {
    if image.is_default && image.others_of_type {
        Err(Objection::IsDefault)
    } else if image.immutable && !force {
        Err(Objection::Immutable)
    } else {
        Ok(())
    }
}

/// Whether a version may be deleted, of an image that has as many that are not deleted, and may be
/// held at it.
///
/// # Errors
/// What stands against it.
pub const fn check_version(versions: usize, is_held: bool) -> Result<(), Objection> {
    if versions <= 1 {
        Err(Objection::LastVersion)
    } else if is_held {
        Err(Objection::Held)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_deleted_by_the_table() {
        // (immutable, default, others of its type), without force, with force
        let cases = [
            ((false, false, true), Ok(()), Ok(())),
            ((true, false, true), Err(Objection::Immutable), Ok(())),
            (
                (false, true, true),
                Err(Objection::IsDefault),
                Err(Objection::IsDefault),
            ),
            (
                (true, true, true),
                Err(Objection::IsDefault),
                Err(Objection::IsDefault),
            ),
            // The last of its type, though default.
            ((false, true, false), Ok(()), Ok(())),
            ((true, true, false), Err(Objection::Immutable), Ok(())),
        ];
        for ((immutable, is_default, others_of_type), without, with) in cases {
            let image = Candidate {
                immutable,
                is_default,
                others_of_type,
            };
            assert_eq!(check_image(image, false), without, "{image:?}");
            assert_eq!(check_image(image, true), with, "{image:?} forced");
        }
    }

    #[test]
    fn the_last_version_and_the_held_one_stay() {
        assert_eq!(check_version(1, false), Err(Objection::LastVersion));
        assert_eq!(check_version(1, true), Err(Objection::LastVersion));
        assert_eq!(check_version(2, true), Err(Objection::Held));
        assert_eq!(check_version(2, false), Ok(()));
    }
}
