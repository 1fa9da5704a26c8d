//! `rootstock completion`: words that a shell completes, names on the server among them.
//!
//! The shell asks this very executable (see [`answer`]), so what it offers is always what this version understands.
//! Names come from the server that `--server` or the environment says, and only if it answers at once: a shell that
//! hangs, or prints errors into the line that is being typed, would be worse than no completion.

use std::{ffi::OsStr, future::Future, time::Duration};

use clap::Parser as _;
use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCompleter, CompletionCandidate},
    env::Shells,
};
use rootstock_proto::catalog::v1::{
    ListAliasesRequest, ListApplicationsRequest, ListImagesRequest, ListRemotesRequest, ListSettingsRequest,
    ListWebhooksRequest,
};

use crate::{
    client::{Client, ClientArgs},
    failure::Failure,
    output,
    pages::ListRequest as _,
};

/// Set by the scripts when they ask.
const VARIABLE: &str = "ROOTSTOCK_COMPLETE";
/// Longer than a server near by needs, shorter than what is felt as a hang.
const PATIENCE: Duration = Duration::from_millis(400);

/// After what is generated for bash. Names hold colons, and bash breaks words at them: they are put together again before
/// the question, and what is typed already is taken off the answers.
const BASH_COLONS: &str = r#"
_rootstock() {
    local -a words=()
    local last=-1 at cword=0
    for ((at = 0; at < ${#COMP_WORDS[@]}; at++)); do
        if ((last >= 0)) && [[ ${COMP_WORDS[at]} == :* || ${words[last]} == *: ]]; then
            words[last]+=${COMP_WORDS[at]}
        else
            last=$((last + 1))
            words[last]=${COMP_WORDS[at]}
        fi
        if ((at <= COMP_CWORD)); then
            cword=$last
        fi
    done
    local typed=${words[cword]}
    local -a COMP_WORDS=("${words[@]}")
    local COMP_CWORD=$cword
    _clap_complete_rootstock "$1" "$typed" "$3"
    if [[ $COMP_WORDBREAKS == *:* && $typed == *:* ]]; then
        local prefix=${typed%"${typed##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
}
complete -o nospace -o bashdefault -F _rootstock rootstock
"#;

const EXAMPLES: &str = "\
To install:
  bash  rootstock completion bash > ~/.local/share/bash-completion/completions/rootstock
  zsh   rootstock completion zsh > ~/.zfunc/_rootstock      (with fpath+=~/.zfunc before compinit)
  fish  rootstock completion fish > ~/.config/fish/completions/rootstock.fish

Names of images, aliases, remotes, applications and settings are completed as well, from the server that
ROOTSTOCK_SERVER says, when it answers at once.";

/// Print a script that lets a shell complete commands, flags and names
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl CompletionArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub(super) fn run(self) -> Result<(), Failure> {
        let shell = match self.shell {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
        };
        let mut script = Vec::new();
        Shells::builtins()
            .completer(shell)
            .ok_or_else(|| Failure::failed(format!("cannot complete for {shell}")))?
            .write_registration(VARIABLE, "rootstock", "rootstock", "rootstock", &mut script)?;
        if matches!(self.shell, Shell::Bash) {
            script.extend(BASH_COLONS.bytes());
        }
        output::write(&String::from_utf8_lossy(&script))
    }
}

/// Answers a shell that asks what may be typed in the line of `command`; true when one asked.
pub(super) fn answer(command: fn() -> clap::Command) -> bool {
    // A shell that asks in a way that is not understood gets no completion, and no noise.
    let asked = std::env::var_os(VARIABLE).is_some_and(|shell| !shell.is_empty() && shell != "0");
    if asked {
        let _ = CompleteEnv::with_factory(command)
            .var(VARIABLE)
            .try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref());
    }
    asked
}

/// Completes a reference to an image: names and aliases.
pub(super) fn images() -> ArgValueCompleter {
    names(async |client| {
        let request = ListImagesRequest::default().at(String::new());
        let images = client
            .images()
            .list_images(request)
            .await
            .ok()?
            .into_inner()
            .images;
        Some(
            images
                .into_iter()
                .flat_map(|image| std::iter::once(image.name).chain(image.aliases))
                .collect(),
        )
    })
}

/// Completes the name of an alias.
pub(super) fn aliases() -> ArgValueCompleter {
    names(async |client| {
        let request = ListAliasesRequest::default().at(String::new());
        let aliases = client
            .aliases()
            .list_aliases(request)
            .await
            .ok()?
            .into_inner()
            .aliases;
        Some(aliases.into_iter().map(|alias| alias.name).collect())
    })
}

/// Completes the name of a remote.
pub(super) fn remotes() -> ArgValueCompleter {
    names(async |client| {
        let request = ListRemotesRequest::default().at(String::new());
        let remotes = client
            .remotes()
            .list_remotes(request)
            .await
            .ok()?
            .into_inner()
            .remotes;
        Some(remotes.into_iter().map(|remote| remote.name).collect())
    })
}

/// Completes the name of an application.
pub(super) fn applications() -> ArgValueCompleter {
    names(async |client| {
        let request = ListApplicationsRequest::default().at(String::new());
        let page = client
            .applications()
            .list_applications(request)
            .await
            .ok()?
            .into_inner();
        Some(
            page.applications
                .into_iter()
                .map(|application| application.name)
                .collect(),
        )
    })
}

/// Completes the name of a webhook.
pub(super) fn webhooks() -> ArgValueCompleter {
    names(async |client| {
        let request = ListWebhooksRequest::default().at(String::new());
        let page = client.webhooks().list_webhooks(request).await.ok()?.into_inner();
        Some(page.webhooks.into_iter().map(|webhook| webhook.name).collect())
    })
}

/// Completes the key of a setting.
pub(super) fn settings() -> ArgValueCompleter {
    names(async |client| {
        let answer = client
            .settings()
            .list_settings(ListSettingsRequest {})
            .await
            .ok()?
            .into_inner();
        Some(answer.settings.into_iter().map(|setting| setting.key).collect())
    })
}

fn names<F>(ask: impl Fn(Client) -> F + Clone + Send + Sync + 'static) -> ArgValueCompleter
where
    F: Future<Output = Option<Vec<String>>>,
{
    ArgValueCompleter::new(move |current: &OsStr| {
        let current = current.to_string_lossy().into_owned();
        let mut names = at_once(&ask).unwrap_or_default();
        names.sort();
        names.dedup();
        names.retain(|name| name.starts_with(&current));
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Asks the server; nothing when it does not answer at once.
fn at_once<F>(ask: &impl Fn(Client) -> F) -> Option<Vec<String>>
where
    F: Future<Output = Option<Vec<String>>>,
{
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let names = runtime.block_on(async {
        let client = Client::new(&server_of_line()?).ok()?;
        tokio::time::timeout(PATIENCE, ask(client)).await.ok()?
    });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    names
}

/// The server that the environment says, or the line that is being typed.
fn server_of_line() -> Option<ClientArgs> {
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        client: ClientArgs,
    }
    let words: Vec<_> = std::env::args().collect();
    let mut flags = vec!["rootstock".to_owned()];
    for (at, word) in words.iter().enumerate() {
        let name = word.split('=').next().unwrap_or_default();
        if name == "--server" || name == "--server-ca" {
            flags.push(word.clone());
            if name == word {
                flags.extend(words.get(at + 1).cloned());
            }
        }
    }
    Some(Flags::try_parse_from(flags).ok()?.client)
}
