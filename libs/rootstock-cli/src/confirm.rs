//! Asking before something is lost.

use std::io::{self, BufRead, IsTerminal as _};

use crate::failure::Failure;

/// Whether to ask.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct ConfirmArgs {
    /// Do not ask; needed where no terminal is there to be asked at
    #[arg(short, long)]
    yes: bool,
}

/// Asks whether what is listed may go, unless that was said already. The question stands on standard error.
///
/// # Errors
/// The answer is no; or there is nobody to ask.
pub(super) fn removal(args: ConfirmArgs, what: &str, names: &[String]) -> Result<(), Failure> {
    if args.yes {
        return Ok(());
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(format!(
            "{} would be removed, and there is no terminal to ask at: --yes says that it is meant",
            names.join(", ")
        )));
    }
    if ask(
        &question(what, names),
        &mut stdin.lock(),
        &mut io::stderr().lock(),
    )? {
        Ok(())
    } else {
        Err(Failure::failed("nothing was removed"))
    }
}

/// As `amc` words it.
fn question(what: &str, names: &[String]) -> String {
    let mut text = format!("The following {what} will be REMOVED:\n");
    for name in names {
        text += &format!("  - {name}\n");
    }
    text + "Do you want to continue? [Y/n]: "
}

/// Asks until the answer is one. The end of input is none.
fn ask(question: &str, input: &mut impl BufRead, output: &mut impl io::Write) -> io::Result<bool> {
    write!(output, "{question}")?;
    loop {
        output.flush()?;
        let mut answer = String::new();
        if input.read_line(&mut answer)? == 0 {
            return Ok(false);
        }
        match answer.trim().to_ascii_lowercase().as_str() {
            "" | "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => write!(output, "y or n: ")?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_the_one_that_operators_know() {
        assert_eq!(
            question("image", &["foo".into()]),
            "The following image will be REMOVED:\n  - foo\nDo you want to continue? [Y/n]: "
        );
    }

    #[test]
    fn only_yes_is_yes() {
        for (typed, answer) in [
            ("\n", true),
            ("y\n", true),
            (" YES \n", true),
            ("n\n", false),
            ("No\n", false),
            ("", false),
            ("what?\nn\n", false),
            ("what?\ny\n", true),
            ("what?\n", false),
        ] {
            let said = ask("? ", &mut typed.as_bytes(), &mut Vec::new()).unwrap();
            assert_eq!(said, answer, "{typed:?}");
        }
    }
}
