//! rootstock-runtime
