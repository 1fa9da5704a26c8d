//! A real S3 server, SeaweedFS: one for the whole test process, a key prefix for each test; or a
//! server of one's own, to be stopped and started again.

use std::{
    fs,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::Rng as _;
use rootstock_blobs::{BlobStore, S3Config, Secret, StoreConfig};
use tokio::sync::{Mutex, OnceCell};

use crate::{guard::Guard, ports::Port, process, tools};

const BUCKET: &str = "images";
const ACCESS_KEY_ID: &str = "test-key";
const SECRET_ACCESS_KEY: &str = "test-secret";

/// SeaweedFS listens for gRPC this far above each of its HTTP ports.
const GRPC_PORT_OFFSET: u16 = 10_000;
/// Below the ports that a system hands out by itself, and so are these plus the offset.
const PORTS: std::ops::Range<u16> = 11_000..22_000;
/// Another process may take a port between our looking and SeaweedFS' binding.
const START_ATTEMPTS: u32 = 5;
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
/// The bit of Go's `os.FileMode` that marks a directory.
const GO_DIRECTORY: u32 = 1 << 31;

/// Writes its process id and becomes the server; `$1` is the directory, the rest the command. When
/// the directory is gone already, so is the test process, and nothing is started.
const START: &str = r#"cd "$1" && echo $$ > pid && shift && exec "$@" > log 2>&1"#;

/// What remains to be done when the test process is gone; `$1` is the server's directory.
const KILL_AND_REMOVE: &str = r#"
[ -e "$1/pid" ] && kill -KILL "$(cat "$1/pid")"
# A server that is still dying may make files while we remove them.
for tenth in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    rm -rf "$1"
    [ -e "$1" ] || break
    sleep 0.1
done
"#;

static SHARED: OnceCell<SeaweedFs> = OnceCell::const_new();

/// A SeaweedFS on loopback ports, in a temporary directory, with one bucket. Ends with this process.
#[derive(Debug)]
pub struct SeaweedFs {
    program: PathBuf,
    directory: PathBuf,
    ports: Ports,
    child: Mutex<Option<Child>>,
    prefixes_made: AtomicU64,
    _guard: Guard,
}

/// What SeaweedFS' filer says of a folder.
#[derive(Debug, serde::Deserialize)]
struct Listing {
    #[serde(rename = "Entries")]
    entries: Option<Vec<FilerEntry>>,
}

#[derive(Debug, serde::Deserialize)]
struct FilerEntry {
    #[serde(rename = "FullPath")]
    full_path: String,
    /// Go's `os.FileMode`.
    #[serde(rename = "Mode")]
    mode: u32,
}

#[derive(Debug)]
struct Ports {
    master: u16,
    volume: u16,
    filer: u16,
    s3: u16,
    admin: u16,
    /// So that no other server of a test takes them before this one does: the tests would not notice
    /// that they talk to the wrong one.
    _reserved: Vec<Port>,
}

impl SeaweedFs {
    /// The server that all tests of this process share, started by the first that asks.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        SHARED.get_or_try_init(Self::start_own).await
    }

    /// A server for the caller alone.
    pub async fn start_own() -> anyhow::Result<Self> {
        let program = tools::weed()?;
        let mut attempt = 1;
        loop {
            let server = Self::create(program.clone())?;
            match server.start().await {
                Ok(()) => return Ok(server),
                Err(error) if attempt == START_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    /// The loopback port of the S3 service, the same over every stop and start.
    pub fn port(&self) -> u16 {
        self.ports.s3
    }

    /// The server's process id, while it runs.
    pub async fn pid(&self) -> Option<u32> {
        self.child.lock().await.as_ref().map(Child::id)
    }

    /// The bucket with a prefix that nobody else uses.
    pub fn config(&self) -> S3Config {
        self.config_through(self.port())
    }

    /// The same at another port: that of a proxy before the server.
    pub fn config_through(&self, port: u16) -> S3Config {
        let number = self.prefixes_made.fetch_add(1, Ordering::Relaxed);
        let mut config = S3Config::new(BUCKET);
        config.endpoint = format!("http://127.0.0.1:{port}").parse().ok();
        config.access_key_id = Some(ACCESS_KEY_ID.to_owned());
        config.secret_access_key = Some(Secret::new(SECRET_ACCESS_KEY));
        config.allow_http = true;
        config.prefix = Some(format!("test-{number}"));
        config
    }

    /// Everything that lies below a prefix of the bucket, relative to it, and the parts of every open
    /// multipart upload of the bucket, in order. Asked of the server's own file tree, not over S3.
    pub async fn objects(&self, prefix: &str) -> anyhow::Result<Vec<String>> {
        let client = reqwest::Client::builder().timeout(START_TIMEOUT).build()?;
        let mut names = Vec::new();
        // Each folder with what stands before its entries' names. `.uploads` holds the parts.
        let mut folders = vec![
            (format!("/buckets/{BUCKET}/{prefix}"), String::new()),
            (format!("/buckets/{BUCKET}/.uploads"), ".uploads/".to_owned()),
        ];
        while let Some((folder, before)) = folders.pop() {
            let url = format!("http://127.0.0.1:{}{folder}/?limit=10000", self.ports.filer);
            let answer = client
                .get(url)
                .header(http::header::ACCEPT, "application/json")
                .send()
                .await?;
            if answer.status() == http::StatusCode::NOT_FOUND {
                continue;
            }
            let listing: Listing = serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?;
            for FilerEntry { full_path, mode } in listing.entries.unwrap_or_default() {
                let name = full_path.rsplit('/').next().unwrap_or_default().to_owned();
                match mode & GO_DIRECTORY {
                    0 => names.push(format!("{before}{name}")),
                    _ => folders.push((full_path, format!("{before}{name}/"))),
                }
            }
        }
        names.sort();
        Ok(names)
    }

    /// Starts the server again with what it had stored; returns when it answers. Does nothing when it
    /// runs.
    pub async fn start(&self) -> anyhow::Result<()> {
        let mut child = self.child.lock().await;
        if child.is_some() {
            return Ok(());
        }
        let mut started = self.command().spawn().context("cannot start SeaweedFS")?;
        let answered = tokio::time::timeout(START_TIMEOUT, self.wait_until_it_answers(&mut started));
        match answered.await.context("SeaweedFS does not answer").flatten() {
            Ok(()) => {
                *child = Some(started);
                Ok(())
            }
            Err(error) => {
                started.kill()?;
                started.wait()?;
                let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                Err(error.context(format!("its log says:\n{log}")))
            }
        }
    }

    /// Ends the server; returns when it is gone. Does nothing when it is already.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.lock().await.take() else {
            return Ok(());
        };
        self.forget_pid();
        kill(Pid::from_raw(child.id().try_into()?), Signal::SIGTERM)?;
        let gone = async {
            while child.try_wait()?.is_none() {
                tokio::time::sleep(PAUSE).await;
            }
            anyhow::Ok(())
        };
        if tokio::time::timeout(STOP_TIMEOUT, gone).await.is_err() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn create(program: PathBuf) -> anyhow::Result<Self> {
        let name = format!("rootstock-seaweedfs-{}", hex::encode(rand::random::<[u8; 6]>()));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        let guard = Guard::new(
            KILL_AND_REMOVE,
            &[directory.to_str().context("TMPDIR is no UTF-8")?],
        )?;
        fs::create_dir(directory.join("data"))?;
        let identities = serde_json::json!({"identities": [{
            "name": "test",
            "credentials": [{"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        fs::write(directory.join("s3.json"), identities.to_string())?;
        Ok(Self {
            program,
            directory,
            ports: Ports::find()?,
            child: Mutex::default(),
            prefixes_made: AtomicU64::new(0),
            _guard: guard,
        })
    }

    /// Keeps the guard from killing whoever has this process id next.
    fn forget_pid(&self) {
        let _ = fs::remove_file(self.directory.join("pid"));
    }

    fn command(&self) -> Command {
        let Ports {
            master,
            volume,
            filer,
            s3,
            admin,
            ..
        } = &self.ports;
        let mut command = Command::new("sh");
        command
            .args(["-c", START, "seaweedfs"])
            .arg(&self.directory)
            .arg(&self.program);
        command.args(["-logdir=.", "mini", "-dir=data"]);
        // The defaults are to listen everywhere and to report home.
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]);
        command.args([
            format!("-master.port={master}"),
            format!("-volume.port={volume}"),
            format!("-filer.port={filer}"),
            format!("-s3.port={s3}"),
            format!("-admin.port={admin}"),
            format!("-bucket={BUCKET}"),
        ]);
        command.args([
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
        ]);
        command.args(["-s3.config=s3.json", "-filer.localSocket=filer.sock"]);
        // Without these it takes gigabytes when tests run side by side.
        command.args(["-s3.cacheCapacityMB=0", "-s3.concurrentUploadLimitMB=128"]);
        command.arg("-volume.concurrentUploadLimitMB=64");
        command
            .env("GOMEMLIMIT", "400MiB")
            .env("GOGC", "50")
            .env_remove("S3_BUCKET");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Out of reach of a Ctrl-C at the terminal: the guard stops the server.
        command.process_group(0);
        command
    }

    async fn wait_until_it_answers(&self, child: &mut Child) -> anyhow::Result<()> {
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port()))
            .await
            .is_err()
        {
            if let Some(status) = child.try_wait()? {
                bail!("SeaweedFS ended by itself: {status} {:?}", status.signal());
            }
            tokio::time::sleep(PAUSE).await;
        }
        // It listens before it has made the bucket and found its own volumes.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = BlobStore::open(&StoreConfig::S3(self.config())).await?;
        let probe = rootstock_model::Digest::of(b"probe");
        loop {
            let mut upload = store.begin_upload(&probe, 5).await?;
            upload.write(bytes::Bytes::from_static(b"probe")).await?;
            if upload.finish().await.is_ok() {
                return Ok(store.delete(&probe).await?);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            eprintln!("--- SeaweedFS logged:\n{}\n---", process::tail(&log));
        }
        // Reaped here, so that the guard, which goes next, waits for nothing.
        if let Some(mut child) = self.child.get_mut().take() {
            self.forget_pid();
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ports {
    /// Ports that are free, each with its gRPC port.
    fn find() -> anyhow::Result<Self> {
        let mut reserved = Vec::new();
        let mut next = || {
            for _ in 0..1000 {
                let port = rand::rng().random_range(PORTS);
                if let [Some(http), Some(grpc)] = [port, port + GRPC_PORT_OFFSET].map(Port::take) {
                    reserved.extend([http, grpc]);
                    return Ok(port);
                }
            }
            bail!("no pair of free ports was found")
        };
        let [master, volume, filer, s3, admin] = [next()?, next()?, next()?, next()?, next()?];
        Ok(Self {
            master,
            volume,
            filer,
            s3,
            admin,
            _reserved: reserved,
        })
    }
}
