//! The bytes of a piece: stretches of files, which are open if they are held, and opened by name if
//! a whole cache is read.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};

use crate::{content::Content, stream::decode};

/// Where bytes are.
#[derive(Clone, Debug)]
pub enum Storage {
    /// By name: opened whenever it is read, since a whole cache has more files than a process may
    /// have open.
    Path(Arc<Path>),
    /// By descriptor: it stays readable when its name is removed.
    File(Arc<File>),
    /// A copy in memory: playlists.
    Bytes(Arc<[u8]>),
    /// Compressed by the server. It is decoded whenever it is opened, since there are many
    /// segments.
    Encoded(Arc<Encoded>),
}

/// A body in a content coding.
#[derive(Debug)]
pub struct Encoded {
    body: Body,
    coding: String,
}

/// A stretch of a body and where it lies.
#[derive(Clone, Debug)]
struct Extent {
    /// In the body.
    range: Range<u64>,
    /// Index into `storages`.
    storage: usize,
    /// Where it starts in that file.
    at: u64,
}

/// The bytes of a piece, perhaps with gaps.
#[derive(Clone, Debug)]
pub struct Body {
    len: u64,
    storages: Vec<Storage>,
    /// Sorted, without overlap.
    extents: Vec<Extent>,
}

/// A body that is open for reading. Gaps read as an error, unless [`OpenBody::with_holes`] was
/// asked for.
#[derive(Debug)]
pub struct OpenBody {
    holes: bool,
    len: u64,
    files: Vec<Opened>,
    extents: Vec<Extent>,
}

/// Storage that is open for reading, as long as it was then.
#[derive(Debug)]
pub struct Opened {
    inner: Inner,
    len: u64,
}

#[derive(Debug)]
enum Inner {
    File(Arc<File>),
    Bytes(Arc<[u8]>),
}

impl Storage {
    /// By name.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::Path(path.into().into())
    }

    /// Opens it for reading: regular files only, and without following a link at its end.
    ///
    /// # Errors
    /// What open(2) returns, or `InvalidInput` for anything but a regular file.
    pub fn open(&self) -> io::Result<Opened> {
        let inner = match self {
            Self::Bytes(bytes) => Inner::Bytes(bytes.clone()),
            Self::Encoded(encoded) => Inner::Bytes(encoded.decode()?.into()),
            Self::File(file) => Inner::File(file.clone()),
            Self::Path(path) => {
                let flags = OFlags::RDONLY
                    | OFlags::CLOEXEC
                    | OFlags::NOFOLLOW
                    | OFlags::NONBLOCK
                    | OFlags::NOCTTY;
                let file = File::from(rustix::fs::open(&**path, flags, Mode::empty())?);
                if !file.metadata()?.is_file() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "not a regular file",
                    ));
                }
                Inner::File(Arc::new(file))
            }
        };
        let len = match &inner {
            Inner::File(file) => file.metadata()?.len(),
            Inner::Bytes(bytes) => bytes.len() as u64,
        };
        Ok(Opened { inner, len })
    }

    /// Device and inode, if it is a file: they show whether two storages are one file.
    pub fn inode(&self) -> io::Result<Option<(u64, u64)>> {
        let meta = match self {
            Self::Path(path) => path.symlink_metadata()?,
            Self::File(file) => file.metadata()?,
            Self::Bytes(_) | Self::Encoded(_) => return Ok(None),
        };
        Ok(Some((meta.dev(), meta.ino())))
    }
}

impl Encoded {
    fn decode(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.body.open()?.copy_to(0..self.body.len(), &mut all)?;
        decode::decode(&self.coding, &all).map_err(io::Error::other)
    }
}

impl Body {
    /// What `body` holds in that content coding. Decodes it once, to know its length.
    ///
    /// # Errors
    /// When it can't be read or decoded.
    pub(crate) fn encoded(body: Self, coding: &str) -> io::Result<Self> {
        let encoded = Encoded {
            body,
            coding: coding.into(),
        };
        let len = encoded.decode()?.len() as u64;
        Ok(Self::stretch(Storage::Encoded(Arc::new(encoded)), 0..len))
    }

    /// The body without its first `start` bytes.
    pub(crate) fn after(&self, start: u64) -> Self {
        let mut rest = Self::empty(self.len.saturating_sub(start));
        for e in self.extents.iter().filter(|e| e.range.end > start) {
            let cut = start.saturating_sub(e.range.start);
            let within = e.at + cut..e.at + (e.range.end - e.range.start);
            let offset = (e.range.start + cut) - start;
            rest.add(offset, &self.storages[e.storage], within);
        }
        rest
    }

