//! Plays a browser plug-in that hides its temporary files: create, wait, remove the name, write,
//! keep open, close.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

const MODE: &str = "--as-producer";

/// The prefix of every file that the bench rule wants.
pub(crate) const PREFIX: &str = "Flash";

/// What a producer does with each of its files.
#[derive(Clone, Debug)]
pub(crate) struct Hide {
    /// Where the files appear.
    pub(crate) folder: PathBuf,
    /// How many files.
    pub(crate) count: u64,
    /// From creation to the removal of the name.
    pub(crate) delay: Duration,
    /// From the last byte to the close.
    pub(crate) hold: Duration,
    /// From the close to the next file of the same thread.
    pub(crate) gap: Duration,
    /// Files open at the same time.
    pub(crate) parallel: u64,
}

impl Hide {
    /// Runs it in a process of its own, to the end.
    pub(crate) fn run(&self) -> Result<()> {
        let status = Command::new(std::env::current_exe()?)
            .arg(MODE)
            .arg(&self.folder)
            .args([self.count, self.parallel].map(|n| n.to_string()))
            .args([self.delay, self.hold, self.gap].map(|time| time.as_micros().to_string()))
            .status()
            .context("can't start the producer")?;
        ensure!(status.success(), "the producer failed: {status}");
        Ok(())
    }
}

/// The producer's main function, if this process was started to be one.
pub(crate) fn asked_for() -> Option<Result<()>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((mode, rest)) if mode == MODE => Some(produce(rest)),
        _ => None,
    }
}

fn produce(words: &[String]) -> Result<()> {
    let [folder, numbers @ ..] = words else {
        anyhow::bail!("no folder")
    };
    let numbers: Vec<u64> = numbers
        .iter()
        .map(|word| word.parse())
        .collect::<Result<_, _>>()?;
    let &[count, parallel, delay, hold, gap] = numbers.as_slice() else {
        anyhow::bail!("five numbers, please")
    };
    let [delay, hold, gap] = [delay, hold, gap].map(Duration::from_micros);
    let (folder, next) = (Path::new(folder), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let hide_all = || -> Result<()> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return Ok(());
                }
                let bytes = content(index);
                let path = folder.join(format!("{PREFIX}{index:06}"));
                let mut file = create(&path)?;
                spin(delay);
                std::fs::remove_file(&path)?;
                file.write_all(&bytes)?;
                std::thread::sleep(hold);
                drop(file);
                std::thread::sleep(gap);
            }
        };
        let threads: Vec<_> = (0..parallel).map(|_| scope.spawn(hide_all)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("panicked"))?)
    })
}

/// Creates a new file as plug-ins do.
pub(crate) fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    options
        .open(path)
        .with_context(|| format!("can't create {}", path.display()))
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

const HEADER: &[u8] = b"FLV\x01\x01\0\0\0\x09\0\0\0\0";
const TAGS: usize = 4;
/// A little more than 64 KiB in all: the beginning by which a file is found in the library.
const PAYLOAD: usize = 17_000;

/// A whole FLV (header, then tags two seconds apart), no two alike: file `index` of a producer.
///
/// Layout: Adobe Flash Video File Format Specification 10.1, annex E.
pub(crate) fn content(index: u64) -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    let mut noise = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for tag in 0..TAGS {
        let [_, size @ ..] = u32::to_be_bytes(PAYLOAD as u32);
        let [high, time @ ..] = u32::to_be_bytes(tag as u32 * 2000);
        bytes.push(9); // video
        bytes.extend(size);
        bytes.extend(time);
        bytes.extend([high, 0, 0, 0]); // stream 0
        bytes.push(if tag == 0 { 0x12 } else { 0x22 }); // key frame, then others; Sorenson H.263
        bytes.extend(index.to_be_bytes());
        for _ in 9..PAYLOAD {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            bytes.push(noise as u8);
        }
        bytes.extend(u32::to_be_bytes(11 + PAYLOAD as u32));
    }
    bytes
}

/// Which file of a producer this is, if it is one to the last byte.
pub(crate) fn identify(bytes: &[u8]) -> Option<u64> {
    let at = HEADER.len() + 12;
    let index = u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
    (bytes == content(index)).then_some(index)
}
