//! The rules that fisga ships with: the folders and file names of players' temporary files and of
//! browsers' disk caches.

pub mod cache;
pub mod temporary;

use crate::{environment::Environment, rule::Rule};

/// A rule, and whether it is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The rule.
    pub rule: Rule,
    /// Whether it is in force.
    pub enabled: bool,
}

/// The rules that fisga ships with, for a user with these surroundings.
pub fn shipped(env: &Environment) -> Vec<Listed> {
    let mut rules = temporary::rules(env);
    rules.extend(cache::rules(env));
    rules
}
