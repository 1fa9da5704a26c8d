//! `metadata.yaml`: what an image says of itself.

use std::{collections::BTreeMap, io::Write as _};

use rootstock_model::Architecture;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ArchiveError;

const MAX_PROPERTIES: usize = 256;
const MAX_KEY_BYTES: usize = 255;
const MAX_VALUE_BYTES: usize = 16 << 10;

/// What `metadata.yaml` says, as far as it matters outside of an instance. Templates are the
/// instances' business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The CPU architecture.
    pub architecture: Architecture,
    /// When the image was made; to the second.
    pub creation_date: OffsetDateTime,
    /// When it expires; to the second.
    pub expiry_date: Option<OffsetDateTime>,
    /// `os`, `release`, `variant`, `description`, …, `requirements.<key>`.
    pub properties: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    creation_date: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    expiry_date: i64,
    #[serde(default)]
    properties: Option<BTreeMap<String, String>>,
}

// Serde hands it a reference.
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Metadata {
    pub(crate) fn from_yaml(text: &[u8]) -> Result<Self, ArchiveError> {
        let refuse = |problem: String| Err(ArchiveError::Metadata(problem));
        let file: File = match serde_yaml_ng::from_slice(text) {
            Ok(file) => file,
            Err(error) => return refuse(error.to_string()),
        };
        let Ok(architecture) = file.architecture.parse() else {
            return refuse(format!("architecture {:?} is unknown", short(&file.architecture)));
        };
        if file.creation_date <= 0 {
            return refuse("creation_date is missing: it is in seconds since 1970".to_owned());
        }
        let moment = |name: &str, seconds| {
            OffsetDateTime::from_unix_timestamp(seconds)
                .map_err(|_| ArchiveError::Metadata(format!("{name} {seconds} is no date")))
        };
        let properties = file.properties.unwrap_or_default();
        if properties.len() > MAX_PROPERTIES {
            return refuse(format!("there are more than {MAX_PROPERTIES} properties"));
        }
        for (key, value) in &properties {
            if key.is_empty() || key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control) {
                return refuse(format!("{:?} is no name for a property", short(key)));
            }
            if value.len() > MAX_VALUE_BYTES {
                return refuse(format!("property {key:?} is longer than {MAX_VALUE_BYTES} bytes"));
            }
            if value.contains('\0') {
                return refuse(format!("property {key:?} holds a null character"));
            }
        }
        Ok(Self {
            architecture,
            creation_date: moment("creation_date", file.creation_date)?,
            expiry_date: match file.expiry_date {
                0 => None,
                seconds => Some(moment("expiry_date", seconds)?),
            },
            properties,
        })
    }

    /// The metadata half of a split image that says this: a `.tar.xz` that holds `metadata.yaml`. The
    /// same metadata make the same bytes.
    ///
    /// # Errors
    /// None that input could bring about.
    pub fn to_tar_xz(&self) -> Result<Vec<u8>, std::io::Error> {
        let file = File {
            architecture: self.architecture.kernel_name().to_owned(),
            creation_date: self.creation_date.unix_timestamp(),
            expiry_date: self.expiry_date.map_or(0, OffsetDateTime::unix_timestamp),
            properties: Some(self.properties.clone()),
        };
        let yaml = serde_yaml_ng::to_string(&file).map_err(std::io::Error::other)?;
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(yaml.len() as u64);
        header.set_mtime(u64::try_from(self.creation_date.unix_timestamp()).unwrap_or(0));
        let encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
        let mut archive = tar::Builder::new(encoder);
        archive.append_data(&mut header, "metadata.yaml", yaml.as_bytes())?;
        let mut encoder = archive.into_inner()?;
        encoder.flush()?;
        encoder.finish()
    }

    /// A name for the image, as public servers name their products:
    /// `<os>:<release>:<architecture>:<variant>` in lower case. `None` when the metadata do not say
    /// enough.
    pub fn product_name(&self) -> Option<String> {
        let part = |key: &str| {
            let value = self.properties.get(key)?.trim().to_lowercase();
            let value: String = value
                .chars()
                .map(|c| if c.is_whitespace() { '-' } else { c })
                .collect();
            Some(value).filter(|value| !value.is_empty())
        };
        let variant = part("variant").unwrap_or_else(|| "default".to_owned());
        let architecture = self.architecture.simplestreams_name();
        Some(format!(
            "{}:{}:{architecture}:{variant}",
            part("os")?,
            part("release")?
        ))
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(yaml: &str) -> Result<Metadata, String> {
        Metadata::from_yaml(yaml.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_real_builders_write_is_read() {
        let metadata = parsed(
            "architecture: amd64\ncreation_date: 1767225600\nexpiry_date: 1769817600\nproperties:\n  os: Debian\n  \
             release: 12.10\n  serial: 20260101_0524\n  empty:\n  requirements.cgroup: v1\n  secure: true\n\
             templates:\n  /etc/hostname:\n    when: [create, copy]\n    template: hostname.tpl\n",
        )
        .unwrap();
        assert_eq!(metadata.architecture.kernel_name(), "x86_64");
        assert_eq!(metadata.creation_date.unix_timestamp(), 1_767_225_600);
        assert_eq!(
            metadata.expiry_date.map(OffsetDateTime::unix_timestamp),
            Some(1_769_817_600)
        );
        let property = |key: &str| metadata.properties[key].as_str();
        // As they are written, not as YAML would have numbers.
        assert_eq!(property("release"), "12.10");
        assert_eq!(property("serial"), "20260101_0524");
        assert_eq!(property("secure"), "true");
        assert_eq!(property("empty"), "");
        assert_eq!(
            metadata.product_name().as_deref(),
            Some("debian:12.10:amd64:default")
        );
    }

    #[test]
    fn what_is_missing_or_cannot_be_is_named() {
        let many: String = (0..300).map(|n| format!("  p{n}: x\n")).collect();
        for (yaml, says) in [
            ("", ""),
            ("creation_date: 1", "architecture \"\" is unknown"),
            ("architecture: vax\ncreation_date: 1", "\"vax\" is unknown"),
            ("architecture: x86_64", "creation_date is missing"),
            ("architecture: x86_64\ncreation_date: soon", "creation_date"),
            (
                "architecture: x86_64\ncreation_date: 9999999999999999",
                "is no date",
            ),
            (
                "architecture: x86_64\ncreation_date: 1\nexpiry_date: 9999999999999999",
                "is no date",
            ),
            (
                "architecture: x86_64\ncreation_date: 1\nproperties: [a]",
                "properties",
            ),
            (
                &format!("architecture: x86_64\ncreation_date: 1\nproperties:\n{many}"),
                "more than 256",
            ),
            ("{", ""),
        ] {
            let error = parsed(yaml).expect_err(yaml);
            assert!(error.contains(says), "{yaml}: {error}");
        }
        // A few lines that would be gigabytes.
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..12 {
            let list = vec![format!("*a{}", n - 1); 9].join(",");
            bomb += &format!("a{n}: &a{n} [{list}]\n");
        }
        parsed(&bomb).unwrap_err();
    }

    #[test]
    fn the_same_metadata_make_the_same_bytes_and_read_back() {
        let metadata = Metadata {
            architecture: "aarch64".parse().unwrap(),
            creation_date: OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap(),
            expiry_date: None,
            properties: BTreeMap::from([
                ("os".to_owned(), "Alpine".to_owned()),
                ("release".to_owned(), "3.20".to_owned()),
                ("description".to_owned(), "a: \"b\"\n# c".to_owned()),
            ]),
        };
        let bytes = metadata.to_tar_xz().unwrap();
        assert_eq!(bytes, metadata.to_tar_xz().unwrap());
        let contents = crate::inspect(bytes.as_slice(), &crate::Limits::METADATA).unwrap();
        assert_eq!((contents.metadata, contents.root), (metadata, None));
    }
}
