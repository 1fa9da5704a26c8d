//! Asks a process of ours whether it is ready: for container health checks, where there is no curl.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const TIMEOUT: Duration = Duration::from_secs(5);
/// An answer that lists everything that is not ready fits in this.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// What a process said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It may be sent requests.
    Ready,
    /// It may not: what it says is missing.
    NotReady(String),
}

/// Asks the admin listener at `admin`.
///
/// # Errors
/// Nobody answers there, or not in HTTP.
pub async fn ask(admin: SocketAddr) -> io::Result<Health> {
    let answer = timeout(TIMEOUT, get_readyz(reachable(admin)));
    let answer = answer
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s"))??;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    match status {
        Some("200") => Ok(Health::Ready),
        Some("503") => Ok(Health::NotReady(body.trim().to_owned())),
        _ => Err(io::Error::other(format!(
            "an unexpected answer: {}",
            head.lines().next().unwrap_or_default()
        ))),
    }
}

async fn get_readyz(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A process that listens on every address is asked at the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answer(text: &'static str) -> io::Result<Health> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            assert!(request.starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(text.as_bytes()).await.unwrap();
        };
        tokio::join!(ask(address), server).0
    }

    #[tokio::test]
    async fn the_status_is_what_counts() {
        assert_eq!(answer("HTTP/1.1 200 OK\r\n\r\n{}").await.unwrap(), Health::Ready);
        assert_eq!(
            answer("HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\nmissing\n")
                .await
                .unwrap(),
            Health::NotReady("missing".into())
        );
        assert!(answer("SSH-2.0-OpenSSH_9.2\r\n").await.is_err());
    }

    #[test]
    fn every_address_is_reached_at_loopback() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:9090"), "127.0.0.1:9090");
        assert_eq!(reached("[::]:9090"), "[::1]:9090");
        assert_eq!(reached("10.1.2.3:1"), "10.1.2.3:1");
    }
}
