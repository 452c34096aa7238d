//! Files as other programs write them, and what becomes of good files on their way: bytes before
//! and behind, holes at the end, sizes and flags that are a little wrong. Each case stands for a
//! kind; the last tests try every container of the corpus.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use fisga::media::{Container, Kind, Report, Verdict, inspect};

use crate::corpus::{self, Good, shell};

const VIDEO: &str = "-f lavfi -i testsrc2=s=160x120:r=25:d=3";
const SOUND: &str = "-f lavfi -i sine=f=440:d=2:r=44100";

/// A file that ffmpeg or GStreamer makes with one line.
fn made(line: &str, ending: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join(format!("out.{ending}"));
    let line = line.replace("VIDEO", VIDEO).replace("SOUND", SOUND);
    shell(dir.path(), &line, "", &out).unwrap();
    fs::read(out).unwrap()
}

fn h264_in(format: &str) -> Vec<u8> {
    let line = format!("ffmpeg VIDEO -c:v libx264 -preset ultrafast -g 25 {format} $out");
    made(&line, "file")
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|w| w == what).unwrap()
}

/// Every FLV tag's offset.
fn flv_tags(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut tags) = (13, Vec::new());
    while at + 15 <= bytes.len() {
        tags.push(at);
        at = back_pointer(bytes, at) + 4;
    }
    tags
}

/// Where the size of a tag stands again, behind its body.
fn back_pointer(bytes: &[u8], tag: usize) -> usize {
    let size = u32::from_be_bytes([0, bytes[tag + 1], bytes[tag + 2], bytes[tag + 3]]);
    tag + 11 + size as usize
}

fn flv(change: impl Fn(&mut [u8], usize)) -> Vec<u8> {
    let mut bytes = h264_in("-f flv");
    for tag in flv_tags(&bytes) {
        change(&mut bytes, tag);
    }
    bytes
}

/// A film whose index is packed as QuickTime 4 packed it.
fn compressed_moov() -> Vec<u8> {
    let bytes = h264_in("-f mov");
    let moov = find(&bytes, b"moov") - 4;
    let size = u32::from_be_bytes(*bytes[moov..].first_chunk().unwrap()) as usize;
    let index = &bytes[moov..moov + size];
    let mut packed = (size as u32).to_be_bytes().to_vec();
    let mut encoder = flate2::read::ZlibEncoder::new(index, flate2::Compression::best());
    encoder.read_to_end(&mut packed).unwrap();
    let atom = |kind: &[u8; 4], body: &[u8]| {
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
    };
    let cmov = atom(
        b"cmov",
        &[atom(b"dcom", b"zlib"), atom(b"cmvd", &packed)].concat(),
    );
    // The index is the last box: what it points to stays where it is.
    [&bytes[..moov], &atom(b"moov", &cmov)].concat()
}

fn mp3() -> Vec<u8> {
    made(
        "ffmpeg SOUND -c:a libmp3lame -b:a 64k -id3v2_version 0 -f mp3 $out",
        "mp3",
    )
}

/// Frames and nothing else.
fn mp3_without_info() -> Vec<u8> {
    made(
        "ffmpeg SOUND -c:a libmp3lame -b:a 64k -write_xing 0 -id3v2_version 0 -f mp3 $out",
        "mp3",
    )
}

/// A tag of two kilobytes of padding.
fn id3v2() -> Vec<u8> {
    let mut tag = b"ID3\x04\0\0\0\0\x0f\x76".to_vec();
    tag.resize(10 + 0x7f6, 0);
    tag
}

/// An MP3 whose first frame counts itself, and says nothing of bytes.
fn info_counts_itself() -> Vec<u8> {
    let mut bytes = mp3();
    let info = find(&bytes, b"Info");
    bytes[info + 7] = 1;
    let frames = u32::from_be_bytes(*bytes[info + 8..].first_chunk().unwrap()) + 1;
    bytes[info + 8..info + 12].copy_from_slice(&frames.to_be_bytes());
    bytes
}

