//! Whether the library can take videos.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{Finding, Level};
use crate::{config::Settings, library::room::Disk, text};

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    let library = &settings.library;
    let shown = library.display();
    let base = nearest(library);
    let state = if base == *library {
        ""
    } else {
        " (made with the first video)"
    };
    let writable = match access(&base, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if base.is_dir() => Finding::new("library", Level::Ok, format!("{shown}{state}")),
        Ok(()) => {
            Finding::new("library", Level::Problem, format!("{shown}: {} is no folder", base.display()))
                .advise("choose another one with \"library\" in the configuration")
        }
        Err(e) => Finding::new(
            "library",
            Level::Problem,
            format!("{shown}: nothing can be saved in {}: {e}", base.display()),
        )
        .advise("videos stay held until it can; or choose another one with \"library\" in the configuration"),
    };
    let mut findings = vec![writable.with("library", shown.to_string())];
    match Disk::of(&base) {
        Ok(disk) => {
            findings.push(space(disk.free, settings.min_free));
            if settings.max_library.is_some() && !disk.records_opened {
                let text = "\"max_library\" has no effect: the disk is mounted with noatime, so it is not recorded what was opened";
                findings.push(
                    Finding::new("library", Level::Note, text).advise("mount it with relatime"),
                );
            }
        }
        Err(e) => {
            let text = format!("{shown}: its space is unknown: {e}");
            findings.push(Finding::new("library", Level::Problem, text));
        }
    }
    findings
}

fn space(free: u64, min_free: u64) -> Finding {
    let (now, limit) = (text::size(free), text::size(min_free));
    let finding = match free {
        _ if free <= min_free => {
            let text = format!("{now} are free, and {limit} are to stay free: nothing is saved");
            Finding::new("library", Level::Problem, text)
                .advise("make room on the disk, or lower \"min_free\" in the configuration")
        }
        _ if free / 2 <= min_free => Finding::new(
            "library",
            Level::Note,
            format!("{now} are free, of which {limit} are to stay free"),
        ),
        _ => Finding::new("library", Level::Ok, format!("{now} are free")),
    };
    finding
        .with("free_bytes", free)
        .with("min_free_bytes", min_free)
}

/// The folder itself, or the nearest above it that is there.
pub(super) fn nearest(folder: &Path) -> PathBuf {
    folder
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_left() {
        const GB: u64 = 1_000_000_000;
        for (free, level) in [
            (0, Level::Problem),
            (GB, Level::Problem),
            (2 * GB, Level::Note),
            (3 * GB, Level::Ok),
        ] {
            assert_eq!(space(free, GB).level, level, "{free}");
        }
    }
}
