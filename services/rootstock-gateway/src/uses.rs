//! Uses of images at the edge: a root file that was sent to its end.
//!
//! A download only notes its image, and never waits. The catalog is sent each image at most once a
//! minute; what it does not take is lost, as the next minute's use says the same.

use std::{convert::Infallible, sync::Arc, time::Duration};

use rootstock_proto::catalog::v1::{RecordImageUseRequest, image_service_client::ImageServiceClient};
use rootstock_runtime::{Shutdown, grpc::client::ClientStack, throttle::Throttle};
use tokio::time::timeout;

/// Time between two reports of one image.
const INTERVAL: Duration = Duration::from_secs(60);
/// For one report.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Images remembered at a time; a use beyond them is lost.
const MAX_IMAGES: usize = 10_000;

/// Notes uses, by the images' ids. Cheap to clone; every clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Uses(Arc<Throttle>);

impl Default for Uses {
    fn default() -> Self {
        Self(Arc::new(Throttle::new(INTERVAL, MAX_IMAGES)))
    }
}

impl Uses {
    /// Notes that these images were used.
    pub(crate) fn note(&self, image_ids: &[String]) {
        for id in image_ids {
            if self.0.note(id).is_err() {
                tracing::debug!(image.id = id, "too many images are used to note another");
            }
        }
    }

    /// Reports what is noted to the catalog, until the shutdown.
    pub(crate) async fn report(&self, catalog: ClientStack, shutdown: &Shutdown) -> Result<(), Infallible> {
        let mut client = ImageServiceClient::new(catalog);
        while let Some(due) = shutdown.race(self.0.due()).await {
            for (image, _) in due {
                let request = RecordImageUseRequest {
                    image: image.clone(),
                    ..RecordImageUseRequest::default()
                };
                match shutdown
                    .race(timeout(TIMEOUT, client.record_image_use(request)))
                    .await
                {
                    None => return Ok(()),
                    Some(Ok(Ok(_))) => {}
                    Some(Ok(Err(status))) => {
                        tracing::debug!(
                            image.id = image,
                            reason = status.message(),
                            "a use was not recorded"
                        );
                    }
                    Some(Err(_elapsed)) => {
                        tracing::debug!(image.id = image, "the catalog takes too long to record a use");
                    }
                }
            }
        }
        Ok(())
    }
}
