//! rootstock
fn main() {}
