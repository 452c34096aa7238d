//! Pictures of videos, where the file manager looks for them: the freedesktop.org Thumbnail
//! Managing Standard, 0.9.
//!
//! A picture lies in `thumbnails/SIZE/MD5.png` below the XDG cache folder, MD5 being that of the
//! file's URI, and is good as long as the URI and the time of change in it are those of the file.
//! A video that was just saved has none yet, so one is made in any case, by the desktop's own
//! programs: `ffmpegthumbnailer`, or `ffmpeg`. Without any of them there is no picture.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use md5::{Digest, Md5};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{png, shelf};
use crate::text::file_uri;

/// The folder of the cache for pictures of [`PIXELS`].
const FOLDER: &str = "large";
/// Longest side of a picture, in pixels.
const PIXELS: u32 = 256;

/// Longer files are not taken for thumbnails, in bytes.
const LONGEST: u64 = 8 << 20;

/// The thumbnail cache of the user.
#[derive(Clone, Debug)]
pub struct Thumbnails {
    cache: PathBuf,
    /// Programs that can make one, the one to try first.
    programs: Vec<Program>,
}

#[derive(Clone, Debug)]
enum Program {
    Ffmpegthumbnailer(PathBuf),
    Ffmpeg(PathBuf),
}

/// Why there is no thumbnail.
#[derive(Debug, thiserror::Error)]
pub enum ThumbnailError {
    /// The video can't be looked at.
    #[error("can't look at {}", path.display())]
    Video {
        /// The video.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The cache can't be written.
    #[error("can't write the thumbnail cache {}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No program could make a picture of it.
    #[error("{program} made no picture of {}", path.display())]
    Picture {
        /// The video.
        path: PathBuf,
        /// The program that was tried last.
        program: String,
    },
    /// The program didn't end in time and was ended.
    #[error("{program} took longer than {limit:?} for {}", path.display())]
    Late {
        /// The video.
        path: PathBuf,
        /// The program.
        program: String,
        /// The time that it had.
        limit: Duration,
    },
}

impl Thumbnails {
    /// For a cache folder, usually `$XDG_CACHE_HOME/thumbnails`, with the programs that are in
    /// `$PATH`.
    pub fn new(cache: &Path) -> Self {
        let programs = [
            in_path("ffmpegthumbnailer").map(Program::Ffmpegthumbnailer),
            in_path("ffmpeg").map(Program::Ffmpeg),
        ];
        Self {
            cache: cache.to_owned(),
            programs: programs.into_iter().flatten().collect(),
        }
    }

    /// Has a picture made, 256 pixels at most; a program gets `limit` for it and the lowest
    /// priority. `length` is that of the video, for a picture that is not its black beginning.
    /// `None` if there is no program that can.
    ///
    /// # Errors
    /// See [`ThumbnailError`]; a video without a picture is whole and saved all the same.
    pub fn make(
        &self,
        video: &Path,
        length: Option<Duration>,
        limit: Duration,
    ) -> Result<Option<PathBuf>, ThumbnailError> {
        let (uri, mtime) = identity(video).map_err(|source| ThumbnailError::Video {
            path: video.to_owned(),
            source,
        })?;
        let path = self.path(&uri);
        let folder = self.cache.join(FOLDER);
        let cache = |source| ThumbnailError::Cache {
            path: folder.clone(),
            source,
        };

        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(cache)?;
        let out = tempfile::Builder::new()
            .suffix(".png")
            .tempfile_in(&folder)
            .map_err(cache)?;
        let mut result = Ok(None);
        for program in &self.programs {
            match shelf::unseen(video, || program.picture(video, length, out.path(), limit)) {
                Ok(picture) => {
                    let mtime = mtime.to_string();
                    let texts = [
                        ("Thumb::URI", uri.as_str()),
                        ("Thumb::MTime", &mtime),
                        ("Software", "fisga"),
                    ];
                    let Some(picture) = png::with_texts(&picture, &texts) else {
                        result = Err(program.failed(video));
                        continue;
                    };
                    // A new file, for its mode: nobody else may see what was watched.
                    let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(cache)?;
                    file.write_all(&picture).map_err(cache)?;
                    file.persist(&path).map_err(|e| cache(e.error))?;
                    return Ok(Some(path));
                }
                Err(e) => result = Err(e),
            }
        }
        result
    }

    fn path(&self, uri: &str) -> PathBuf {
        let mut name = String::new();
        for byte in Md5::digest(uri.as_bytes()) {
            let _ = write!(name, "{byte:02x}");
        }
        self.cache.join(FOLDER).join(name + ".png")
    }
}

impl Program {
    fn name(&self) -> &'static str {
        match self {
            Self::Ffmpegthumbnailer(_) => "ffmpegthumbnailer",
            Self::Ffmpeg(_) => "ffmpeg",
        }
    }

