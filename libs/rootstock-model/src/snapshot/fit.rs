//! What of an offer is too large to be taken: it is left out with its reason, and its neighbours stay.

use super::{OfferedImage, Snapshot};
use crate::{
    LeftOut, Reason,
    limits::{MAX_ALIASES, MAX_LABEL_BYTES},
    properties,
};

impl Snapshot {
    /// Leaves out what is larger than the [limits](crate::limits), each with its reason. A product whose
    /// properties are too large is left out as a whole: without some of them, it could be another image
    /// than its remote means.
    pub fn fit(&mut self) {
        let left_out = &mut self.left_out;
        self.images
            .retain_mut(|image| match properties::check_size(&image.properties) {
                Ok(()) => {
                    fit_labels(image, left_out);
                    fit_aliases(image, left_out);
                    true
                }
                Err(invalid) => {
                    let what = match invalid.key.as_str() {
                        "" => "the properties".to_owned(),
                        key => format!("property {key:?}:"),
                    };
                    let message = format!("{}: {what} {}", image.image_type, invalid.problem);
                    left_out.push(note(image, "", "", message));
                    false
                }
            });
    }
}

fn fit_aliases(image: &mut OfferedImage, left_out: &mut Vec<LeftOut>) {
    let count = image.aliases.len();
    if count > MAX_ALIASES {
        image.aliases.truncate(MAX_ALIASES);
        let message = format!(
            "{}: has {count} aliases; the first {MAX_ALIASES} are taken",
            image.image_type
        );
        left_out.push(note(image, "", "aliases", message));
    }
}

fn fit_labels(image: &mut OfferedImage, left_out: &mut Vec<LeftOut>) {
    let mut serials = vec![];
    for version in &mut image.versions {
        if version.label.len() > MAX_LABEL_BYTES {
            version.label.clear();
            serials.push(version.serial.clone());
        }
    }
    for serial in serials {
        let message = format!(
            "{}: the label is longer than {MAX_LABEL_BYTES} bytes",
            image.image_type
        );
        left_out.push(note(image, &serial, "label", message));
    }
}

fn note(image: &OfferedImage, serial: &str, item: &str, message: String) -> LeftOut {
    LeftOut {
        product: image.product.to_string(),
        serial: serial.to_owned(),
        item: item.to_owned(),
        reason: Reason::Malformed,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageType, limits::MAX_PROPERTIES_BYTES, snapshot::OfferedVersion};

    fn image(product: &str) -> OfferedImage {
        OfferedImage {
            product: product.parse().unwrap(),
            image_type: ImageType::Container,
            architecture: "x86_64".parse().unwrap(),
            properties: [("os".to_owned(), "Debian".to_owned())].into(),
            aliases: vec!["debian".parse().unwrap()],
            support_eol: None,
            versions: vec![OfferedVersion {
                serial: "20261128".to_owned(),
                label: "release".to_owned(),
                created_at: None,
                contents: vec![],
            }],
        }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let mut snapshot = Snapshot {
            images: vec![image("a"), image("b")],
            left_out: vec![],
        };
        let before = snapshot.clone();
        snapshot.fit();
        assert_eq!(snapshot, before);
    }

    #[test]
    fn what_is_too_large_is_left_out_with_its_reason_and_nothing_else() {
        let mut large = image("large");
        large.properties = (0..100)
            .map(|index| (format!("requirements.{index}"), "x".repeat(1024)))
            .collect();
        assert!(properties::bytes(&large.properties) > MAX_PROPERTIES_BYTES);
        let mut many = image("many");
        many.aliases = (0..300)
            .map(|index| format!("a{index}").parse().unwrap())
            .collect();
        many.versions[0].label = "x".repeat(MAX_LABEL_BYTES + 1);
        let mut snapshot = Snapshot {
            images: vec![large, many, image("good")],
            left_out: vec![],
        };
        snapshot.fit();
        let products: Vec<_> = snapshot
            .images
            .iter()
            .map(|image| image.product.as_str())
            .collect();
        assert_eq!(products, ["many", "good"]);
        assert_eq!(snapshot.images[0].aliases.len(), MAX_ALIASES);
        assert_eq!(snapshot.images[0].versions[0].label, "");
        let notes: Vec<_> = snapshot
            .left_out
            .iter()
            .map(|note| (note.product.as_str(), note.serial.as_str(), note.item.as_str()))
            .collect();
        assert_eq!(
            notes,
            [
                ("large", "", ""),
                ("many", "20261128", "label"),
                ("many", "", "aliases")
            ]
        );
        let again = snapshot.clone();
        snapshot.fit();
        assert_eq!(snapshot, again);
    }
}