fn riff_that_counts_its_head(line: &str) -> Vec<u8> {
    let mut bytes = made(line, "riff");
    let len = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// Samples in `moov`, then fragments that don't say when they begin.
fn hybrid_without_tfdt() -> Vec<u8> {
    let mut bytes = h264_in("-movflags frag_keyframe -f mp4");
    let mut count = 0;
    for i in 0..bytes.len() - 4 {
        if &bytes[i..i + 4] == b"tfdt" {
            bytes[i..i + 4].copy_from_slice(b"free");
            count += 1;
        }
    }
    assert!(count >= 2);
    bytes
}

fn ts() -> Vec<u8> {
    h264_in("-f mpegts")
}

/// Bytes of nothing in particular.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn id3v1() -> Vec<u8> {
    let mut tag = b"TAGA title".to_vec();
    tag.resize(128, 0);
    tag
}

/// An APE tag without the head that may stand before its items.
fn ape_footer() -> Vec<u8> {
    let item = [&4_u32.to_le_bytes()[..], &[0; 4], b"Artist\0", b"Name"].concat();
    let mut tag = item.clone();
    tag.extend(b"APETAGEX");
    for n in [2000, item.len() as u32 + 32, 1, 0] {
        tag.extend(n.to_le_bytes());
    }
    tag.resize(tag.len() + 8, 0);
    tag
}

