//! fisga, the program.

fn main() {}
