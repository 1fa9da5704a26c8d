use super::Audience;
use crate::read_model::Image;

/// Everyone: sees the images that were made public.
#[derive(Debug)]
pub(super) struct Public;

impl Audience for Public {
    fn name(&self) -> &'static str {
        "public"
    }

    fn shows(&self, image: &Image) -> bool {
        image.public
    }

    fn http_path(&self) -> Option<&'static str> {
        Some("")
    }
}
