//! The kinds of work: one table.

/// Declares [`Kind`] from a table with one line for each kind of work.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal;)*) => {
        /// A kind of work. Its number is what the column `work.kind` holds; for kinds that go over the wire
        /// it is that of `rootstock.sync.v1.WorkKind`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($(#[$doc])* $name = $code,)*
        }

        impl Kind {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name in metrics and logs.
            pub(crate) const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

kinds! {
    /// Fetch a remote's index.
    Poll = 1, "poll";
    /// Fetch a blob from a remote.
    Transfer = 2, "transfer";
    /// Compute the fingerprint of two stored blobs.
    Verify = 3, "verify";
    /// Find abandoned uploads and unknown objects in the store.
    Sweep = 4, "sweep";
    /// Look for newer versions of images that follow by checks.
    AutoUpdate = 5, "auto-update";
    /// End what has run out: cached images, holds, kept rows of what was deleted.
    Expire = 6, "expire";
    /// Remove unreferenced blobs from the store.
    Collect = 7, "collect";
    /// Deliver changes to a webhook.
    Deliver = 8, "deliver";
    /// Receive a blob from a client at a gateway.
    Upload = 9, "upload";
}

impl Kind {
    /// The number in the column `work.kind`.
    pub(crate) const fn code(self) -> i16 {
        self as i16
    }

    /// The kind with this number.
    pub(crate) fn from_code(code: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use rootstock_proto::sync::v1::WorkKind;

    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_protocol() {
        for kind in Kind::ALL {
            let wire = WorkKind::try_from(i32::from(kind.code())).unwrap();
            let name = format!("WORK_KIND_{}", kind.label().to_uppercase().replace('-', "_"));
            assert_eq!(wire.as_str_name(), name);
            assert_eq!(Kind::from_code(kind.code()), Some(*kind));
        }
    }
}
