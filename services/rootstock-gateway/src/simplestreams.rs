//! The simplestreams index: rendered off the request path, and handed out of memory.
//!
//! A change renders the products that it concerns and packs the blocks that they are in ([`blocks`]);
//! everything else of the documents is passed on. So a change costs the same whatever the catalog's size,
//! apart from joining the blocks, of which there is one for some dozens of products.

mod blocks;
mod dedupe;
pub(crate) mod document;
mod gzip;
mod parallel;
mod products;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    io,
    sync::Arc,
    time::Duration,
};

use rootstock_runtime::Shutdown;
use rootstock_simplestreams::{RenderError, render_product, render_product_name};
use time::OffsetDateTime;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use self::{
    blocks::{Blocks, Pool, Rendered},
    document::{Document, Encoding, Kind},
    products::{FamilyEntries, Products, family, prefixes},
};
use crate::{
    listing::audience::{AUDIENCES, Audience},
    metrics,
    read_model::{ReadModel, SharedReadModel, Touched},
};

/// Families that are read in one look at the model, so that nobody waits long for it.
const FAMILIES_PER_LOOK: usize = 500;

/// Up to so many bytes in all, blocks are kept unpacked beside the packed form that nearly all clients take.
/// Those of a larger index are unpacked for each client that wants them so.
const MAX_PLAIN_BYTES: usize = 32 << 20;

/// Families that are worth a thread of their own.
const FAMILIES_PER_THREAD: usize = 64;

/// Both documents of one revision, as one audience sees them.
#[derive(Debug)]
pub(crate) struct Index {
    /// `streams/v1/index.json`
    pub(crate) index: Document,
    /// `streams/v1/images.json`
    pub(crate) products: Document,
}

/// The newest index; `None` until the first is rendered.
pub(crate) type IndexReceiver = watch::Receiver<Option<Arc<Index>>>;

/// The index of every audience that has an image server, as its one writer holds it.
#[derive(Debug)]
pub(crate) struct SharedIndex(BTreeMap<&'static str, watch::Sender<Option<Arc<Index>>>>);

impl SharedIndex {
    pub(crate) fn new() -> Self {
        let published = served().map(|audience| (audience.name(), watch::Sender::new(None)));
        Self(published.collect())
    }

    /// The index that an audience sees; `None` when it has no image server.
    pub(crate) fn subscribe(&self, audience: &dyn Audience) -> Option<IndexReceiver> {
        self.0.get(audience.name()).map(watch::Sender::subscribe)
    }
}

/// The audiences that have an image server.
fn served() -> impl Iterator<Item = &'static dyn Audience> {
    AUDIENCES
        .iter()
        .copied()
        .filter(|audience| audience.http_path().is_some())
}

/// Renders what changed after every transaction, but not more often than once per `interval`: a burst of
/// transactions costs one index in the end. Returns at the shutdown.
pub(crate) async fn keep_rendered(
    model: Arc<SharedReadModel>,
    published: Arc<SharedIndex>,
    interval: Duration,
    shutdown: &Shutdown,
) -> Result<(), Infallible> {
    let mut renderer = Renderer::new(served());
    let mut changes = model.subscribe();
    changes.mark_changed();
    while let Some(Ok(())) = shutdown.race(changes.changed()).await {
        let next = Instant::now() + interval;
        changes.borrow_and_update();
        let (model, published) = (Arc::clone(&model), Arc::clone(&published));
        let rendering = spawn_blocking(move || {
            renderer.render(&model, &published);
            renderer
        });
        renderer = match rendering.await {
            Ok(renderer) => renderer,
            Err(error) => {
                tracing::error!(%error, "rendering the index broke: it is rendered whole");
                Renderer::new(served())
            }
        };
        if shutdown.race(sleep_until(next)).await.is_none() {
            break;
        }
    }
    Ok(())
}

/// The documents of all audiences, and what of them is to be rendered.
#[derive(Debug)]
struct Renderer {
    views: Vec<View>,
    pool: Pool,
    /// The families that are to be rendered; `None`: all that there are, or were.
    dirty: Option<BTreeSet<Arc<str>>>,
}

/// What one audience sees.
#[derive(Debug)]
struct View {
    audience: &'static dyn Audience,
    blocks: Blocks,
    /// What could not be shown, and why, by family.
    skipped: HashMap<Arc<str>, BTreeSet<String>>,
}

