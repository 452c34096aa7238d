//! Two hours in 1,200 segments, 4 GB: as fast as `cat`, in 30 MB of memory.
//!
//! `cargo test --release --test assemble -- --ignored --nocapture two_hours` with 10 GB of room; `TMPDIR` says where.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use fisga::stream::{
    Assembly, Body, Grip, Piece, Pieces, Ref, Slot, Track, TrackKind, Variant, choose::choose, join,
};

const SEGMENTS: u64 = 1200;
const LENGTH: Duration = Duration::from_secs(6);

struct Folder {
    pieces: Vec<Piece>,
}

impl Pieces for Folder {
    fn get(&self, of: &Ref) -> Option<&Piece> {
        self.pieces.get(of.url.rsplit('/').next()?.parse::<usize>().ok()?)
    }
}

impl Folder {
    fn add(&mut self, path: &Path) -> Ref {
        let url = format!("https://a.example/{}", self.pieces.len());
        self.pieces.push(Piece {
            url: url.clone(),
            partition: String::new(),
            status: 200,
            content_type: None,
            encoding: None,
            validator: None,
            body: Body::stretch(Grip::path(path), 0..path.metadata().unwrap().len()),
        });
        Ref::whole(url)
    }
}

fn ffmpeg(folder: &Path, args: &str) {
    let mut command = Command::new("ffmpeg");
    command.current_dir(folder).args(["-nostdin", "-v", "error", "-y"]).args(args.split_whitespace());
    assert!(command.status().unwrap().success(), "ffmpeg {args}");
}

/// Six seconds of 3.4 MB, and its sound, as transport stream and as fragmented MP4.
fn model(folder: &Path) {
    ffmpeg(
        folder,
        "-f lavfi -i testsrc2=s=640x360:r=25:d=6,noise=alls=30:allf=t -f lavfi -i sine=d=6:r=48000 \
                    -c:v libx264 -preset ultrafast -b:v 4500k -minrate 4500k -maxrate 4500k -bufsize 4500k -g 150 \
                    -c:a aac -shortest m.mp4",
    );
    for (stream, letter) in [("v", 'v'), ("a", 'a')] {
        ffmpeg(folder, &format!("-i m.mp4 -map 0:{stream} -c copy -f mpegts {letter}.ts"));
        ffmpeg(
            folder,
            &format!(
                "-i m.mp4 -map 0:{stream} -c copy -f hls -hls_time 60 -hls_segment_type fmp4 \
             -hls_fmp4_init_filename {letter}.init -hls_segment_filename {letter}%d.m4s {letter}.m3u8"
            ),
        );
    }
}

/// A copy of a segment at another time: `tfdt` is what follows its name and version.
fn copy(from: &Path, to: &Path, number: u64, scale: u64) {
    let mut bytes = fs::read(from).unwrap();
    if let Some(at) = bytes.windows(4).position(|w| w == b"tfdt") {
        let time = (number * LENGTH.as_secs() * scale).to_be_bytes();
        let wide = bytes[at + 4] == 1;
        bytes[at + 8..at + if wide { 16 } else { 12 }].copy_from_slice(if wide { &time } else { &time[4..] });
    }
    fs::write(to, bytes).unwrap();
}

fn track(
    folder: &mut Folder,
    root: &Path,
    kind: TrackKind,
    letter: char,
    ext: &str,
    scale: u64,
) -> (Track, Vec<String>) {
    let init = (ext == "m4s").then(|| root.join(format!("{letter}.init")));
    let init_ref = init.as_ref().map(|p| folder.add(p));
    let model = root.join(if ext == "m4s" { format!("{letter}0.m4s") } else { format!("{letter}.ts") });
    let mut paths: Vec<String> = init.iter().map(|p| p.display().to_string()).collect();
    let mut slots = Vec::new();
    for i in 0..SEGMENTS {
        let path = root.join(format!("{letter}-{i}.{ext}"));
        copy(&model, &path, i, scale);
        let of = folder.add(&path);
        let start = LENGTH * i as u32;
        slots.push(Slot { of, init: init_ref.clone(), start, duration: LENGTH, discontinuity: 0 });
        paths.push(path.display().to_string());
    }
    let variant = Variant { bandwidth: 0, height: None, slots };
    (Track { kind, language: None, variants: vec![variant] }, paths)
}

/// Peak of the resident memory since the last call, in KiB (proc_pid_status(5), `VmHWM`).
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    let peak = line.trim().parse().unwrap();
    File::options().write(true).open("/proc/self/clear_refs").unwrap().write_all(b"5").unwrap();
    peak
}

fn cat(paths: &[String], out: &Path) -> Duration {
    let start = Instant::now();
    let status =
        Command::new("cat").args(paths).stdout(Stdio::from(File::create(out).unwrap())).status().unwrap();
    assert!(status.success());
    start.elapsed()
}

#[test]
#[ignore = "writes 10 GB"]
fn two_hours_as_fast_as_cat() {
    // One of them alone: its name in ONLY.
    let only = std::env::var("ONLY").unwrap_or_default();
    let all = [
        ("TS", "ts", false),
        ("fMP4", "m4s", false),
        ("fMP4, separate sound", "m4s", true),
        ("TS, separate sound", "ts", true),
    ];
    for (name, ext, separate) in all.into_iter().filter(|(name, _, _)| name.contains(&only)) {
        let root = tempfile::tempdir().unwrap();
        model(root.path());
        let mut folder = Folder { pieces: Vec::new() };
        let (video, mut paths) = track(&mut folder, root.path(), TrackKind::Video, 'v', ext, 12_800);
        let mut tracks = vec![video];
        if separate {
            let (audio, more) = track(&mut folder, root.path(), TrackKind::Audio, 'a', ext, 48_000);
            tracks.push(audio);
            paths.extend(more);
        }
        let assembly =
            Assembly { url: "https://a.example/".into(), tracks, ended: true, protected: None, title: None };
        let out = root.path().join("out");
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        peak();
        let before = peak();
        let mut most = 0;
        // They take turns, and whose is first changes: what one leaves to the disk costs the next. The best of each
        // counts, since whatever else runs only slows down.
        for round in 0..4 {
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    theirs.push(cat(&paths, &out));
                } else {
                    peak();
                    let start = Instant::now();
                    let choice = choose(&assembly, &folder, Duration::ZERO);
                    assert!(choice.whole);
                    let file = File::create_new(&out).unwrap();
                    bytes = join::plan(&choice).unwrap().write(&file).unwrap();
                    ours.push(start.elapsed());
                    most = most.max(peak().saturating_sub(before));
                }
                fs::remove_file(&out).unwrap();
            }
        }
        theirs.sort();
        ours.sort();
        let speed = theirs[0].as_secs_f64() / ours[0].as_secs_f64();
        let mb = bytes / 1_000_000;
        println!("{name}: {mb} MB, cat {theirs:?}, fisga {ours:?}, {speed:.2} x cat, {most} KiB more memory");
        assert!(most < 30 << 10, "{name}: {most} KiB");
        // Packets get new numbers, so they go through memory: 0.7 to 0.9 where the kernel copies the others by itself.
        assert!(speed >= if name == "TS, separate sound" { 0.5 } else { 0.9 }, "{name}: {speed:.2} x cat");
    }
}
