//! The user's folder: names, placing, history.

pub mod name;
