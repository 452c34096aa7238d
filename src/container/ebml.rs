//! EBML, the binary tree under Matroska: identifiers and sizes of variable length (RFC 8794), and
//! the identifiers of Matroska (RFC 9559).

/// Identifiers (RFC 9559, 5.1, and RFC 8794, 11).
pub(crate) mod id {
    pub(crate) const EBML: u32 = 0x1A45_DFA3;
    pub(crate) const DOC_TYPE: u32 = 0x4282;
    pub(crate) const SEGMENT: u32 = 0x1853_8067;
    pub(crate) const SEEK_HEAD: u32 = 0x114D_9B74;
    pub(crate) const SEEK: u32 = 0x4DBB;
    pub(crate) const SEEK_POSITION: u32 = 0x53AC;
    pub(crate) const INFO: u32 = 0x1549_A966;
    pub(crate) const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
    pub(crate) const DURATION: u32 = 0x4489;
    pub(crate) const TITLE: u32 = 0x7BA9;
    pub(crate) const MUXING_APP: u32 = 0x4D80;
    pub(crate) const WRITING_APP: u32 = 0x5741;
    pub(crate) const TRACKS: u32 = 0x1654_AE6B;
    pub(crate) const TRACK_ENTRY: u32 = 0xAE;
    pub(crate) const TRACK_NUMBER: u32 = 0xD7;
    pub(crate) const TRACK_TYPE: u32 = 0x83;
    pub(crate) const CODEC: u32 = 0x86;
    pub(crate) const ENCODINGS: u32 = 0x6D80;
    pub(crate) const ENCODING: u32 = 0x6240;
    pub(crate) const ENCODING_TYPE: u32 = 0x5033;
    pub(crate) const ENCRYPTION: u32 = 0x5035;
    pub(crate) const CLUSTER: u32 = 0x1F43_B675;
    pub(crate) const TIMESTAMP: u32 = 0xE7;
    pub(crate) const POSITION: u32 = 0xA7;
    pub(crate) const PREV_SIZE: u32 = 0xAB;
    pub(crate) const SILENT_TRACKS: u32 = 0x5854;
    pub(crate) const SIMPLE_BLOCK: u32 = 0xA3;
    pub(crate) const ENCRYPTED_BLOCK: u32 = 0xAF;
    pub(crate) const BLOCK_GROUP: u32 = 0xA0;
    pub(crate) const BLOCK: u32 = 0xA1;
    pub(crate) const CUES: u32 = 0x1C53_BB6B;
    pub(crate) const CHAPTERS: u32 = 0x1043_A770;
    pub(crate) const TAGS: u32 = 0x1254_C367;
    pub(crate) const ATTACHMENTS: u32 = 0x1941_A469;
    pub(crate) const VOID: u32 = 0xEC;
    pub(crate) const CRC: u32 = 0xBF;

    /// What lies in a segment beside clusters.
    pub(crate) const BESIDE_CLUSTERS: [u32; 7] =
        [SEEK_HEAD, INFO, TRACKS, CUES, CHAPTERS, TAGS, ATTACHMENTS];

    /// Whether an element can lie directly in a segment.
    pub(crate) fn belongs_in_segment(id: u32) -> bool {
        ends_cluster(id) || matches!(id, VOID | CRC)
    }

    /// What can't be in a cluster, and so ends one of unknown size.
    pub(crate) fn ends_cluster(id: u32) -> bool {
        BESIDE_CLUSTERS.contains(&id) || matches!(id, CLUSTER | SEGMENT | EBML)
    }
}

/// The longest header: four bytes of identifier, eight of size.
pub(crate) const HEADER: usize = 12;

/// The header of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Identifier, its length marker included.
    pub(crate) id: u32,
    /// Bytes of the header.
    pub(crate) len: usize,
    /// Bytes of the content; `None` where the size is unknown (RFC 8794, 6.2).
    pub(crate) size: Option<u64>,
}

/// The header that `bytes` begin with.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let width = bytes.first()?.leading_zeros() as usize + 1;
    let id = bytes.get(..width).filter(|_| width <= 4)?;
    let (size, length) = vint(bytes.get(width..)?)?;
    let unknown = size == (1 << (7 * length)) - 1;
    Some(Header {
        id: id.iter().fold(0, |n, b| n << 8 | u32::from(*b)),
        len: width + length,
        size: (!unknown).then_some(size),
    })
}

/// A number of variable width without its marker, and its width in bytes (RFC 8794, 4).
pub(crate) fn vint(bytes: &[u8]) -> Option<(u64, usize)> {
    let width = bytes.first()?.leading_zeros() as usize + 1;
    let value = uint(bytes.get(..width).filter(|_| width <= 8)?);
    Some((value & ((1 << (7 * width)) - 1), width))
}

/// The elements in `bytes`: identifier and content.
pub(crate) fn children(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = header(bytes.get(at..)?)?;
        let start = at + header.len;
        let end = start.checked_add(usize::try_from(header.size?).ok()?)?;
        let content = bytes.get(start..end)?;
        at = end;
        Some((header.id, content))
    })
}

/// An unsigned number of up to eight bytes (RFC 8794, 7.2).
pub(crate) fn uint(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

/// A float of four or eight bytes (RFC 8794, 7.3).
pub(crate) fn float(bytes: &[u8]) -> f64 {
    match (bytes.first_chunk(), bytes.first_chunk()) {
        (Some(b), _) => f64::from_be_bytes(*b),
        (None, Some(b)) => f32::from_be_bytes(*b).into(),
        _ => 0.0,
    }
}

/// What stands before the frames of a block (RFC 9559, 10.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHead {
    pub(crate) track: u64,
    /// Bytes of the track's number.
    pub(crate) width: usize,
    /// In the segment's ticks, after the cluster's time.
    pub(crate) time: i16,
}

/// The head of the block whose content begins with `bytes`.
pub(crate) fn block(bytes: &[u8]) -> Option<BlockHead> {
    let (track, width) = vint(bytes)?;
    let time = i16::from_be_bytes(super::bytes::array(bytes, width)?);
    Some(BlockHead { track, width, time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_widths() {
        let known = |id, len, size| {
            Some(Header {
                id,
                len,
                size: Some(size),
            })
        };
        assert_eq!(header(&[0xec, 0x81, 0]), known(0xec, 2, 1));
        assert_eq!(
            header(&[0x1a, 0x45, 0xdf, 0xa3, 0x01, 0, 0, 0, 0, 0, 0, 5]),
            known(0x1a45_dfa3, 12, 5)
        );
        assert_eq!(header(&[0xec, 0x40, 0x02]), known(0xec, 3, 2));
        assert_eq!(header(&[0x1f, 0x43, 0xb6, 0x75, 0xff]).unwrap().size, None);
        assert_eq!(header(&[0xec, 0x7f, 0xff]).unwrap().size, None);
        for nonsense in [
            &[0u8, 0, 0][..],
            &[0xec],
            &[0xec, 0x40],
            &[0x08, 1, 2, 3, 4, 0x81],
            &[0xec, 0],
        ] {
            assert_eq!(header(nonsense), None, "{nonsense:?}");
        }
    }
}
