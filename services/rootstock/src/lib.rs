//! rootstock
