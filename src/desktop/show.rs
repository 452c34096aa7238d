//! Showing a file in the file manager, and opening it: a thread, since a file manager may take
//! seconds to start.
//!
//! A folder with a file selected: `org.freedesktop.FileManager1` first (file-manager-interface
//! specification), else the portal's `OpenURI.OpenDirectory` (which selects too), else `xdg-open`
//! on the folder.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::Receiver,
};

use zbus::{
    blocking::Connection,
    zvariant::{Fd, Value},
};

use super::{event_loop::GDK_GL, inbox::InboxThread};
use crate::text::file_uri;

const FILE_MANAGER: &str = "org.freedesktop.FileManager1";
const FILE_MANAGER_PATH: &str = "/org/freedesktop/FileManager1";
const PORTAL: &str = "org.freedesktop.portal.Desktop";
const PORTAL_PATH: &str = "/org/freedesktop/portal/desktop";
const OPEN_URI: &str = "org.freedesktop.portal.OpenURI";

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenRequest {
    /// A file in its folder, selected.
    File(PathBuf),
    /// A folder; if it isn't there, the nearest above it that is.
    Folder(PathBuf),
    /// A file in the program that the user has chosen for its kind.
    Open(PathBuf),
}

#[derive(Debug)]
enum OpenerMessage {
    Show(OpenRequest),
    Bus(Option<Connection>),
}

/// The thread. Dropping it ends and joins it; close the connection before, so that no call holds it
/// up.
#[derive(Debug)]
pub struct Opener(InboxThread<OpenerMessage>);

impl Opener {
    /// Starts the thread.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn start() -> io::Result<Self> {
        InboxThread::start("show", |from| run(&from)).map(Self)
    }

    /// Shows it as soon as the thread gets to it.
    pub fn show(&self, request: OpenRequest) {
        self.0.send(OpenerMessage::Show(request));
    }

    /// The session bus is there, or gone.
    pub fn bus(&self, connection: Option<Connection>) {
        self.0.send(OpenerMessage::Bus(connection));
    }
}

fn run(from: &Receiver<OpenerMessage>) {
    let mut bus = None;
    let mut children: Vec<Child> = Vec::new();
    while let Ok(message) = from.recv() {
        match message {
            OpenerMessage::Bus(connection) => bus = connection,
            OpenerMessage::Show(request) => {
                children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
                match show(bus.as_ref(), &request) {
                    Ok(child) => children.extend(child),
                    Err(error) => tracing::warn!(%error, ?request, "can't be shown"),
                }
            }
        }
    }
}

/// Shows it now. Returns the child process, which the caller has to wait for.
fn show(bus: Option<&Connection>, request: &OpenRequest) -> io::Result<Option<Child>> {
    let (path, folder) = match request {
        OpenRequest::Open(path) => return xdg_open(path).map(Some),
        OpenRequest::File(path) if path.exists() => (path.as_path(), false),
        OpenRequest::File(path) | OpenRequest::Folder(path) => (existing(path), true),
    };
    if bus.is_some_and(|bus| by_file_manager(bus, path, folder) || by_portal(bus, path, folder)) {
        return Ok(None);
    }
    xdg_open(if folder {
        path
    } else {
        existing(path.parent().unwrap_or(path))
    })
    .map(Some)
}

/// The path, or the nearest folder above it that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|p| p.exists()).unwrap_or(path)
}

fn by_file_manager(bus: &Connection, path: &Path, folder: bool) -> bool {
    let method = if folder { "ShowFolders" } else { "ShowItems" };
    let body = (vec![file_uri(path)], "");
    match bus.call_method(
        Some(FILE_MANAGER),
        FILE_MANAGER_PATH,
        Some(FILE_MANAGER),
        method,
        &body,
    ) {
        Ok(_) => true,
        // The file manager is only slow: trying another way would open a second window.
        Err(zbus::Error::InputOutput(e)) if e.kind() == io::ErrorKind::TimedOut => true,
        Err(error) => {
            tracing::debug!(%error, "no file manager on the bus");
            false
        }
    }
}

fn by_portal(bus: &Connection, path: &Path, folder: bool) -> bool {
    // The portal shows the folder in which the descriptor's file lies, so a folder is shown by a
    // file inside it.
    let inside = path
        .read_dir()
        .ok()
        .and_then(|mut all| all.next())
        .and_then(Result::ok)
        .map(|e| e.path());
    let file = if folder {
        inside
    } else {
        Some(path.to_owned())
    };
    let Some(file) = file else { return false };
    let Ok(file) = File::open(file) else {
        return false;
    };
    let options: HashMap<&str, Value<'_>> = HashMap::new();
    let body = ("", Fd::from(file.as_fd()), options);
    let reply = bus.call_method(
        Some(PORTAL),
        PORTAL_PATH,
        Some(OPEN_URI),
        "OpenDirectory",
        &body,
    );
    reply
        .inspect_err(|error| tracing::debug!(%error, "no portal"))
        .is_ok()
}

/// In a process group of its own, so that Ctrl-C in our terminal doesn't end the user's player, and
/// with GL, which only we do without.
fn xdg_open(path: &Path) -> io::Result<Child> {
    let mut command = Command::new("xdg-open");
    command
        .arg(path)
        .env_remove(GDK_GL)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_folder_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(&dir.path().join("a/b")), dir.path());
        assert_eq!(existing(dir.path()), dir.path());
    }
}
