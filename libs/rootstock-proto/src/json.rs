//! Messages as canonical protobuf JSON, for those who take no protobuf.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::PUBLIC_DESCRIPTORS;

static POOL: LazyLock<Result<DescriptorPool, String>> =
    LazyLock::new(|| DescriptorPool::decode(PUBLIC_DESCRIPTORS).map_err(|error| error.to_string()));

/// A message that cannot be written as JSON: a fault of the build, or of its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message_name} as JSON: {problem}")]
pub struct JsonError {
    /// The full name that was asked for.
    pub message_name: String,
    /// What is wrong.
    pub problem: String,
}

/// A message of the public API as canonical JSON, with the fields' names as the contract has them.
///
/// # Errors
/// `message_name` is not the full name of the message's type, e.g. `rootstock.catalog.v1.Change`.
pub fn to_json(message_name: &str, message: &impl Message) -> Result<serde_json::Value, JsonError> {
    let failed = |problem: String| JsonError {
        message_name: message_name.to_owned(),
        problem,
    };
    let pool = POOL.as_ref().map_err(|problem| failed(problem.clone()))?;
    let descriptor = pool
        .get_message_by_name(message_name)
        .ok_or_else(|| failed("is no message of the public API".to_owned()))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|error| failed(error.to_string()))?;
    // Numbers of 64 bits stay text, as canonical JSON has them: not every reader can hold them.
    let options = SerializeOptions::new().use_proto_field_name(true);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::v1::{Alias, Change, ChangeOperation, ImageType, change::Resource};

    #[test]
    fn a_change_reads_as_the_contract_says() {
        let change = Change {
            revision: 7,
            operation: ChangeOperation::Created.into(),
            changed_at: Some(prost_types::Timestamp {
                seconds: 1_800_000_000,
                nanos: 0,
            }),
            resource: Some(Resource::Alias(Alias {
                name: "debian/12".into(),
                r#type: ImageType::Container.into(),
                version: Some(0),
                ..Alias::default()
            })),
        };
        let json = to_json("rootstock.catalog.v1.Change", &change).unwrap();
        let expected = serde_json::json!({
            "revision": "7",
            "operation": "CHANGE_OPERATION_CREATED",
            "changed_at": "2027-01-15T08:00:00Z",
            "alias": {"name": "debian/12", "type": "IMAGE_TYPE_CONTAINER", "version": 0},
        });
        assert_eq!(json, expected);
        assert!(to_json("rootstock.catalog.v1.Nonsense", &change).is_err());
    }
}