/// Why a product could not be rendered.
#[derive(Debug, thiserror::Error)]
enum RenderingError {
    #[error(transparent)]
    Json(#[from] RenderError),
    #[error("it could not be packed: {0}")]
    Gzip(#[from] io::Error),
}

impl Renderer {
    fn new(audiences: impl Iterator<Item = &'static dyn Audience>) -> Self {
        let views = audiences.map(|audience| View {
            audience,
            blocks: Blocks::default(),
            skipped: HashMap::new(),
        });
        Self {
            views: views.collect(),
            pool: Pool::new(MAX_PLAIN_BYTES),
            dirty: None,
        }
    }

    /// Renders until the documents show one state of the model, and publishes them.
    fn render(&mut self, model: &SharedReadModel, published: &SharedIndex) {
        let started = Instant::now();
        let revision = loop {
            match self.render_some(model) {
                Ok(Some(Progress::More)) => {}
                Ok(Some(Progress::Done(revision))) => break revision,
                Ok(None) => return,
                Err(error) => {
                    self.dirty = None;
                    return tracing::error!(%error, "cannot render the index, the one before stays");
                }
            }
        };
        let now = OffsetDateTime::now_utc();
        for view in &self.views {
            let Some(published) = published.0.get(view.audience.name()) else {
                continue;
            };
            let before = published.borrow().clone();
            let index = Arc::new(view.index(before.as_deref(), now));
            let size_bytes = index.products.len_bytes(Encoding::Plain);
            published.send_replace(Some(index));
            let (audience, elapsed) = (view.audience.name(), started.elapsed());
            metrics::index_rendered(audience, elapsed, size_bytes);
            tracing::debug!(revision, audience, ?elapsed, size_bytes, "index rendered");
        }
    }

    /// Reads some of what is dirty out of the model, and renders it. `None` while there is no model.
    fn render_some(&mut self, shared: &SharedReadModel) -> Result<Option<Progress>, RenderingError> {
        let mut touched = None;
        shared.send_if_modified(|model| {
            touched = model.as_mut().map(ReadModel::take_touched);
            false
        });
        let Some(touched) = touched else { return Ok(None) };
        let model = shared.borrow();
        let Some(state) = model.as_ref() else {
            return Ok(None);
        };
        let dirty = self.add_dirty(touched, state);
        let taken: Vec<Arc<str>> = dirty.iter().take(FAMILIES_PER_LOOK).cloned().collect();
        for name in &taken {
            dirty.remove(name);
        }
        // A transaction may have come since what it touched was taken: then what was rendered before is
        // older than what is read now, and one more round makes it the same.
        let is_last = dirty.is_empty() && !state.is_touched();
        let revision = state.revision();
        let read = |view: &View| -> Vec<(Arc<str>, FamilyEntries)> {
            let read = |name: &Arc<str>| FamilyEntries::of(state, view.audience, name);
            taken.iter().map(|name| (Arc::clone(name), read(name))).collect()
        };
        let read: Vec<_> = self.views.iter().map(read).collect();
        drop(model);
        for (view, families) in self.views.iter_mut().zip(read) {
            view.show(families, &mut self.pool)?;
        }
        self.pool.sweep(self.views.iter().map(|view| &view.blocks));
        Ok(Some(match is_last {
            true => Progress::Done(revision),
            false => Progress::More,
        }))
    }

    /// What is to be rendered, with what was touched since.
    fn add_dirty(&mut self, touched: Touched, model: &ReadModel) -> &mut BTreeSet<Arc<str>> {
        let family_of = |name: &Arc<str>| match family(name) {
            family if family.len() == name.len() => Arc::clone(name),
            family => family.into(),
        };
        let names = match touched {
            Touched::Names(names) if self.dirty.is_some() => names,
            Touched::Names(_) | Touched::All => {
                let shown = self.views.iter().flat_map(|view| view.blocks.names_from(""));
                let known = model.resources().names().cloned();
                known.chain(shown.map(Arc::from)).collect()
            }
        };
        let dirty = self.dirty.get_or_insert_default();
        dirty.extend(names.iter().map(family_of));
        dirty
    }
}

/// A family's products, as they stand in the documents.
struct RenderedFamily {
    name: Arc<str>,
    products: Vec<(Box<str>, Rendered)>,
    skipped: BTreeSet<String>,
}

fn render_all(families: Vec<(Arc<str>, FamilyEntries)>) -> Result<Vec<RenderedFamily>, RenderingError> {
    let render = |(name, entries): (Arc<str>, FamilyEntries)| {
        let Products { products, skipped } = entries.products();
        let products = products.iter().map(|(name, product)| {
            let rendered = Rendered {
                name: render_product_name(name)?.into(),
                member: render_product(name, product)?.into(),
            };
            Ok((name.as_str().into(), rendered))
        });
        Ok(RenderedFamily {
            name,
            products: products.collect::<Result<_, RenderingError>>()?,
            skipped,
        })
    };
    families.into_iter().map(render).collect()
}

/// Whether the documents show one state of the model, and which.
enum Progress {
    More,
    Done(i64),
}

impl View {
    /// Renders these families.
    fn show(
        &mut self,
        families: Vec<(Arc<str>, FamilyEntries)>,
        pool: &mut Pool,
    ) -> Result<(), RenderingError> {
        let mut changes = BTreeMap::new();
        for family in parallel::map(families, FAMILIES_PER_THREAD, render_all)? {
            for shown in self.shown(&family.name) {
                changes.insert(shown.into(), None);
            }
            let products = family.products.into_iter();
            changes.extend(products.map(|(name, product)| (name, Some(product))));
            self.report(&family.name, family.skipped);
        }
        Ok(self.blocks.apply(changes, pool)?)
    }

    /// The names of a family's products as they are shown now.
    fn shown(&self, name: &str) -> Vec<String> {
        let mut shown = Vec::new();
        for prefix in prefixes(name).iter().map(String::as_str) {
            let names = self.blocks.names_from(prefix);
            let names = names.take_while(|shown| shown.starts_with(prefix));
            shown.extend(names.filter(|shown| family(shown) == name).map(str::to_owned));
        }
        let own = self.blocks.names_from(name).next().filter(|own| *own == name);
        shown.extend(own.map(str::to_owned));
        shown
    }

    /// Logs what is skipped of a family and was not before.
    fn report(&mut self, name: &Arc<str>, skipped: BTreeSet<String>) {
        let before = match skipped.is_empty() {
            true => self.skipped.remove(name),
            false => self.skipped.insert(Arc::clone(name), skipped.clone()),
        };
        for problem in skipped.difference(&before.unwrap_or_default()) {
            tracing::warn!(problem, audience = self.audience.name(), "left out of the index");
        }
    }

    fn index(&self, before: Option<&Index>, now: OffsetDateTime) -> Index {
        let blocks = self.blocks.as_slice().into();
        Index {
            index: Document::new(Kind::Index, &blocks, before.map(|before| &before.index), now),
            products: Document::new(
                Kind::Products,
                &blocks,
                before.map(|before| &before.products),
                now,
            ),
        }
    }
}

#[cfg(test)]
mod tests;
