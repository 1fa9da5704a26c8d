//! rootstock-gateway
