//! The verdict on real files: good ones of many containers and layouts, the same cut and with
//! holes.
//!
//! Every run judges a small part; all of it, with figures: `cargo test --release --test media --
//! --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod corpus;
mod foreign;
#[path = "../fuzz/src/lib.rs"]
mod fuzz;
mod harm;
mod large;
mod others;

use std::{fs, path::Path, process::Command, sync::Mutex};

use corpus::Good;
use fisga::media::{Verdict, inspect};
use harm::{Harms, harm_all};

#[test]
fn good_files_are_whole_and_harmed_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    judge_all(
        &corpus::build(dir.path(), true),
        Harms {
            cuts: 16,
            holes: 4,
            zeros: 8,
        },
    );
}

#[test]
#[ignore = "ten minutes: the whole corpus"]
fn all_good_files_are_whole_and_harmed_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let goods = Mutex::new(Vec::new());
    corpus::each(
        corpus::build(dir.path(), false).into_iter(),
        |good| match complaints(&good.path) {
            // A muxer of GStreamer now and then writes a frame that no decoder likes: not a good
            // file.
            Some(words) => println!("not good, says ffmpeg: {}: {words}", good.path.display()),
            None => goods.lock().unwrap().push(good),
        },
    );
    let goods = goods.into_inner().unwrap();
    assert!(goods.len() >= 500, "only {} good files", goods.len());
    judge_all(
        &goods,
        Harms {
            cuts: 200,
            holes: 20,
            zeros: 30,
        },
    );
}

fn judge_all(goods: &[Good], harms: Harms) {
    let mut wrong = goods.iter().filter_map(judge_good).collect::<Vec<_>>();
    println!("{} good files, {} judged wrong", goods.len(), wrong.len());
    let outcome = harm_all(goods, harms);
    println!("{outcome}");
    wrong.extend(outcome.wrong);
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What ffmpeg says while it decodes all of it.
fn complaints(path: &Path) -> Option<String> {
    let output = Command::new("ffmpeg")
        .args(["-v", "repeat+error", "-nostdin", "-i"])
        .arg(path)
        .args(["-f", "null", "-"])
        .output()
        .expect("ffmpeg (Debian package ffmpeg)");
    let words = String::from_utf8_lossy(&output.stderr);
    // Two frames of one time are the null muxer's complaint, not a decoder's.
    let mut words = words
        .lines()
        .filter(|line| !line.contains("non monotonically increasing dts"));
    words
        .next()
        .map(str::to_owned)
        .or((!output.status.success()).then(|| output.status.to_string()))
}

/// What is wrong with the verdict on a good file.
fn judge_good(good: &Good) -> Option<String> {
    let report = inspect(&fs::File::open(&good.path).unwrap()).unwrap();
    // Of a chain, ffprobe gives the length of one link.
    let chain = good.path.to_string_lossy().contains("oggchain");
    let seconds = ffprobe_seconds(&good.path).map(|s| if chain { 2.0 * s } else { s });
    let length = report.duration.map_or(0.0, |d| d.as_secs_f64());
    // Where nothing says the length, ffprobe guesses it by the bit rate.
    let seconds = seconds.filter(|_| !good.path.to_string_lossy().contains("live"));
    // It takes a count that was left open for a length, too: no good file here is an hour long.
    let seconds = seconds.filter(|&s| s < 3600.0);
    let right = report.verdict == Verdict::Complete
        && report.container == Some(good.container)
        && report.kind == good.kind
        && length < 3600.0
        && seconds.is_none_or(|s| (s - length).abs() < 0.1 + 0.02 * s);
    (!right).then(|| {
        format!(
            "{}: ffprobe says {seconds:?} s, {report:?}",
            good.path.display()
        )
    })
}

fn ffprobe_seconds(path: &Path) -> Option<f64> {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "format=duration",
            "-of",
            "csv=p=0",
        ])
        .arg(path)
        .output()
        .expect("ffprobe (Debian package ffmpeg)");
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}
