//! Cleaning up after a test process that was killed.
//!
//! Destructors do not run on `kill -9`, on Ctrl-C or for a `static`. A guard is a small shell whose
//! standard input is a pipe from this process: when the process ends, however it ends, the pipe
//! closes and the shell does its one command.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

/// Runs a shell command when this process ends, or when the guard is dropped.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
}

impl Guard {
    /// Arms the guard. `script` sees `arguments` as `$1`, `$2`, …, and is to be silent.
    pub fn new(script: &str, arguments: &[&str]) -> io::Result<Self> {
        let shell = Command::new("sh")
            // A line means disarmed, the end of input that we are gone.
            .args(["-c", &format!("read -r disarmed || {{ {script}\n}}"), "guard"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of a Ctrl-C at the terminal, which is just when it is needed.
            .process_group(0)
            .current_dir("/")
            .spawn()?;
        Ok(Self { shell })
    }

    /// Ends the guard without running its command.
    pub fn disarm(mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            let _ = io::Write::write_all(&mut stdin, b"\n");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
