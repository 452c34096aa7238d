//! The user's folder: names, placing, history.

mod copy;
mod draft;
pub mod duplicate;
pub mod history;
pub mod incomplete;
pub mod name;
pub mod place;
mod png;
pub mod room;
pub mod shelf;
pub mod thumbnail;
pub mod trash;

pub use copy::Means;
