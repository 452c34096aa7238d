//! The README's chart, as an SVG that is readable on light and dark pages.

use std::fmt::Write;

/// What the chart shows.
#[derive(Debug, Default)]
pub(crate) struct Chart {
    /// Program, median microseconds from creation to second link.
    latencies: Vec<(String, f64)>,
    /// Program, how the files were hidden, share saved.
    shares: Vec<(String, String, f64)>,
}

impl Chart {
    /// Adds a program's median in microseconds.
    pub(crate) fn latency(&mut self, program: &str, median: f64) {
        self.latencies.push((program.into(), median));
    }

    /// Adds a program's share of hidden files that it saved.
    pub(crate) fn share(&mut self, program: &str, case: &str, share: f64) {
        self.shares.push((program.into(), case.into(), share));
    }
}

const WIDTH: usize = 720;
const LEFT: usize = 170;
const BAR: usize = 420;
const ROW: usize = 24;

const STYLE: &str = "<style>\
    text{font:13px system-ui,sans-serif;fill:#24292f}.head{font-weight:600}.bar{fill:#8c959f}.ours{fill:#0b7285}\
    .track{fill:#eaeef2}.page{fill:#fff}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.bar{fill:#768390}.track{fill:#21262d}.page{fill:#0d1117}.ours{fill:#3bc9db}}\
    </style>";

/// Draws it.
pub(crate) fn draw(chart: &Chart) -> String {
    let mut body = String::new();
    let mut y = 0;
    let mut cases: Vec<&str> = Vec::new();
    for (_, case, _) in &chart.shares {
        if !cases.contains(&case.as_str()) {
            cases.push(case);
        }
    }
    for case in cases {
        heading(
            &mut body,
            &mut y,
            &format!("Saved of the files hidden at once, {case} (more is better)"),
        );
        for (program, _, share) in chart.shares.iter().filter(|(_, of, _)| of == case) {
            bar(
                &mut body,
                &mut y,
                program,
                *share,
                &format!("{:.1} %", share * 100.0),
            );
        }
    }
    if let Some(slowest) = chart
        .latencies
        .iter()
        .map(|(_, median)| *median)
        .reduce(f64::max)
    {
        heading(
            &mut body,
            &mut y,
            "From creation to the second link, median, logarithmic (less is better)",
        );
        for (program, median) in &chart.latencies {
            let share = median.max(1.0).log10() / slowest.max(10.0).log10();
            bar(
                &mut body,
                &mut y,
                program,
                share,
                &format!("{median:.0} µs"),
            );
        }
    }
    y += ROW / 2;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" \
         role=\"img\">\n<title>fisga and its peers</title>\n{STYLE}\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{y}\" rx=\"6\"/>\n{body}</svg>\n"
    )
}

fn heading(body: &mut String, y: &mut usize, text: &str) {
    *y += ROW;
    // Writing to a String can't fail.
    let _ = writeln!(
        body,
        "<text class=\"head\" x=\"8\" y=\"{}\">{text}</text>",
        *y
    );
    *y += 8;
}

fn bar(body: &mut String, y: &mut usize, program: &str, share: f64, label: &str) {
    let class = if program == "fisga" {
        "bar ours"
    } else {
        "bar"
    };
    let (width, text) = ((share.clamp(0.0, 1.0) * BAR as f64).max(1.0), *y + 15);
    let _ = writeln!(
        body,
        "<text x=\"8\" y=\"{text}\">{program}</text>\
         <rect class=\"track\" x=\"{LEFT}\" y=\"{}\" width=\"{BAR}\" height=\"16\" rx=\"2\"/>\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{}\" width=\"{width:.1}\" height=\"16\" rx=\"2\"/>\
         <text x=\"{}\" y=\"{text}\">{label}</text>",
        *y + 2,
        *y + 2,
        LEFT + BAR + 8,
    );
    *y += ROW;
}
