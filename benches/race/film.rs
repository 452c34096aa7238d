//! A film of two hours in cached segments: how fast it is put together, against `cat` of the same
//! pieces.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cache::entry;
use crate::caches::CACHE;
use crate::figures::Run;
use crate::peers::exists;
use crate::process;
use crate::sandbox::{Fisga, Rules, Sandbox, program};
use crate::table::Table;

/// Segments of two hours, each of 3.4 MB: 4 GB.
const SEGMENTS: u64 = 1200;
const SECONDS: u64 = 6;
const URL: &str = "https://cdn.example/film";

/// How a site sends it.
struct Kind {
    name: &'static str,
    /// Extension of its segments, and their type.
    segments: (&'static str, &'static str),
    /// Letter of the model and its ticks a second, in fragmented MP4.
    tracks: &'static [(char, u64)],
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "TS",
        segments: ("ts", "video/mp2t"),
        tracks: &[('m', 0)],
    },
    Kind {
        name: "TS, separate sound",
        segments: ("ts", "video/mp2t"),
        tracks: &[('v', 0), ('a', 0)],
    },
    Kind {
        name: "fMP4",
        segments: ("m4s", "video/iso.segment"),
        tracks: &[('v', 12_800)],
    },
    Kind {
        name: "fMP4, separate sound",
        segments: ("m4s", "video/iso.segment"),
        tracks: &[('v', 12_800), ('a', 48_000)],
    },
];

/// Each kind, whole.
pub(crate) fn film(run: &mut Run, table: &mut Table) -> Result<()> {
    ensure!(exists("ffmpeg"), "ffmpeg is missing (Debian: ffmpeg)");
    let models = Sandbox::new()?;
    let models = models.folder("models")?;
    model(&models)?;
    let count = run.scaled(SEGMENTS);
    KINDS
        .iter()
        .try_for_each(|kind| one(kind, &models, count, table))
}

/// Entries as a browser writes them, the playlists last.
fn one(kind: &Kind, models: &Path, count: u64, table: &mut Table) -> Result<()> {
    let home = Sandbox::new()?;
    let cache = home.folder(CACHE)?;
    let mut fisga = Fisga::start(&program(), &home, &cache, Rules::Caches)?;
    let mut site = Site {
        cache: &cache,
        entries: Vec::new(),
    };
    let mut lists = Vec::new();
    for (letter, ticks) in kind.tracks {
        lists.push((letter, site.track(kind, models, *letter, *ticks, count)?));
    }
    // What is measured is putting it together, not the browser's own writing.
    ensure!(
        Command::new("sync")
            .arg("-f")
            .arg(&cache)
            .status()?
            .success(),
        "sync failed"
    );
    let paths = site.entries.clone();
    let copy = home.folder("cat")?.join("film");
    let before = cat(&paths, &copy)?;
    for (letter, list) in &lists {
        site.add(&format!("{letter}.m3u8"), "audio/mpegurl", list.as_bytes())?;
    }
    if let [_, _] = lists[..] {
        let master = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",DEFAULT=YES,URI=\"a.m3u8\"\n\
                      #EXT-X-STREAM-INF:BANDWIDTH=4600000,AUDIO=\"a\"\nv.m3u8\n";
        site.add("film.m3u8", "audio/mpegurl", master.as_bytes())?;
    }
    let saved = fisga.await_event("saved", Duration::from_secs(300))?;
    ensure!(saved["verdict"] == "complete", "{saved}");
    let ours = saved["ms"].as_f64().context("no time in the event")?;
    let bytes = saved["bytes"].as_u64().context("no size in the event")?;
    let peak = process::peak_kib(fisga.pid())? as f64 / 1024.0;
    drop(fisga);
    let sizes = paths
        .iter()
        .map(|path| Ok(path.metadata()?.len()))
        .sum::<std::io::Result<u64>>()?;
    ensure!(
        bytes.abs_diff(sizes) < sizes / 50,
        "{bytes} bytes of {sizes}"
    );
    // What the disk has still to do slows whoever comes next, so that they stand on either side of
    // us.
    let theirs = (before + cat(&paths, &copy)?) / 2.0;
    let (gb, ratio) = (bytes as f64 / 1e9, theirs / ours);
    table.goal(
        &format!(
            "putting {count} cached segments together ({}), {gb:.1} GB",
            kind.name
        ),
        "≥ 0.9 × cat and sync",
        ratio >= 0.9,
        format!("{ratio:.2} × ({ours:.0} ms against {theirs:.0} ms)"),
    );
    let memory = format!("most memory (RSS) meanwhile ({})", kind.name);
    table.goal(
        &memory,
        "≤ 30 MB",
        peak * 1.048_576 <= 30.0,
        format!("{peak:.1} MiB"),
    );
    Ok(())
}

