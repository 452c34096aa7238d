//! One address of which Chromium stores ranges: the file of ranges, its `_0` twin with the headers,
//! and a copy.
//!
//! Chromium empties the file in place when it grows beyond a tenth of the cache, and a hard link is
//! emptied with it. So what is appended is copied while the file grows, into a file of the same
//! format, which the next start finds after a crash. When the file has become shorter, a new
//! generation begins. Copies of the older ones still count if the server says that it is the same
//! version.

use std::{
    fs::File,
    io::{self, Read, Seek},
    ops::Range,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    chromium::{self, Sparse, Stretch},
    entry::{CacheEntry, Malformed},
};
use crate::{
    content::Content,
    stream::{Body, Piece, Storage},
};

/// What is known of one such address.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    /// The file as it was read last.
    sparse: Option<Sparse>,
    /// Headers.
    twin: Option<CacheEntry>,
    /// In the order in which they were written, over all generations.
    parts: Vec<Written>,
    spool: Option<Spool>,
}

/// A stretch of the body and where it lies.
#[derive(Clone, Debug)]
struct Written {
    offset: u64,
    storage: Storage,
    within: Range<u64>,
}

/// Where copies go.
#[derive(Debug)]
struct Spool {
    path: PathBuf,
    file: Arc<File>,
    len: u64,
}

impl Spool {
    /// Begins as the file of ranges does, up to its first record.
    fn begin(path: &Path, content: &impl Content, head: u64) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut spool = Self {
            path: path.to_owned(),
            file: Arc::new(file),
            len: 0,
        };
        spool.append(content, 0, head)?;
        Ok(spool)
    }

    /// Copies `len` bytes. False if they were not all there: then none of them counts.
    fn append(&mut self, content: &impl Content, at: u64, len: u64) -> io::Result<bool> {
        let mut file: &File = &self.file;
        file.seek(io::SeekFrom::Start(self.len))?;
        let copied = io::copy(
            &mut PartsReader {
                content,
                at,
                end: at + len,
            },
            &mut file,
        )?;
        // If the file was emptied while we read, these may be other bytes that were written since.
        let all = copied == len && content.len() >= at + len;
        self.len += if all { len } else { 0 };
        Ok(all)
    }
}

impl Ranges {
    /// Reads what is new in the file of ranges, and copies it to the file `spool`, if one is given.
    /// Returns whether anything was new.
    ///
    /// # Errors
    /// What is wrong with the file; what reading and copying return.
    pub(crate) fn look(
        &mut self,
        storage: &Storage,
        spool: Option<&Path>,
    ) -> Result<bool, Malformed> {
        let content = storage.open()?;
        let len = content.len();
        let known = self
            .sparse
            .take()
            .filter(|s| s.end <= len && intact(s, &content));
        let (mut sparse, seen) = match known {
            Some(sparse) => {
                let seen = sparse.ranges.len();
                (sparse, seen)
            }
            None => (chromium::sparse(&content)?, 0),
        };
        sparse.grow(&content)?;
        let new = sparse.ranges[seen..].to_vec();
        self.sparse = Some(sparse);
        for stretch in &new {
            let (storage, at) = match spool {
                Some(path) => match self.copy(&content, stretch, path)? {
                    Some(at) => (self.spooled(), at),
                    // The file was emptied while we read: the next look finds a new generation.
                    None => break,
                },
                None => (Some(storage.clone()), stretch.at),
            };
            if let Some(storage) = storage {
                self.parts.push(Written {
                    offset: stretch.offset,
                    storage,
                    within: at..at + stretch.len,
                });
            }
        }
        Ok(!new.is_empty())
    }

    /// Takes the headers. What was copied of another version is forgotten.
    pub(crate) fn twin(&mut self, entry: CacheEntry) {
        let version =
            |e: &CacheEntry| (e.headers.validator().map(str::to_owned), e.headers.total());
        if self
            .twin
            .as_ref()
            .is_some_and(|old| version(old) != version(&entry))
        {
            self.parts.clear();
            self.sparse = None;
        }
        self.twin = Some(entry);
    }

    /// The start of the body, as far as it is there.
    pub(crate) fn body(&self) -> Body {
        let last = self
            .parts
            .iter()
            .map(|p| p.offset.saturating_add(p.within.end - p.within.start))
            .max();
        let total = self.twin.as_ref().and_then(|t| t.headers.total());
        let mut body = Body::empty(total.or(last).unwrap_or(0));
        // The latest write of a byte counts.
        for part in self.parts.iter().rev() {
            body.add(part.offset, &part.storage, part.within.clone());
        }
        body
    }

    /// All that is there, once the headers have come.
    pub(crate) fn piece(&self) -> Option<Piece> {
        Some(self.twin.as_ref()?.around(self.body()))
    }

