//! Real layouts of Firefox's media cache file, with videos by several encoders and muxers in them.
//!
//! A layout is scaled to each video: a run that a seek began begins at a key frame, as it did; one
//! that fills a gap begins where the gap does; the tail begins with the block that holds the index.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../common/mod.rs"]
mod common;
mod many;

use many::Random;

use std::{collections::HashSet, fs, path::Path, process::Command};

use common::media;
use fisga::{
    content::Content,
    media::{
        Verdict,
        firefox::{self, NotProven},
    },
};

const BLOCK: usize = 32 << 10;
const LAYOUTS: &str = include_str!("layouts.txt");

struct Layout {
    name: &'static str,
    blocks: usize,
    /// First block and number of blocks.
    runs: Vec<(usize, usize)>,
}

fn layouts() -> Vec<Layout> {
    let lines = LAYOUTS.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, rest) = line.split_once(": ").unwrap();
            let (blocks, runs) = rest.split_once("; ").unwrap();
            let run = |run: &str| {
                run.split_once('+')
                    .map(|(at, n)| (at.parse().unwrap(), n.parse().unwrap()))
            };
            Layout {
                name,
                blocks: blocks.parse().unwrap(),
                runs: runs.split(' ').filter_map(run).collect(),
            }
        })
        .collect()
}

/// The blocks in which a key frame begins.
fn key_blocks(clip: &Path) -> Vec<usize> {
    let output = Command::new(common::program("ffprobe", "ffmpeg"))
        .args("-v error -select_streams v -show_entries packet=pos,flags -of csv=p=0".split(' '))
        .arg(clip)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let keys = text.lines().filter_map(|line| line.split_once(",K"));
    let keys: Vec<_> = keys
        .filter_map(|(at, _)| Some(at.parse::<usize>().ok()? / BLOCK))
        .collect();
    assert!(!keys.is_empty(), "no key frames in {}", clip.display());
    keys
}

/// The order of a video's blocks in a layout.
fn order(layout: &Layout, video: &[u8], keys: &[usize]) -> Vec<usize> {
    let blocks = video.len().div_ceil(BLOCK);
    let scale = |n: usize| (n * blocks).div_ceil(layout.blocks);
    let index = video
        .windows(8)
        .rposition(|bytes| bytes.ends_with(b"moov"))
        .map_or(blocks - 1, |at| at / BLOCK);
    let mut order = Vec::new();
    let mut there = HashSet::new();
    let mut ends = vec![(0, 0)];
    for &(at, len) in &layout.runs {
        let tail = at + len == layout.blocks && len <= 3;
        let start = match ends.iter().find(|(end, _)| *end == at) {
            Some((_, end)) => *end,
            None if tail => index,
            None => keys
                .iter()
                .copied()
                .find(|key| *key >= scale(at))
                .unwrap_or(0),
        };
        let run = (start..blocks).take(if tail { blocks } else { scale(len) });
        let run: Vec<_> = run.take_while(|block| there.insert(*block)).collect();
        ends.push((at + len, start + run.len()));
        order.extend(run);
    }
    order.extend((0..blocks).filter(|block| !there.contains(block)));
    order
}

fn arranged(video: &[u8], order: &[usize]) -> Vec<u8> {
    let mut file = Vec::new();
    for block in order {
        file.extend(&video[block * BLOCK..video.len().min((block + 1) * BLOCK)]);
        file.resize(file.len().next_multiple_of(BLOCK), 0);
    }
    file
}

/// What came of a video in a layout.
enum Outcome {
    Exact,
    Doubt(NotProven),
    GivenUp(NotProven),
    Wrong,
}

