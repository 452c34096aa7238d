//! Files that are neither whole nor cut: padded, encrypted, foreign, hostile.

use std::{fs, io::Read, path::PathBuf};

use fisga::media::{Container, Verdict, inspect};

use crate::fuzz;

/// The small files that fuzzing starts from.
fn corpus() -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let folders = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = folders
        .flat_map(|dir| fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.is_file());
    files.sort();
    assert!(files.len() > 30);
    files
}

fn seed(name: &str) -> Vec<u8> {
    fs::read(
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz/corpus")
            .join(name),
    )
    .unwrap()
}

#[test]
fn no_bytes_make_it_panic() {
    for path in corpus() {
        let bytes = fs::read(&path).unwrap();
        let check = |bytes: &[u8]| {
            let report = inspect(bytes).unwrap();
            if let Verdict::Incomplete { fraction } = report.verdict {
                assert!(
                    (0.0..1.0).contains(&fraction),
                    "{}: {report:?}",
                    path.display()
                );
            }
        };
        check(&bytes);
        (0..bytes.len())
            .step_by(bytes.len() / 64 + 1)
            .for_each(|n| check(&bytes[..n]));
        let mut changed = bytes.clone();
        for i in 0..64.min(bytes.len()) {
            let at = i * 7919 % bytes.len();
            for value in [0, 0x7f, 0x80, 0xff] {
                changed[at] = value;
                check(&changed);
            }
            changed[at] = bytes[at];
        }
    }
}

/// What ten minutes of fuzzing kept of each target, thinned out: each takes a way through the
/// parser of its own.
#[test]
fn what_fuzzing_found_does_no_harm() {
    for (name, _) in fuzz::TARGETS {
        let path = format!("tests/fuzz/found/{name}.tar.gz");
        let packed = fs::File::open(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
        let mut count = 0;
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            println!("{name}: {}", entry.path().unwrap().display()); // shown if it fails
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            fuzz::run(name, &bytes);
            count += 1;
        }
        assert!(count >= 20, "{name}");
    }
}

#[test]
fn zeros_behind_the_end_are_padding() {
    for name in [
        "mp4/faststart.mp4",
        "mp4/moovend.mp4",
        "mp4/frag.mp4",
        "matroska/h.mkv",
        "matroska/v.webm",
        "matroska/live.mkv",
        "flv/s.flv",
        "ogg/t.ogv",
        "ts/h.ts",
        "mp3/a.mp3",
        "adts/c.aac",
        "flac/f.flac",
        "riff/m.avi",
    ] {
        let mut bytes = seed(name);
        let len = bytes.len() as u64;
        for padding in [100, 5000, 32_768] {
            bytes.resize(len as usize + padding, 0);
            let report = inspect(bytes.as_slice()).unwrap();
            assert_eq!(
                report.verdict,
                Verdict::Complete,
                "{name} and {padding} zeros: {report:?}"
            );
            assert_eq!(
                report.content_len,
                Some(len),
                "{name} and {padding} zeros: {report:?}"
            );
        }
    }
}

#[test]
fn titles_are_read() {
    for name in [
        "mp4/faststart.mp4",
        "mp4/keys.mp4",
        "mp4/tmcd.mov",
        "mp4/titl.3gp",
        "matroska/h.mkv",
        "flv/s.flv",
        "ogg/o.ogg",
        "ogg/f.ogg",
        "mp3/a.mp3",
        "any/id3.aac",
        "flac/f.flac",
        "riff/p.wav",
        "riff/m.avi",
    ] {
        assert_eq!(
            inspect(seed(name).as_slice()).unwrap().title.as_deref(),
            Some("T"),
            "{name}"
        );
    }
}

#[test]
fn encrypted_tracks_are_protected() {
    let report = inspect(seed("mp4/encrypted.mp4").as_slice()).unwrap();
    assert_eq!(
        (report.container, report.verdict),
        (Some(Container::Mp4), Verdict::Protected)
    );
    // ContentEncodings with an encryption, in place of a Matroska track's CodecPrivate (whose size
    // is one byte here).
    let mut bytes = seed("matroska/merge.mkv");
    let at = bytes.windows(2).position(|w| w == [0x63, 0xa2]).unwrap();
    bytes[at..at + 2].copy_from_slice(&[0x6d, 0x80]);
    bytes[at + 3..at + 9].copy_from_slice(&[0x62, 0x40, 0x83, 0x50, 0x35, 0x80]);
    assert_eq!(
        inspect(bytes.as_slice()).unwrap().verdict,
        Verdict::Protected
    );
}

#[test]
fn shuffled_blocks_are_damaged() {
    let good = seed("mp4/faststart.mp4");
    let from = good.windows(4).position(|w| w == b"mdat").unwrap() + 4;
    let size = good[from - 8..][..4].iter();
    let to = from - 8 + size.fold(0, |n, &b| n << 8 | usize::from(b));
    let mut bytes = good.clone();
    bytes[from..to].rotate_left((to - from) / 3);
    let verdict = inspect(bytes.as_slice()).unwrap().verdict;
    assert!(matches!(verdict, Verdict::Damaged { .. }), "{verdict:?}");
}

#[test]
fn a_missing_beginning_is_no_other_kind_of_file() {
    let mut bytes = vec![0; 8192];
    bytes.extend([7; 8192]);
    assert!(matches!(
        inspect(bytes.as_slice()).unwrap().verdict,
        Verdict::Damaged { .. }
    ));
    assert!(matches!(
        inspect([0; 8192].as_slice()).unwrap().verdict,
        Verdict::NotMedia { .. }
    ));
}
