//! `fisga config`.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use super::Outcome;
use crate::{
    cli::{Config, Global},
    config,
    environment::Environment,
};

/// Prints where the configuration is, what is in force, whether it can be used, or its schema.
///
/// # Errors
/// A configuration that can't be used ([`config::ConfigError`]), or an `out` that can't be written.
pub fn run(
    which: Config,
    global: &Global,
    env: &Environment,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let path = global.config.as_deref();
    match which {
        Config::Path => {
            writeln!(
                out,
                "{}",
                path.map_or_else(|| config::default_path(env), Path::to_owned)
                    .display()
            )?;
        }
        Config::Show => {
            let file = config::effective(path, &global.overrides(), env)?;
            out.write_all(config::pretty(&file).as_bytes())?;
        }
        Config::Check => {
            let settings = config::load(path, &global.overrides(), env)?;
            let path: PathBuf = path.map_or_else(|| config::default_path(env), Path::to_owned);
            let absent = if path.exists() {
                ""
            } else {
                " is absent: defaults are in force"
            };
            writeln!(
                out,
                "{}{absent}: good, {} rules",
                path.display(),
                settings.rules.len()
            )?;
        }
        Config::Schema => out.write_all(config::pretty(&config::schema()).as_bytes())?,
    }
    Ok(Outcome::Good)
}
