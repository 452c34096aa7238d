//! The figures as a Markdown table.

use std::fmt;

/// What was measured, line by line.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Line>);

#[derive(Debug)]
struct Line {
    figure: String,
    goal: String,
    measured: String,
    reached: Option<bool>,
}

impl Table {
    /// A figure with a goal.
    pub(crate) fn goal(&mut self, figure: &str, goal: &str, reached: bool, measured: String) {
        self.line(figure, goal, measured, Some(reached));
    }

    /// A figure that is reported as it is.
    pub(crate) fn report(&mut self, figure: &str, measured: String) {
        self.line(figure, "reported", measured, None);
    }

    /// A measurement that could not be made.
    pub(crate) fn failed(&mut self, figure: &str, error: &str) {
        self.line(figure, "", format!("not measured: {error}"), Some(false));
    }

    fn line(&mut self, figure: &str, goal: &str, measured: String, reached: Option<bool>) {
        eprintln!("  {figure}: {measured}");
        self.0.push(Line {
            figure: figure.into(),
            goal: goal.into(),
            measured,
            reached,
        });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "| figure | goal | measured | reached |\n|---|---|---|---|"
        )?;
        for Line {
            figure,
            goal,
            measured,
            reached,
        } in &self.0
        {
            let reached = reached.map_or("", |reached| if reached { "yes" } else { "**no**" });
            writeln!(out, "| {figure} | {goal} | {measured} | {reached} |")?;
        }
        Ok(())
    }
}