    /// Only the headers came, and they have no validator. Chromium stores no ranges of such a
    /// video.
    pub(crate) fn is_unstored(&self) -> bool {
        let video = |twin: &CacheEntry| {
            let kind = twin.headers.content_type().unwrap_or_default();
            kind.starts_with("video/") && twin.headers.validator().is_none()
        };
        self.parts.is_empty() && self.twin.as_ref().is_some_and(video)
    }

    /// Removes the copy, because the address is no longer wanted.
    pub(crate) fn discard(self) {
        if let Some(spool) = self.spool
            && let Err(e) = std::fs::remove_file(&spool.path)
        {
            tracing::warn!("{}: {e}", spool.path.display());
        }
    }

    fn spooled(&self) -> Option<Storage> {
        self.spool.as_ref().map(|s| Storage::File(s.file.clone()))
    }

    /// Appends a record to the spool, and says where its data is there; `None` if the file was
    /// emptied meanwhile.
    fn copy(
        &mut self,
        content: &impl Content,
        stretch: &Stretch,
        path: &Path,
    ) -> Result<Option<u64>, Malformed> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::begin(path, content, chromium::start(content)?)?),
        };
        let from = stretch.head();
        let whole = spool.append(content, from, stretch.at + stretch.len - from)?;
        Ok(whole.then(|| spool.len - stretch.len))
    }
}

/// Whether the file still has the last record that was read: emptied and refilled, it may have
/// grown beyond it.
fn intact(sparse: &Sparse, content: &impl Content) -> bool {
    let Some(last) = sparse.ranges.last() else {
        return true;
    };
    chromium::stretch(content, last.head()).ok().flatten() == Some(*last)
}

struct PartsReader<'a, C> {
    content: &'a C,
    at: u64,
    end: u64,
}

impl<C: Content> Read for PartsReader<'_, C> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.end - self.at)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let n = self.content.read_at(self.at, &mut buf[..want])?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chromium::tests::{answer_file, sparse_file};
    use super::*;

    const KEY: &str = "1/0/_dk_http://t http://t http://cdn/v.mp4";

    fn twin(etag: &str, total: u64) -> CacheEntry {
        let headers = format!("HTTP/1.1 206 x\nETag: {etag}\nContent-Range: bytes 0-1/{total}\n");
        chromium::answer(&answer_file(KEY, &headers, b"", 0)[..]).unwrap()
    }

    fn bytes(body: &Body) -> Vec<u8> {
        let mut out = Vec::new();
        body.open()
            .unwrap()
            .copy_to(0..body.len(), &mut out)
            .unwrap();
        out
    }

    #[test]
    fn generations_are_merged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x_s");
        let (storage, copy) = (Storage::path(&path), folder.path().join("copy"));
        let mut ranges = Ranges::default();
        std::fs::write(&path, sparse_file(KEY, &[(0, b"01234")])).unwrap();
        assert!(ranges.look(&storage, Some(&copy)).unwrap());
        assert!(!ranges.look(&storage, Some(&copy)).unwrap(), "nothing new");
        // Chromium empties it in place and goes on.
        std::fs::write(&path, sparse_file(KEY, &[(8, b"89")])).unwrap();
        assert!(ranges.look(&storage, Some(&copy)).unwrap());
        ranges.twin(twin("a", 10));
        assert_eq!(ranges.body().gaps(), [5..8, 10..10][..1]);
        // Emptied, and longer than before when it is looked at again.
        std::fs::write(
            &path,
            sparse_file(KEY, &[(5, b"567"), (5, b"567"), (5, b"567")]),
        )
        .unwrap();
        assert!(ranges.look(&storage, Some(&copy)).unwrap());
        std::fs::remove_file(&path).unwrap();
        let piece = ranges.piece().unwrap();
        assert!(piece.body.is_whole());
        assert_eq!(bytes(&piece.body), b"0123456789");
        // What a crash leaves is a file of ranges itself.
        let mut later = Ranges::default();
        later.look(&Storage::path(&copy), None).unwrap();
        later.twin(twin("a", 10));
        assert_eq!(bytes(&later.piece().unwrap().body), b"0123456789");
        ranges.twin(twin("b", 10));
        assert_eq!(ranges.body().held(), 0, "another version");
        ranges.discard();
        assert!(!copy.exists());
    }

    #[test]
    fn without_a_copy_the_file_itself_is_read() {
        let file = sparse_file(KEY, &[(5, b"56789"), (0, b"01234")]);
        let mut ranges = Ranges::default();
        ranges.look(&Storage::Bytes(file.into()), None).unwrap();
        assert!(ranges.piece().is_none(), "no headers yet");
        assert_eq!(bytes(&ranges.body()), b"0123456789");
    }
}
