//! The built executable, as users meet it: its exit codes and one-line errors, standalone and its
//! Postgres, and the operators' commands.

mod commands;
mod configuration;
mod confirmation;
mod formats;
mod images;
mod operating;
mod services;
mod shells;
mod standalone;
mod webhooks;

use std::process::Output;

use rootstock_tests::{process, standalone::run};

/// Runs `rootstock <arguments>` with nothing configured.
async fn rootstock(arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = process::command()?;
    command.args(arguments);
    run(command).await
}

/// What was printed on standard error, and the exit code.
fn failure(output: &Output) -> (String, i32) {
    let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    (said, output.status.code().unwrap_or(-1))
}
