//! The methods that a set of proto descriptors declares.

use std::{collections::HashMap, sync::Arc};

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// The label of every method that nobody declared. Paths come from the outside: as labels they
/// would let anybody make metrics without bound.
pub(crate) const OTHER_METHOD: &str = "other";

/// Methods by their path in a request (`/package.Service/Method`), and how they stream.
///
/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Methods {
    by_path: Arc<HashMap<String, Streaming>>,
}

#[derive(Debug, Clone, Copy)]
struct Streaming {
    client: bool,
    server: bool,
}

/// An encoded file descriptor set could not be decoded: the build that made it is broken.
#[derive(Debug, thiserror::Error)]
#[error("a file descriptor set cannot be decoded")]
pub struct BrokenDescriptors(#[from] prost::DecodeError);

impl Methods {
    /// The methods of all services in these encoded file descriptor sets.
    ///
    /// # Errors
    /// A set cannot be decoded.
    pub fn of<'a>(descriptor_sets: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, BrokenDescriptors> {
        let mut by_path = HashMap::new();
        for encoded in descriptor_sets {
            for file in FileDescriptorSet::decode(encoded)?.file {
                let package = file.package().to_owned();
                for service in &file.service {
                    for method in &service.method {
                        let streaming = Streaming {
                            client: method.client_streaming(),
                            server: method.server_streaming(),
                        };
                        by_path.insert(path(&package, service.name(), method.name()), streaming);
                    }
                }
            }
        }
        Ok(Self {
            by_path: Arc::new(by_path),
        })
    }

    /// Whether the method is declared and streams in neither direction.
    pub fn is_unary(&self, path: &str) -> bool {
        self.by_path
            .get(path)
            .is_some_and(|streaming| !streaming.client && !streaming.server)
    }

    /// Whether one of the methods belongs to the service (`package.Service`).
    pub fn has_service(&self, service: &str) -> bool {
        self.by_path.keys().any(|path| {
            path.strip_prefix('/')
                .and_then(|path| path.rsplit_once('/'))
                .is_some_and(|(of, _)| of == service)
        })
    }

    /// The path of a declared method, `other` for any else.
    pub(crate) fn label(&self, path: &str) -> String {
        if self.by_path.contains_key(path) {
            path.to_owned()
        } else {
            OTHER_METHOD.to_owned()
        }
    }
}

fn path(package: &str, service: &str, method: &str) -> String {
    if package.is_empty() {
        format!("/{service}/{method}")
    } else {
        format!("/{package}.{service}/{method}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_from_descriptors() {
        let methods = Methods::of([tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap();
        assert!(methods.is_unary("/grpc.health.v1.Health/Check"));
        assert!(!methods.is_unary("/grpc.health.v1.Health/Watch"), "it streams");
        assert!(!methods.is_unary("/grpc.health.v1.Health/Nonesuch"));
        assert!(methods.has_service("grpc.health.v1.Health"));
        assert!(!methods.has_service("Health"));
        assert_eq!(
            methods.label("/grpc.health.v1.Health/Watch"),
            "/grpc.health.v1.Health/Watch"
        );
        assert_eq!(methods.label("/made/up"), "other");
        assert!(Methods::of([b"nonsense".as_slice()]).is_err());
    }
}
