//! The user's folder: names, placing, history.

mod copy;
mod draft;
pub mod history;
pub mod name;
pub mod place;

pub use copy::Means;