    fn failed(&self, video: &Path) -> ThumbnailError {
        ThumbnailError::Picture {
            path: video.to_owned(),
            program: self.name().to_owned(),
        }
    }

    /// The bytes of a PNG; `out` is a file that the program may write.
    fn picture(
        &self,
        video: &Path,
        length: Option<Duration>,
        out: &Path,
        limit: Duration,
    ) -> Result<Vec<u8>, ThumbnailError> {
        let (deadline, failed) = (Instant::now() + limit, || self.failed(video));
        // A tenth in, and the beginning if there is nothing: the rest may be missing.
        let tenth = length
            .filter(|_| matches!(self, Self::Ffmpeg(_)))
            .map(|length| length / 10);
        for start in tenth.map(Some).into_iter().chain([None]) {
            let finished = run(self.command(video, start, out), deadline).map_err(|_| failed())?;
            if finished.is_none() {
                let program = self.name().to_owned();
                return Err(ThumbnailError::Late {
                    path: video.to_owned(),
                    program,
                    limit,
                });
            }
            let mut bytes = Vec::new();
            let read = File::open(out).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
            if finished == Some(true) && read.is_ok() && !bytes.is_empty() {
                return Ok(bytes);
            }
        }
        Err(failed())
    }

    fn command(&self, video: &Path, start: Option<Duration>, out: &Path) -> Command {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]);
        match self {
            Self::Ffmpegthumbnailer(program) => {
                command.arg(program).arg("-i").arg(video).arg("-o").arg(out);
                command.args(["-c", "png", "-s", &PIXELS.to_string()]);
            }
            Self::Ffmpeg(program) => {
                // Reads only the file itself: a playlist that was saved as a video could name other
                // files and addresses.
                command.arg(program).args([
                    "-v",
                    "error",
                    "-nostdin",
                    "-y",
                    "-protocol_whitelist",
                    "file",
                ]);
                if let Some(start) = start {
                    command
                        .arg("-ss")
                        .arg(format!("{:.3}", start.as_secs_f64()));
                }
                let mut input = std::ffi::OsString::from("file:");
                input.push(video);
                let scale = format!("scale={PIXELS}:{PIXELS}:force_original_aspect_ratio=decrease");
                command.arg("-i").arg(input).args([
                    "-map",
                    "0:v:0",
                    "-frames:v",
                    "1",
                    "-vf",
                    &scale,
                ]);
                command
                    .args([
                        "-pix_fmt", "rgb24", "-c:v", "png", "-f", "image2", "-update", "1",
                    ])
                    .arg(out);
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// Runs a program until the deadline: whether it succeeded, or `None` if it had to be ended.
fn run(mut command: Command, deadline: Instant) -> io::Result<Option<bool>> {
    let mut child = command.spawn()?;
    let ended = wait(&child, deadline);
    if !matches!(ended, Ok(true)) {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(ended?.then(|| status.success()))
}

/// Waits until the child has ended, which its pidfd shows (pidfd_open(2)), or until the deadline.
fn wait(child: &std::process::Child, deadline: Instant) -> io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            ended => return Ok(ended? > 0),
        }
    }
}

/// The URI and the time of change, in seconds since 1970, that a thumbnail of this file bears.
fn identity(video: &Path) -> io::Result<(String, i64)> {
    let video = fs::canonicalize(video)?;
    Ok((file_uri(&video), fs::metadata(&video)?.mtime()))
}

fn in_path(program: &str) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
    };
    env::split_paths(env::var_os("PATH").as_deref().unwrap_or(OsStr::new("")))
        .map(|folder| folder.join(program))
        .filter(|path| path.is_absolute())
        .find(executable)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{ffi::OsStrExt, fs::PermissionsExt};

    use super::{super::png::tests::text as png_text, *};

    /// The URIs are those that GLib makes, so that the file manager finds our thumbnails and we
    /// find its.
    #[test]
    fn uris_and_names_are_those_of_the_desktop() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<u8> = (1..=255).filter(|&b| b != b'/').collect();
        let (a, b) = all.split_at(140);
        let script = "
import sys, hashlib, gi
from gi.repository import GLib
for path in sys.argv[1:]:
    uri = GLib.filename_to_uri(path, None)
    print(uri, hashlib.md5(uri.encode()).hexdigest())
