//! Bytes that can be read anywhere, with their holes: a file, or bytes in memory.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use rustix::fs::SeekFrom;

/// Random access to the bytes of a file, with its holes.
pub trait Content {
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Whether there is nothing at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads at `offset`; fewer bytes than asked only at the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Start of the first hole at or after `from`, or the length when there is none (lseek(2),
    /// SEEK_HOLE).
    fn next_hole(&self, from: u64) -> io::Result<u64>;
    /// Start of the first data at or after `from`, or the length when there is none (lseek(2),
    /// SEEK_DATA).
    fn next_data(&self, from: u64) -> io::Result<u64>;
    /// The file that the start of `range` lies in, and how much of the range follows there, for
    /// copying inside the kernel; `None` for bytes that lie elsewhere.
    fn file_at(&self, _range: Range<u64>) -> Option<(&File, Range<u64>)> {
        None
    }
}

impl<C: Content + ?Sized> Content for &C {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn next_hole(&self, from: u64) -> io::Result<u64> {
        (**self).next_hole(from)
    }

    fn next_data(&self, from: u64) -> io::Result<u64> {
        (**self).next_data(from)
    }

    fn file_at(&self, range: Range<u64>) -> Option<(&File, Range<u64>)> {
        (**self).file_at(range)
    }
}

impl Content for File {
    fn len(&self) -> u64 {
        self.metadata().map_or(0, |m| m.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut n = 0;
        while n < buf.len() {
            match FileExt::read_at(self, &mut buf[n..], offset + n as u64) {
                Ok(0) => break,
                Ok(k) => n += k,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(n)
    }

    fn next_hole(&self, from: u64) -> io::Result<u64> {
        seek(self, SeekFrom::Hole(from), from)
    }

    fn next_data(&self, from: u64) -> io::Result<u64> {
        seek(self, SeekFrom::Data(from), from)
    }

    fn file_at(&self, range: Range<u64>) -> Option<(&File, Range<u64>)> {
        Some((self, range))
    }
}

/// ENXIO means that nothing of the kind comes before the end.
fn seek(file: &File, to: SeekFrom, from: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, to) {
        Ok(at) => Ok(at),
        Err(rustix::io::Errno::NXIO) => Ok(Content::len(file).max(from)),
        Err(e) => Err(e.into()),
    }
}

impl Content for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(<[u8]>::len(self));
        let n = buf.len().min(<[u8]>::len(self) - from);
        buf[..n].copy_from_slice(&self[from..from + n]);
        Ok(n)
    }

    fn next_hole(&self, from: u64) -> io::Result<u64> {
        Ok(Content::len(self).max(from))
    }

    fn next_data(&self, from: u64) -> io::Result<u64> {
        Ok(from.min(Content::len(self)))
    }
}
