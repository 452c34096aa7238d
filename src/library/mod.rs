//! The user's folder: names, placing, history.
//!
//! The way of a video that is to be kept, one call a step:
//!
//! 1. [`duplicate::Duplicates::judge`]: is it there already?
//! 2. [`upkeep::keep_below`] and [`room::check`]: is there room for it?
//! 3. [`name::Template::name`]: what is it called?
//! 4. [`place::place`], into the library or into [`incomplete::folder`]: there it is, on the disk.
//! 5. [`history::History::append`]: that is written down; now its staged name may go.
//! 6. [`upkeep::replaced`], [`thumbnail::Thumbnails`]: what may be done later, or not at all.
//!
//! At the start: [`place::prepare`], [`place::sweep`], and [`place::find`] for what was held before
//! a crash. At the time that [`upkeep::expire`] returns: that again.

mod draft;
pub mod duplicate;
pub mod folder;
pub mod history;
pub mod incomplete;
pub mod name;
pub mod place;
mod png;
pub mod room;
pub mod shelf;
pub mod thumbnail;
pub mod trash;
pub mod upkeep;
