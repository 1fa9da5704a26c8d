//! The registry of protocols: for each, how its servers are asked, and which tools can look at them.
//!
//! A protocol is registered by a variant of [`Protocol`] and an arm in each function here; nothing else
//! names one.

use rootstock_model::{Endpoint, Protocol};

use crate::{
    RemoteLimits, RemoteSource,
    http::{FetchError, HttpClients, OldestTls},
    simplestreams::{ImageServer, Simplestreams},
};

/// Makes sources, of whichever protocol. Sources that trust alike share their connections.
#[derive(Debug, Clone)]
pub struct RemoteSources {
    clients: HttpClients,
}

impl RemoteSources {
    /// Sources within these limits. The program must have installed a rustls crypto provider.
    pub fn new(limits: RemoteLimits) -> Self {
        Self {
            clients: HttpClients::new(limits, OldestTls::V1_2),
        }
    }

    /// The server at an endpoint. Asks it for nothing yet.
    ///
    /// # Errors
    /// When the URL is none, or the certificates to trust cannot be used.
    pub fn source(&self, endpoint: &Endpoint) -> Result<Box<dyn RemoteSource>, FetchError> {
        Ok(match endpoint.protocol {
            Protocol::Simplestreams => Box::new(Simplestreams::new(self.clients.server(endpoint)?)),
        })
    }
}

/// The server at an endpoint as tools see it that look at one and keep nothing (`rootstock lint`),
/// within the limits that a worker has by default.
///
/// # Errors
/// When the URL is none, or the certificates to trust cannot be used.
pub fn probe(endpoint: &Endpoint, oldest_tls: OldestTls) -> Result<ImageServer, FetchError> {
    let clients = HttpClients::new(RemoteLimits::default(), oldest_tls);
    match endpoint.protocol {
        Protocol::Simplestreams => Ok(ImageServer::new(clients.server(endpoint)?)),
    }
}
