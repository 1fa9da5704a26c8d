//! What a new user has to know: how clients come to trust a certificate that we made ourselves, and
//! what to do first.

use std::{io, net::SocketAddr, path::Path};

use rootstock_gateway::TlsConfig;
use tokio::net::TcpListener;

/// The text under the addresses.
pub(super) fn how_to(tls: &TlsConfig, http: &TcpListener, grpc: &TcpListener) -> io::Result<String> {
    let (http, grpc) = (from_here(http.local_addr()?), from_here(grpc.local_addr()?));
    let trust = tls
        .self_signed
        .as_deref()
        .map(|directory| trust(&directory.join("ca.crt"), http));
    Ok(format!("{}{}", trust.unwrap_or_default(), first_steps(grpc)))
}

fn trust(authority: &Path, http: SocketAddr) -> String {
    let authority = authority.display();
    format!(
        "
Its certificate is signed by its own authority: {authority}
  incus  install -D -m 644 {authority} ~/.config/incus/servercerts/rootstock.crt
         incus remote add rootstock https://{http} --protocol simplestreams
  lxc    install -D -m 644 {authority} ~/.config/lxc/servercerts/rootstock.crt
         (LXD as a snap: ~/snap/lxd/common/config/servercerts/rootstock.crt)
         lxc remote add rootstock https://{http} --protocol simplestreams
  curl   curl --cacert {authority} https://{http}/streams/v1/index.json
"
    )
}

fn first_steps(grpc: SocketAddr) -> String {
    let server = match grpc.to_string().as_str() {
        "127.0.0.1:7443" => String::new(),
        other => format!("  export ROOTSTOCK_SERVER=http://{other}\n"),
    };
    format!(
        "
Mirror something:
{server}  rootstock remote add images https://images.linuxcontainers.org --include os=alpine --keep-versions 1
  rootstock remote sync images --wait
  rootstock image list
"
    )
}

/// An address to reach us by, from this machine.
fn from_here(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_addresses_are_those_that_answer() {
        let http = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = TlsConfig {
            self_signed: Some("/srv/tls".into()),
            ..TlsConfig::default()
        };
        let text = how_to(&tls, &http, &grpc).unwrap();
        let http_port = http.local_addr().unwrap().port();
        assert!(
            text.contains(&format!("https://127.0.0.1:{http_port} --protocol simplestreams")),
            "{text}"
        );
        assert!(text.contains("install -D -m 644 /srv/tls/ca.crt "), "{text}");
        let server = format!("ROOTSTOCK_SERVER=http://{}", grpc.local_addr().unwrap());
        assert!(text.contains(&server), "{text}");
        let own = TlsConfig {
            certificate: Some("own.crt".into()),
            ..TlsConfig::default()
        };
        assert!(!how_to(&own, &http, &grpc).unwrap().contains("authority"));
    }
}
