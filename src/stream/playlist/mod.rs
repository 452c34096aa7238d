//! Playlists: which addresses make up a video, and in which order. Where no playlist was stored,
//! the order comes from the segments themselves.

pub(super) mod address;
pub mod assemble;
pub mod dash;
pub mod hls;
pub mod order;
mod xml;
