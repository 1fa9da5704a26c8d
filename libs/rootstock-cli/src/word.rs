//! The API's enums as words.

use rootstock_proto::catalog::v1 as wire;

/// The word for an enum's value of this name, of which `unspecified` is the first: `IMAGE_TYPE_VIRTUAL_MACHINE` of
/// `IMAGE_TYPE_UNSPECIFIED` is `virtual-machine`. Empty for the unspecified one itself.
pub(crate) fn of(name: &str, unspecified: &str) -> String {
    let prefix = unspecified.strip_suffix("UNSPECIFIED").unwrap_or_default();
    match name.strip_prefix(prefix) {
        _ if name == unspecified => String::new(),
        Some(word) => word.to_lowercase().replace('_', "-"),
        None => name.to_owned(),
    }
}

/// An enum of the API, for people.
pub(crate) trait Word {
    /// As [`of`]: `active`, `on-demand`, ….
    fn word(self) -> String;
}

macro_rules! words {
    ($($name:ident),* $(,)?) => {$(
        impl Word for wire::$name {
            fn word(self) -> String {
                of(self.as_str_name(), Self::Unspecified.as_str_name())
            }
        }
    )*};
}

words!(
    BlobNeedReason,
    ChangeKind,
    ChangeOperation,
    ImageType,
    PlanAction,
    RemoteMode,
    Status,
    TransferState,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_words() {
        assert_eq!(wire::ImageType::VirtualMachine.word(), "virtual-machine");
        assert_eq!(wire::ImageType::Unspecified.word(), "");
        assert_eq!(wire::Status::Error.word(), "error");
        assert_eq!(wire::RemoteMode::OnDemand.word(), "on-demand");
        assert_eq!(of("OTHER", "KIND_UNSPECIFIED"), "OTHER");
    }
}
