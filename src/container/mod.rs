//! What the bytes of containers say: MP4 boxes, EBML elements, Ogg pages, transport stream packets,
//! ADTS frames. Each is parsed here and nowhere else; the judge ([`crate::media`]), the repair of
//! Firefox's files and the joiner of streams read through these functions and decide for
//! themselves.
//!
//! Most functions take a slice that begins where the thing does and return `None` for what it
//! can't be. Those that have to look around in a file take a [`Content`](crate::content::Content)
//! and a range of it, and bound what they read.

pub(crate) mod adts;
pub(crate) mod bytes;
pub(crate) mod crc;
pub(crate) mod ebml;
pub(crate) mod flac;
pub(crate) mod fmp4;
pub(crate) mod id3;
pub(crate) mod mp4;
pub(crate) mod ogg;
pub(crate) mod ts;
