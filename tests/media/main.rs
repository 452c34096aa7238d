//! The verdict on real files: good ones of many containers and layouts, the same cut and with holes.
//!
//! Every run judges a small part; all of it, with figures: `cargo test --release --test media -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod corpus;

use std::{fs, path::Path, process::Command};

use corpus::Good;
use fisga::media::{Verdict, inspect};

#[test]
fn good_files_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let goods = corpus::build(dir.path(), true);
    let wrong = goods.iter().filter_map(judge_good).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), goods.len(), wrong.join("\n"));
}

/// What is wrong with the verdict on a good file.
fn judge_good(good: &Good) -> Option<String> {
    let report = inspect(&fs::File::open(&good.path).unwrap()).unwrap();
    // Of a chain, ffprobe tells the length of one link.
    let chain = good.path.to_string_lossy().contains("oggchain");
    let seconds = ffprobe_seconds(&good.path).map(|s| if chain { 2.0 * s } else { s });
    let length = report.duration.map_or(0.0, |d| d.as_secs_f64());
    let right = report.verdict == Verdict::Complete
        && report.container == Some(good.container)
        && report.kind == good.kind
        && seconds.is_none_or(|s| (s - length).abs() < 0.1 + 0.02 * s);
    (!right).then(|| format!("{}: ffprobe says {seconds:?} s, {report:?}", good.path.display()))
}

fn ffprobe_seconds(path: &Path) -> Option<f64> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe (Debian package ffmpeg)");
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}