/// A site's film in a browser's cache.
struct Site<'a> {
    cache: &'a Path,
    entries: Vec<PathBuf>,
}

impl Site<'_> {
    fn add(&mut self, name: &str, kind: &str, body: &[u8]) -> Result<()> {
        let number = self.entries.len() as u64;
        self.entries.push(entry(
            self.cache,
            number,
            &format!("{URL}/{name}"),
            kind,
            body,
        )?);
        Ok(())
    }

    /// The segments of a track; returns its playlist.
    fn track(
        &mut self,
        kind: &Kind,
        models: &Path,
        letter: char,
        ticks: u64,
        count: u64,
    ) -> Result<String> {
        let (extension, mime) = kind.segments;
        let fragmented = extension == "m4s";
        let mut list = format!("#EXTM3U\n#EXT-X-TARGETDURATION:{SECONDS}\n");
        if fragmented {
            let init = fs::read(models.join(format!("{letter}.init")))?;
            self.add(&format!("{letter}.init"), "video/mp4", &init)?;
            list += &format!("#EXT-X-MAP:URI=\"{letter}.init\"\n");
        }
        let number = if fragmented { "0" } else { "" };
        let mut body = fs::read(models.join(format!("{letter}{number}.{extension}")))?;
        for number in 0..count {
            set_time(&mut body, number * SECONDS * ticks);
            let name = format!("{letter}-{number}.{extension}");
            self.add(&name, mime, &body)?;
            list += &format!("#EXTINF:{SECONDS},\n{name}\n");
        }
        Ok(list + "#EXT-X-ENDLIST\n")
    }
}

/// When a fragment is decoded: what follows the name and version of its `tfdt` (ISO/IEC 14496-12,
/// 8.8.12).
fn set_time(fragment: &mut [u8], ticks: u64) {
    let Some(at) = fragment.windows(4).position(|name| name == b"tfdt") else {
        return;
    };
    let time = ticks.to_be_bytes();
    match fragment[at + 4] {
        1 => fragment[at + 8..at + 16].copy_from_slice(&time),
        _ => fragment[at + 8..at + 12].copy_from_slice(&time[4..]),
    }
}

/// Six seconds of H.264 and AAC, together and apart, as transport streams and as fragmented MP4.
fn model(folder: &Path) -> Result<()> {
    let ffmpeg = |args: &str| -> Result<()> {
        let mut command = Command::new("ffmpeg");
        command
            .current_dir(folder)
            .args(["-nostdin", "-v", "error", "-y"])
            .args(args.split_whitespace());
        ensure!(command.status()?.success(), "ffmpeg {args}");
        Ok(())
    };
    ffmpeg(
        "-f lavfi -i testsrc2=s=640x360:r=25:d=6,noise=alls=30:allf=t -f lavfi -i sine=d=6:r=48000 \
         -c:v libx264 -preset ultrafast -b:v 4500k -minrate 4500k -maxrate 4500k -bufsize 4500k -g 150 \
         -c:a aac -shortest m.mp4",
    )?;
    ffmpeg("-i m.mp4 -c copy -f mpegts m.ts")?;
    for (stream, letter) in [("v", 'v'), ("a", 'a')] {
        ffmpeg(&format!(
            "-i m.mp4 -map 0:{stream} -c copy -f mpegts {letter}.ts"
        ))?;
        ffmpeg(&format!(
            "-i m.mp4 -map 0:{stream} -c copy -f hls -hls_time 60 -hls_segment_type fmp4 \
             -hls_fmp4_init_filename {letter}.init -hls_segment_filename {letter}%d.m4s {letter}.m3u8"
        ))?;
    }
    Ok(())
}

/// `cat` with what fisga promises too: that the bytes are on the disk.
fn cat(paths: &[PathBuf], to: &Path) -> Result<f64> {
    let start = Instant::now();
    let status = Command::new("cat")
        .args(paths)
        .stdout(Stdio::from(File::create(to)?))
        .status()?;
    let synced = Command::new("sync").arg(to).status()?;
    ensure!(status.success() && synced.success(), "cat or sync failed");
    let ms = start.elapsed().as_secs_f64() * 1e3;
    fs::remove_file(to)?;
    Ok(ms)
}
