//! A proxy before Postgres that counts the statements which pass: what a call costs the database does
//! not show in its answer.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream, UnixStream,
        tcp::OwnedReadHalf,
        unix::{OwnedReadHalf as UnixReadHalf, OwnedWriteHalf as UnixWriteHalf},
    },
    task::JoinSet,
};

use crate::background::Background;

/// The proxy of one database, on a loopback port. Stops when dropped.
#[derive(Debug)]
pub struct StatementCounter {
    /// `postgres://…` through the proxy.
    pub url: String,
    passed: Arc<AtomicUsize>,
    _server: Background,
}

impl StatementCounter {
    /// Starts a proxy before the database at `url`, whose server listens on a Unix socket.
    pub fn start(url: &str) -> anyhow::Result<Self> {
        let options: PgConnectOptions = url.parse()?;
        let directory = options.get_socket().context("the server has no socket")?;
        let socket = directory.join(format!(".s.PGSQL.{}", options.get_port()));
        let database = options.get_database().context("the URL names no database")?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address: SocketAddr = listener.local_addr()?;
        let passed = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&passed);
        let server = Background::start("statement-counter", move |stop| async move {
            let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
            stop.run_until_cancelled(serve(listener, socket, counted)).await;
        });
        Ok(Self {
            url: format!(
                "postgres://{}@{address}/{database}?sslmode=disable",
                options.get_username()
            ),
            passed,
            _server: server,
        })
    }

    /// How many statements were executed so far, by all connections.
    pub fn count(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, socket: PathBuf, passed: Arc<AtomicUsize>) {
    let mut relays = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = relays.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    relays.spawn(relay(client, socket.clone(), Arc::clone(&passed)));
                }
            }
        }
    }
}

/// Ends when either side does.
async fn relay(client: TcpStream, socket: PathBuf, passed: Arc<AtomicUsize>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let (from_server, to_server) = UnixStream::connect(socket).await?.into_split();
    let (from_client, to_client) = client.into_split();
    tokio::select! {
        ended = pass_statements(from_client, to_server, &passed) => ended,
        ended = pass_answers(from_server, to_client) => ended,
    }
}

async fn pass_answers(
    mut from: UnixReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
) -> std::io::Result<()> {
    copy(&mut from, &mut to).await.map(drop)
}

/// Passes messages on, and counts those that execute a statement: `Execute` of a prepared one, and the simple
/// `Query`, which begins and ends transactions.
///
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
async fn pass_statements(
    mut from: OwnedReadHalf,
    mut to: UnixWriteHalf,
    passed: &AtomicUsize,
) -> std::io::Result<()> {
    // The first message has no type.
    let mut kind = None;
    loop {
        let length = from.read_u32().await?;
        let mut body = vec![0; (length as usize).saturating_sub(4)];
        from.read_exact(&mut body).await?;
        if matches!(kind, Some(b'E' | b'Q')) {
            passed.fetch_add(1, Ordering::Relaxed);
        }
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend(length.to_be_bytes());
        message.extend(body);
        to.write_all(&message).await?;
        kind = Some(from.read_u8().await?);
    }
}
