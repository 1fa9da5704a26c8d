//! Lookups of references for `ResolveImage`, the call that every launch makes: what is asked for while a
//! query is under way is looked up together by the next one.
//!
//! A connection of the pool costs a second round trip each time it is given back. These connections are
//! kept beside the pool, and plan their one query once. Whoever finds one free runs the query for all
//! that wait; the others are told. Nobody waits for a batch to fill, and a query begins after all that
//! it answers was asked, so that what was committed before a call is in its answer.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rootstock_model::reference::Reference;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use crate::{
    failure::Failure,
    queries::resolve::{self, Asked, Found},
};

/// Connections, each with one query at a time.
const CONNECTIONS: usize = 2;
/// References that one query looks up.
const BATCH: usize = 64;
/// As long as the pool keeps its connections: a server that was replaced is left behind.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);
/// For a lookup, and the connection for it if need be. A server that went away without a word is left
/// to the pool.
const PATIENCE: Duration = Duration::from_secs(5);
/// The query has one good plan, by index for each reference, however large the catalog was when it was
/// made.
const SESSION: [(&str, &str); 3] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

/// Looks references up.
#[derive(Debug)]
pub(crate) struct Lookup {
    pool: PgPool,
    waiting: Mutex<Vec<Waiting>>,
    places: Semaphore,
    idle: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Waiting {
    asked: Asked,
    answer: oneshot::Sender<Vec<Found>>,
}

#[derive(Debug)]
struct Kept {
    connection: PgConnection,
    since: Instant,
}

impl Lookup {
    /// Nothing is connected until something is asked.
    pub(crate) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            waiting: Mutex::default(),
            places: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
        }
    }

    /// What a reference may mean, as [`resolve::find`] has it.
    pub(crate) async fn find(&self, reference: &str, version: Option<i32>) -> Result<Vec<Found>, Failure> {
        let (answer, mut answered) = oneshot::channel();
        let asked = Asked::new(&Reference::parse(reference), version);
        lock(&self.waiting).push(Waiting { asked, answer });
        let mut is_waiting = true;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answered => break answer,
                // The semaphore is never closed.
                Ok(_place) = self.places.acquire(), if is_waiting => {
                    // When nobody waits any more, this one is being looked up by somebody else.
                    is_waiting = self.answer_waiting().await;
                }
            }
        };
        if let Ok(found) = answer {
            return Ok(found);
        }
        // Whoever asked for it was cut off, or the database was, which the pool waits for.
        let mut connection = self.pool.acquire().await?;
        resolve::find(&mut connection, &Reference::parse(reference), version).await
    }

    /// Looks up what waits, if anything does, and tells those who asked. Who is told nothing asks the pool.
    async fn answer_waiting(&self) -> bool {
        let batch: Vec<Waiting> = {
            let mut waiting = lock(&self.waiting);
            let count = waiting.len().min(BATCH);
            waiting.drain(..count).collect()
        };
        if batch.is_empty() {
            return false;
        }
        // Those who were cut off do not wait any more.
        let (asked, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .filter(|waiting| !waiting.answer.is_closed())
            .map(|waiting| (waiting.asked, waiting.answer))
            .unzip();
        match timeout(PATIENCE, self.look_up(&asked)).await {
            Ok(Ok(found)) => {
                for (answer, found) in answers.into_iter().zip(found) {
                    // The one who asked may have been cut off meanwhile.
                    let _ = answer.send(found);
                }
            }
            Ok(Err(failure)) => tracing::debug!(?failure, "looked up one by one instead"),
            Err(_elapsed) => {
                tracing::warn!("no answer from the database within {PATIENCE:?}: looked up one by one")
            }
        }
        true
    }

    async fn look_up(&self, asked: &[Asked]) -> Result<Vec<Vec<Found>>, Failure> {
        let kept = lock(&self.idle)
            .pop()
            .filter(|kept| kept.since.elapsed() < MAX_AGE);
        let mut kept = match kept {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        // What fails, or is dropped in the middle, is not kept.
        let found = resolve::find_all(&mut kept.connection, asked).await?;
        lock(&self.idle).push(kept);
        Ok(found)
    }

    async fn connect(&self) -> Result<Kept, Failure> {
        let options = (*self.pool.connect_options()).clone();
        let options = options.application_name("rootstock-lookup").options(SESSION);
        Ok(Kept {
            connection: PgConnection::connect_with(&options).await?,
            since: Instant::now(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
