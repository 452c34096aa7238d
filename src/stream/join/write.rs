//! Carries out a plan: most bytes go from file to file inside the kernel.

use std::{
    fs::File,
    io::{self, Write},
    ops::Range,
};

use super::{JoinError, JoinPlan, Recipe, Step, fmp4, mix, webm};
use crate::{
    content::Content,
    stream::{Body, OpenBody},
};

/// The size of blocks that are copied through memory.
const BLOCK: usize = 256 << 10;
/// Smaller stretches are collected in a buffer before they are written.
const SMALL: usize = 16 << 10;

impl JoinPlan {
    /// Writes the file, from the start of `out`, which is empty. Returns its length.
    ///
    /// # Errors
    /// [`JoinError::Read`] when a piece is gone or cut short meanwhile, [`JoinError::Write`].
    pub fn write(&self, out: &File) -> Result<u64, JoinError> {
        let mut writer = Writer {
            out,
            opened: None,
            written: 0,
            block: Vec::new(),
        };
        let mut sequence = 0_u32;
        for step in &self.steps {
            match step {
                Step::Bytes(bytes) => writer.bytes(bytes)?,
                Step::Copy(place) => writer.copy(&self.bodies, place.body, place.range.clone())?,
                Step::Fragment {
                    body,
                    recipe,
                    moof,
                    end,
                } => {
                    sequence = sequence.wrapping_add(1);
                    let recipe = &self.recipes[*recipe as usize];
                    writer.fragment(
                        &self.bodies,
                        *body as usize,
                        moof.start..*end,
                        moof.end,
                        (sequence, recipe),
                    )?;
                }
                Step::Mix(lanes) => writer.through(|out| mix::mix(lanes, out))?,
                Step::Blocks(lanes) => writer.through(|out| webm::join(lanes, out))?,
            }
        }
        Ok(writer.written)
    }
}

/// The file, and what was written so far.
struct Writer<'a> {
    out: &'a File,
    /// The body that was opened last.
    opened: Option<(usize, OpenBody)>,
    written: u64,
    block: Vec<u8>,
}

impl Writer<'_> {
    /// What `write` writes; what is small goes through a buffer, what is large doesn't.
    fn through(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<u64>,
    ) -> Result<(), JoinError> {
        let mut buffered = io::BufWriter::with_capacity(SMALL, self.out);
        let n = write(&mut buffered).and_then(|n| buffered.flush().map(|()| n));
        self.written += n.map_err(JoinError::Write)?;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), JoinError> {
        let mut out = self.out;
        out.write_all(bytes).map_err(JoinError::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn open(&mut self, bodies: &[Body], body: usize) -> Result<OpenBody, JoinError> {
        match self.opened.take() {
            Some((index, open)) if index == body => Ok(open),
            _ => bodies[body].open().map_err(JoinError::Read),
        }
    }

    /// Writes a fragment of which the `moof` ends at `data`, with its number and its changes.
    fn fragment(
        &mut self,
        bodies: &[Body],
        body: usize,
        range: Range<u64>,
        data: u64,
        (sequence, recipe): (u32, &Recipe),
    ) -> Result<(), JoinError> {
        let open = self.open(bodies, body)?;
        // With the header of the data, which follows.
        let mut old = vec![0; (data - range.start) as usize + 16];
        let n = open
            .read_at(range.start, &mut old)
            .map_err(JoinError::Read)?;
        self.opened = Some((body, open));
        let change = |id| {
            recipe
                .iter()
                .find(|(old, _)| *old == id)
                .map(|(_, change)| change.clone())
        };
        let new = fmp4::rewrite(&old[..n], range.start, sequence, &change);
        let new = new.ok_or(JoinError::Unknown(
            "its fragments are of a kind that can't be joined",
        ))?;
        self.bytes(&new.head)?;
        let mut from = range.start + new.from;
        for (at, bytes) in &new.inserts {
            self.copy(bodies, body, from..range.start + at)?;
            self.bytes(bytes)?;
            from = range.start + at;
        }
        self.copy(bodies, body, from..range.end)
    }

    fn copy(&mut self, bodies: &[Body], body: usize, range: Range<u64>) -> Result<(), JoinError> {
        let open = self.open(bodies, body)?;
        let mut at = range.start;
        while at < range.end {
            let n = match open.file_at(at..range.end) {
                Some((file, within)) => copy_range(file, within, self.out)?,
                None => 0,
            };
            // Bytes in memory, or a file system that can't: through a block.
            let n = if n > 0 {
                n
            } else {
                self.through_memory(&open, at..range.end)?
            };
            at += n;
            self.written += n;
        }
        self.opened = Some((body, open));
        Ok(())
    }

    fn through_memory(&mut self, open: &OpenBody, range: Range<u64>) -> Result<u64, JoinError> {
        self.block.resize(BLOCK, 0);
        let want = usize::try_from(range.end - range.start)
            .unwrap_or(BLOCK)
            .min(BLOCK);
        let n = open
            .read_at(range.start, &mut self.block[..want])
            .map_err(JoinError::Read)?;
        if n == 0 {
            return Err(JoinError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut out = self.out;
        out.write_all(&self.block[..n]).map_err(JoinError::Write)?;
        Ok(n as u64)
    }
}

/// Copies inside the kernel (copy_file_range(2)); 0 where it can't.
fn copy_range(from: &File, range: Range<u64>, to: &File) -> Result<u64, JoinError> {
    use rustix::io::Errno;
    let mut at = range.start;
    let len = usize::try_from(range.end - range.start)
        .unwrap_or(usize::MAX)
        .min(1 << 30);
    match rustix::fs::copy_file_range(from, Some(&mut at), to, None, len) {
        Ok(n) => Ok(n as u64),
        Err(
            Errno::XDEV
            | Errno::INVAL
            | Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::PERM
            | Errno::INTR,
        ) => Ok(0),
        Err(e) => Err(JoinError::Write(e.into())),
    }
}
