//! rootstock-catalog
