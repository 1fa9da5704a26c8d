//! What an exchange with a remote may cost.

use std::time::Duration;

use rootstock_model::duration;
use rootstock_runtime::config::{Problems, Validate};
use serde::{Deserialize, Serialize};

/// The largest document that is read, in bytes, both as it comes and unpacked. The largest known
/// one (all of cloud-images.ubuntu.com) has some 30 MB.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;

/// Limits of every exchange with a remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteLimits {
    /// Time to connect, TLS included.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Time from the request to the head of the answer, redirects included, beyond connecting.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// How long a body may be silent.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Time for an index or a products file as a whole.
    #[serde(with = "duration")]
    pub document_timeout: Duration,
    /// A body that brings less than this, over `low_speed_window`, is given up. 0: any is enough.
    pub min_bytes_per_second: u64,
    /// See `min_bytes_per_second`. Only the time spent waiting for the remote counts.
    #[serde(with = "duration")]
    pub low_speed_window: Duration,
}

impl Default for RemoteLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            document_timeout: Duration::from_secs(5 * 60),
            min_bytes_per_second: 1024,
            low_speed_window: Duration::from_secs(30),
        }
    }
}

impl Validate for RemoteLimits {
    fn validate(&self, problems: &mut Problems) {
        for (key, limit) in [
            ("connect_timeout", self.connect_timeout),
            ("header_timeout", self.header_timeout),
            ("idle_timeout", self.idle_timeout),
            ("document_timeout", self.document_timeout),
            ("low_speed_window", self.low_speed_window),
        ] {
            problems.require(!limit.is_zero(), key, "must be more than 0s");
        }
    }
}
