//! How messages print that hold credentials: without them.

use std::fmt;

use crate::catalog::v1::Remote;

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Remote");
        shown
            .field("name", &self.name)
            .field("url", &self.url)
            .field("protocol", &self.protocol)
            .field("mode", &self.mode)
            .field("include", &self.include)
            .field("exclude", &self.exclude)
            .field("root_preference", &self.root_preference)
            .field("keep_versions", &self.keep_versions)
            .field("update_interval", &self.update_interval)
            .field("ca_bytes", &self.ca_pem.len())
            .field("insecure", &self.insecure)
            .field("created_at", &self.created_at)
            .field("status", &self.status)
            .field("disabled", &self.disabled)
            .field("version_constraint", &self.version_constraint)
            .field("auth_set", &self.auth_set)
            .field("etag", &self.etag);
        if !self.auth.is_empty() {
            shown.field("auth", &format_args!("[hidden]"));
        }
        shown.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_printed() {
        let remote = Remote {
            name: "lab".into(),
            auth: "user:hunter2".into(),
            ..Remote::default()
        };
        let shown = format!("{remote:?}");
        assert!(
            shown.contains("lab") && shown.contains("[hidden]") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
