//! Messages of the public API by their descriptors.

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::PUBLIC_DESCRIPTORS;

static POOL: LazyLock<Result<DescriptorPool, String>> =
    LazyLock::new(|| DescriptorPool::decode(PUBLIC_DESCRIPTORS).map_err(|error| error.to_string()));

/// A message that cannot be read by its descriptor: a fault of the build, or a message of another API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message_name}: {problem}")]
pub struct DescriptorError {
    /// The full name of the message's type.
    pub message_name: String,
    /// What is wrong.
    pub problem: String,
}

impl DescriptorError {
    pub(crate) fn new(message_name: String, problem: impl ToString) -> Self {
        Self {
            message_name,
            problem: problem.to_string(),
        }
    }
}

/// The descriptor of a message of the public API.
///
/// # Errors
/// The message is of another API.
pub fn of<M: Name>() -> Result<MessageDescriptor, DescriptorError> {
    let failed = |problem: &str| DescriptorError::new(M::full_name(), problem);
    let pool = POOL.as_ref().map_err(|problem| failed(problem))?;
    pool.get_message_by_name(&M::full_name())
        .ok_or_else(|| failed("is no message of the public API"))
}

/// The message with its fields by name.
///
/// # Errors
/// The message is of another API.
pub fn dynamic<M: Message + Name>(message: &M) -> Result<DynamicMessage, DescriptorError> {
    let descriptor = of::<M>()?;
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|error| DescriptorError::new(M::full_name(), error))
}
