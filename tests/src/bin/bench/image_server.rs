//! The image server that everything is measured against, in a process of its own: this executable
//! once more. It is told what to do by lines on its standard input.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    str::FromStr as _,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use rootstock_model::{Digest, RootFtype};
use rootstock_tests::{
    remote::FakeRemote,
    tree::{INDEX_PATH, PRODUCTS_PATH, Product, Tree, Version},
};
use serde_json::{Value, json};

use crate::{mirror::IMAGES, usage};

/// The word that makes this executable the server.
pub(crate) const COMMAND: &str = "image-server";
const TREE: &str = "tree";
const INDEX: &str = "index";
const SERIAL: &str = "20260101_0524";
const FORGET: &str = "forget";
const COUNT: &str = "count";
const TOUCH: &str = "touch";

/// The running server. Ends when dropped.
#[derive(Debug)]
pub(crate) struct ImageServer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Without a slash at the end.
    pub(crate) url: String,
    /// The certificate to trust, PEM.
    pub(crate) ca_file: PathBuf,
    /// What it serves besides the indexes.
    pub(crate) files: Vec<ServedFile>,
}

#[derive(Debug, Clone)]
pub(crate) struct ServedFile {
    pub(crate) path: String,
    pub(crate) digest: Digest,
}

impl ImageServer {
    /// Serves images whose roots have `mib` MiB in all.
    pub(crate) fn of_large_images(directory: &Path, mib: u64) -> anyhow::Result<Self> {
        Self::start(directory, TREE, &mib.to_string())
    }

    /// Serves a products file alone.
    pub(crate) fn of_index(directory: &Path, products_file: &Path) -> anyhow::Result<Self> {
        Self::start(
            directory,
            INDEX,
            products_file.to_str().context("a path of UTF-8")?,
        )
    }

    fn start(directory: &Path, what: &str, argument: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(COMMAND)
            .arg(directory)
            .args([what, argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut server = Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().context("its standard output is piped")?),
            child,
            url: String::new(),
            ca_file: PathBuf::new(),
            files: Vec::new(),
        };
        loop {
            let line = server.line()?;
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["url", url] => server.url = url.to_owned(),
                ["file", path, digest] => server.files.push(ServedFile {
                    path: path.to_owned(),
                    digest: Digest::from_str(digest)?,
                }),
                ["ready"] => break,
                _ => bail!("the image server says {line:?}"),
            }
        }
        server.ca_file = ca_file(directory);
        Ok(server)
    }

    /// Forgets the requests it has seen.
    pub(crate) fn forget_requests(&mut self) -> anyhow::Result<()> {
        self.ask(FORGET).map(drop)
    }

    /// How many requests it has seen since.
    pub(crate) fn count_requests(&mut self) -> anyhow::Result<usize> {
        Ok(self.ask(COUNT)?.parse()?)
    }

    /// Changes the bytes of the products file, and nothing of what they say.
    pub(crate) fn touch_products(&mut self) -> anyhow::Result<()> {
        self.ask(TOUCH).map(drop)
    }

    /// What it has cost so far.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        usage::cpu_time(self.child.id())
    }

    fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        let input = self.input.as_mut().context("its standard input is piped")?;
        writeln!(input, "{question}")?;
        self.line()
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line)?;
        ensure!(read > 0, "the image server has ended");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for ImageServer {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

fn ca_file(directory: &Path) -> PathBuf {
    directory.join("image-server.crt")
}

/// The server's own side: serves until its standard input ends.
pub(crate) fn serve(directory: &Path, what: &str, argument: &str) -> anyhow::Result<()> {
    let remote = FakeRemote::https()?;
    let mut products = match what {
        TREE => publish_large_images(&remote, argument.parse()?)?,
        INDEX => publish_index(&remote, &fs::read_to_string(argument)?)?,
        _ => bail!("{what} is not served"),
    };
    fs::write(ca_file(directory), remote.ca_pem())?;
    println!("url {}\nready", remote.url());
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            FORGET => {
                remote.forget_requests();
                println!("done");
            }
            COUNT => println!("{}", remote.requests().len()),
            TOUCH => {
                products.push('\n');
                remote.put(PRODUCTS_PATH, products.clone())?;
                println!("done");
            }
            other => bail!("asked to {other:?}"),
        }
    }
    Ok(())
}

/// Returns the products file.
fn publish_large_images(remote: &FakeRemote, mib: u64) -> anyhow::Result<String> {
    let mut tree = Tree::default();
    for number in 0..IMAGES {
        let product = tree.add_product(Product::new("Bench", &format!("release-{number}"), "amd64"));
        let size_bytes = (mib << 20) / IMAGES;
        let version = Version::new(SERIAL).root_of_size(RootFtype::Squashfs, size_bytes);
        tree.add_version(&product, version)?;
    }
    tree.publish(remote)?;
    for file in tree.files() {
        println!("file {} {}", file.path, file.digest);
    }
    let [_, (_, products)] = tree.indexes();
    Ok(products)
}

fn publish_index(remote: &FakeRemote, products: &str) -> anyhow::Result<String> {
    let parsed: Value = serde_json::from_str(products)?;
    let names: Vec<_> = parsed["products"]
        .as_object()
        .context("a products file has products")?
        .keys()
        .collect();
    let index = json!({
        "format": "index:1.0",
        "index": { "images": {
            "datatype": "image-downloads", "format": "products:1.0", "path": PRODUCTS_PATH, "products": names,
        } },
    });
    remote.put(INDEX_PATH, index.to_string())?;
    remote.put(PRODUCTS_PATH, products.to_owned())?;
    Ok(products.to_owned())
}
