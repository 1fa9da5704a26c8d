//! The TLS port: who may speak, and what the connection may cost.

pub(crate) mod certificate;
mod stream;

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use http::Extensions;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use crate::metrics;
use stream::Connection;

/// The first byte of every TLS connection: the type of a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Clients say so little before their first answer that a small buffer does.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Makes a TLS connection out of a TCP one, with the configuration in force. The caller bounds the
/// time, which includes the wait for the first byte after the handshake: a client that has shaken
/// hands and has nothing to say holds no place.
pub(crate) async fn handshake(
    stream: TcpStream,
    config: watch::Receiver<Arc<ServerConfig>>,
    write_stall_timeout: Duration,
) -> io::Result<(Connection, Extensions)> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if first[0] != TLS_HANDSHAKE {
        // Clients try http:// on this port before https:// (incus-protocol §0.2): the sooner it is
        // closed, the sooner they go on. Closing with unread bytes resets the connection.
        metrics::handshake_failed("plain");
        return Err(io::Error::new(ErrorKind::InvalidData, "not TLS"));
    }
    let config = Arc::clone(&config.borrow());
    let stream = TlsAcceptor::from(config)
        .accept(stream)
        .await
        .inspect_err(|_| metrics::handshake_failed("tls"))?;
    let mut stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
    if stream.fill_buf().await?.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok((Connection::new(stream, write_stall_timeout), Extensions::new()))
}
