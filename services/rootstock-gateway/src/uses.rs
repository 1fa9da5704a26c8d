//! Uses of images that show at the edge: a root file that was sent to its end.
//!
//! A download only leaves a note, and never waits. The notes are told to the catalog one after the
//! other, each image at most once a minute; what the catalog does not take is lost, as a use of the next
//! minute will say the same.

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rootstock_proto::catalog::v1::{RecordImageUseRequest, image_service_client::ImageServiceClient};
use rootstock_runtime::{Shutdown, grpc::client::ClientStack};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// An image is told of at most once in this time.
const INTERVAL: Duration = Duration::from_secs(60);
/// For one word to the catalog.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Images remembered at a time; a use beyond them is lost.
const MAX_IMAGES: usize = 10_000;

/// Takes notes of uses. Cheap to clone; every clone is the same book.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    book: Arc<Book>,
}

#[derive(Debug, Default)]
struct Book {
    notes: Mutex<Notes>,
    noted: Notify,
}

#[derive(Debug, Default)]
struct Notes {
    /// To be told, by the images' ids.
    waiting: BTreeSet<String>,
    /// When an image was last taken up.
    told: HashMap<String, Instant>,
}

impl Uses {
    /// Notes that these images were used.
    pub(crate) fn note(&self, image_ids: &[String]) {
        let now = Instant::now();
        let mut notes = self.lock();
        for id in image_ids {
            let recently = notes
                .told
                .get(id)
                .is_some_and(|told| now.duration_since(*told) < INTERVAL);
            if !recently && notes.waiting.len() < MAX_IMAGES {
                notes.waiting.insert(id.clone());
            }
        }
        if !notes.waiting.is_empty() {
            self.book.noted.notify_one();
        }
    }

    /// The next image to be told of.
    fn next(&self) -> Option<String> {
        let now = Instant::now();
        let mut notes = self.lock();
        let next = notes.waiting.pop_first()?;
        if notes.told.len() >= MAX_IMAGES {
            notes.told.retain(|_, told| now.duration_since(*told) < INTERVAL);
        }
        notes.told.insert(next.clone(), now);
        Some(next)
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.book.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the catalog of what is noted, until the shutdown.
    pub(crate) async fn tell(&self, catalog: ClientStack, shutdown: &Shutdown) -> Result<(), Infallible> {
        let mut client = ImageServiceClient::new(catalog);
        while shutdown.race(self.book.noted.notified()).await.is_some() {
            while let Some(image) = self.next() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_image_is_told_of_once_a_minute() {
        let uses = Uses::default();
        let (one, both) = (["one".to_owned()], ["one".to_owned(), "other".to_owned()]);
        uses.note(&one);
        uses.note(&both);
        assert_eq!(uses.next().as_deref(), Some("one"));
        uses.note(&one);
        assert_eq!(uses.next().as_deref(), Some("other"));
        assert_eq!(uses.next(), None);
        tokio::time::advance(INTERVAL).await;
        uses.note(&one);
        assert_eq!(uses.next().as_deref(), Some("one"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let uses = Uses::default();
        let ids: Vec<String> = (0..2 * MAX_IMAGES).map(|number| number.to_string()).collect();
        uses.note(&ids);
        let mut told = 0;
        while uses.next().is_some() {
            told += 1;
        }
        assert_eq!(told, MAX_IMAGES);
        tokio::time::advance(INTERVAL).await;
        uses.note(&["another".to_owned()]);
        assert!(uses.next().is_some());
        assert_eq!(uses.lock().told.len(), 1);
    }
}
