//! What may be seen, and by whom: independent of any format in which it is shown.

pub(crate) mod audience;
pub(crate) mod entries;
