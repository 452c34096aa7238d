//! Good files, cut and with gaps: what the verdict says of them.

use std::{
    collections::BTreeMap, fmt, fs, ops::Range, os::unix::fs::FileExt, path::Path,
    process::Command, sync::Mutex,
};

use fisga::{
    content::Content,
    media::{Container, Report, Verdict, inspect},
};
use rustix::fs::FallocateFlags;

use crate::corpus::{Good, each};

/// How many harms of each kind a file suffers.
#[derive(Clone, Copy)]
pub(crate) struct Harms {
    pub(crate) cuts: u64,
    pub(crate) holes: u64,
    pub(crate) zeros: u64,
}

/// What came of one kind of harm in one container.
#[derive(Debug, Default)]
struct Tally {
    harmed: u64,
    /// Judged not whole.
    seen: u64,
    /// Judged whole, and ffmpeg finds every packet as before.
    nothing_lost: u64,
    /// Judged whole, in a format that promises no length.
    open: u64,
    /// Judged whole by mistake.
    missed: u64,
    /// Harmed files whose share is known and within a hundredth of the truth.
    shares: u64,
    near: u64,
    worst: f64,
    /// Harmed files whose share is known by time or samples, and within a fifth of the truth.
    timed: u64,
    roughly: u64,
}

/// What was done to a file, and the share of its bytes that was left.
struct Harm {
    kind: &'static str,
    what: String,
    /// The share, and what it is if blocks of zeros that were there before count as lost: room that
    /// a muxer reserves is no loss, but that can't be seen once the head that says so is lost.
    share: (f64, f64),
    at_end: bool,
}

impl Harm {
    fn gap(kind: &'static str, gap: &Range<u64>, bytes: &[u8]) -> Self {
        let len = bytes.len() as u64;
        let before = &bytes[gap.start as usize..gap.end as usize];
        let lost: usize = before
            .chunks(64)
            .filter(|c| c.iter().any(|&b| b != 0))
            .map(<[u8]>::len)
            .sum();
        let block = |at: &usize| bytes[*at..].iter().take(4096).all(|&b| b == 0);
        let outside = (0..bytes.len())
            .step_by(4096)
            .filter(|&at| !gap.contains(&(at as u64)));
        let reserved = outside.filter(block).count() * 4096;
        let left = |lost: usize| 1.0 - lost as f64 / len as f64;
        let share = (left(lost), left(before.len() + reserved));
        Self {
            kind,
            what: format!("{kind} {gap:?} of {len}"),
            share,
            at_end: gap.end + 4096 > len,
        }
    }
}

/// All tallies, by kind of harm and container, and what was wrong.
#[derive(Default)]
pub(crate) struct Outcome {
    tallies: BTreeMap<(&'static str, &'static str), Tally>,
    pub(crate) wrong: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "harm  container   harmed  not whole  nothing lost  open end  missed  share known  within 1 %  worst"
        )?;
        for ((harm, container), t) in &self.tallies {
            writeln!(
                f,
                "{harm:5} {container:9} {:8} {:10} {:13} {:9} {:7} {:12} {:11}  {:.4} {:10} {:11}",
                t.harmed,
                t.seen,
                t.nothing_lost,
                t.open,
                t.missed,
                t.shares,
                t.near,
                t.worst,
                t.timed,
                t.roughly
            )?;
        }
        Ok(())
    }
}

/// Harms every file in every way.
pub(crate) fn harm_all(goods: &[Good], harms: Harms) -> Outcome {
    let outcome = Mutex::new(Outcome::default());
    each(goods.iter(), |good| harm(good, harms, &outcome));
    outcome.into_inner().unwrap()
}

