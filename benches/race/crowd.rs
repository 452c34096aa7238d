//! Other processes with open files, as a desktop has them: what a scan of `/proc` must get through.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

const MODE: &str = "--as-bystander";

/// Processes that hold files open until this is dropped.
#[derive(Debug)]
pub(crate) struct Crowd(Vec<Child>);

impl Crowd {
    /// Starts `processes` processes with `files` open files each, and waits until all are open.
    pub(crate) fn gather(processes: usize, files: usize) -> Result<Self> {
        let mut crowd = Self(Vec::new());
        for _ in 0..processes {
            let child = Command::new(std::env::current_exe()?)
                .args([MODE, &files.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .context("can't start a bystander")?;
            crowd.0.push(child);
        }
        for child in &mut crowd.0 {
            let stdout = child.stdout.as_mut().context("no pipe")?;
            stdout
                .read_exact(&mut [0])
                .context("a bystander ended early")?;
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take()); // the end of its input ends it
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// A bystander's main function, if this process was started to be one.
pub(crate) fn asked_for() -> Option<Result<()>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.as_slice() {
        [mode, files] if mode == MODE => Some(stand_by(files)),
        _ => None,
    }
}

fn stand_by(files: &str) -> Result<()> {
    let program = std::env::current_exe()?;
    let open: Vec<File> = (0..files.parse()?)
        .map(|_| File::open(&program))
        .collect::<Result<_, _>>()?;
    std::io::stdout().write_all(b".")?;
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(open);
    Ok(())
}
