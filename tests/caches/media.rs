//! Two films of 24 s and 25 pictures a second, cut in the ways that sites cut them: made by ffmpeg,
//! once, under `target`. Each film has a tone of its own, so that sound can be told apart.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{FlockOperation, flock};

use super::common::program;

/// Pictures of a film.
pub(crate) const FRAMES: u32 = 600;
/// Segments of a film.
pub(crate) const SEGMENTS: usize = 6;

/// Films, by what their pictures show: their names, and the tone of each in Hz.
const FILMS: [(&str, &str, u32); 2] = [("one", "testsrc2", 440), ("two", "testsrc", 880)];

const ENCODE: &str = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -x264-params \
    keyint=50:min-keyint=50:scenecut=0 -b:v 700k -maxrate 700k -bufsize 700k \
    -c:a aac -b:a 96k";
const HLS: &str = "-c copy -f hls -hls_time 4 -hls_playlist_type vod";
const FMP4: &str = "-hls_segment_type fmp4 -hls_fmp4_init_filename init.mp4 \
    -hls_segment_filename seg%d.m4s index.m3u8";
const FRAGMENTED: &str = "-c copy -movflags \
    frag_keyframe+empty_moov+default_base_moof+global_sidx -frag_duration 4000000";

/// The folder with all sets:
///
/// | set | what |
/// |---|---|
/// | `one.mp4`, `two.mp4` | the films |
/// | `ts-FILM`, `fmp4-FILM` | `seg0.ts` …, `init.mp4` and `seg0.m4s` … |
/// | `fmp4-90000` | the second film on another time scale |
/// | `v-FILM`, `a-FILM` | pictures and sound apart, fMP4 |
/// | `v-FILM.mp4`, `a-FILM.mp4` | the same as one fragmented file with an index each |
/// | `webm` | DASH in WebM: `m.mpd`, `init-0.webm`, `chunk-0-1.webm` … |
/// | `mp3` | sound in MP3, `seg0.mp3` … |
/// | `hevc`, `small` | adverts of 8 s: fMP4 by another codec; 160×90, H.264 |
pub(crate) fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(root).unwrap();
    let dir = root.join("cached-films");
    let lock = File::create(root.join(".cached-films.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    if !dir.exists() {
        let part = root.join(".part-cached-films");
        let _ = fs::remove_dir_all(&part);
        fs::create_dir(&part).unwrap();
        make(&part);
        fs::rename(&part, &dir).unwrap();
    }
    dir
}

fn make(dir: &Path) {
    let sub = |name: &str| {
        let path = dir.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    for (film, picture, hertz) in FILMS {
        let source = format!(
            "-f lavfi -i {picture}=s=320x180:r=25,noise=alls=9:allf=t -f lavfi -i sine=f={hertz}:r=48000 -t 24"
        );
        ffmpeg(
            dir,
            &format!("{source} {ENCODE} -movflags +faststart {film}.mp4"),
        );
        ffmpeg(
            &sub(&format!("ts-{film}")),
            &format!("-i ../{film}.mp4 {HLS} -hls_segment_filename seg%d.ts index.m3u8"),
        );
        ffmpeg(
            &sub(&format!("fmp4-{film}")),
            &format!("-i ../{film}.mp4 {HLS} {FMP4}"),
        );
        for (track, map) in [("v", "0:v"), ("a", "0:a")] {
            let from = format!("-i {film}.mp4 -map {map}");
            ffmpeg(dir, &format!("{from} {FRAGMENTED} {track}-{film}.mp4"));
            ffmpeg(
                &sub(&format!("{track}-{film}")),
                &format!("-i ../{film}.mp4 -map {map} {HLS} {FMP4}"),
            );
        }
    }
    let scale = "-c copy -video_track_timescale 90000";
    ffmpeg(dir, &format!("-i two.mp4 {scale} two-90000.mp4"));
    let option = "-hls_segment_options video_track_timescale=90000";
    ffmpeg(
        &sub("fmp4-90000"),
        &format!("-i ../two-90000.mp4 {HLS} {option} {FMP4}"),
    );
    let names = "-init_seg_name init-$RepresentationID$.webm \
                 -media_seg_name chunk-$RepresentationID$-$Number$.webm m.mpd";
    let codecs = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 700k -minrate 700k -g 100 \
                  -keyint_min 100 -c:a libopus";
    let sets = "-adaptation_sets id=0,streams=v|id=1,streams=a";
    ffmpeg(
        &sub("webm"),
        &format!(
            "-i ../one.mp4 -map 0:v -map 0:a {codecs} -f dash -dash_segment_type webm \
             -seg_duration 4 {sets} {names}"
        ),
    );
    ffmpeg(
        &sub("mp3"),
        "-i ../one.mp4 -vn -c:a libmp3lame -b:a 128k -f segment -segment_time 4 seg%d.mp3",
    );
    let advert = |size: &str| {
        format!("-f lavfi -i smptebars=s={size}:r=25 -f lavfi -i sine=f=1760:r=48000 -t 8")
    };
    let keys = "-pix_fmt yuv420p -g 100 -keyint_min 100 -sc_threshold 0 -c:a aac -f hls \
                -hls_time 4 -hls_playlist_type vod";
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=error -tag:v hvc1";
    let (large, small) = (advert("320x180"), advert("160x90"));
    ffmpeg(&sub("hevc"), &format!("{large} {hevc} {keys} {FMP4}"));
    let h264 = "-c:v libx264 -preset ultrafast";
    ffmpeg(&sub("small"), &format!("{small} {h264} {keys} {FMP4}"));
    ffmpeg(
        &sub("small-ts"),
        &format!("{small} {h264} {keys} -hls_segment_filename seg%d.ts index.m3u8"),
    );
}

/// A file of a set.
pub(crate) fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The segments of a set.
pub(crate) fn segments(set: &str, ending: &str) -> Vec<Vec<u8>> {
    let names = (0..).map(|n| format!("{set}/seg{n}.{ending}"));
    names
        .take_while(|name| folder().join(name).exists())
        .map(|name| read(&name))
        .collect()
}

/// What a file in the library is, by a full decode.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    /// Pictures.
    pub(crate) frames: u32,
    /// What is heard, in Hz: the tone of a film; 0 without sound.
    pub(crate) tone: u32,
    /// Seconds, by the container.
    pub(crate) seconds: f64,
    /// What the decoder complains of.
    pub(crate) complaints: String,
}

