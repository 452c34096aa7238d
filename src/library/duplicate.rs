//! Content that the library has already, as a file or as a part of one, is not saved a second time.
//!
//! The beginnings of all files in the library are known by their BLAKE3, so a new video costs one
//! listing of the folder. Only where a beginning is the same are the contents compared, byte by
//! byte: whether the one is all that the other has, or a part of it. A part is a prefix, or what a
//! player left that fetched here and there: data that is the same wherever there is data, and holes
//! elsewhere.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use blake3::Hash;
use serde::{Deserialize, Serialize};

use super::shelf::{self, LibraryFile};
use crate::{content::Content, inode::Inode};

/// Bytes of a beginning. All containers say here how long the video is, or have its first frames.
const HEAD: u64 = 64 << 10;

/// Bytes compared at once.
const BLOCK: usize = 256 << 10;

/// A video that may be in the library already.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Read-only descriptor.
    pub file: &'a File,
    /// How many of the file's first bytes are the video.
    pub len: u64,
    /// Whether it is whole.
    pub whole: bool,
}

/// What becomes of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing like it is there.
    Fresh,
    /// All that it has is in this file.
    DuplicateOf(PathBuf),
    /// It has all that these unfinished ones have, and more: they can go once it is placed.
    Replaces(Vec<PathBuf>),
}

/// How two contents relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Same,
    /// The candidate is a part of what is there.
    Part,
    /// What is there is a part of the candidate.
    Contains,
    Different,
}

/// What one file in the library means for a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consequence {
    None,
    Duplicate,
    Replaced,
}

/// Why a candidate could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The candidate can't be read.
    #[error("the held file can't be compared with the library")]
    Read(#[from] io::Error),
    /// The stop flag was set.
    #[error("stopped before the comparison was complete")]
    Stopped,
}

/// The content of the library.
#[derive(Debug)]
pub struct Duplicates {
    library: PathBuf,
    path: PathBuf,
    /// Read at the first look.
    index: RefCell<Option<Index>>,
}

/// A file in one state: its inode, size and time of change.
type Key = (Inode, u64, (i64, i64));

/// The beginnings that are known, as the index file has them.
#[derive(Debug, Default)]
struct Index {
    heads: HashMap<Key, Hash>,
    /// Some lines can't be read, or a crash cut the last one off: the file is to be written anew.
    damaged: bool,
}

/// A line of the index file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    dev: u64,
    ino: u64,
    bytes: u64,
    modified: (i64, i64),
    head: String,
}

impl Line {
    fn new(&(id, bytes, modified): &Key, head: &Hash) -> Self {
        Self {
            dev: id.dev,
            ino: id.ino,
            bytes,
            modified,
            head: head.to_hex().to_string(),
        }
    }

    fn entry(&self) -> Option<(Key, Hash)> {
        let id = Inode {
            dev: self.dev,
            ino: self.ino,
        };
        Some((
            (id, self.bytes, self.modified),
            Hash::from_hex(&self.head).ok()?,
        ))
    }
}

impl Duplicates {
    /// For a library; `index` is a file of ours (in the XDG state folder) that spares reading all
    /// beginnings again. It may be missing, old or damaged: what is in it counts only for a file of
    /// the same inode, size and time of change.
    pub fn new(library: &Path, index: &Path) -> Self {
        Self {
            library: library.to_owned(),
            path: index.to_owned(),
            index: RefCell::default(),
        }
    }

    /// Compares a candidate with all that is in the library. A candidate that
    /// [`place::find`](super::place::find) finds in the library is a duplicate of itself.
    ///
    /// # Errors
    /// That the candidate can't be read, or that `stop` was set. A file in the library that can't
    /// be read is passed over.
    pub fn judge(
        &self,
        candidate: &Candidate<'_>,
        stop: &AtomicBool,
    ) -> Result<Judgement, CompareError> {
        let head = head(candidate.file, candidate.len)?;
        let mut replaced = Vec::new();
        let mut longer = Vec::new();
        for (video, there) in self.heads() {
            // The hash of a file that is shorter than a beginning differs, though it may be a part
            // of the other.
            if there != head && video.bytes.min(candidate.len) >= HEAD {
                continue;
            }
            let relation = match shelf::open(&video.path) {
                Ok(file) => relation(candidate, &file, video.bytes, stop),
                Err(e) => Err(e.into()),
            };
            let relation = match relation {
                Err(CompareError::Read(e)) => {
                    tracing::warn!("can't compare with {}: {e}", video.path.display());
                    Relation::Different
                }
                relation => relation?,
            };
            match consequence(candidate.whole, video.whole, relation) {
                Consequence::None => {}
                Consequence::Duplicate => longer.push(video),
                Consequence::Replaced => replaced.push(video.path),
            }
        }
        replaced.sort();
        Ok(
            match longer
                .into_iter()
                .max_by(|a, b| (a.whole, &b.path).cmp(&(b.whole, &a.path)))
            {
                Some(video) => Judgement::DuplicateOf(video.path),
                None if replaced.is_empty() => Judgement::Fresh,
                None => Judgement::Replaces(replaced),
            },
        )
    }

