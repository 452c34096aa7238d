//! Pure: what a file in the library is called.

/// The configuration's `name`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub String);