#[test]
fn good_files_of_other_programs_are_whole() {
    use Container::{Aac, Avi, Flac, Flv, M4a, Mov, Mp3, Mp4, Ogg, Ts, Wav, Webm};
    use Kind::{Audio, Video};
    let mp4 = || h264_in("-movflags +faststart -f mp4");
    let stuffed = "-c:v mpeg2video -b:v 3M -minrate 3M -maxrate 3M -bufsize 1M";
    let silence = "ffmpeg -f lavfi -i anullsrc=r=44100:cl=stereo -t 2 -c:a alac";
    let cases: Vec<(&str, Vec<u8>, Container, Kind, f64)> = vec![
        (
            "MPEG-2 with stuffing in MP4",
            made(&format!("ffmpeg VIDEO {stuffed} -f mp4 $out"), "mp4"),
            Mp4,
            Video,
            3.0,
        ),
        (
            "MJPEG in MP4",
            made("ffmpeg VIDEO -c:v mjpeg -q:v 3 -f mp4 $out", "mp4"),
            Mp4,
            Video,
            3.0,
        ),
        (
            "one JPEG a second in MP4",
            made("ffmpeg VIDEO -r 1 -c:v mjpeg -f mp4 $out", "mp4"),
            Mp4,
            Video,
            5.0,
        ),
        (
            "PNG in MP4",
            made("ffmpeg VIDEO -c:v png -f mp4 $out", "mp4"),
            Mp4,
            Video,
            3.0,
        ),
        (
            "MP4 and a script's page",
            [mp4(), b"<html><body>Fatal error</body></html>\n".to_vec()].concat(),
            Mp4,
            Video,
            3.0,
        ),
        (
            "MP4 and an ID3v1 tag",
            [mp4(), id3v1()].concat(),
            Mp4,
            Video,
            3.0,
        ),
        (
            "slides in FLV",
            made(
                "ffmpeg -f lavfi -i testsrc2=s=160x120:r=1/5:d=30 -c:v flv -f flv $out",
                "flv",
            ),
            Flv,
            Video,
            30.0,
        ),
        (
            "one picture a second in FLV",
            made(
                "ffmpeg -f lavfi -i testsrc2=s=160x120:r=1:d=20 -c:v flv -f flv $out",
                "flv",
            ),
            Flv,
            Video,
            20.0,
        ),
        (
            "FLV whose back pointers are 0",
            flv(|bytes, tag| {
                let back = back_pointer(bytes, tag);
                bytes[back..back + 4].fill(0);
            }),
            Flv,
            Video,
            3.0,
        ),
        (
            "FLV whose back pointers leave the head out",
            flv(|bytes, tag| {
                let back = back_pointer(bytes, tag);
                let short = ((back - tag - 11) as u32).to_be_bytes();
                bytes[back..back + 4].copy_from_slice(&short);
            }),
            Flv,
            Video,
            3.0,
        ),
        (
            "FLV with a stream's number",
            flv(|bytes, tag| bytes[tag + 10] = 1),
            Flv,
            Video,
            3.0,
        ),
        (
            "FLV with a stream's number and back pointers of 0",
            flv(|bytes, tag| {
                let back = back_pointer(bytes, tag);
                bytes[back..back + 4].fill(0);
                bytes[tag + 10] = 1;
            }),
            Flv,
            Video,
            3.0,
        ),
        (
            "FLV with another stream's number in each tag",
            flv(|bytes, tag| {
                let number = (tag as u32 | 1).to_be_bytes();
                bytes[tag + 8..tag + 11].copy_from_slice(&number[1..]);
            }),
            Flv,
            Video,
            3.0,
        ),
        (
            "FLV with reserved flags",
            flv(|bytes, _| bytes[4] = 0xfd),
            Flv,
            Video,
            3.0,
        ),
        (
            "FLAC in Ogg with padding",
            made(
                "gst-launch-1.0 -q audiotestsrc num-buffers=90 ! audioconvert ! flacenc padding=8192 ! flacparse ! oggmux ! filesink location=$out",
                "oga",
            ),
            Ogg,
            Audio,
            2.09,
        ),
        ("a compressed index", compressed_moov(), Mov, Video, 3.0),
        (
            "AVI whose size counts its head",
            riff_that_counts_its_head("ffmpeg VIDEO -c:v mpeg4 -f avi $out"),
            Avi,
            Video,
            3.0,
        ),
        (
            "WAVE whose size counts its head",
            riff_that_counts_its_head("ffmpeg SOUND -c:a pcm_s16le -f wav $out"),
            Wav,
            Audio,
            2.0,
        ),
        (
            "AVI from a pipe",
            made("ffmpeg VIDEO -c:v mpeg4 -f avi - >$out", "avi"),
            Avi,
            Video,
            0.0,
        ),
        (
            "samples in moov, then fragments without tfdt",
            hybrid_without_tfdt(),
            Mp4,
            Video,
            3.0,
        ),
        (
            "MP3 whose head counts itself",
            info_counts_itself(),
            Mp3,
            Audio,
            2.03,
        ),
        (
            "MP3 and one byte",
            [mp3(), vec![b'\n']].concat(),
            Mp3,
            Audio,
            2.03,
        ),
        (
            "MP3 and the end of an APE tag",
            [mp3(), ape_footer()].concat(),
            Mp3,
            Audio,
            2.03,
        ),
        (
            "MP3 behind something else",
            [noise(7, 3000), mp3()].concat(),
            Mp3,
            Audio,
            2.03,
        ),
        (
            "TS that begins inside a packet",
            ts().split_off(100),
            Ts,
            Video,
            3.0,
        ),
        (
            "TS behind something else",
            [noise(9, 1000), ts()].concat(),
            Ts,
            Video,
            3.0,
        ),
        (
            "TS with a wrong byte near the beginning",
            {
                let mut bytes = ts();
                bytes[188 * 7] = 0x46;
                bytes
            },
            Ts,
            Video,
            3.0,
        ),
        (
            "TS with a wrong byte in its last packet",
            {
                let mut bytes = ts();
                let last = bytes.len() - 188;
                bytes[last] = 0;
                bytes
            },
            Ts,
            Video,
            3.0,
        ),
        (
            "TS and a long tail of something else",
            [ts(), noise(3, 1_000_000)].concat(),
            Ts,
            Video,
            3.0,
        ),
        (
            "AAC behind something else",
            [
                noise(5, 3000),
                made("ffmpeg SOUND -c:a aac -f adts $out", "aac"),
            ]
            .concat(),
            Aac,
            Audio,
            2.0,
        ),
        (
            "TS with a wrong byte in the middle",
            {
                let mut bytes = ts();
                let middle = bytes.len() / 2 / 188 * 188;
                bytes[middle] = 0;
                bytes
            },
            Ts,
            Video,
            3.0,
        ),
        (
            "TS with the bytes that a Blu-ray has before each packet",
            h264_in("-f mpegts -mpegts_m2ts_mode 1"),
            Ts,
            Video,
            3.0,
        ),
        (
            "TS with the bytes that a broadcast has behind each packet",
            ts().chunks(188)
                .flat_map(|packet| [packet, &[0xff; 16]].concat())
                .collect(),
            Ts,
            Video,
            3.0,
        ),
        (
            "TS behind a script's words",
            [&b"<br />\n<b>Warning</b>: x\n<html></html>"[..], &ts()].concat(),
            Ts,
            Video,
            3.0,
        ),
        (
            "TS behind a page",
            [&b"<!DOCTYPE html><html></html>\n"[..], &ts()].concat(),
            Ts,
            Video,
            3.0,
        ),
        (
            "MP3 behind a comment",
            [&b"<!-- cached -->"[..], &mp3_without_info()].concat(),
            Mp3,
            Audio,
            2.0,
        ),
        (
            "MP3 that begins inside a frame",
            mp3_without_info()[100..].to_vec(),
            Mp3,
            Audio,
            2.0,
        ),
        (
            "MP3 behind two tags",
            [id3v2(), id3v2(), mp3_without_info()].concat(),
            Mp3,
            Audio,
            2.0,
        ),
        (
            "AAC that begins inside a frame",
            made("ffmpeg SOUND -c:a aac -f adts $out", "aac")[57..].to_vec(),
            Aac,
            Audio,
            2.0,
        ),
        (
            "FLAC behind a tag",
            [id3v2(), made("ffmpeg SOUND -c:a flac -f flac $out", "flac")].concat(),
            Flac,
            Audio,
            2.0,
        ),
        (
            "WAVE of no stated length",
            {
                let mut bytes = made("ffmpeg SOUND -c:a pcm_s16le -f wav $out", "wav");
                let data = find(&bytes, b"data");
                bytes[4..8].fill(0);
                bytes[data + 4..data + 8].fill(0);
                bytes
            },
            Wav,
            Audio,
            2.0,
        ),
        (
            "MP4 whose length is all ones",
            {
                let mut bytes = h264_in("-movflags +faststart -f mp4");
                let head = find(&bytes, b"mvhd");
                bytes[head + 20..head + 24].fill(0xff);
                bytes
            },
            Mp4,
            Video,
            3.0,
        ),
        (
            "MP4 with hint tracks",
            h264_in("-movflags +faststart+rtphint -f mp4"),
            Mp4,
            Video,
            3.0,
        ),
        (
            "MP4 and a box that reaches past the end",
            [
                h264_in("-movflags +faststart -f mp4"),
                b"\0\xff\xff\xffCAME".to_vec(),
                noise(8, 500),
            ]
            .concat(),
            Mp4,
            Video,
            3.0,
        ),
        (
            "FLV whose size is 0",
            {
                let mut bytes = h264_in("-f flv");
                let size = find(&bytes, b"filesize") + 9;
                bytes[size..size + 8].fill(0);
                bytes
            },
            Flv,
            Video,
            3.0,
        ),
        (
            "live WebM",
            made(
                "ffmpeg VIDEO -c:v libvpx -deadline realtime -cpu-used 8 -f webm -live 1 $out",
                "webm",
            ),
            Webm,
            Video,
            3.0,
        ),
        (
            "silence in ALAC",
            made(&format!("{silence} -f ipod $out"), "m4a"),
            M4a,
            Audio,
            2.0,
        ),
        (
            "silence in ALAC, not packed",
            made(
                &format!("{silence} -compression_level 0 -f ipod $out"),
                "m4a",
            ),
            M4a,
            Audio,
            2.0,
        ),
    ];
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|(name, bytes, container, kind, seconds)| {
            let report = inspect(bytes.as_slice()).unwrap();
            let length = report.duration.map_or(0.0, |d| d.as_secs_f64());
            let right = report.verdict == Verdict::Complete
                && (report.container, report.kind) == (Some(*container), *kind)
                && (length - seconds).abs() <= 0.15;
            (!right).then(|| format!("{name}: {report:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_missing_is_no_padding() {
    // `onMetaData` promises more bytes than there are.
    let mut flv = h264_in("-f flv");
    let size = find(&flv, b"filesize") + 9;
    let more = flv.len() as f64 * 1.5;
    flv[size..size + 8].copy_from_slice(&more.to_be_bytes());
    // A block of zeros in sound that has none.
    let line = "ffmpeg SOUND -c:a alac -f ipod $out";
    let mut alac = made(line, "m4a");
    let middle = alac.len() / 2 / 4096 * 4096;
    alac[middle..middle + 8192].fill(0);
    for (name, bytes) in [("FLV", flv), ("ALAC", alac)] {
        let report = inspect(bytes.as_slice()).unwrap();
        let Verdict::Incomplete { fraction } = report.verdict else {
            panic!("{name}: {report:?}");
        };
        assert!((0.5..0.99).contains(&fraction), "{name}: {report:?}");
        assert!(!report.missing.is_empty(), "{name}: {report:?}");
    }
}

#[test]
fn pictures_are_not_media() {
    for brand in [
        "mif1", "mif2", "mif3", "msf1", "heic", "heix", "heim", "hevc", "hevx", "avif", "avis",
        "avci", "jpeg", "crx ",
    ] {
        let ftyp = [
            &20_u32.to_be_bytes()[..],
            b"ftyp",
            brand.as_bytes(),
            &[0; 4],
            b"miaf",
        ];
        let bytes = [&ftyp.concat()[..], b"\0\0\0\x0cmeta\0\0\0\0"].concat();
        let verdict = inspect(bytes.as_slice()).unwrap().verdict;
        assert!(
            matches!(verdict, Verdict::NotMedia { .. }),
            "{brand}: {verdict:?}"
        );
    }
}

/// Every container of the corpus; `check` says what is wrong with one.
fn every_good_file(check: impl Fn(&Good, &[u8]) -> Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    let goods = corpus::build(dir.path(), true);
    let wrong: Vec<_> = goods
        .iter()
        .filter_map(|good| {
            let what = check(good, &fs::read(&good.path).unwrap())?;
            Some(format!("{}: {what}", name(&good.path)))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_tail_of_something_else_changes_nothing() {
    every_good_file(|good, bytes| {
        let whole = inspect(bytes).unwrap();
        let random = (1..=12).map(|n| noise(n, 13 + 97 * n as usize * n as usize));
        let text = b"<!DOCTYPE html><html><body>Not found</body></html>\n".to_vec();
        let tails = random.chain([text, id3v1(), ape_footer(), noise(99, 300_000)]);
        let mut wrong = tails.filter_map(|tail| {
            let report = inspect([bytes, &tail].concat().as_slice()).unwrap();
            let same = |a: &Report, b: &Report| {
                (a.container, a.kind, a.duration) == (b.container, b.kind, b.duration)
            };
            // Sound without a size goes on to the end of the file.
            let is_open = good.container == Container::Wav && whole.open_ended;
            let right = report.verdict == Verdict::Complete && (is_open || same(&report, &whole));
            (!right).then(|| format!("{} bytes behind it: {report:?}", tail.len()))
        });
        wrong.next()
    });
}

#[test]
fn a_hole_at_the_end_is_missing() {
    every_good_file(|good, bytes| {
        let mut file = tempfile::tempfile_in(good.path.parent().unwrap()).unwrap();
        let len = bytes.len() as u64;
        let mut wrong = [20, 60, 85].into_iter().filter_map(|percent| {
            let kept = len * percent / 100 / 4096 * 4096;
            let lost = &bytes[kept as usize..];
            // What a muxer reserves may lie at the end: it is no loss.
            if kept == 0 || lost.iter().filter(|&&b| b != 0).count() < lost.len() / 2 {
                return None;
            }
            file.set_len(0).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes[..kept as usize], 0).unwrap();
            file.set_len(len).unwrap();
            file.flush().unwrap();
            let report = inspect(&file).unwrap();
            let share = kept as f64 / len as f64;
            let right = matches!(
                report.verdict,
                Verdict::Incomplete { fraction } if (fraction - share).abs() < 0.02
            );
            let is_listed = report.missing.last().is_some_and(|r| r.start == kept);
            (!right || !is_listed).then(|| format!("{share:.3} is there: {report:?}"))
        });
        wrong.next()
    });
}

#[test]
fn a_gigabyte_of_nothing_is_judged_at_once() {
    every_good_file(|good, bytes| {
        let file: File = tempfile::tempfile_in(good.path.parent().unwrap()).unwrap();
        let kept = bytes.len() / 2 / 4096 * 4096;
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes[..kept], 0).unwrap();
        file.set_len(1 << 30).unwrap();
        let begun = Instant::now();
        let report = inspect(&file).unwrap();
        let took = begun.elapsed();
        // A fifth of a second is what it may take; other tests run beside this one.
        let right = took < Duration::from_secs(2) && report.verdict != Verdict::Complete;
        (!right).then(|| format!("{took:?}: {report:?}"))
    });
}