    /// A copy in memory.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        Self::stretch(Storage::Bytes(bytes), 0..len)
    }

    /// A stretch of a file, all there.
    pub fn stretch(storage: Storage, within: Range<u64>) -> Self {
        let len = within.end.saturating_sub(within.start);
        let mut body = Self::empty(len);
        body.add(0, &storage, within);
        body
    }

    /// `len` bytes, none of which are there yet.
    pub fn empty(len: u64) -> Self {
        Self {
            len,
            storages: Vec::new(),
            extents: Vec::new(),
        }
    }

    /// Adds the bytes `within` a file, which belong at `offset`. Bytes that are there already stay,
    /// and what lies beyond the length is left out.
    pub fn add(&mut self, offset: u64, storage: &Storage, within: Range<u64>) {
        let Some(end) = within
            .end
            .checked_sub(within.start)
            .and_then(|n| offset.checked_add(n))
        else {
            return;
        };
        let mut from = offset;
        let end = end.min(self.len);
        let mut index = None;
        let mut i = self.extents.partition_point(|e| e.range.end <= from);
        while from < end {
            let to = self
                .extents
                .get(i)
                .map_or(end, |e| e.range.start.clamp(from, end));
            if from < to {
                let storage = *index.get_or_insert_with(|| {
                    self.storages.push(storage.clone());
                    self.storages.len() - 1
                });
                self.extents.insert(
                    i,
                    Extent {
                        range: from..to,
                        storage,
                        at: within.start + (from - offset),
                    },
                );
                i += 1;
            }
            from = self.extents.get(i).map_or(end, |e| e.range.end.max(to));
            i += 1;
        }
    }

    /// Adds what another body of the same content has and this one lacks.
    pub fn merge(&mut self, other: &Self) {
        for e in &other.extents {
            self.add(
                e.range.start,
                &other.storages[e.storage],
                e.at..e.at + (e.range.end - e.range.start),
            );
        }
    }

    /// Length in bytes, gaps counted.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no length.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that are there.
    pub fn held(&self) -> u64 {
        self.extents
            .iter()
            .map(|e| e.range.end - e.range.start)
            .sum()
    }

    /// Whether every byte is there.
    pub fn is_whole(&self) -> bool {
        self.held() == self.len
    }

    /// Whether every byte of `range` is there.
    pub fn has(&self, range: &Range<u64>) -> bool {
        let mut from = range.start;
        let first = self.extents.partition_point(|e| e.range.end <= from);
        for e in &self.extents[first..] {
            if from >= range.end || e.range.start > from {
                break;
            }
            from = e.range.end;
        }
        range.start <= range.end && from >= range.end && range.end <= self.len
    }

    /// The stretches that are missing.
    pub fn gaps(&self) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut from = 0;
        for e in &self.extents {
            if from < e.range.start {
                gaps.push(from..e.range.start);
            }
            from = e.range.end;
        }
        if from < self.len {
            gaps.push(from..self.len);
        }
        gaps
    }

    /// Opens every file that it needs.
    ///
    /// # Errors
    /// What opening one of them returns.
    pub fn open(&self) -> io::Result<OpenBody> {
        let files = self
            .storages
            .iter()
            .map(Storage::open)
            .collect::<io::Result<_>>()?;
        Ok(OpenBody {
            holes: false,
            len: self.len,
            files,
            extents: self.extents.clone(),
        })
    }
}

impl OpenBody {
    /// Gaps read as zeros from now on, as the holes of a file do.
    #[must_use]
    pub fn with_holes(mut self) -> Self {
        self.holes = true;
        self
    }

    fn extent(&self, offset: u64) -> Option<&Extent> {
        let i = self.extents.partition_point(|e| e.range.end <= offset);
        self.extents.get(i).filter(|e| e.range.start <= offset)
    }

    /// The file that the start of `range` lies in, and how much of the range follows there; `None`
    /// for bytes in memory and for what is missing.
    pub(crate) fn file_at(&self, range: Range<u64>) -> Option<(&File, Range<u64>)> {
        let e = self.extent(range.start)?;
        let Inner::File(file) = &self.files[e.storage].inner else {
            return None;
        };
        let from = e.at + (range.start - e.range.start);
        Some((
            file,
            from..from + (range.end.min(e.range.end) - range.start),
        ))
    }

    /// Copies `range` to `out`, 128 KiB at a time.
    ///
    /// # Errors
    /// What reading or writing returns; `UnexpectedEof` when something of the range is missing.
    pub fn copy_to(&self, range: Range<u64>, out: &mut dyn io::Write) -> io::Result<u64> {
        let mut buf = vec![
            0;
            usize::try_from(range.end.saturating_sub(range.start))
                .unwrap_or(usize::MAX)
                .min(128 << 10)
        ];
        let mut at = range.start;
        while at < range.end {
            let want = usize::try_from(range.end - at)
                .unwrap_or(usize::MAX)
                .min(buf.len());
            let n = self.read_at(at, &mut buf[..want])?;
            if n < want {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&buf[..n])?;
            at += n as u64;
        }
        Ok(at - range.start)
    }
}

