//! `grpc.health.v1`, driven by [`Readiness`].

use futures::{StreamExt as _, stream::BoxStream};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

use super::Methods;
use crate::Readiness;

/// Every service that is served here has the process's status: it is ready when the process is.
#[derive(Debug)]
pub(crate) struct HealthService {
    pub(crate) readiness: Readiness,
    pub(crate) methods: Methods,
}

impl HealthService {
    fn status_of(&self, service: &str) -> ServingStatus {
        if !service.is_empty() && !self.methods.has_service(service) {
            return ServingStatus::ServiceUnknown;
        }
        status(&self.readiness)
    }
}

fn status(readiness: &Readiness) -> ServingStatus {
    if readiness.is_ready() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match self.status_of(&service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found(format!("service {service:?} not found"))),
            status => Ok(Response::new(answer(status))),
        }
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    /// The status now and after every change. Ends with the process, after saying that it does.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = self.status_of(&request.into_inner().service);
        if first == ServingStatus::ServiceUnknown {
            // The specification keeps this stream open; the services of a process never change, so
            // there is nothing to wait for but the end of the caller.
            let forever =
                futures::stream::once(async move { Ok(answer(first)) }).chain(futures::stream::pending());
            return Ok(Response::new(forever.boxed()));
        }
        let follow = Follow {
            readiness: self.readiness.clone(),
            told: None,
        };
        let changes = futures::stream::unfold(follow, Follow::next);
        Ok(Response::new(changes.map(|status| Ok(answer(status))).boxed()))
    }
}

struct Follow {
    readiness: Readiness,
    told: Option<ServingStatus>,
}

impl Follow {
    /// The next status that differs from the one told last; the end once that of a process which is
    /// ending was told.
    async fn next(mut self) -> Option<(ServingStatus, Self)> {
        let mut changes = self.readiness.watch();
        loop {
            let now = status(&self.readiness);
            if self.told != Some(now) {
                self.told = Some(now);
                return Some((now, self));
            }
            if self.readiness.is_ending() {
                return None;
            }
            changes.changed().await;
        }
    }
}
