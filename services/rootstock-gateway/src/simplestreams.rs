//! The simplestreams index: rendered off the request path, once per revision at most, and handed out
//! of memory.

mod dedupe;
pub(crate) mod document;
mod products;

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use rootstock_runtime::Shutdown;
use rootstock_simplestreams::{RenderError, render_index, render_products};
use time::OffsetDateTime;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use crate::{
    metrics,
    read_model::{Resources, SharedReadModel},
};
use document::Document;

/// Both documents of one revision.
#[derive(Debug)]
pub(crate) struct Index {
    /// `streams/v1/index.json`
    pub(crate) index: Document,
    /// `streams/v1/images.json`
    pub(crate) products: Document,
    left_out: BTreeSet<String>,
}

/// The index as its one writer holds it; `None` until the first is rendered.
pub(crate) type SharedIndex = watch::Sender<Option<Arc<Index>>>;

/// Renders the index after every transaction, but not more often than once per `interval`: a burst of
/// transactions costs one index in the end. Returns at the shutdown.
pub(crate) async fn keep_rendered(
    model: &SharedReadModel,
    published: &SharedIndex,
    interval: Duration,
    shutdown: &Shutdown,
) -> Result<(), Infallible> {
    let mut changes = model.subscribe();
    changes.mark_changed();
    while let Some(Ok(())) = shutdown.race(changes.changed()).await {
        let next = Instant::now() + interval;
        let resources = changes
            .borrow_and_update()
            .as_ref()
            .map(|model| model.resources().clone());
        if let Some(resources) = resources {
            publish(resources, published).await;
        }
        if shutdown.race(sleep_until(next)).await.is_none() {
            break;
        }
    }
    Ok(())
}

async fn publish(resources: Resources, published: &SharedIndex) {
    let started = Instant::now();
    let revision = resources.revision;
    let before = published.borrow().clone();
    let rendered = spawn_blocking(move || {
        // The last holder of a large state frees it here, off the async threads.
        render(&resources, before.as_deref(), OffsetDateTime::now_utc())
    });
    let index = match rendered.await {
        Ok(Ok(index)) => index,
        Ok(Err(error)) => {
            return tracing::error!(%error, revision, "cannot render the index, the one before stays");
        }
        Err(error) => {
            return tracing::error!(%error, revision, "rendering the index broke, the one before stays");
        }
    };
    let elapsed = started.elapsed();
    metrics::index_rendered(elapsed, index.products.len());
    tracing::debug!(
        revision,
        ?elapsed,
        size_bytes = index.products.len(),
        "index rendered"
    );
    let told = published
        .borrow()
        .as_ref()
        .map(|before| before.left_out.clone())
        .unwrap_or_default();
    for problem in index.left_out.difference(&told) {
        tracing::warn!(problem, "left out of the index");
    }
    published.send_replace(Some(Arc::new(index)));
}

fn render(resources: &Resources, before: Option<&Index>, now: OffsetDateTime) -> Result<Index, RenderError> {
    let products = products::products(resources);
    let index = render_index(products.entries.keys())?;
    let documents = render_products(&products.entries)?;
    Ok(Index {
        index: Document::new(index, before.map(|before| &before.index), now),
        products: Document::new(documents, before.map(|before| &before.products), now),
        left_out: products.left_out,
    })
}
