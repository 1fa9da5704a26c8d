//! rootstock-blobs
