//! Start on login: one entry in the user's autostart folder.
//!
//! Written here and not by a crate, since those at hand don't quote `Exec` and ignore
//! `XDG_CONFIG_HOME`. The alternative is the systemd user unit; where that is enabled, no entry is
//! written, or two would start.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use directories::BaseDirs;
use thiserror::Error;

pub mod entry;

use entry::DesktopEntry;

/// The systemd user unit's name.
pub const UNIT: &str = "fisga.service";

/// Why start on login could not be read or switched.
#[derive(Debug, Error)]
pub enum AutostartError {
    /// No home, so no autostart folder.
    #[error("there is no home folder, so nothing can start on login")]
    NoHome,
    /// The entry could not be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The entry.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The entry could not be written or removed.
    #[error("can't write {}", path.display())]
    Write {
        /// The entry.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// This program's own path can't stand in an entry.
    #[error("{} can't stand in an autostart entry: it is gone, or its name is no UTF-8 text", path.display())]
    Program {
        /// The path.
        path: PathBuf,
    },
    /// The systemd user unit is enabled already.
    #[error(
        "the systemd user unit {UNIT} starts it already; `systemctl --user disable {UNIT}` first"
    )]
    Unit,
}

/// Whether it is on, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutostartStatus {
    /// It doesn't start on login.
    Off,
    /// The entry starts it.
    On,
    /// The entry is there, and its program is not.
    Moved {
        /// The program that the entry names.
        program: String,
    },
    /// The systemd user unit starts it.
    Unit,
}

impl AutostartStatus {
    /// Whether the user has asked for it, by whichever way.
    pub fn is_on(&self) -> bool {
        *self != AutostartStatus::Off
    }
}

/// The autostart entry of one user.
#[derive(Clone, Debug)]
pub struct Autostart {
    home: PathBuf,
    system: Vec<PathBuf>,
    units: Vec<PathBuf>,
}

impl Autostart {
    /// By the environment: `XDG_CONFIG_HOME`, `XDG_CONFIG_DIRS`.
    ///
    /// # Errors
    /// [`AutostartError::NoHome`]
    pub fn new() -> Result<Self, AutostartError> {
        let home = BaseDirs::new()
            .ok_or(AutostartError::NoHome)?
            .config_dir()
            .to_owned();
        let dirs = env::var_os("XDG_CONFIG_DIRS")
            .filter(|d| !d.is_empty())
            .unwrap_or_else(|| "/etc/xdg".into());
        let units = vec![home.join("systemd/user"), "/etc/systemd/user".into()];
        Ok(Self {
            home,
            system: env::split_paths(&dirs).collect(),
            units,
        })
    }

    /// The folder of the user's entries.
    pub fn folder(&self) -> PathBuf {
        self.home.join("autostart")
    }

    /// The user's entry.
    pub fn path(&self) -> PathBuf {
        self.folder().join(file_name())
    }

    /// Whether it is on now, and by what.
    ///
    /// # Errors
    /// [`AutostartError::Read`]
    pub fn status(&self) -> Result<AutostartStatus, AutostartError> {
        if self.unit_is_enabled() {
            return Ok(AutostartStatus::Unit);
        }
        let entry = DesktopEntry::parse(&self.text()?.unwrap_or_default());
        if !entry.is_on() {
            return Ok(AutostartStatus::Off);
        }
        match program(&entry) {
            Some(program) if find(&program).is_none() => Ok(AutostartStatus::Moved { program }),
            _ => Ok(AutostartStatus::On),
        }
    }

    /// Switches it on for `program`, the path of the binary.
    ///
    /// # Errors
    /// [`AutostartError::Program`], [`AutostartError::Unit`], [`AutostartError::Write`]
    pub fn on(&self, program: &Path) -> Result<(), AutostartError> {
        if self.unit_is_enabled() {
            return Err(AutostartError::Unit);
        }
        let exec = entry::exec(&command(program)?);
        self.write(&format!(
            "[Desktop Entry]\nType=Application\nName=fisga\nComment=Keeps the videos that you watch\n\
             Exec={exec}\nIcon={id}\nTerminal=false\nX-GNOME-Autostart-enabled=true\n",
            id = super::APP_ID
        ))
    }

    /// Switches it off. An entry of the system is overruled, not removed.
    ///
    /// # Errors
    /// [`AutostartError::Write`], [`AutostartError::Unit`]: the unit is systemd's to disable
    pub fn off(&self) -> Result<(), AutostartError> {
        if self.unit_is_enabled() {
            return Err(AutostartError::Unit);
        }
        if self.system_entry().is_some() {
            return self.write("[Desktop Entry]\nType=Application\nName=fisga\nHidden=true\n");
        }
        match fs::remove_file(self.path()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(AutostartError::Write {
                path: self.path(),
                source,
            }),
            _ => Ok(()),
        }
    }

    /// If the entry's program has moved, writes `program` in its place. Returns whether it did. An
    /// entry whose program is still there is the user's choice and stays.
    ///
    /// # Errors
    /// [`AutostartError`]
    pub fn mend(&self, program: &Path) -> Result<bool, AutostartError> {
        let AutostartStatus::Moved { program: old } = self.status()? else {
            return Ok(false);
        };
        let Some(text) = self.text()? else {
            return Ok(false);
        };
        let exec = DesktopEntry::parse(&text).exec.unwrap_or_default();
        let mut arguments = command(program)?;
        let rest = entry::arguments(&exec).unwrap_or_default();
        arguments.extend(rest.into_iter().skip_while(|a| *a != old).skip(1));
        self.write(&entry::with_exec(&text, &entry::exec(&arguments)))?;
        Ok(true)
    }

