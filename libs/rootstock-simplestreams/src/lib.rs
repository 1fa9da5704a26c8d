//! rootstock-simplestreams
