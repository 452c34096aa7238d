//! The head of an ID3v2 tag (id3.org, 2.2 to 2.4).

/// What the ten bytes at the beginning of a tag say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TagHead {
    /// 2, 3 or 4.
    pub(crate) version: u8,
    pub(crate) flags: u8,
    /// Bytes behind the head, without the footer.
    pub(crate) size: u32,
}

/// Bytes of the head.
pub(crate) const HEAD: usize = 10;

/// The head of a tag at the start of `bytes`.
pub(crate) fn head(bytes: &[u8]) -> Option<TagHead> {
    let &[b'I', b'D', b'3', version, _, flags, a, b, c, d, ..] = bytes else {
        return None;
    };
    Some(TagHead {
        version,
        flags,
        size: syncsafe([a, b, c, d]),
    })
}

impl TagHead {
    /// Bytes of the whole tag; a footer repeats the head.
    pub(crate) fn len(&self) -> u64 {
        let footer = if self.flags & 0x10 != 0 { HEAD } else { 0 };
        (HEAD + footer) as u64 + u64::from(self.size)
    }
}

/// A number of four times seven bits.
pub(crate) fn syncsafe(bytes: [u8; 4]) -> u32 {
    bytes.iter().fold(0, |n, &b| n << 7 | u32::from(b & 0x7f))
}
