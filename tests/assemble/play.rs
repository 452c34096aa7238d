//! Decodes a file from end to end.

use std::{collections::HashMap, path::Path, process::Command};

/// What came out of it.
pub struct Played {
    pub video: u64,
    pub audio: u64,
    pub duration: f64,
    pub errors: String,
    /// Packets of one stream that are decoded no later than the one before.
    pub backward: Vec<(u64, u64)>,
}

pub fn decode(file: &Path) -> Played {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-count_frames", "-of", "json"]);
    command
        .args([
            "-show_entries",
            "stream=codec_type,nb_read_frames:format=duration:packet=stream_index,dts",
        ])
        .arg(file);
    let output = command
        .output()
        .expect("ffprobe is needed: install the Debian package ffmpeg");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let frames = |kind: &str| {
        let streams = found["streams"].as_array().map_or(&[][..], Vec::as_slice);
        let of_kind = streams.iter().filter(|s| s["codec_type"] == kind);
        of_kind
            .map(|s| {
                s["nb_read_frames"]
                    .as_str()
                    .and_then(|n| n.parse::<u64>().ok())
                    .unwrap_or(0)
            })
            .sum()
    };
    let packets = found["packets"].as_array().map_or(&[][..], Vec::as_slice);
    let mut backward = Vec::new();
    let mut last: HashMap<u64, i64> = HashMap::new();
    for (n, packet) in packets.iter().enumerate() {
        let stream = packet["stream_index"].as_u64().unwrap_or(0);
        let Some(time) = packet["dts"].as_i64() else {
            continue;
        };
        if last.insert(stream, time).is_some_and(|last| last >= time) {
            backward.push((stream, n as u64));
        }
    }
    Played {
        backward,
        video: frames("video"),
        audio: frames("audio"),
        duration: found["format"]["duration"]
            .as_str()
            .and_then(|d| d.parse().ok())
            .unwrap_or(0.0),
        errors: String::from_utf8_lossy(&output.stderr)
            .lines()
            .take(3)
            .collect::<Vec<_>>()
            .join("\n"),
    }
}
