//! How long and with how much memory a file of 4 GB is judged: structure is read, not the content.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

use fisga::media::{Verdict, inspect};

use crate::corpus;

const LONGEST: Duration = Duration::from_millis(50);
const MOST_KIB: u64 = 20 << 10;

#[test]
#[ignore = "writes 12 GB into the temporary folder"]
fn four_gigabytes_are_judged_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // 4.5 Mbit/s, as a film of two hours has.
    let clip = dir.path().join("clip.mkv");
    let code = "ffmpeg -f lavfi -i testsrc2=s=640x360:r=25:d=60,noise=alls=20:allf=t -f lavfi -i sine=d=60 \
                -c:v libx264 -preset ultrafast -b:v 4500k -maxrate 4500k -bufsize 4500k -c:a aac $out";
    corpus::shell(dir.path(), code, "", &clip).unwrap();
    let rounds = (4 << 30) / clip.metadata().unwrap().len();
    for (name, flags) in [("film.mkv", ""), ("film.mp4", "-movflags +faststart")] {
        let film = dir.path().join(name);
        let line = format!("ffmpeg -stream_loop {rounds} -i $dir/clip.mkv $copy {flags} $out");
        corpus::shell(dir.path(), &line, "", &film).unwrap();
        judge(&film);
        fs::remove_file(film).unwrap();
    }
}

fn judge(film: &Path) {
    let file = File::open(film).unwrap();
    assert_eq!(inspect(&file).unwrap().verdict, Verdict::Complete);
    peak();
    let before = peak();
    let mut report = None;
    // The quickest of some: a machine that does other things beside says nothing about the others.
    let times: Vec<_> = (0..5)
        .map(|_| {
            let start = Instant::now();
            report = Some(inspect(&file).unwrap());
            start.elapsed()
        })
        .collect();
    let (took, memory) = (*times.iter().min().unwrap(), peak().saturating_sub(before));
    let bytes = film.metadata().unwrap().len();
    let length = report.and_then(|report| report.duration);
    println!(
        "{}: {bytes} bytes, {length:?}: {times:.1?}, {memory} KiB more",
        film.display()
    );
    assert!(
        took <= LONGEST && memory <= MOST_KIB,
        "{took:?}, {memory} KiB"
    );
}

/// The most memory so far, in KiB; writing 5 makes the kernel start over (proc(5), clear_refs).
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let peak = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak
}
