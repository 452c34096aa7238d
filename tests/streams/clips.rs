//! Streams made by ffmpeg, and players from the npm registry: made once, under `target`.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::fs::{FlockOperation, flock};

use super::common;

/// Length of every clip in seconds, and its pictures a second.
pub(crate) const SECONDS: u32 = 24;
pub(crate) const FRAMES: u32 = SECONDS * 30;
/// Length of the long one.
pub(crate) const LONG: u32 = 300;

const ENCODE: &str = "-c:v libx264 -preset ultrafast -g 120 -keyint_min 120 -sc_threshold 0 -pix_fmt yuv420p -c:a aac -b:a 96k -ac 2";
const HLS: &str = "-c copy -f hls -hls_time 4 -hls_playlist_type vod";

/// The folder with all sets:
///
/// | set | what |
/// |---|---|
/// | `file` | `film.mp4` and a larger `big.mp4`, with the index first |
/// | `ts`, `fmp4`, `large` | HLS; `large` has 12 MB |
/// | `sound` | HLS with separate sound |
/// | `master` | HLS in two qualities |
/// | `range` | HLS, byte ranges of one file |
/// | `aes` | HLS, encrypted |
/// | `number`, `time` | DASH with `$Number$`; with a timeline and `$Time$`, without sound, whose first time is negative |
/// | `sidx` | DASH, one file for each track with an index |
/// | `both` | DASH with a timeline and `$Time$`, with separate sound |
/// | `webm` | DASH with `$Number$`: VP8 and Opus in WebM |
/// | `subs` | HLS with subtitles |
/// | `parts` | HLS, fragmented MP4, with parts of a second |
/// | `long` | HLS, [`LONG`] seconds |
pub(crate) fn sets() -> PathBuf {
    once("clips", |dir| {
        for (name, size, rate) in [
            ("low", "160x90", "150k"),
            ("film", "320x180", "500k"),
            ("big", "640x360", "4M"),
        ] {
            let noise = if name == "big" { 40 } else { 8 };
            ffmpeg(
                dir,
                &format!(
                    "-f lavfi -i testsrc2=s={size}:r=30:d={SECONDS},noise=alls={noise}:allf=t \
                     -f lavfi -i sine=f=440:b=4:d={SECONDS}:r=48000 {ENCODE} -b:v {rate} -maxrate {rate} \
                     -bufsize {rate} -shortest -movflags +faststart {name}.mp4"
                ),
            );
        }
        let sub = |name: &str| {
            let path = dir.join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let file = sub("file");
        fs::copy(dir.join("film.mp4"), file.join("film.mp4")).unwrap();
        fs::copy(dir.join("big.mp4"), file.join("big.mp4")).unwrap();
        ffmpeg(
            &sub("ts"),
            &format!("-i ../film.mp4 {HLS} -hls_segment_filename seg%d.ts index.m3u8"),
        );
        ffmpeg(
            &sub("large"),
            &format!("-i ../big.mp4 {HLS} -hls_segment_filename seg%d.ts index.m3u8"),
        );
        let fmp4 = "-hls_segment_type fmp4 -hls_fmp4_init_filename init.mp4 -hls_segment_filename seg%d.m4s";
        ffmpeg(
            &sub("fmp4"),
            &format!("-i ../film.mp4 {HLS} {fmp4} index.m3u8"),
        );
        let sound = sub("sound");
        for (name, map) in [("v", "0:v"), ("a", "0:a")] {
            let to = sub(&format!("sound/{name}"));
            ffmpeg(
                &to,
                &format!("-i ../../film.mp4 -map {map} {HLS} {fmp4} index.m3u8"),
            );
        }
        let master = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",DEFAULT=YES,URI=\"a/index.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=600000,RESOLUTION=320x180,CODECS=\"avc1.42c00d,mp4a.40.2\",AUDIO=\"a\"\nv/index.m3u8\n";
        fs::write(sound.join("index.m3u8"), master).unwrap();
        let mut master = String::from("#EXTM3U\n");
        for (name, from, rate, size) in [
            ("v0", "low", 250_000, "160x90"),
            ("v1", "film", 600_000, "320x180"),
        ] {
            let to = sub(&format!("master/{name}"));
            ffmpeg(
                &to,
                &format!("-i ../../{from}.mp4 {HLS} -hls_segment_filename seg%d.ts index.m3u8"),
            );
            master += &format!(
                "#EXT-X-STREAM-INF:BANDWIDTH={rate},RESOLUTION={size}\n{name}/index.m3u8\n"
            );
        }
        fs::write(dir.join("master/index.m3u8"), master).unwrap();
        ffmpeg(
            &sub("range"),
            &format!("-i ../film.mp4 {HLS} -hls_flags single_file index.m3u8"),
        );
        let aes = sub("aes");
        fs::write(aes.join("key.bin"), [7; 16]).unwrap();
        fs::write(aes.join("info"), "key.bin\nkey.bin\n").unwrap();
        ffmpeg(
            &aes,
            &format!(
                "-i ../film.mp4 {HLS} -hls_key_info_file info -hls_segment_filename seg%d.ts index.m3u8"
            ),
        );
        let dash = "-c copy -f dash -seg_duration 4";
        let names = |n: &str| {
            format!(
                "-init_seg_name init-$RepresentationID$.m4s -media_seg_name chunk-$RepresentationID$-{n}.m4s"
            )
        };
        ffmpeg(
            &sub("number"),
            &format!(
                "-i ../film.mp4 {dash} -use_timeline 0 {} index.mpd",
                names("$Number%05d$")
            ),
        );
        ffmpeg(
            &sub("time"),
            &format!(
                "-i ../film.mp4 -map 0:v {dash} -use_timeline 1 {} index.mpd",
                names("$Time$")
            ),
        );
        ffmpeg(
            &sub("sidx"),
            &format!("-i ../film.mp4 {dash} -single_file 1 index.mpd"),
        );
        let zero = "-avoid_negative_ts make_zero -use_timeline 1";
        ffmpeg(
            &sub("both"),
            &format!("-i ../film.mp4 {dash} {zero} {} index.mpd", names("$Time$")),
        );
        let names = "-init_seg_name init-$RepresentationID$.webm -media_seg_name chunk-$RepresentationID$-$Number$.webm";
        ffmpeg(
            &sub("webm"),
            &format!(
                "-i ../film.mp4 -c:v libvpx -deadline realtime -cpu-used 8 -b:v 300k -g 120 -keyint_min 120 -c:a libopus \
                 -f dash -dash_segment_type webm -seg_duration 4 -use_timeline 0 {names} index.mpd"
            ),
        );
        subtitles(&sub("subs"));
        parts(&sub("parts"));
        ffmpeg(
            &sub("long"),
            &format!(
                "-f lavfi -i testsrc2=s=160x90:r=30:d={LONG} -f lavfi -i sine=f=440:b=4:d={LONG}:r=48000 {ENCODE} -b:v 100k \
                 -shortest -f hls -hls_time 4 -hls_playlist_type vod -hls_segment_filename seg%d.ts index.m3u8"
            ),
        );
    })
}

/// Fragments of a second: `part0.m4s` …, and four of them together as `seg0.m4s` …
fn parts(dir: &Path) {
    let fragments = "-c copy -movflags empty_moov+default_base_moof -frag_duration 1000000";
    ffmpeg(dir, &format!("-i ../film.mp4 {fragments} all.mp4"));
    let all = fs::read(dir.join("all.mp4")).unwrap();
    let (mut init, mut parts, mut at) = (Vec::new(), Vec::<Vec<u8>>::new(), 0);
    while at < all.len() {
        let size = u32::from_be_bytes(all[at..at + 4].try_into().unwrap()) as usize;
        let (name, bytes) = (&all[at + 4..at + 8], &all[at..at + size]);
        match (name, parts.last_mut()) {
            (b"mfra", _) => {}
            (b"moof", _) => parts.push(bytes.into()),
            (_, Some(part)) => part.extend(bytes),
            (_, None) => init.extend(bytes),
        }
        at += size;
    }
    assert_eq!(parts.len(), SECONDS as usize);
    fs::write(dir.join("init.mp4"), init).unwrap();
    let mut list = String::from(
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI=\"init.mp4\"\n",
    );
    for (number, four) in parts.chunks(4).enumerate() {
        fs::write(dir.join(format!("seg{number}.m4s")), four.concat()).unwrap();
        list += &format!("#EXTINF:4,\nseg{number}.m4s\n");
    }
    for (number, part) in parts.iter().enumerate() {
        fs::write(dir.join(format!("part{number}.m4s")), part).unwrap();
    }
    fs::write(dir.join("index.m3u8"), list + "#EXT-X-ENDLIST\n").unwrap();
}

/// The pictures of `ts`, and a subtitle for every second.
fn subtitles(dir: &Path) {
    ffmpeg(
        dir,
        &format!("-i ../film.mp4 {HLS} -hls_segment_filename seg%d.ts video.m3u8"),
    );
    let mut list = String::from("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PLAYLIST-TYPE:VOD\n");
    for part in 0..SECONDS / 4 {
        let mut text = String::from("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:126000,LOCAL:00:00:00.000\n\n");
        for second in part * 4..part * 4 + 4 {
            text += &format!("00:{second:02}.100 --> 00:{second:02}.900\nline {second}\n\n");
        }
        fs::write(dir.join(format!("{part}.vtt")), text).unwrap();
        list += &format!("#EXTINF:4,\n{part}.vtt\n");
    }
    fs::write(dir.join("text.m3u8"), list + "#EXT-X-ENDLIST\n").unwrap();
    let master = "#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"en\",LANGUAGE=\"en\",DEFAULT=YES,\
                  AUTOSELECT=YES,URI=\"text.m3u8\"\n#EXT-X-STREAM-INF:BANDWIDTH=600000,SUBTITLES=\"s\"\nvideo.m3u8\n";
    fs::write(dir.join("index.m3u8"), master).unwrap();
}

/// Pictures in a set.
pub(crate) fn frames(set: &str) -> u32 {
    if set == "long" { LONG * 30 } else { FRAMES }
}

/// The folder with hls.js, dash.js, shaka and video.js in `node_modules`.
pub(crate) fn players() -> PathBuf {
    once("players", |dir| {
        let npm = common::program("npm", "npm");
        fs::write(dir.join("package.json"), "{}").unwrap();
        let install = [
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "hls.js@1",
            "dashjs@5",
            "shaka-player@4",
            "video.js@8",
        ];
        run(Command::new(npm).current_dir(dir).args(install));
    })
}

/// The bytes of a set's segments one after the other, in the playlist's order, with the
/// initialisation first.
pub(crate) fn joined(set: &str, list: &str) -> Vec<u8> {
    let folder = sets().join(set);
    let text = fs::read_to_string(folder.join(list)).unwrap();
    let mut bytes = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for line in text.lines() {
        let name = match line.strip_prefix("#EXT-X-MAP:URI=\"") {
            Some(rest) => rest.split('"').next().unwrap(),
            None if line.starts_with('#') || line.is_empty() => continue,
            None => line,
        };
        // Byte ranges name one file again and again.
        if seen.insert(name) {
            bytes.extend(fs::read(folder.join(name)).unwrap());
        }
    }
    bytes
}

/// As a server compresses it.
pub(crate) fn compress(coding: &str, bytes: &[u8]) -> Vec<u8> {
    if coding == "gzip" {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(bytes).unwrap();
        return gz.finish().unwrap();
    }
    let node = common::program("node", "nodejs");
    let script =
        "process.stdout.write(require('zlib').brotliCompressSync(require('fs').readFileSync(0)))";
    let mut child = Command::new(node)
        .args(["-e", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

/// Pictures that a full decode gives, and the lines that the decoder complains in.
pub(crate) fn decode(path: &Path) -> (u32, usize) {
    let out = Command::new(common::program("ffmpeg", "ffmpeg"))
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args([
            "-map",
            "0:v:0",
            "-map",
            "0:a?",
            "-fps_mode",
            "passthrough",
            "-f",
            "null",
            "-",
            "-progress",
            "/dev/stdout",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let frames = text
        .lines()
        .filter_map(|l| l.strip_prefix("frame="))
        .next_back()
        .and_then(|n| n.trim().parse().ok());
    (
        frames.unwrap_or(0),
        String::from_utf8_lossy(&out.stderr).lines().count(),
    )
}

/// A folder below `target` that is made once; others wait meanwhile.
fn once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(root).unwrap();
    let dir = root.join(name);
    let lock = File::create(root.join(format!(".{name}.lock"))).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    if !dir.exists() {
        let part = root.join(format!(".part-{name}"));
        let _ = fs::remove_dir_all(&part);
        fs::create_dir(&part).unwrap();
        make(&part);
        fs::rename(&part, &dir).unwrap();
    }
    dir
}

fn ffmpeg(dir: &Path, args: &str) {
    let mut command = Command::new(common::program("ffmpeg", "ffmpeg"));
    run(command
        .current_dir(dir)
        .args(["-nostdin", "-hide_banner", "-v", "error", "-y"])
        .args(args.split_ascii_whitespace()));
}

fn run(command: &mut Command) {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}