    fn text(&self) -> Result<Option<String>, AutostartError> {
        let system = self
            .system
            .iter()
            .map(|dir| dir.join("autostart").join(file_name()));
        for path in std::iter::once(self.path()).chain(system) {
            match fs::read(&path) {
                Ok(bytes) => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(AutostartError::Read { path, source }),
            }
        }
        Ok(None)
    }

    fn system_entry(&self) -> Option<PathBuf> {
        self.system
            .iter()
            .map(|dir| dir.join("autostart").join(file_name()))
            .find(|path| path.exists())
    }

    /// `systemctl --user enable` leaves a link in a `.wants` folder (systemctl(1), "enable").
    fn unit_is_enabled(&self) -> bool {
        let folders = self
            .units
            .iter()
            .filter_map(|dir| fs::read_dir(dir).ok())
            .flatten()
            .flatten();
        folders.map(|f| f.path()).any(|f| {
            f.extension().is_some_and(|e| e == "wants") && f.join(UNIT).symlink_metadata().is_ok()
        })
    }

    fn write(&self, text: &str) -> Result<(), AutostartError> {
        let path = self.path();
        let write = || -> io::Result<()> {
            fs::create_dir_all(self.folder())?;
            let mut file = tempfile::Builder::new()
                .prefix(".fisga-")
                .tempfile_in(self.folder())?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(0o644))?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|source| AutostartError::Write {
            path: path.clone(),
            source,
        })
    }
}

fn file_name() -> String {
    format!("{}.desktop", super::APP_ID)
}

/// What runs `program`. The specification forbids `=` in the executable's path, so a shell stands
/// in front of one.
fn command(program: &Path) -> Result<Vec<String>, AutostartError> {
    let unfit = || AutostartError::Program {
        path: program.to_owned(),
    };
    let text = program
        .to_str()
        .filter(|_| program.is_file())
        .ok_or_else(unfit)?
        .to_owned();
    if text.contains('=') {
        return Ok(vec![
            "sh".into(),
            "-c".into(),
            "exec \"$0\" \"$@\"".into(),
            text,
        ]);
    }
    Ok(vec![text])
}

/// The program that an entry runs, directly or through the shell of [`command`].
fn program(entry: &DesktopEntry) -> Option<String> {
    let arguments = entry::arguments(entry.exec.as_deref()?)?;
    match arguments.as_slice() {
        [sh, c, _, program, ..] if sh == "sh" && c == "-c" => Some(program.clone()),
        [program, ..] => Some(program.clone()),
        [] => None,
    }
}

/// Where a program is: by its path, or in `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    let is = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(is);
    }
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sandbox {
        dir: tempfile::TempDir,
        autostart: Autostart,
    }

    impl Sandbox {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let home = dir.path().join("home");
            let autostart = Autostart {
                units: vec![home.join("systemd/user")],
                home,
                system: vec![dir.path().join("etc")],
            };
            Self { dir, autostart }
        }

        fn program(&self, name: &str) -> PathBuf {
            let path = self.dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy("/bin/true", &path).unwrap();
            path
        }
    }

    #[test]
    fn on_off_for_any_path() {
        for name in [
            "fisga",
            "with space/fisga",
            "100%/$HOME/`x`/fi\"s\\ga",
            "a=b/fisga",
            "line\nbreak/ä",
        ] {
            let sandbox = Sandbox::new();
            let (autostart, program) = (&sandbox.autostart, sandbox.program(name));
            assert_eq!(autostart.status().unwrap(), AutostartStatus::Off);
            autostart.on(&program).unwrap();
            assert_eq!(autostart.status().unwrap(), AutostartStatus::On, "{name}");
            fs::remove_file(&program).unwrap();
            assert!(
                matches!(autostart.status().unwrap(), AutostartStatus::Moved { .. }),
                "{name}"
            );
            autostart.off().unwrap();
            assert_eq!(autostart.status().unwrap(), AutostartStatus::Off);
            autostart.off().unwrap();
        }
    }

    #[test]
    fn a_moved_program_is_mended_and_a_present_one_left_alone() {
        for name in ["old", "o=ld"] {
            let sandbox = Sandbox::new();
            let (old, new) = (sandbox.program(name), sandbox.program("new=place/fisga"));
            let autostart = &sandbox.autostart;
            autostart.on(&old).unwrap();
            assert!(!autostart.mend(&new).unwrap());
            let text = fs::read_to_string(autostart.path()).unwrap();
            fs::write(autostart.path(), format!("{text}X-Mine=1\n")).unwrap();
            fs::remove_file(old).unwrap();
            assert!(autostart.mend(&new).unwrap());
            assert_eq!(autostart.status().unwrap(), AutostartStatus::On);
            let text = fs::read_to_string(autostart.path()).unwrap();
            assert!(
                text.contains("X-Mine=1") && text.contains("new=place"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_entry_of_the_system_is_overruled() {
        let sandbox = Sandbox::new();
        let autostart = &sandbox.autostart;
        let folder = sandbox.dir.path().join("etc/autostart");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file_name()), "[Desktop Entry]\nExec=true\n").unwrap();
        assert_eq!(autostart.status().unwrap(), AutostartStatus::On);
        autostart.off().unwrap();
        assert_eq!(autostart.status().unwrap(), AutostartStatus::Off);
    }

    #[test]
    fn never_beside_the_unit() {
        let sandbox = Sandbox::new();
        let autostart = &sandbox.autostart;
        let wants = sandbox
            .dir
            .path()
            .join("home/systemd/user/graphical-session.target.wants");
        fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink("/dangling", wants.join(UNIT)).unwrap();
        assert_eq!(autostart.status().unwrap(), AutostartStatus::Unit);
        assert!(matches!(
            autostart.on(&sandbox.program("fisga")),
            Err(AutostartError::Unit)
        ));
        assert!(!autostart.path().exists());
    }
}
