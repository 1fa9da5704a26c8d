//! What the catalog says of a remote, as the sources of `rootstock-remote` want it.

use rootstock_proto::{
    catalog::v1::Remote,
    convert::{self, RemoteSpec},
};
use rootstock_remote::http::FetchError;

/// The remote that a task describes.
pub(crate) fn spec(remote: Option<&Remote>) -> Result<RemoteSpec, FetchError> {
    let remote = remote.cloned().unwrap_or_default();
    convert::remote_spec(&remote).map_err(|error| FetchError::bad_remote(&remote.url, error))
}
