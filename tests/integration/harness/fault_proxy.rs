use std::{net::SocketAddr, time::Duration};

use rootstock_tests::fault_proxy::{Behaviour, FaultProxy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A server that sends back what it gets.
async fn echo() -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    Ok((address, task))
}

/// Sends bytes and reads them back; what came back before the connection ended.
async fn round_trip(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let _ = stream.write_all(bytes).await;
    let mut received = vec![0; bytes.len()];
    let mut length = 0;
    while length < received.len() {
        match stream.read(&mut received[length..]).await {
            Ok(0) | Err(_) => break,
            Ok(more) => length += more,
        }
    }
    received.truncate(length);
    received
}

#[tokio::test]
async fn a_proxy_passes_cuts_refuses_and_swallows() -> anyhow::Result<()> {
    let (target, _echo) = echo().await?;
    let proxy = FaultProxy::start(target)?;
    let connect = || TcpStream::connect(proxy.address());

    let mut old = connect().await?;
    assert_eq!(round_trip(&mut old, b"hello").await, b"hello");
    proxy.set(Behaviour::Delay {
        duration: Duration::from_millis(1),
    });
    assert_eq!(round_trip(&mut old, b"later").await, b"later");

    // Ten bytes there, and the first five of them back.
    proxy.set(Behaviour::CutAfter { bytes: 15 });
    assert_eq!(round_trip(&mut old, b"0123456789").await, b"01234");
    assert_eq!(round_trip(&mut old, b"gone").await, b"");

    proxy.set(Behaviour::Pass);
    let mut other = connect().await?;
    assert_eq!(round_trip(&mut other, b"hello").await, b"hello");
    proxy.cut_connections();
    assert_eq!(round_trip(&mut other, b"gone").await, b"");

    let mut waiting = connect().await?;
    assert_eq!(round_trip(&mut waiting, b"hello").await, b"hello");
    proxy.set(Behaviour::BlackHole);
    let lost = tokio::time::timeout(Duration::from_millis(200), round_trip(&mut waiting, b"later")).await;
    assert!(lost.is_err(), "nothing comes out of a black hole");
    proxy.set(Behaviour::Pass);
    assert_eq!(round_trip(&mut waiting, b"").await, b"");
    let mut late = [0; 5];
    waiting.read_exact(&mut late).await?;
    assert_eq!(&late, b"later", "what was held back arrives");

    proxy.set(Behaviour::Refuse);
    assert_eq!(round_trip(&mut waiting, b"gone").await, b"");
    assert!(connect().await.is_err());
    proxy.set(Behaviour::Pass);
    // It takes a moment to listen again.
    let mut again = loop {
        if let Ok(stream) = connect().await {
            break stream;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(round_trip(&mut again, b"hello").await, b"hello");
    Ok(())
}
