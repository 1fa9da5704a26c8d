//! The products file: which images there are.

mod product;
mod version;

use rootstock_model::snapshot::Snapshot;

use crate::{
    document::{self, DocumentError},
    notes::Notes,
    tags::Tags,
};

pub(crate) const FORMAT: &str = "products:1.0";

/// Reads a products file: every image that an instance can be made from, and a reason for
/// everything else. Each product of the file is in the snapshot: as images, as left out, or both.
///
/// Tags that an item lacks are looked up on its version, then on the product, then at the top.
/// Of a version's items only `ftype` counts, never the key. Deltas, manifests, disk images for
/// other uses and the like are no instance images and are passed over in silence; a version or a
/// product that holds nothing else is left out by name.
///
/// The memory used is a small multiple of the document's size; the caller bounds that.
///
/// # Errors
/// When the document holds no products at all, or is of another format.
pub fn parse_products(bytes: &[u8]) -> Result<Snapshot, DocumentError> {
    let document = document::parse_object(bytes)?;
    document::check_format(&document, FORMAT)?;
    let products = document::object_member(&document, "products")?;
    let tags = Tags::of_document(&document);

    let mut snapshot = Snapshot::default();
    for (name, product) in products {
        let mut notes = Notes::of_product(name);
        match product::read(name, product, &tags, &mut notes) {
            Ok(images) => snapshot.images.extend(images),
            Err(problem) => notes.product(problem),
        }
        snapshot.left_out.extend(notes.into_left_out());
    }
    snapshot
        .images
        .sort_by(|a, b| (&a.product, a.image_type).cmp(&(&b.product, b.image_type)));
    snapshot.left_out.sort();
    Ok(snapshot)
}