/// Decodes a file from end to end.
pub(crate) fn decode(path: &Path) -> Decoded {
    let run = |args: &str| {
        let mut command = Command::new(program("ffmpeg", "ffmpeg"));
        command.args(["-nostdin", "-hide_banner", "-v", "error", "-i"]);
        command.arg(path).args(args.split_ascii_whitespace());
        command.output().unwrap()
    };
    let pictures = run("-map 0:v:0? -map 0:a:0? -f null - -progress /dev/stdout");
    let text = String::from_utf8_lossy(&pictures.stdout);
    let frames = text.lines().filter_map(|l| l.strip_prefix("frame="));
    let frames = frames.filter_map(|n| n.trim().parse().ok()).next_back();
    let sound = run("-map 0:a:0 -ac 1 -ar 8000 -f s16le -");
    let mut probe = Command::new(program("ffprobe", "ffmpeg"));
    probe.args(["-v", "error", "-show_entries", "format=duration", "-of"]);
    let seconds = probe.arg("csv=p=0").arg(path).output().unwrap().stdout;
    Decoded {
        frames: frames.unwrap_or(0),
        tone: tone(&sound.stdout),
        seconds: String::from_utf8_lossy(&seconds)
            .trim()
            .parse()
            .unwrap_or(0.0),
        complaints: String::from_utf8_lossy(&pictures.stderr)
            .lines()
            .take(3)
            .collect::<Vec<_>>()
            .join(" | "),
    }
}

/// The tone that is heard most of the time, in Hz, of samples of 1/8000 s: each second's by how
/// often it rises through zero. All films have multiples of one tone.
fn tone(bytes: &[u8]) -> u32 {
    let samples: Vec<i16> = bytes
        .chunks_exact(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect();
    let rises = |second: &[i16]| second.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
    let mut tones: Vec<usize> = samples.chunks_exact(8000).map(rises).collect();
    tones.sort_unstable();
    let middle = tones.get(tones.len() / 2).copied().unwrap_or(0);
    u32::try_from((middle + 220) / 440 * 440).unwrap()
}

fn ffmpeg(dir: &Path, args: &str) {
    let mut command = Command::new(program("ffmpeg", "ffmpeg"));
    command.args(["-nostdin", "-hide_banner", "-v", "error", "-y"]);
    // A `|` in an argument stands for a space.
    let args = args.split_ascii_whitespace().map(|a| a.replace('|', " "));
    let out = command.current_dir(dir).args(args).output().unwrap();
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {complaint}");
}
