//! Logged resources: their kinds and names, as the contract has them.

use crate::catalog::v1::{ChangeKind, change::Resource};

/// A message whose changes are logged.
pub trait ChangeResource: Into<Resource> {
    /// Its kind.
    const KIND: ChangeKind;
}

include!(concat!(env!("OUT_DIR"), "/changes.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::v1::{Image, Setting, Version, VersionChange};

    #[test]
    fn every_kind_has_its_label_and_every_resource_its_name() {
        for kind in ChangeKind::ALL {
            let name = format!("CHANGE_KIND_{}", kind.label().to_uppercase());
            assert_eq!(kind.as_str_name(), name);
        }
        assert_eq!(ChangeKind::Image.label(), "image");
        let image: Resource = Image {
            name: "debian".into(),
            ..Image::default()
        }
        .into();
        assert_eq!((image.kind(), image.name()), (Image::KIND, "debian"));
        let version: Resource = VersionChange {
            image: "debian".into(),
            version: Some(Version::default()),
            ..VersionChange::default()
        }
        .into();
        assert_eq!((version.kind(), version.name()), (ChangeKind::Version, "debian"));
        let setting: Resource = Setting {
            key: "images.update_interval".into(),
            ..Setting::default()
        }
        .into();
        assert_eq!(
            (setting.kind(), setting.name()),
            (ChangeKind::Setting, "images.update_interval")
        );
    }
}
