//! rootstock-proto
