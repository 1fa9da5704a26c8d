//! What can be typed to run a process.

use clap::CommandFactory as _;
use rootstock_cli::Cli;

use super::*;

fn parsed(line: &str) -> Result<Cli<ProcessCommand>, clap::Error> {
    Cli::read(std::iter::once("rootstock").chain(line.split_whitespace()))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::<ProcessCommand>::command().debug_assert();
}

#[test]
fn what_operators_type_is_understood() {
    for line in [
        "standalone",
        "standalone --data-dir /srv --grpc-listen 127.0.0.1:0 --http-listen [::]:8443 --admin-listen 127.0.0.1:0",
        "serve catalog --config rootstock.toml --log-format json --log-filter info,sqlx=warn",
        "serve sync",
        "serve gateway",
        "migrate",
        "check-config",
        "healthcheck --admin 127.0.0.1:9090",
        "image list",
    ] {
        parsed(line).unwrap_or_else(|problem| panic!("{line}: {problem}"));
    }
}

#[test]
fn mistakes_are_told_as_usage() {
    for line in [
        "",
        "serve",
        "serve everything",
        "serve catalog --server http://127.0.0.1:1",
        "--format json standalone",
        "healthcheck --admin nowhere",
    ] {
        let problem = parsed(line).expect_err(line);
        assert_eq!(problem.exit_code(), 2, "{line}");
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
    check(&Cli::<ProcessCommand>::command(), "rootstock");
}
