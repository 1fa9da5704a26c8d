//! rootstock-sync