    /// The files in the library with their beginnings; keeps the index up to date.
    fn heads(&self) -> Vec<(LibraryFile, Hash)> {
        let mut index = self.index.borrow_mut();
        let Index { heads, damaged } = index.get_or_insert_with(|| Index::load(&self.path));
        let mut new = Vec::new();
        let mut found = Vec::new();
        for video in shelf::videos(&self.library) {
            let key = (video.id, video.bytes, video.modified);
            let there = match heads.get(&key) {
                Some(there) => *there,
                None => match shelf::open(&video.path).and_then(|file| head(&file, video.bytes)) {
                    Ok(read) => {
                        new.push(Line::new(&key, &read));
                        heads.insert(key, read);
                        read
                    }
                    Err(e) => {
                        tracing::warn!("can't read {}: {e}", video.path.display());
                        continue;
                    }
                },
            };
            found.push((video, there));
        }
        // The lines of files that are gone stay until they are as many as the others.
        let written = if std::mem::take(damaged) || heads.len() > 2 * found.len() {
            *heads = found
                .iter()
                .map(|(v, there)| ((v.id, v.bytes, v.modified), *there))
                .collect();
            write_anew(
                &self.path,
                heads.iter().map(|(key, head)| Line::new(key, head)),
            )
        } else {
            append(&self.path, &new)
        };
        if let Err(e) = written {
            tracing::warn!("can't write {}: {e}", self.path.display());
        }
        found
    }
}

impl Index {
    fn load(path: &Path) -> Self {
        let Ok(text) = fs::read(path) else {
            return Self::default();
        };
        let mut index = Self {
            damaged: !text.is_empty() && !text.ends_with(b"\n"),
            ..Self::default()
        };
        for line in text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            match serde_json::from_slice::<Line>(line)
                .ok()
                .and_then(|line| line.entry())
            {
                Some((key, head)) => drop(index.heads.insert(key, head)),
                None => index.damaged = true,
            }
        }
        index
    }
}

/// Writes the index anew. It is no loss when a crash takes it, so nothing is synced.
fn write_anew(path: &Path, lines: impl Iterator<Item = Line>) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    let mut out = io::BufWriter::new(file.as_file_mut());
    for line in lines {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    drop(out);
    file.persist(path)?;
    Ok(())
}

/// Adds lines to the index.
fn append(path: &Path, lines: &[Line]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)?
        .write_all(&text)
}

/// The BLAKE3 of a beginning, holes read as zeros.
fn head(file: &File, len: u64) -> io::Result<Hash> {
    let mut beginning = vec![0; usize::try_from(len.min(HEAD)).unwrap_or_default()];
    read(file, 0, &mut beginning)?;
    Ok(blake3::hash(&beginning))
}

