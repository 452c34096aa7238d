//! Writing the configuration file: once with every default, and one key when the menu switches it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use tempfile::NamedTempFile;

use super::{ConfigError, File, default_library, parse, pretty, read_text, schema};
use crate::environment::Environment;

/// The schema's file name, beside the configuration.
const SCHEMA: &str = "config.schema.json";

/// Makes sure that there is a file to edit: writes one with every default where none is, and beside
/// it the schema that it refers to.
///
/// # Errors
/// [`ConfigError::Write`].
pub fn write_default(path: &Path, env: &Environment) -> Result<(), ConfigError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(error(folder))?;
    let schema_path = folder.join(SCHEMA);
    fs::write(&schema_path, pretty(&schema())).map_err(error(&schema_path))?;
    let file = File {
        schema: Some(format!("./{SCHEMA}")),
        library: Some(env.shorten(&default_library(env))),
        ..File::default()
    };
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
    {
        Ok(mut new) => new.write_all(pretty(&file).as_bytes()).map_err(error(path)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(error(path)(e)),
    }
}

/// Sets one key at the top level and leaves the others as they are, in their order; makes the file
/// if need be. The file is replaced in one step, and a link to it stays a link.
///
/// # Errors
/// When the file that is there can't be used, the key or its value is not allowed, or nothing can
/// be written.
pub fn set(path: &Path, key: &str, value: Value, env: &Environment) -> Result<(), ConfigError> {
    write_default(path, env)?;
    let path = path.canonicalize().map_err(error(path))?;
    let text = read_text(&path)?;
    parse(&text, &path)?;
    let mut keys: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    keys.insert(key.into(), value);
    let text = pretty(&keys);
    parse(&text, &path)?;
    replace(&path, &text).map_err(error(&path))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    new.write_all(text.as_bytes())?;
    new.as_file()
        .set_permissions(fs::metadata(path)?.permissions())?;
    new.as_file().sync_all()?;
    new.persist(path)?;
    Ok(())
}

fn error(path: &Path) -> impl FnOnce(io::Error) -> ConfigError {
    let path: PathBuf = path.to_owned();
    move |source| ConfigError::Write { path, source }
}
