//! Data to test against: what the harness makes, and real data that lie beside the repository and not in it.

use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::{indexes, tools};

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

/// One good index, and what may be wrong with it, a document each: see [`indexes::NAMES`].
#[derive(Debug, Clone)]
pub enum Mutations {
    /// Those of [`indexes`].
    Made,
    /// Those of the corpus, which bear the same names.
    Corpus(PathBuf),
}

impl Mutations {
    /// Those of the corpus, where there is one.
    pub fn of_corpus() -> Option<Self> {
        Some(Self::Corpus(corpus()?.join("hostile")))
    }

    /// The document of this name.
    pub fn document(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        Ok(match self {
            Self::Made => indexes::mutation(name),
            Self::Corpus(directory) => fs::read(directory.join(name).with_extension("json"))?,
        })
    }

    /// The names of all.
    pub fn names(&self) -> anyhow::Result<BTreeSet<String>> {
        Ok(match self {
            Self::Made => indexes::NAMES.iter().map(|&name| name.to_owned()).collect(),
            Self::Corpus(directory) => {
                let manifest = fs::read_to_string(directory.join("MANIFEST.tsv"))?;
                let files = manifest.lines().skip(1);
                files
                    .filter_map(|line| Some(line.split('\t').next()?.strip_suffix(".json")?.to_owned()))
                    .collect()
            }
        })
    }
}