fn read(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    if Content::read_at(file, at, buffer)? < buffer.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Pure: what a file that is there means for a candidate.
fn consequence(candidate_whole: bool, there_whole: bool, relation: Relation) -> Consequence {
    match (relation, candidate_whole, there_whole) {
        (Relation::Different, ..) => Consequence::None,
        // The content is the same, but it is judged whole now: it gets the name and place of a
        // whole one.
        (Relation::Same | Relation::Part, true, false) => Consequence::Replaced,
        (Relation::Same | Relation::Part, ..) => Consequence::Duplicate,
        (Relation::Contains, _, false) => Consequence::Replaced,
        // The candidate has more than a whole file: it is another cut, or a stream that went on.
        // Both stay.
        (Relation::Contains, _, true) => Consequence::None,
    }
}

fn relation(
    candidate: &Candidate<'_>,
    there: &File,
    there_len: u64,
    stop: &AtomicBool,
) -> Result<Relation, CompareError> {
    let part = is_part(candidate.file, candidate.len, there, there_len, stop)?;
    let contains = is_part(there, there_len, candidate.file, candidate.len, stop)?;
    Ok(match (part, contains) {
        (true, true) => Relation::Same,
        (true, false) => Relation::Part,
        (false, true) => Relation::Contains,
        (false, false) => Relation::Different,
    })
}

/// Whether every byte of data in `part` is at the same place in `whole`, and there is any.
fn is_part(
    part: &File,
    part_len: u64,
    whole: &File,
    whole_len: u64,
    stop: &AtomicBool,
) -> Result<bool, CompareError> {
    if part_len > whole_len || part_len == 0 {
        return Ok(false);
    }
    let block = usize::try_from(part_len).unwrap_or(BLOCK).min(BLOCK);
    let (mut ours, mut theirs) = (vec![0; block], vec![0; block]);
    let (mut end, mut compared) = (0, 0);
    loop {
        let data = part.next_data(end).unwrap_or(end).min(part_len);
        // Holes are whole blocks: the rest of a block beside one was not written either.
        let after_hole = data > end;
        end = part.next_hole(data).unwrap_or(part_len).min(part_len);
        let before_hole = end < part_len;
        if data >= end {
            return Ok(data == part_len && compared > 0);
        }
        let mut at = data;
        while at < end {
            if stop.load(Ordering::Relaxed) {
                return Err(CompareError::Stopped);
            }
            let n = usize::try_from(end - at).unwrap_or(BLOCK).min(BLOCK);
            read(part, at, &mut ours[..n])?;
            read(whole, at, &mut theirs[..n])?;
            let zeros =
                |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|&&b| b == 0).count();
            let from = if after_hole && at == data {
                zeros(&mut ours[..n].iter())
            } else {
                0
            };
            let to = if before_hole && at + n as u64 == end {
                n - zeros(&mut ours[..n].iter().rev())
            } else {
                n
            };
            if from < to {
                if ours[from..to] != theirs[from..to] {
                    return Ok(false);
                }
                compared += to - from;
            }
            at += n as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_is_there_decides() {
        use Relation::*;
        for (relation, candidate_whole, there_whole, expected) in [
            (Different, true, true, Consequence::None),
            (Same, true, true, Consequence::Duplicate),
            (Same, false, false, Consequence::Duplicate),
            (Same, false, true, Consequence::Duplicate),
            (Same, true, false, Consequence::Replaced),
            (Part, false, true, Consequence::Duplicate),
            (Part, false, false, Consequence::Duplicate),
            (Part, true, true, Consequence::Duplicate),
            (Part, true, false, Consequence::Replaced),
            (Contains, true, false, Consequence::Replaced),
            (Contains, false, false, Consequence::Replaced),
            (Contains, true, true, Consequence::None),
            (Contains, false, true, Consequence::None),
        ] {
            assert_eq!(
                consequence(candidate_whole, there_whole, relation),
                expected,
                "{relation:?}"
            );
        }
    }

    struct Library {
        dir: tempfile::TempDir,
        duplicates: Duplicates,
    }

    impl Library {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("library/Incomplete")).unwrap();
            let duplicates =
                Duplicates::new(&dir.path().join("library"), &dir.path().join("index.jsonl"));
            Self { dir, duplicates }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.duplicates.library.join(name)
        }

        fn judge(&self, content: &[u8], whole: bool) -> Judgement {
            let path = self.dir.path().join("candidate");
            fs::write(&path, content).unwrap();
            self.judge_file(&File::open(path).unwrap(), whole)
        }

        fn judge_file(&self, file: &File, whole: bool) -> Judgement {
            let candidate = Candidate {
                file,
                len: file.metadata().unwrap().len(),
                whole,
            };
            self.duplicates
                .judge(&candidate, &AtomicBool::new(false))
                .unwrap()
        }
    }

    fn content(seed: &str) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        blake3::Hasher::new()
            .update(seed.as_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    #[test]
    fn once() {
        let library = Library::new();
        let (film, other) = (content("film"), content("other"));
        assert_eq!(library.judge(&film, true), Judgement::Fresh);

        fs::write(library.path("film.mp4"), &film).unwrap();
        let there = Judgement::DuplicateOf(library.path("film.mp4"));
        assert_eq!(library.judge(&film, true), there, "the same again");
        assert_eq!(library.judge(&film[..700_000], false), there, "a beginning");
        assert_eq!(
            library.judge(&film[..1000], false),
            there,
            "a short beginning"
        );
        assert_eq!(library.judge(&other, true), Judgement::Fresh);
        let mut changed = film.clone();
        changed[900_000] ^= 1;
        assert_eq!(library.judge(&changed, true), Judgement::Fresh, "one bit");
        let longer = [&film[..], b"more"].concat();
        assert_eq!(
            library.judge(&longer, true),
            Judgement::Fresh,
            "more than a whole one"
        );
        assert_eq!(library.judge(b"", false), Judgement::Fresh);

        fs::rename(library.path("film.mp4"), library.path("renamed.mp4")).unwrap();
        assert_eq!(
            library.judge(&film, true),
            Judgement::DuplicateOf(library.path("renamed.mp4"))
        );
        fs::write(library.path("renamed.mp4"), &other).unwrap();
        assert_eq!(
            library.judge(&film, true),
            Judgement::Fresh,
            "the index is no truth"
        );
        assert_eq!(
            library.judge(&other, true),
            Judgement::DuplicateOf(library.path("renamed.mp4"))
        );
        fs::remove_file(library.path("renamed.mp4")).unwrap();
        assert_eq!(library.judge(&other, true), Judgement::Fresh);
    }

    #[test]
    fn a_whole_one_replaces_the_unfinished() {
        let library = Library::new();
        let film = content("film");
        fs::write(library.path("Incomplete/film 45 %.mp4"), &film[..500_000]).unwrap();
        fs::write(library.path("Incomplete/film 60 %.mp4"), &film[..600_000]).unwrap();
        fs::write(
            library.path("Incomplete/other 60 %.mp4"),
            &content("other")[..600_000],
        )
        .unwrap();
        let both =
            ["Incomplete/film 45 %.mp4", "Incomplete/film 60 %.mp4"].map(|name| library.path(name));
        assert_eq!(
            library.judge(&film, true),
            Judgement::Replaces(both.to_vec())
        );
        assert_eq!(
            library.judge(&film[..550_000], false),
            Judgement::DuplicateOf(both[1].clone())
        );
        assert_eq!(
            library.judge(&film[..650_000], false),
            Judgement::Replaces(both.to_vec())
        );
        assert_eq!(
            library.judge(&film[..550_000], true),
            Judgement::Replaces(both.to_vec())
        );
        fs::write(library.path("film.mp4"), &film).unwrap();
        assert_eq!(
            library.judge(&film, true),
            Judgement::DuplicateOf(library.path("film.mp4"))
        );
    }

    #[test]
    fn what_was_fetched_here_and_there_is_a_part() {
        let library = Library::new();
        let film = content("film");
        fs::write(library.path("film.mp4"), &film).unwrap();
        let sparse = tempfile::tempfile().unwrap();
        sparse.set_len(film.len() as u64).unwrap();
        sparse.write_all_at(&film[..100_000], 0).unwrap();
        sparse.write_all_at(&film[900_000..], 900_000).unwrap();
        assert_eq!(
            library.judge_file(&sparse, false),
            Judgement::DuplicateOf(library.path("film.mp4"))
        );
        sparse.write_all_at(b"else", 900_000).unwrap();
        assert_eq!(library.judge_file(&sparse, false), Judgement::Fresh);
        let nothing = tempfile::tempfile().unwrap();
        nothing.set_len(film.len() as u64).unwrap();
        assert_eq!(library.judge_file(&nothing, false), Judgement::Fresh);
    }

    #[test]
    fn the_index_spares_reading() {
        let mut library = Library::new();
        for name in ["a", "b", "c"] {
            fs::write(library.path(name), content(name)).unwrap();
        }
        assert_eq!(library.judge(&content("d"), true), Judgement::Fresh);
        let index = library.duplicates.path.clone();
        let text = || fs::read_to_string(&index).unwrap();
        let lines = || text().lines().count();
        assert_eq!(lines(), 3);
        let before = text();
        assert_eq!(library.judge(&content("d"), true), Judgement::Fresh);
        assert_eq!(text(), before, "nothing new, nothing written");
        fs::write(library.path("d"), content("d")).unwrap();
        assert_eq!(
            library.judge(&content("d"), true),
            Judgement::DuplicateOf(library.path("d"))
        );
        assert!(text().starts_with(&before) && lines() == 4, "one more line");

        for damage in [
            format!("no line\n{}", text()),
            text() + "{}\n",
            text().trim_end().to_owned(),
        ] {
            fs::write(&index, damage).unwrap();
            library.duplicates = Duplicates::new(&library.path(""), &index);
            assert_eq!(
                library.judge(&content("a"), true),
                Judgement::DuplicateOf(library.path("a"))
            );
            assert!(lines() == 4 && text().ends_with('\n'), "{}", text());
        }
        for name in ["b", "c", "d"] {
            fs::remove_file(library.path(name)).unwrap();
        }
        assert_eq!(library.judge(&content("b"), true), Judgement::Fresh);
        assert_eq!(lines(), 1);
    }

    #[test]
    fn stopping() {
        let library = Library::new();
        fs::write(library.path("film.mp4"), content("film")).unwrap();
        let file = File::open(library.path("film.mp4")).unwrap();
        let candidate = Candidate {
            file: &file,
            len: 1 << 20,
            whole: true,
        };
        let stopped = library.duplicates.judge(&candidate, &AtomicBool::new(true));
        assert!(matches!(stopped, Err(CompareError::Stopped)));
    }
}
