//! Work on many things of one kind, on all processors.

use std::{io, thread};

/// Calls `work` with parts of `items`, each on a thread of its own when there are enough of them; the
/// results are in the order of the items.
///
/// # Errors
/// That of the first part that failed.
pub(super) fn map<T, R, E>(
    items: Vec<T>,
    worth_a_thread: usize,
    work: impl Fn(Vec<T>) -> Result<Vec<R>, E> + Sync,
) -> Result<Vec<R>, E>
where
    T: Send,
    R: Send,
    E: From<io::Error> + Send,
{
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(items.len() / worth_a_thread);
    if threads < 2 {
        return work(items);
    }
    let per_thread = items.len().div_ceil(threads);
    let mut items = items.into_iter();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| items.by_ref().take(per_thread).collect())
            .map(|items| scope.spawn(|| work(items)))
            .collect();
        let mut results = Vec::new();
        for worker in workers {
            let done = worker.join().map_err(|_| io::Error::other("a thread panicked"))?;
            results.extend(done?);
        }
        Ok(results)
    })
}
