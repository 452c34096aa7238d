//! Playlists: which addresses make up a video, and in which order. Where no playlist was stored,
//! the order comes from the segments themselves.

pub mod assemble;
pub mod dash;
pub mod hls;
pub(crate) mod json;
mod kin;
pub mod order;
mod xml;
