//! The executable; everything is in the libraries.

use std::process::ExitCode;

fn main() -> ExitCode {
    rootstock::commands::main()
}
