//! Real data to test against, that lies beside the repository and not in it.

use std::path::PathBuf;

use crate::tools;

/// The directory `../shared/corpus` beside the repository. `None`, said loudly, where it is not
/// there: the caller returns. Panics where everything must run.
pub fn corpus() -> Option<PathBuf> {
    let corpus = tools::repository_root().parent()?.join("shared/corpus");
    if corpus.is_dir() {
        return Some(corpus);
    }
    tools::not_run(&format!("{} is not there", corpus.display()));
    None
}
