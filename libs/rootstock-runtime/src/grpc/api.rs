//! What a gRPC listener offers: its services, plus health and reflection on every one.

use axum::Router;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use super::{Methods, health::HealthService, methods::BrokenDescriptors};
use crate::Readiness;

/// Services to be served, and the methods they have. [`server::stack`](super::server::stack) takes
/// it; the edge puts its own layers around [`Api::router`] first.
#[derive(Debug, Clone)]
pub struct Api {
    /// The services. Requests for anything else are answered with `UNIMPLEMENTED`.
    pub router: Router,
    /// Every method of the router, for metrics and retries.
    pub methods: Methods,
}

/// The descriptors do not describe services that can be reflected on.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A set cannot be decoded.
    #[error(transparent)]
    Broken(#[from] BrokenDescriptors),
    /// A set is incomplete or contradicts another.
    #[error("the file descriptor sets cannot be used for reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Adds `grpc.health.v1`, driven by `readiness`, and reflection to `routes`.
///
/// `descriptor_sets` are the encoded file descriptor sets of the services in `routes`. Reflection
/// is there as v1 and as v1alpha: tools in wide use know only the older one.
///
/// # Errors
/// The descriptors cannot be used; a fault of the build.
pub fn with_health_and_reflection(
    routes: Routes,
    descriptor_sets: &[&[u8]],
    readiness: Readiness,
) -> Result<Api, ApiError> {
    let ours = [
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let all: Vec<&[u8]> = descriptor_sets.iter().copied().chain(ours).collect();
    let methods = Methods::of(all.iter().copied())?;
    let reflection = || {
        all.iter().fold(
            tonic_reflection::server::Builder::configure().include_reflection_service(false),
            |builder, set| builder.register_encoded_file_descriptor_set(set),
        )
    };
    let router = routes
        .add_service(HealthServer::new(HealthService {
            readiness,
            methods: methods.clone(),
        }))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare()
        .into_axum_router();
    Ok(Api { router, methods })
}
