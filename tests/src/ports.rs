//! Ports that a server can leave and come back to.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::bail;
use rand::Rng as _;

/// None of these does the system hand out by itself, as it does to whoever connects somewhere: one of
/// those would now and then be in use when its server comes back. SeaweedFS of the harness has others.
const PORTS: std::ops::Range<u16> = 8_500..11_000;
const ATTEMPTS: u32 = 1000;

/// A loopback port that no other test is given while this lives, be it of this process or another,
/// whether or not somebody listens on it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The UDP port of the same number, which nothing of ours uses: whoever has it has the other.
    _reserved: UdpSocket,
}

impl Port {
    /// A port on which nobody listens.
    pub fn reserve() -> anyhow::Result<Self> {
        for _ in 0..ATTEMPTS {
            if let Some(port) = Self::take(rand::rng().random_range(PORTS)) {
                return Ok(port);
            }
        }
        bail!("no free port was found")
    }

    /// This one, unless it is reserved or somebody listens on it.
    pub(crate) fn take(number: u16) -> Option<Self> {
        let reserved = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self {
            number,
            _reserved: reserved,
        })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The address to listen on and to connect to.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}