fn harm(good: &Good, harms: Harms, outcome: &Mutex<Outcome>) {
    let bytes = fs::read(&good.path).unwrap();
    let len = bytes.len() as u64;
    let mut random = Random(len ^ 0x9e37_79b9_7f4a_7c15);
    let record = |harm: Harm, report: &Report, harmed: &[u8]| {
        let lost = || packets(good, harmed) != packets(good, &bytes);
        outcome.lock().unwrap().record(good, harm, report, lost);
    };
    for _ in 0..harms.cuts {
        let at = random.below(len - 1) + 1;
        let cut = &bytes[..at as usize];
        let harm = Harm {
            kind: "cut",
            what: format!("cut at {at} of {len}"),
            share: (at as f64 / len as f64, at as f64 / len as f64),
            at_end: true,
        };
        record(harm, &inspect(cut).unwrap(), cut);
    }
    let mut copy = bytes.clone();
    // In PCM zeros are silence, in MPEG-2 and MJPEG they may be stuffing: they prove nothing.
    let path = good.path.to_string_lossy();
    let sparse = matches!(
        good.container,
        Container::Mkv | Container::Mov | Container::Avi
    );
    let stuffed =
        path.contains("pcm") || sparse && (path.contains("mpeg2") || path.contains("mjpeg"));
    let zeros = if stuffed { 0 } else { harms.zeros };
    for _ in 0..zeros {
        let gap = random.gap(len);
        copy[gap.start as usize..gap.end as usize].fill(0);
        record(
            Harm::gap("zeros", &gap, &bytes),
            &inspect(copy.as_slice()).unwrap(),
            &copy,
        );
        copy[gap.start as usize..gap.end as usize]
            .copy_from_slice(&bytes[gap.start as usize..gap.end as usize]);
    }
    let file = tempfile::tempfile_in(good.path.parent().unwrap()).unwrap();
    for _ in 0..harms.holes {
        file.write_all_at(&bytes, 0).unwrap();
        let gap = random.gap(len);
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, punch, gap.start, gap.end - gap.start).unwrap();
        assert!(
            file.next_hole(0).unwrap() <= gap.start,
            "the file system of the temporary folder has no holes"
        );
        copy[gap.start as usize..gap.end as usize].fill(0);
        record(
            Harm::gap("hole", &gap, &bytes),
            &inspect(&file).unwrap(),
            &copy,
        );
        copy[gap.start as usize..gap.end as usize]
            .copy_from_slice(&bytes[gap.start as usize..gap.end as usize]);
    }
}

impl Outcome {
    fn record(
        &mut self,
        good: &Good,
        Harm {
            kind,
            what,
            share,
            at_end,
        }: Harm,
        report: &Report,
        lost: impl FnOnce() -> bool,
    ) {
        let tally = self
            .tallies
            .entry((kind, good.container.extension()))
            .or_default();
        tally.harmed += 1;
        let mut wrong = false;
        let detail = report.detail.as_deref().unwrap_or_default();
        let name = good.path.file_name().unwrap_or_default().to_string_lossy();
        match report.verdict {
            Verdict::Complete if !lost() => tally.nothing_lost += 1,
            Verdict::Complete if report.open_ended && at_end => tally.open += 1,
            Verdict::Complete => {
                tally.missed += 1;
                wrong = true;
            }
            Verdict::Incomplete { fraction } => {
                tally.seen += 1;
                let off = (fraction - share.0).max(share.1 - fraction).max(0.0);
                if ["seconds", "samples", "frames"]
                    .iter()
                    .any(|unit| detail.ends_with(unit))
                {
                    tally.timed += 1;
                    tally.roughly += u64::from(off <= 0.2);
                    // Bits are not spread evenly over time: counted, not judged. (And GStreamer's
                    // `mehd` is the sum of all tracks: ffprobe agrees that it is wrong.)
                } else if !report.open_ended || kind != "cut" {
                    tally.shares += 1;
                    tally.worst = tally.worst.max(off);
                    tally.near += u64::from(off <= 0.01);
                    wrong = off > 0.01;
                }
            }
            _ => tally.seen += 1,
        }
        if wrong {
            self.wrong
                .push(format!("{name}: {what} (share {:.4}): {report:?}", share.0));
        }
    }
}

/// ffmpeg's checksum over all packets.
fn packets(good: &Good, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut file = tempfile::NamedTempFile::new_in(good.path.parent()?).unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    sum(file.path())
}

fn sum(path: &Path) -> Option<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args([
            "-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "md5", "-",
        ])
        .output()
        .expect("ffmpeg (Debian package ffmpeg)");
    output.status.success().then_some(output.stdout)
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }

    /// Whole blocks, one to sixteen of them.
    fn gap(&mut self, len: u64) -> Range<u64> {
        let blocks = len / 4096;
        let start = self.below(blocks);
        let count = self.below(16).min(blocks - start - 1) + 1;
        start * 4096..(start + count) * 4096
    }
}
