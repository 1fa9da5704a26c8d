//! Completion, as shells ask for it, and manual pages.

use std::{fs, process::Command};

use rootstock_tests::{
    process,
    standalone::{DataDirectory, run},
};

use super::{
    commands::{add, small_remote},
    rootstock,
};

/// Sources the script for bash, completes words as bash breaks them (the last is being typed), and prints a line for each
/// answer.
const ASK_BASH: &str = r#"
source <(rootstock completion bash)
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_TYPE=9
_rootstock rootstock "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\n' "${COMPREPLY[@]}"
"#;

async fn bash(server: &str, words: &[&str]) -> anyhow::Result<String> {
    let executable = process::executable()?;
    let directory = executable.parent().unwrap_or(&executable);
    let path = std::env::var("PATH")?;
    let mut command = Command::new("bash");
    command
        .args(["-c", ASK_BASH, "bash"])
        .args(words)
        .env("PATH", format!("{}:{path}", directory.display()))
        .env("ROOTSTOCK_SERVER", server);
    let output = run(command).await?;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn bash_completes_commands_flags_and_names() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let (remote, _) = small_remote()?;
    add(&standalone, &remote, &[]).await?;
    standalone.ok(&["remote", "sync", "lab", "--wait"]).await?;
    let server = format!("http://{}", standalone.grpc);
    for (words, answers) in [
        (&["rootstock", "image", "rol"][..], "rollback\n"),
        (&["rootstock", "image", "list", "--archi"], "--architecture\n"),
        (&["rootstock", "remote", "show", "l"], "lab\n"),
        (&["rootstock", "image", "show", "debian/b"], "debian/bookworm\n"),
        // As bash breaks it: what stands before the last colon is typed already.
        (
            &["rootstock", "image", "show", "debian", ":", "bo"],
            "bookworm:amd64:default\n",
        ),
    ] {
        let said = bash(&server, words).await?;
        let said: Vec<_> = said.lines().map(str::trim_end).collect();
        assert!(said.contains(&answers.trim_end()), "{words:?}: {said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn completion_is_silent_where_no_server_is() -> anyhow::Result<()> {
    let nobody = "http://127.0.0.1:1";
    let said = bash(nobody, &["rootstock", "image", "show", "deb"]).await?;
    assert_eq!(said.trim(), "");
    let said = bash(nobody, &["rootstock", "image", "fet"]).await?;
    assert_eq!(said.trim(), "fetch");
    Ok(())
}

#[tokio::test]
async fn each_shell_has_its_script() -> anyhow::Result<()> {
    for (shell, registers) in [
        (
            "bash",
            "complete -o nospace -o bashdefault -F _rootstock rootstock",
        ),
        ("zsh", "compdef _clap_dynamic_completer_rootstock rootstock"),
        ("fish", "complete --keep-order --exclusive --command rootstock"),
    ] {
        let output = rootstock(&["completion", shell]).await?;
        let script = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && script.contains(registers), "{script}");
        assert!(script.contains("ROOTSTOCK_COMPLETE"), "{script}");
    }
    Ok(())
}

#[tokio::test]
async fn every_command_has_a_manual_page() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let to = directory.path().join("man1");
    let output = rootstock(&["man", to.to_str().unwrap_or_default()]).await?;
    assert!(output.status.success(), "{output:?}");
    for page in [
        "rootstock.1",
        "rootstock-standalone.1",
        "rootstock-image-rollback.1",
        "rootstock-image-alias-create.1",
        "rootstock-remote-add.1",
        "rootstock-config-set.1",
    ] {
        let text = fs::read_to_string(to.join(page))?;
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS"] {
            assert!(text.contains(part), "{page} has no {part}");
        }
    }
    let rollback = fs::read_to_string(to.join("rootstock-image-rollback.1"))?;
    assert!(rollback.contains("are hidden from every view"), "{rollback}");
    Ok(())
}