impl Content for Opened {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::File(file) => Content::read_at(&**file, offset, buf),
            Inner::Bytes(bytes) => Content::read_at(&**bytes, offset, buf),
        }
    }

    fn next_hole(&self, from: u64) -> io::Result<u64> {
        match &self.inner {
            Inner::File(file) => file.next_hole(from),
            Inner::Bytes(bytes) => bytes.next_hole(from),
        }
    }

    fn next_data(&self, from: u64) -> io::Result<u64> {
        match &self.inner {
            Inner::File(file) => file.next_data(from),
            Inner::Bytes(bytes) => bytes.next_data(from),
        }
    }
}

impl Content for OpenBody {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.len.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let mut done = 0;
        while done < want {
            let at = offset + done as u64;
            let Some(e) = self.extent(at) else {
                if !self.holes {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "a stretch is missing",
                    ));
                }
                let next = self.next_data(at)?.min(self.len) - at;
                let n = usize::try_from(next).unwrap_or(usize::MAX).min(want - done);
                buf[done..done + n].fill(0);
                done += n;
                continue;
            };
            let n = usize::try_from(e.range.end - at)
                .unwrap_or(usize::MAX)
                .min(want - done);
            let into = &mut buf[done..done + n];
            let n = self.files[e.storage].read_at(e.at + (at - e.range.start), into)?;
            if n == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file shrank since it was looked at",
                ));
            }
            done += n;
        }
        Ok(done)
    }

    fn next_hole(&self, from: u64) -> io::Result<u64> {
        let mut at = from;
        while let Some(e) = self.extent(at) {
            at = e.range.end;
        }
        Ok(at.min(self.len).max(from))
    }

    fn next_data(&self, from: u64) -> io::Result<u64> {
        let i = self.extents.partition_point(|e| e.range.end <= from);
        Ok(self
            .extents
            .get(i)
            .map_or(self.len.max(from), |e| e.range.start.max(from)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_piece_fills_only_what_is_missing() {
        let mut body = Body::empty(10);
        body.add(2, &Storage::Bytes((*b"cd").into()), 0..2);
        body.add(6, &Storage::Bytes((*b"gh").into()), 0..2);
        assert_eq!(body.gaps(), [0..2, 4..6, 8..10]);
        assert!(body.has(&(2..4)) && !body.has(&(2..5)) && !body.has(&(0..1)));
        body.add(0, &Storage::Bytes((*b"ABCDEFGHIJKL").into()), 0..12);
        assert!(body.is_whole() && body.has(&(0..10)) && !body.has(&(0..11)));
        let mut out = Vec::new();
        body.open().unwrap().copy_to(0..10, &mut out).unwrap();
        assert_eq!(out, b"ABcdEFghIJ");
    }

    #[test]
    fn a_gap_reads_as_an_error_and_shows_as_a_hole() {
        let mut body = Body::empty(10);
        body.add(4, &Storage::Bytes((*b"ef").into()), 0..2);
        let open = body.open().unwrap();
        assert!(open.read_at(0, &mut [0; 2]).is_err());
        assert!(open.read_at(4, &mut [0; 3]).is_err());
        assert_eq!(open.next_data(0).unwrap(), 4);
        assert_eq!(open.next_hole(4).unwrap(), 6);
        assert_eq!(open.next_data(6).unwrap(), 10);
        let mut all = [1; 12];
        assert_eq!(open.with_holes().read_at(0, &mut all).unwrap(), 10);
        assert_eq!(&all, b"\0\0\0\0ef\0\0\0\0\x01\x01");
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789").unwrap();
        let body = Body::stretch(Storage::path(file.path()), 2..10);
        let open = body.open().unwrap();
        file.as_file().set_len(5).unwrap();
        let mut out = Vec::new();
        assert_eq!(
            open.copy_to(0..8, &mut out).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn a_link_at_the_end_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("real"), b"x").unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        assert!(Storage::path(folder.path().join("link")).open().is_err());
        assert!(Storage::path(folder.path().join("real")).open().is_ok());
        assert!(Storage::path(folder.path()).open().is_err());
    }

    proptest! {
        /// In whatever order stretches are added, the first one that has a byte wins, and bytes
        /// that none has are gaps.
        #[test]
        fn like_an_array(len in 0_u64..64, parts in prop::collection::vec((0_u64..80, 0_usize..40), 0..12)) {
            let mut body = Body::empty(len);
            let mut model: Vec<Option<u8>> = vec![None; len as usize];
            for (n, (at, size)) in parts.iter().enumerate() {
                let bytes = vec![n as u8; *size];
                body.add(*at, &Storage::Bytes(bytes.into()), 0..*size as u64);
                for slot in model.iter_mut().skip(*at as usize).take(*size) {
                    slot.get_or_insert(n as u8);
                }
            }
            prop_assert_eq!(body.held(), model.iter().flatten().count() as u64);
            let open = body.open().unwrap();
            for (i, want) in model.iter().enumerate() {
                let mut byte = [0];
                let got = open.read_at(i as u64, &mut byte).ok().map(|_| byte[0]);
                prop_assert_eq!(got, *want);
                prop_assert_eq!(body.has(&(i as u64..i as u64 + 1)), want.is_some());
            }
        }
    }
}
