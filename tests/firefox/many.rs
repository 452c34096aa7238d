//! Many clips of other encoders, bit rates, distances of key frames and lengths, in every layout,
//! and what came of each: `cargo test --test firefox -- --ignored --nocapture many`, with
//! `FISGA_CLIPS` for another number than twenty.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Outcome, common, media, outcomes};

/// Numbers that look random and are the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

const ENCODERS: [(&str, &str, &str); 7] = [
    (
        "webm",
        "vp8",
        "-c:v libvpx -deadline realtime -cpu-used -8 -c:a libvorbis",
    ),
    (
        "webm",
        "vp9",
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus",
    ),
    (
        "mkv",
        "vp8",
        "-c:v libvpx -deadline realtime -cpu-used -8 -c:a libopus",
    ),
    (
        "mkv",
        "h264",
        "-c:v libx264 -threads:v 1 -preset ultrafast -pix_fmt yuv420p -c:a aac",
    ),
    (
        "mp4",
        "h264",
        "-c:v libx264 -threads:v 1 -preset veryfast -pix_fmt yuv420p -c:a aac -movflags +faststart",
    ),
    (
        "end.mp4",
        "h264",
        "-c:v libx264 -threads:v 1 -preset ultrafast -pix_fmt yuv420p -c:a aac",
    ),
    (
        "mp4",
        "hevc",
        "-c:v libx265 -preset ultrafast -x265-params log-level=error -pix_fmt yuv420p -c:a aac",
    ),
];

/// Makes a clip; its name says how.
fn clip(dir: &Path, n: usize) -> PathBuf {
    let mut random = Random(n as u64);
    let (ending, codec, line) = ENCODERS[n % ENCODERS.len()];
    let rate = random.of(&["400k", "800k", "1M", "1500k", "2500k"]);
    let gop = random.of(&["12", "30", "60", "120", "250"]);
    let seconds = random.of(&["8", "15", "24", "40"]);
    let noise = random.of(&["0", "10", "24", "50"]);
    let size = random.of(&["320x240", "480x270"]);
    let path = dir.join(format!(
        "{n}-{codec}-{rate}-{gop}-{seconds}s-{noise}-{size}.{ending}"
    ));
    let source = format!(
        "-f lavfi -i testsrc2=s={size}:r=30:d={seconds},noise=alls={noise}:allf=t -f lavfi -i sine=f=440:d={seconds}"
    );
    let line = format!("-nostdin -v error -y {source} {line} -g {gop} -b:v {rate}");
    let mut ffmpeg = Command::new(common::program("ffmpeg", "ffmpeg"));
    let status = ffmpeg
        .args(media::words(&line))
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success(), "ffmpeg can't make {}", path.display());
    path
}

/// Nothing is ever wrong; how much is proven, in doubt, or given up is printed.
///
///     FISGA_CLIPS=100 cargo test --no-default-features --test firefox -- --ignored --nocapture many
#[test]
#[ignore = "minutes: twenty clips, or as many as FISGA_CLIPS says"]
fn many_clips() {
    let count = env::var("FISGA_CLIPS").map_or(20, |n| n.parse().unwrap());
    let (mut tally, mut unsolved) = (BTreeMap::new(), Vec::new());
    for n in 0..count {
        let dir = tempfile::tempdir().unwrap();
        let clip = clip(dir.path(), n);
        for (layout, outcome) in outcomes(&clip) {
            let name = format!("{}, {layout}", clip.file_name().unwrap().display());
            let (codec, container) = (
                ENCODERS[n % ENCODERS.len()].1,
                ENCODERS[n % ENCODERS.len()].0,
            );
            let counts: &mut [usize; 3] = tally.entry((container, codec)).or_default();
            match outcome {
                Outcome::Exact => counts[0] += 1,
                Outcome::Doubt(why) => {
                    counts[1] += 1;
                    unsolved.push(format!("{name}: {why}"));
                }
                Outcome::GivenUp(why) => {
                    counts[2] += 1;
                    unsolved.push(format!("{name}: {why}"));
                }
                Outcome::Wrong => panic!("{name}: another file came out"),
            }
        }
    }
    println!("{}", unsolved.join("\n"));
    for ((container, codec), [exact, doubt, given_up]) in &tally {
        println!(
            "{codec:5} {container:8} exact {exact:4}  in doubt {doubt:3}  given up {given_up:3}"
        );
    }
    let all: usize = tally.values().flatten().sum();
    let exact: usize = tally.values().map(|counts| counts[0]).sum();
    println!("{exact} of {all} exact");
}
