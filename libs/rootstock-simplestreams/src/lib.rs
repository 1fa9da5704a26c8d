//! The simplestreams format: what image servers publish and what Incus and LXD clients read.
//!
//! Owns: both directions of the format. Towards remotes it is lenient: [`parse_index`] and
//! [`parse_products`] take every product, version and item that can be taken, and name a reason for
//! each that cannot. Towards clients it is strict: [`ProductEntry`] and its parts can only be built
//! from values that every client reads, [`render_products`] and [`render_index`] write them as the
//! same bytes every time, and [`served_serials`] finds serials that clients accept.
//!
//! Refuses to know: where documents come from and where they go. There is no I/O here, and nothing
//! of HTTP, SQL or the catalog's state; a remote's selection and retention are the model's business.
//!
//! Start reading at [`parse_products`] (and `products/version.rs`, where items become images), then
//! [`render_products`] for the way out.
//!
//! Three rules hold everywhere:
//! - What a client would take, is taken: text that is not UTF-8 and lone surrogates read as the
//!   replacement character, as Go reads them; names and paths that hold one are then left out.
//! - A document that is no document is an error ([`DocumentError`]) and changes nothing. Everything
//!   smaller is left out with a [`Reason`](rootstock_model::Reason) and spoils no neighbour.
//! - Paths are plain ([`plain_path`]) before anyone sees them.

mod document;
mod index;
pub mod lint;
mod notes;
mod path;
mod products;
mod serials;
mod tags;
mod write;

pub use document::DocumentError;
pub use index::{INDEX_PATH, Index, ProductsFile, parse_index};
pub use path::{UnsafePath, item_path, plain_path};
pub use products::parse_products;
pub use serials::{ServedSerial, VersionStamp, served_serials};
pub use write::{
    FileEntry, Frame, INDEX_FRAME, NotServable, PRODUCTS_FRAME, PRODUCTS_PATH, ProductEntry, RenderError,
    SplitEntry, VersionEntry, render_index, render_product, render_product_name, render_products,
};
