//! The server's transfers: listing them, and following them until they are done.

mod events;
mod follow;
mod list;
mod progress;

pub(crate) use events::name;
pub(crate) use follow::{Followed, LOOK_AGAIN, follow};
pub(crate) use list::{failure, list};
