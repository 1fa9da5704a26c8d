//! Operators' commands about webhooks.

use rootstock_tests::standalone::DataDirectory;
use serde_json::Value;

use super::failure;

#[tokio::test]
async fn a_webhook_is_added_changed_shown_and_removed() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    // Disabled, so that nothing is sent to where nobody listens.
    let add = [
        "webhook",
        "add",
        "ci",
        "http://127.0.0.1:1/hook",
        "--kind",
        "image,version",
        "--disabled",
    ];
    let added = standalone.ok(&add).await?;
    assert!(added.contains("not shown again"), "{added}");
    let shown = standalone
        .ok(&["webhook", "show", "ci", "--format", "json"])
        .await?;
    let webhook: Value = serde_json::from_str(&shown)?;
    assert_eq!(webhook["kinds"], serde_json::json!(["image", "version"]));
    assert_eq!(
        (&webhook["disabled"], webhook.get("secret")),
        (&true.into(), None)
    );

    standalone
        .ok(&["webhook", "update", "ci", "--all-kinds", "--name-glob", "debian*"])
        .await?;
    let list = standalone.ok(&["webhook", "list", "--format", "csv"]).await?;
    assert!(
        list.contains("ci,http://127.0.0.1:1/hook,,debian*,true"),
        "{list}"
    );
    let stale = ["webhook", "update", "ci", "--all-kinds", "--etag", "stale"];
    let (said, code) = failure(&standalone.run(&stale).await?);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("changed meanwhile"), "{said}");

    standalone.ok(&["webhook", "rm", "ci"]).await?;
    let (said, code) = failure(&standalone.run(&["webhook", "show", "ci"]).await?);
    assert_eq!(code, 3, "{said}");
    Ok(())
}
