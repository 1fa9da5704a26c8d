//! A proxy that breaks connections: to put before Postgres, an S3 server or the catalog.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};

use crate::{background::Background, ports::Port};

/// A TCP proxy on loopback, on a thread of its own. Stops when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    control: watch::Sender<Control>,
    _server: Background,
    port: Port,
}

/// What a proxy does with its connections, old and new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Passes everything on.
    Pass,
    /// As if the server were stopped: cuts every connection, refuses new ones.
    Refuse,
    /// As if the network were gone: takes connections, and passes nothing on until the behaviour
    /// changes.
    BlackHole,
    /// Cuts each connection once it has passed on this many bytes, counted in both directions and
    /// from the moment this was set.
    CutAfter {
        /// How many.
        bytes: u64,
    },
    /// Passes each piece on this much later.
    Delay {
        /// How much.
        duration: Duration,
    },
}

/// What the relays watch.
#[derive(Debug, Clone, Copy)]
struct Control {
    behaviour: Behaviour,
    /// Grows with each change of the behaviour.
    generation: u64,
    /// Grows with each [`FaultProxy::cut_connections`].
    cuts: u64,
}

impl FaultProxy {
    /// Starts a proxy before `target`, which passes everything on.
    pub fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let port = Port::reserve()?;
        let listener = listen(port.address()).context("the proxy cannot listen")?;
        let (control, watched) = watch::channel(Control {
            behaviour: Behaviour::Pass,
            generation: 0,
            cuts: 0,
        });
        let server = Background::start("fault-proxy", move |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(listener, target, watched) => {}
            }
        });
        Ok(Self {
            control,
            _server: server,
            port,
        })
    }

    /// Where to connect to instead of to the target.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Behaves differently from now on.
    pub fn set(&self, behaviour: Behaviour) {
        self.control.send_modify(|control| {
            control.behaviour = behaviour;
            control.generation += 1;
        });
    }

    /// Cuts the connections that there are; new ones are taken.
    pub fn cut_connections(&self) {
        self.control.send_modify(|control| control.cuts += 1);
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Ends when the proxy is dropped.
async fn serve(first: TcpListener, target: SocketAddr, mut control: watch::Receiver<Control>) {
    let address = first.local_addr().expect("a bound listener has an address");
    let mut next = Some(first);
    loop {
        let listener = next
            .take()
            .unwrap_or_else(|| listen(address).expect("the proxy's port is still free"));
        accept_until_refusing(listener, target, &control).await;
        // The listener and the connections are gone: the kernel refuses.
        if control
            .wait_for(|now| now.behaviour != Behaviour::Refuse)
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn accept_until_refusing(
    listener: TcpListener,
    target: SocketAddr,
    control: &watch::Receiver<Control>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of this runtime");
    let mut refusing = control.clone();
    let mut relays = JoinSet::new();
    loop {
        tokio::select! {
            _ = refusing.wait_for(|now| now.behaviour == Behaviour::Refuse) => return,
            Some(_) = relays.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    relays.spawn(relay(client, target, control.clone()));
                }
            }
        }
    }
}

/// Ends when either side does, or when the connection is to be cut.
async fn relay(mut client: TcpStream, target: SocketAddr, mut control: watch::Receiver<Control>) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let budget = Budget::default();
    let cuts = control.borrow().cuts;
    tokio::select! {
        _ = pump(from_client, to_server, control.clone(), &budget) => {}
        _ = pump(from_server, to_client, control.clone(), &budget) => {}
        _ = control.wait_for(|now| now.cuts > cuts) => {}
    }
}

/// Passes bytes on in one direction. Ends with the stream, an error, or the budget.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut control: watch::Receiver<Control>,
    budget: &Budget,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let passing = control
            .wait_for(|now| now.behaviour != Behaviour::BlackHole)
            .await;
        let now = *passing.map_err(std::io::Error::other)?;
        if let Behaviour::Delay { duration } = now.behaviour {
            tokio::time::sleep(duration).await;
        }
        let (allowed, last) = budget.take(&now, length);
        to.write_all(&buffer[..allowed]).await?;
        if last {
            return Ok(());
        }
    }
}

/// What one connection may still pass on, in both directions together.
#[derive(Debug, Default)]
struct Budget(Mutex<Left>);

#[derive(Debug, Default)]
struct Left {
    /// Of the behaviour that `bytes` belongs to.
    generation: u64,
    bytes: u64,
}

impl Budget {
    /// How many of `length` bytes may pass, and whether they are the last.
    fn take(&self, now: &Control, length: usize) -> (usize, bool) {
        let Behaviour::CutAfter { bytes } = now.behaviour else {
            return (length, false);
        };
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.generation != now.generation {
            *left = Left {
                generation: now.generation,
                bytes,
            };
        }
        let allowed = length.min(usize::try_from(left.bytes).unwrap_or(usize::MAX));
        left.bytes -= allowed as u64;
        (allowed, left.bytes == 0)
    }
}
