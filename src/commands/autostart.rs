//! `fisga autostart on|off|status`.

use std::{env, io::Write};

use super::Outcome;
use crate::{
    cli::Autostart as Which,
    desktop::autostart::{Autostart, AutostartStatus, UNIT},
};

/// Switches start on login, or prints whether it is on.
///
/// # Errors
/// When the entry can't be read or written.
pub fn run(which: Which, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let autostart = Autostart::new()?;
    match which {
        Which::On => autostart.on(&env::current_exe()?)?,
        Which::Off => autostart.off()?,
        Which::Status => {}
    }
    match autostart.status()? {
        AutostartStatus::Off => writeln!(out, "off")?,
        AutostartStatus::On => writeln!(out, "on: {}", autostart.path().display())?,
        AutostartStatus::Moved { program } => {
            writeln!(
                out,
                "on, but {program} is gone; fisga mends that when it starts"
            )?;
        }
        AutostartStatus::Unit => writeln!(out, "on: the systemd user unit {UNIT}")?,
    }
    Ok(Outcome::Good)
}
