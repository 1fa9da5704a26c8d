//! Messages as canonical protobuf JSON, for those who take no protobuf.

use prost::{Message, Name};
use prost_reflect::SerializeOptions;

use crate::descriptor::{self, DescriptorError};

/// A message of the public API as canonical JSON, with the fields' names as the contract has them.
///
/// # Errors
/// The message is of another API.
pub fn to_json<M: Message + Name>(message: &M) -> Result<serde_json::Value, DescriptorError> {
    let dynamic = descriptor::dynamic(message)?;
    // Numbers of 64 bits stay text, as canonical JSON has them: not every reader can hold them.
    let options = SerializeOptions::new().use_proto_field_name(true);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| DescriptorError::new(M::full_name(), error))
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
        let json = to_json(&change).unwrap();
        let expected = serde_json::json!({
            "revision": "7",
            "operation": "CHANGE_OPERATION_CREATED",
            "changed_at": "2027-01-15T08:00:00Z",
            "alias": {"name": "debian/12", "type": "IMAGE_TYPE_CONTAINER", "version": 0},
        });
        assert_eq!(json, expected);
        let internal = crate::sync::v1::ClaimRequest::default();
        assert!(to_json(&internal).is_err(), "of another API");
    }
}
