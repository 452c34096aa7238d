//! What fisga costs on the desktop, against the smallest tray program with the same crates
//! (`peers/tray.rs`).
//!
//!     cargo bench --bench desktop                     all figures, as a table
//!     cargo bench --bench desktop -- start memory     some figures only
//!     cargo bench --bench desktop -- --quick          a tenth of the work, for a first look
//!
//! The session is a real one, under Xvfb: xfce4-panel, dunst, a bus of its own. Where a thousand of
//! something is counted, a tray host and a notification server that do the least take their places.

#[path = "../../tests/common/mod.rs"]
mod common;
mod figures;
mod host;
#[path = "../race/process.rs"]
#[allow(dead_code, reason = "each bench uses its part of it")]
mod process;
#[path = "../race/table.rs"]
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail};

use figures::ALL;
use table::Table;

fn run() -> Result<()> {
    let (mut quick, mut only) = (false, Vec::new());
    for word in std::env::args().skip(1).filter(|word| word != "--bench") {
        match word.as_str() {
            "--quick" => quick = true,
            name if ALL.iter().any(|(known, _)| *known == name) => only.push(word),
            _ => {
                let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
                bail!(
                    "unknown argument {word}; there are --quick and {}",
                    names.join(", ")
                );
            }
        }
    }
    let mut table = Table::default();
    for (name, measure) in ALL {
        if only.is_empty() || only.iter().any(|only| only == name) {
            eprintln!("measuring {name} ...");
            if let Err(error) = measure(quick, &mut table) {
                table.failed(name, &format!("{error:#}"));
            }
        }
    }
    println!("{table}");
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("desktop: {error:#}");
            ExitCode::FAILURE
        }
    }
}
