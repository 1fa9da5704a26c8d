//! What can be typed.

use clap::CommandFactory as _;

use super::*;

/// What an executable hands in.
#[derive(Debug, clap::Subcommand)]
enum Process {
    /// Begin
    Begin,
}

impl ProcessCommand for Process {
    fn run(self) -> Result<(), Failure> {
        let Self::Begin = self;
        Ok(())
    }
}

fn parsed(line: &str) -> Result<Cli<Process>, clap::Error> {
    Cli::read(std::iter::once("rootstock").chain(line.split_whitespace()))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::<Process>::command().debug_assert();
}

#[test]
fn what_operators_type_is_understood() {
    for line in [
        "begin",
        "remote add lab https://lab --include os=debian --include os=alp* --exclude type=virtual-machine \
         --mode on-demand --keep-versions 3 --update-interval 90s --ca ca.pem --insecure --disabled",
        "remote add lab https://lab --auth-file - --version-constraint 1.30 --root-preference squashfs",
        "remote --server http://127.0.0.1:1 list --format yaml",
        "--server http://127.0.0.1:1 --format csv remote ls",
        "remote ls",
        "remote show lab --left-out",
        "remote info lab",
        "remote update lab --url https://new --unset include,auth --auth-env TOKEN --insecure=false --etag 4",
        "remote remove lab",
        "remote rm lab",
        "remote sync lab --plan",
        "remote sync lab --wait --force",
        "remote test lab",
        "remote test lab https://lab --include os=debian",
        "remote enable lab",
        "remote disable lab",
        "image list --remote lab --type vm --status active debian*",
        "image ls --alias debian/12 --arch arm64 --property os=Debian --property a=b --cached --default=false",
        "image show debian/12 --vm --format json",
        "image info debian/12",
        "image add base debian/12@2026 --default --auto-update no --private --property a=b --alias x --wait",
        "image update base --private --auto-update true --expires never --property a= --unset-property b --etag 3",
        "image set base --expires-at 2026-12-24",
        "image switch base --vm",
        "image fetch debian/12 --version 3 --wait",
        "image sync debian/12",
        "image rollback base --reason broken --until 7d --version 0 --etag 3",
        "image release base",
        "image explain base",
        "image resolve --type container",
        "image resolve --vm",
        "image resolve base --arch amd64 --version 1 --use --cgroup v1 --secureboot off --agent-disk",
        "image use base",
        "image delete base old --force --yes",
        "image rm base -fy",
        "image delete base -v 3 -y --etag 4",
        "image delete-version base 3 --yes --vm",
        "image alias create a/b base --version 0 --description text --replace",
        "image alias list a* --image base",
        "image alias show a/b --type container --arch amd64",
        "image alias update a/b --image base --newest",
        "image alias rename a/b c",
        "image alias rm c",
        "application create shop base --version 3 --auto-update false",
        "app create shop --type container",
        "app ls --image base",
        "application show shop",
        "application update shop --image base --version 3 --auto-update on",
        "application delete shop -y",
        "config show",
        "config get images.deletion_grace",
        "config set images.deletion_grace 48h",
        "config set images.deletion_grace=48h",
        "config reset images.deletion_grace",
        "blob list --unneeded",
        "blob ls --needed --format csv",
        "blob collect --dry-run",
        "transfer list --remote lab --image base",
        "watch --from-revision 7 --format json",
        "watch --initial-state --debug --kind image,version --kind alias --name debian*",
        "webhook add ci https://ci/hook --kind image,version --name-glob a* --secret-env S --from-revision 3 --disabled",
        "webhook ls",
        "webhook show ci",
        "webhook update ci --url https://new --all-kinds --enable --etag 3",
        "webhook rm ci",
        "webhook test ci",
        "lint https://lab/images --blobs --ca ca.pem --insecure --product debian:* --product alpine:* --format json",
        "lint ./tree --index-only",
        "--format csv lint ./tree",
        "completion fish",
        "man target/man",
    ] {
        parsed(line).unwrap_or_else(|problem| panic!("{line}: {problem}"));
    }
}

#[test]
fn mistakes_are_told_as_usage() {
    for line in [
        "",
        "nonsense",
        "begin --server http://127.0.0.1:1",
        "--format json begin",
        "remote add lab",
        "remote add lab https://lab --include flavour=x",
        "remote add lab https://lab --keep-versions 0",
        "remote add lab https://lab --update-interval 5",
        "remote add lab https://lab --auth-file a --auth-env B",
        "remote add lab https://lab --auth user:password",
        "remote update lab --unset name",
        "remote sync lab --plan --wait",
        "image list --status sleepy",
        "image list --type pod",
        "image list --property os",
        "image show",
        "image update base",
        "image update base --public --private",
        "image update base --expires tomorrow",
        "image rollback base",
        "image fetch base --version -1",
        "image delete",
        "image delete base --version 3 --force",
        "image alias update a",
        "image alias update a --newest --version 3",
        "image resolve base --cgroup v3",
        "image show base --vm --type container",
        "application update shop",
        "image resolve",
        "app create shop",
        "config get",
        "watch --from-revision 0",
        "watch --from-revision 1 --initial-state",
        "watch --kind sandwich",
        "webhook add ci",
        "webhook add ci https://ci --secret hush",
        "webhook update ci --enable --disable",
        "lint",
        "lint ./tree --blobs --index-only",
        "lint ./tree --product [",
        "lint ./tree --server http://127.0.0.1:1",
        "completion cmd",
        "image list --format xml",
    ] {
        let problem = parsed(line).expect_err(line);
        assert_eq!(problem.exit_code(), 2, "{line}");
    }
}

#[test]
fn what_is_mistyped_is_guessed() {
    for (line, guess) in [
        ("image lsit", "list"),
        ("image rolback x", "rollback"),
        ("remot list", "remote"),
        ("image list --remot lab", "--remote"),
    ] {
        let said = parsed(line).expect_err(line).to_string();
        assert!(said.contains(guess), "{line}: {said}");
    }
}

/// Help is what people read first: every command and every flag says what it is for.
#[test]
fn everything_is_described() {
    fn check(command: &clap::Command, path: &str) {
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            let described = argument.get_help().is_some() || ["help", "version"].contains(&id);
            assert!(described, "{path}: {id} is not described");
        }
        for below in command.get_subcommands() {
            let path = format!("{path} {}", below.get_name());
            assert!(below.get_about().is_some(), "{path} is not described");
            check(below, &path);
        }
    }
    check(&Cli::<Process>::command(), "rootstock");
}