/// What comes of a clip in every layout.
fn outcomes(clip: &Path) -> Vec<(&'static str, Outcome)> {
    let (video, keys) = (fs::read(clip).unwrap(), key_blocks(clip));
    let outcome = |layout: &Layout| {
        let file = arranged(&video, &order(layout, &video, &keys));
        let plan = match firefox::unshuffle(&file[..]).unwrap() {
            Ok(plan) => plan,
            Err(why) => return Outcome::GivenUp(why),
        };
        if let Some(why) = plan.doubt() {
            return Outcome::Doubt(why);
        }
        let mut made = vec![0; plan.len as usize];
        plan.view(&file[..]).read_at(0, &mut made).unwrap();
        if made == video {
            Outcome::Exact
        } else {
            Outcome::Wrong
        }
    };
    layouts()
        .iter()
        .map(|layout| (layout.name, outcome(layout)))
        .collect()
}

/// Every layout with a clip in it comes out as the clip, or in doubt: how many are.
fn in_doubt(name: &str) -> usize {
    let mut doubts = 0;
    for (layout, outcome) in outcomes(&media::clip(name)) {
        match outcome {
            Outcome::Exact => {}
            Outcome::Doubt(_) => doubts += 1,
            Outcome::GivenUp(why) => panic!("{name}, {layout}: {why}"),
            Outcome::Wrong => panic!("{name}, {layout}: another file came out"),
        }
    }
    doubts
}

#[test]
fn h264_with_the_index_first() {
    assert_eq!(in_doubt("short.mp4"), 0);
}

#[test]
fn h264_with_the_index_last() {
    assert_eq!(in_doubt("short-end.mp4"), 0);
}

#[test]
fn h265() {
    assert_eq!(in_doubt("short-hevc.mp4"), 0);
}

#[test]
fn av1() {
    // A unit's length is short: a run of one block can be in doubt.
    assert!(in_doubt("short-av1.mp4") <= 2);
}

#[test]
fn vp8_in_webm() {
    assert_eq!(in_doubt("short.webm"), 0);
}

#[test]
fn vp9_in_webm() {
    assert_eq!(in_doubt("short-vp9.webm"), 0);
}

#[test]
fn h264_in_matroska() {
    assert_eq!(in_doubt("short.mkv"), 0);
}

#[test]
fn theora_in_ogg() {
    assert_eq!(in_doubt("short.ogv"), 0);
}

/// Blocks of two videos that came at the same time, in the order of their arrival: runs of a few.
fn interleaved(videos: [&[u8]; 2], random: &mut Random) -> Vec<u8> {
    let mut left = videos.map(|video| video.chunks(BLOCK));
    let mut file = Vec::new();
    while left.iter().any(|blocks| blocks.len() > 0) {
        let run = if random.below(8) == 0 {
            1 + random.below(40)
        } else {
            1 + random.below(5)
        };
        for block in left[random.below(2)].by_ref().take(run) {
            file.extend(block);
            file.resize(file.len().next_multiple_of(BLOCK), 0);
        }
    }
    file
}

/// What is called whole, is: whatever the order in which two videos came. `FISGA_ROUNDS` for more
/// than five of them.
#[test]
fn two_in_one_file() {
    let rounds = std::env::var("FISGA_ROUNDS").map_or(5, |n| n.parse().unwrap());
    let pairs = [
        ["big.webm", "other.mp4"],
        ["short.webm", "short.mp4"],
        ["short-vp9.webm", "short.mkv"],
        ["short.mp4", "short-end.mp4"],
    ];
    let mut random = Random(1);
    let (mut whole, mut all) = (0, 0);
    for names in pairs {
        let clips = names.map(|name| fs::read(media::clip(name)).unwrap());
        for round in 0..rounds {
            let seed = random.0;
            let file = interleaved([&clips[0], &clips[1]], &mut random);
            for plan in firefox::repair(&file[..]).unwrap() {
                all += 1;
                let Ok(plan) = plan else { continue };
                let view = plan.view(&file[..]);
                let report = fisga::media::inspect(&view).unwrap();
                if plan.doubt().is_some() || report.verdict != Verdict::Complete {
                    continue;
                }
                whole += 1;
                let mut made = vec![0; plan.len as usize];
                view.read_at(0, &mut made).unwrap();
                assert!(
                    clips.contains(&made),
                    "{names:?}, round {round}, seed {seed}: another file came out"
                );
            }
        }
    }
    println!("{whole} of {all} whole");
}
