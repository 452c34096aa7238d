//! Videos to play, made by ffmpeg once and shared by all tests.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{FlockOperation, flock};

/// A noisy test picture and a tone; noise keeps the bit rate up.
const SOURCE: &str = "-f lavfi -i testsrc2=s={S}:r=30:d={D},noise=alls=24:allf=t \
                      -f lavfi -i sine=f=440:d={D},aformat=channel_layouts=stereo";

struct Recipe {
    name: &'static str,
    from: Origin,
    codec: &'static str,
    args: &'static str,
}

/// What a clip is made from.
#[derive(Clone, Copy)]
enum Origin {
    /// [`SOURCE`] with this size and this many seconds.
    Source(&'static str, &'static str),
    /// Another clip.
    Clip(&'static str),
}

use Origin::{Clip, Source};

/// One thread: with several, what the rate control allows depends on how far the others are.
const H264: &str = "-c:v libx264 -threads:v 1 -preset ultrafast -g 60 -pix_fmt yuv420p -c:a aac -b:a 128k -movflags +faststart";
const VP8: &str = "-c:v libvpx -deadline realtime -cpu-used -8 -g 60 -c:a libvorbis";
const THEORA: &str = "-c:v libtheora -g 60 -c:a libvorbis";
const VP9: &str = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 60 -c:a libopus";
const H265: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=60 -pix_fmt yuv420p -c:a aac";
const AV1: &str = "-c:v libaom-av1 -usage realtime -cpu-used 8 -g 60 -pix_fmt yuv420p -c:a aac";
const COPY: &str = "-c copy";

const RECIPES: [Recipe; 16] = [
    recipe(
        "short.mp4",
        Source("320x240", "15"),
        H264,
        "-b:v 1M -maxrate 1M -bufsize 1M",
    ),
    recipe("short-end.mp4", Clip("short.mp4"), COPY, ""),
    recipe("short.webm", Source("320x240", "15"), VP8, "-b:v 1M"),
    recipe("short.ogv", Source("320x240", "15"), THEORA, "-b:v 1M"),
    recipe("short.mkv", Clip("short.mp4"), COPY, ""),
    recipe(
        "short.flv",
        Clip("short.mp4"),
        "-c:v copy -c:a aac",
        "-ar 44100",
    ),
    recipe("short.ts", Clip("short.mp4"), COPY, ""),
    recipe("short-vp9.webm", Source("320x240", "15"), VP9, "-b:v 1M"),
    recipe("short-hevc.mp4", Source("320x240", "15"), H265, "-b:v 1M"),
    recipe("short-av1.mp4", Source("320x240", "15"), AV1, "-b:v 1M"),
    // Firefox keeps media of more than 8 MiB in a file.
    recipe(
        "big.mp4",
        Source("640x360", "60"),
        H264,
        "-b:v 5300k -maxrate 5300k -bufsize 4M",
    ),
    recipe("big-end.mp4", Clip("big.mp4"), COPY, ""),
    recipe("big.mkv", Clip("big.mp4"), COPY, ""),
    recipe(
        "other.mp4",
        Source("480x270", "60"),
        H264,
        "-b:v 3000k -maxrate 3000k -bufsize 3M",
    ),
    recipe("big.webm", Source("480x270", "60"), VP8, "-b:v 2500k"),
    recipe("big.ogv", Source("320x240", "60"), THEORA, "-b:v 2500k"),
];

const fn recipe(
    name: &'static str,
    from: Origin,
    codec: &'static str,
    args: &'static str,
) -> Recipe {
    Recipe {
        name,
        from,
        codec,
        args,
    }
}

/// The folder with the clips that were made so far, for [`super::server::Server`].
pub fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The path of a clip, made now if it is not there yet:
///
/// | name | what |
/// |---|---|
/// | `short.mp4`, `short-end.mp4` | 15 s of H.264 and AAC, index first or last |
/// | `short.webm`, `short.ogv` | 15 s of VP8 or Theora, with Vorbis |
/// | `short-vp9.webm`, `short-hevc.mp4`, `short-av1.mp4` | 15 s by other encoders |
/// | `short.mkv`, `short.flv`, `short.ts` | `short.mp4` in other containers |
/// | `big.mp4`, `big-end.mp4`, `big.mkv` | 60 s, 40 MB |
/// | `other.mp4`, `big.webm`, `big.ogv` | 60 s, more than 8 MiB |
pub fn clip(name: &str) -> PathBuf {
    let path = folder().join(name);
    if path.exists() {
        return path;
    }
    let Some(recipe) = RECIPES.iter().find(|recipe| recipe.name == name) else {
        panic!("no recipe for {name}");
    };
    let from = match recipe.from {
        Clip(other) => vec!["-i".to_string(), clip(other).to_str().unwrap().to_string()],
        Source(size, seconds) => words(&SOURCE.replace("{S}", size).replace("{D}", seconds))
            .map(String::from)
            .collect(),
    };
    // One test makes it, the others wait for the lock.
    let lock = File::create(folder().join(format!(".{name}.lock"))).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    if path.exists() {
        return path;
    }
    let part = folder().join(format!(".part-{name}"));
    let status = Command::new(super::program("ffmpeg", "ffmpeg"))
        .args(words("-nostdin -hide_banner -v error -y"))
        .args(from)
        .args(words(recipe.codec))
        .args(words(recipe.args))
        .arg(&part)
        .status()
        .unwrap();
    assert!(status.success(), "ffmpeg can't make {name}: {status}");
    fs::rename(&part, &path).unwrap();
    path
}

/// The words of a command line.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace()
}