";
        let paths = [
            &b"/a b/\xc3\xa9"[..],
            &[b"/", a].concat(),
            &[b"/", b].concat(),
        ];
        let paths = paths.map(|path| PathBuf::from(OsStr::from_bytes(path)));
        let output = Command::new("/usr/bin/python3")
            .arg("-c")
            .arg(script)
            .args(&paths)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "needs the Debian package python3-gi: {output:?}"
        );
        let thumbnails = Thumbnails {
            cache: dir.path().to_owned(),
            programs: vec![],
        };
        for (path, line) in paths
            .iter()
            .zip(String::from_utf8(output.stdout).unwrap().lines())
        {
            let (their_uri, md5) = line.split_once(' ').unwrap();
            assert_eq!(file_uri(path), their_uri);
            assert_eq!(
                thumbnails.path(&file_uri(path)),
                dir.path().join(format!("large/{md5}.png"))
            );
        }
    }

    fn video(dir: &Path, seconds: u32) -> PathBuf {
        let path = dir.join("a film: é 100% 14:30.mp4");
        let source = format!("testsrc=size=640x360:rate=10:duration={seconds}");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg
            .args([
                "-v", "error", "-f", "lavfi", "-i", &source, "-pix_fmt", "yuv420p",
            ])
            .arg(&path);
        assert!(
            ffmpeg
                .status()
                .expect("ffmpeg (Debian package ffmpeg)")
                .success()
        );
        path
    }

    #[test]
    fn pictures_by_each_program() {
        let dir = tempfile::tempdir().unwrap();
        let (video, cache) = (video(dir.path(), 3), dir.path().join("cache/thumbnails"));
        let all = Thumbnails::new(&cache);
        assert_eq!(
            all.programs.len(),
            2,
            "needs the Debian packages ffmpegthumbnailer and ffmpeg"
        );
        shelf::forget_access(&File::open(&video).unwrap()).unwrap();
        let times = |path: &Path| {
            fs::metadata(path)
                .map(|m| (m.atime_nsec(), m.mtime_nsec()))
                .unwrap()
        };
        let before = times(&video);
        for program in all.programs {
            let thumbnails = Thumbnails {
                cache: cache.clone(),
                programs: vec![program],
            };
            // Longer than the video: the beginning has to do.
            let length = Some(Duration::from_secs(600));
            let made = thumbnails
                .make(&video, length, Duration::from_secs(60))
                .unwrap()
                .unwrap();
            assert_eq!(times(&video), before, "it was not opened by the user");
            let (uri, modified) = identity(&video).unwrap();
            assert_eq!(made, thumbnails.path(&uri));
            let png = fs::read(&made).unwrap();
            let text = |key| png_text(&png, key).map(String::from_utf8_lossy);
            assert_eq!(text("Thumb::URI"), Some(uri.as_str().into()));
            assert_eq!(text("Thumb::MTime"), Some(modified.to_string().into()));
            assert_eq!(
                fs::metadata(&made).unwrap().permissions().mode() & 0o777,
                0o600
            );
            assert_eq!(
                fs::metadata(made.parent().unwrap())
                    .unwrap()
                    .permissions()
                    .mode()
                    & 0o777,
                0o700
            );
            assert_eq!(
                fs::read_dir(made.parent().unwrap()).unwrap().count(),
                1,
                "nothing else is left"
            );
            assert_eq!(
                (&png[16..20], &png[20..24]),
                (&256u32.to_be_bytes()[..], &144u32.to_be_bytes()[..])
            );
            let probe = Command::new("ffmpeg")
                .args(["-v", "error", "-i"])
                .arg(&made)
                .args(["-f", "null", "-"])
                .output();
            assert!(probe.unwrap().stderr.is_empty(), "a PNG without faults");
            fs::remove_file(made).unwrap();
        }
    }

    #[test]
    fn no_picture_is_no_misfortune() {
        let dir = tempfile::tempdir().unwrap();
        let broken = dir.path().join("broken.mp4");
        fs::write(&broken, "no video").unwrap();
        let limit = Duration::from_secs(60);
        let none = Thumbnails {
            cache: dir.path().join("cache"),
            programs: vec![],
        };
        assert_eq!(none.make(&broken, None, limit).unwrap(), None);
        let all = Thumbnails::new(&dir.path().join("cache"));
        assert!(matches!(
            all.make(&broken, None, limit),
            Err(ThumbnailError::Picture { .. })
        ));
        assert!(matches!(
            all.make(&dir.path().join("gone"), None, limit),
            Err(ThumbnailError::Video { .. })
        ));
        assert_eq!(
            fs::read_dir(dir.path().join("cache/large"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (video, program) = (dir.path().join("a.mp4"), dir.path().join("hangs"));
        fs::write(&video, "").unwrap();
        fs::write(
            &program,
            "#!/bin/sh\necho $$ > \"${0}.pid\"\nexec sleep 1000\n",
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let programs = vec![Program::Ffmpeg(program.clone())];
        let thumbnails = Thumbnails {
            cache: dir.path().join("cache"),
            programs,
        };
        let result = thumbnails.make(&video, None, Duration::from_millis(500));
        assert!(
            matches!(result, Err(ThumbnailError::Late { .. })),
            "{result:?}"
        );
        if let Ok(pid) = fs::read_to_string(dir.path().join("hangs.pid")) {
            assert!(
                !Path::new("/proc").join(pid.trim()).exists(),
                "and not left running"
            );
        }
    }
}
