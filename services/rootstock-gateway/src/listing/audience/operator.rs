use super::Audience;
use crate::read_model::Image;

/// Who operates Rootstock: sees every image, and reaches it through a listener in a network that is trusted.
#[derive(Debug)]
pub(super) struct Operator;

impl Audience for Operator {
    fn name(&self) -> &'static str {
        "operator"
    }

    fn shows(&self, _: &Image) -> bool {
        true
    }

    fn http_path(&self) -> Option<&'static str> {
        None
    }

    fn is_unrestricted(&self) -> bool {
        true
    }
}
