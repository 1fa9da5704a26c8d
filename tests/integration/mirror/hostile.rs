//! Mutations of one good index, as a remote's index: what comes of each. (What comes of wrong bytes is in
//! [`super::bytes`].)

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use rootstock_proto::catalog::v1::{Image, ImageType, Remote, RemoteMode, Status, SyncRun, SyncRunState};
use rootstock_tests::{
    cluster::{Cluster, remote},
    corpus::Mutations,
    indexes,
    remote::FakeRemote,
    tree::{INDEX_PATH, PRODUCTS_PATH},
};

use super::{debian, put_products, set};

/// What comes of a mutation.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// The remote's error holds these words; what was there before stays.
    Refused(&'static str),
    /// It has no images: taken from a new remote, with these things left out, as (item, reason);
    /// refused of one that had some.
    Emptied(&'static [(&'static str, &'static str)]),
    /// This is listed.
    Taken(Listed),
}
use Outcome::{Emptied, Refused, Taken};

/// What is listed of the product.
#[derive(Debug, Clone, Copy)]
struct Listed {
    /// The newest version of the container.
    newest: &'static str,
    /// What the newest version's root is.
    root: &'static str,
    containers: usize,
    virtual_machines: usize,
    /// What is left out, as (item, reason).
    left_out: &'static [(&'static str, &'static str)],
}

/// The newest version of the good product, which most mutations change.
const NEWEST: &str = "20230424_13:01";
const GOOD: Listed = Listed {
    newest: NEWEST,
    root: "squashfs",
    containers: 3,
    virtual_machines: 3,
    left_out: &[],
};
const WHOLE: Outcome = Taken(GOOD);

/// Only the mutated root is gone: the version has another, and is listed with it.
const fn other_root(left_out: &'static [(&'static str, &'static str)]) -> Outcome {
    Taken(Listed {
        root: "root.tar.xz",
        left_out,
        ..GOOD
    })
}

/// Only the newest version is gone.
const fn older_versions(left_out: &'static [(&'static str, &'static str)]) -> Outcome {
    Taken(Listed {
        newest: "20230424_09:42",
        containers: 2,
        virtual_machines: 2,
        left_out,
        ..GOOD
    })
}

const fn whole_but(left_out: &'static [(&'static str, &'static str)]) -> Outcome {
    Taken(Listed { left_out, ..GOOD })
}

const fn renamed(newest: &'static str) -> Outcome {
    Taken(Listed { newest, ..GOOD })
}

const UNSAFE: Outcome = other_root(&[("root.squashfs", "unsafe-path")]);
const MALFORMED: Outcome = other_root(&[("root.squashfs", "malformed")]);
const UNVERIFIABLE: Outcome = other_root(&[("root.squashfs", "unverifiable")]);

const OUTCOMES: [(&str, Outcome); 58] = [
    ("00_good_base", WHOLE),
    ("10_path_mid_dotdot", UNSAFE),
    ("10_path_absolute", UNSAFE),
    ("10_path_pct_dotdot", UNSAFE),
    ("10_path_newline", UNSAFE),
    ("10_path_dot", UNSAFE),
    ("10_path_trailing_slash", UNSAFE),
    // Normalised, as clients do.
    ("10_path_double_slash", WHOLE),
    ("10_path_query", UNSAFE),
    ("10_path_streams_overwrite", UNSAFE),
    ("10_path_file_url", UNSAFE),
    ("10_path_lone_surrogate", UNSAFE),
    ("20_sha_md5_only", UNVERIFIABLE),
    ("20_sha_upper", WHOLE),
    ("20_sha_suffix_invalid", MALFORMED),
    ("20_sha_null", UNVERIFIABLE),
    ("30_size_string_bad", MALFORMED),
    ("30_size_negative", MALFORMED),
    ("30_size_huge", MALFORMED),
    ("30_size_bool", MALFORMED),
    // Only the bytes can tell.
    ("30_size_plus1", WHOLE),
    ("30_size_minus1", WHOLE),
    ("40_shape_product_list", Emptied(&[("", "malformed")])),
    (
        "40_shape_products_list",
        Refused("products must be an object, but is a list"),
    ),
    ("40_shape_versions_missing", Emptied(&[("", "malformed")])),
    ("40_shape_items_list", older_versions(&[("", "malformed")])),
    ("40_shape_item_null", MALFORMED),
    (
        "40_shape_format_2",
        Refused("only \"products:1.0\" is understood"),
    ),
    ("40_shape_aliases_list", WHOLE),
    ("40_shape_aliases_spaces", WHOLE),
    (
        "40_shape_req_string",
        whole_but(&[("lxd_requirements", "malformed")]),
    ),
    ("40_shape_req_bool", WHOLE),
    ("40_shape_arch_unknown", Emptied(&[("", "unknown-architecture")])),
    ("40_shape_ftype_missing", MALFORMED),
    // The newest version's items inherit `squashfs` from the product: five roots, no metadata.
    (
        "41_inherit_ftype_product_level",
        older_versions(&[
            ("", "not-an-instance-image"),
            ("lxd.tar.xz", "malformed"),
            ("root.20230424_09:42.vcdiff", "malformed"),
            ("root.squashfs", "malformed"),
            ("root.tar.xz", "malformed"),
        ]),
    ),
    ("50_version_dotdot", older_versions(&[("", "malformed")])),
    ("50_version_latest", renamed("latest")),
    ("50_version_semver_9", renamed("20230424_09:42")),
    ("50_version_prefix", renamed("20230424_13:01.1")),
    // And what the index says is there is not.
    (
        "51_product_dotdot",
        Emptied(&[("", "malformed"), ("", "malformed")]),
    ),
    ("60_same_path_same_hash", WHOLE),
    // Blobs are stored by their digest: paths that differ in case do not meet.
    ("60_case_collision", WHOLE),
    ("61_delta_base_dotdot", WHOLE),
    ("62_combined_missing", WHOLE),
    ("70_truncated", Refused("it ends too early")),
    ("70_empty", Refused("the document is empty")),
    ("70_whitespace", Refused("the document is empty")),
    ("70_html_200", Refused("looks like an HTML or XML page")),
    ("70_bom", WHOLE),
    ("70_trailing_comma", Refused("trailing comma")),
    ("70_nan", Refused("expected value at line")),
    ("70_deep", Refused("recursion limit exceeded")),
    ("80_index_path_dotdot", Refused("has a part that is . or ..")),
    ("80_index_path_self", Refused("is that of the index itself")),
    // The products file holds it or not; the index only claims.
    ("80_index_lists_missing_product", whole_but(&[("", "malformed")])),
    ("80_index_omits_product", whole_but(&[("images", "malformed")])),
    (
        "80_index_format_inside",
        whole_but(&[("format", "malformed"), ("updated", "malformed")]),
    ),
    (
        "80_index_string",
        Refused("index must be an object, but is a text"),
    ),
];

#[test]
fn every_mutation_has_an_outcome() -> anyhow::Result<()> {
    let ours: BTreeSet<_> = OUTCOMES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(Mutations::Made.names()?, ours);
    if let Some(corpus) = Mutations::of_corpus() {
        assert_eq!(corpus.names()?, ours);
    }
    Ok(())
}

#[tokio::test]
async fn each_mutation_costs_a_new_remote_what_it_must_and_no_more() -> anyhow::Result<()> {
    cost_a_new_remote(Mutations::Made).await
}

#[tokio::test]
async fn each_mutation_of_the_corpus_costs_a_new_remote_what_it_must_and_no_more() -> anyhow::Result<()> {
    match Mutations::of_corpus() {
        Some(mutations) => cost_a_new_remote(mutations).await,
        None => Ok(()),
    }
}

async fn cost_a_new_remote(mutations: Mutations) -> anyhow::Result<()> {
    let site = Site::new(mutations).await?;
    for (name, outcome) in OUTCOMES {
        site.serve(name)?;
        site.cluster.add_remote(site.remote()).await?;
        match outcome {
            Refused(words) => {
                site.assert_refused(name, words).await?;
                assert_eq!(site.known().await?, BTreeMap::new(), "{name}");
            }
            Emptied(left_out) => {
                assert_eq!(site.known().await?, BTreeMap::new(), "{name}");
                site.assert_taken(name, left_out).await?;
            }
            Taken(listed) => {
                site.assert_taken(name, listed.left_out).await?;
                site.assert_listed(name, listed).await?;
            }
        }
        site.assert_unharmed(name).await?;
        // What is not stored goes with its remote.
        site.cluster.remove_remote(HOSTILE).await?;
    }
    site.cluster.stop().await
}

#[tokio::test]
async fn a_corrupted_index_keeps_the_last_good_state() -> anyhow::Result<()> {
    keep_the_last_good_state(Mutations::Made).await
}

#[tokio::test]
async fn a_corrupted_index_of_the_corpus_keeps_the_last_good_state() -> anyhow::Result<()> {
    match Mutations::of_corpus() {
        Some(mutations) => keep_the_last_good_state(mutations).await,
        None => Ok(()),
    }
}

async fn keep_the_last_good_state(mutations: Mutations) -> anyhow::Result<()> {
    let site = Site::new(mutations).await?;
    site.serve("00_good_base")?;
    site.cluster.add_remote(site.remote()).await?;
    let good = site.known().await?;
    site.assert_listed("the good base", GOOD).await?;
    for (name, outcome) in OUTCOMES {
        site.serve(name)?;
        let run = site.sync(name).await?;
        match outcome {
            Refused(words) => site.assert_kept(name, &run, words, &good).await?,
            Emptied(_) => {
                site.assert_kept(name, &run, "images.max_removal_percent", &good)
                    .await?
            }
            Taken(listed) => {
                assert_eq!(run.state(), SyncRunState::Succeeded, "{name}: {run:?}");
                site.assert_taken(name, listed.left_out).await?;
                site.assert_listed(name, listed).await?;
            }
        }
        site.assert_unharmed(name).await?;

        // It is mended.
        site.serve("00_good_base")?;
        let run = site.sync(name).await?;
        assert_eq!(run.state(), SyncRunState::Succeeded, "after {name}: {run:?}");
        site.assert_listed(name, GOOD).await?;
    }
    site.cluster.stop().await
}

const HOSTILE: &str = "hostile";

/// A cluster with a good remote, whose image is stored, and a server that is to be hostile.
struct Site {
    cluster: Cluster,
    hostile: FakeRemote,
    mutations: Mutations,
    neighbour: BTreeSet<String>,
    written_elsewhere: BTreeSet<PathBuf>,
    _good: FakeRemote,
}

/// By type and serial: the status, and the files' `ftype`s.
type Known = BTreeMap<(ImageType, String), (Status, Vec<String>)>;

impl Site {
    async fn new(mutations: Mutations) -> anyhow::Result<Self> {
        let cluster = Cluster::start().await?;
        let (good, tree, debian) = debian()?;
        cluster.mirror("good", &good).await?;
        let fingerprint = tree.fingerprint(&debian, super::FIRST, rootstock_model::RootFtype::Squashfs)?;
        let neighbour = set([&fingerprint]);
        cluster.edge.wait_for(&neighbour).await?;
        let written_elsewhere = cluster.written_elsewhere()?;
        Ok(Self {
            cluster,
            hostile: FakeRemote::https()?,
            mutations,
            neighbour,
            written_elsewhere,
            _good: good,
        })
    }

    /// The remote: on demand, because nothing of it has bytes.
    fn remote(&self) -> Remote {
        Remote {
            mode: RemoteMode::OnDemand.into(),
            keep_versions: 100,
            ..remote(HOSTILE, &self.hostile)
        }
    }

    /// Has the server serve a mutation in its place.
    fn serve(&self, name: &str) -> anyhow::Result<()> {
        let read = |name: &str| self.mutations.document(name);
        if indexes::is_of_index(name) {
            self.hostile.put(PRODUCTS_PATH, read("00_good_base")?)?;
            return Ok(self.hostile.put(INDEX_PATH, read(name)?)?);
        }
        put_products(&self.hostile, read(name)?, &[indexes::PRODUCT])
    }

    async fn sync(&self, name: &str) -> anyhow::Result<SyncRun> {
        // A poll seldom asks for the index.
        match indexes::is_of_index(name) {
            true => self.cluster.sync_forced(HOSTILE).await,
            false => self.cluster.sync(HOSTILE).await,
        }
    }

    async fn known(&self) -> anyhow::Result<Known> {
        let of_image = |image: Image| {
            let image_type = image.r#type();
            image.versions.into_iter().map(move |version| {
                let status = version.status();
                let ftypes = version.artifacts.into_iter().map(|artifact| artifact.ftype);
                ((image_type, version.serial), (status, ftypes.collect()))
            })
        };
        let images = self.cluster.images(HOSTILE).await?;
        Ok(images.into_iter().flat_map(of_image).collect())
    }

    async fn assert_refused(&self, name: &str, words: &str) -> anyhow::Result<()> {
        let error = self.cluster.status(HOSTILE).await?.last_error;
        assert!(error.contains(words), "{name}: {error:?}");
        Ok(())
    }

    /// The sync was refused, and what was there before is there still.
    async fn assert_kept(&self, name: &str, run: &SyncRun, words: &str, good: &Known) -> anyhow::Result<()> {
        assert_eq!(run.state(), SyncRunState::Failed, "{name}: {run:?}");
        assert!(run.error.contains(words), "{name}: {run:?}");
        self.assert_refused(name, words).await?;
        assert_eq!(self.known().await?, *good, "{name} cost something");
        Ok(())
    }

    async fn assert_taken(&self, name: &str, left_out: &[(&str, &str)]) -> anyhow::Result<()> {
        let status = self.cluster.status(HOSTILE).await?;
        assert_eq!(status.last_error, "", "{name}");
        let said = self.cluster.left_out(HOSTILE).await?;
        let items: Vec<_> = said
            .iter()
            .map(|one| (one.item.as_str(), one.reason.as_str()))
            .collect();
        assert_eq!(items, left_out, "{name}: {said:#?}");
        assert!(
            said.iter().all(|one| !one.message.is_empty()),
            "{name}: {said:#?}"
        );
        assert_eq!(status.left_out_count, i64::try_from(left_out.len())?, "{name}");
        Ok(())
    }

    async fn assert_listed(&self, name: &str, listed: Listed) -> anyhow::Result<()> {
        let known = self.known().await?;
        assert!(
            known.values().all(|(status, _)| *status == Status::Available),
            "{name}: {known:#?}"
        );
        let count = |wanted| {
            known
                .keys()
                .filter(|(image_type, _)| *image_type == wanted)
                .count()
        };
        assert_eq!(
            (count(ImageType::Container), count(ImageType::VirtualMachine)),
            (listed.containers, listed.virtual_machines),
            "{name}: {known:#?}"
        );
        let images = self.cluster.images(HOSTILE).await?;
        let container = images
            .iter()
            .find(|image| image.r#type() == ImageType::Container)
            .and_then(|image| image.versions.first());
        let newest = container.map(|version| {
            let root = version.artifacts.last().map(|root| root.ftype.as_str());
            (version.serial.as_str(), root.unwrap_or_default())
        });
        assert_eq!(newest, Some((listed.newest, listed.root)), "{name}");
        Ok(())
    }

    /// The good remote's image is listed and can be fetched, and nothing has come into being.
    async fn assert_unharmed(&self, name: &str) -> anyhow::Result<()> {
        let edge = &self.cluster.edge;
        assert_eq!(edge.fingerprints().await?, self.neighbour, "{name}");
        assert_eq!(edge.fetch_everything().await?, 2, "{name}");
        assert_eq!(self.cluster.stored()?.len(), 2, "{name}");
        assert_eq!(
            self.cluster.written_elsewhere()?,
            self.written_elsewhere,
            "{name}"
        );
        let asked: Vec<_> = self
            .hostile
            .requests()
            .into_iter()
            .map(|request| request.path)
            .filter(|path| path != INDEX_PATH && path != PRODUCTS_PATH)
            .collect();
        assert!(asked.is_empty(), "{name}: the server was asked for {asked:?}");
        Ok(())
    }
}
