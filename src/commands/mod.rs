//! The commands that print and end. Each writes its results to `out`; the caller shows errors.

pub mod autostart;
pub mod check;
pub mod config;
pub mod control;
pub mod discard;
pub mod history;
pub mod manual;
pub mod rebuild;

/// Whether a command that ran through found what the user hoped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Exit status 0.
    Good,
    /// Exit status 1, though nothing went wrong with the command itself.
    Bad,
}
