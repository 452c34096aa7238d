//! fisga against its peers, as ratios from one run.
//!
//!     cargo bench --bench race                                    all figures, as a table
//!     cargo bench --bench race -- --chart icons/race.svg          and the README's chart
//!     cargo bench --bench race -- latency hide                    some figures only
//!     cargo bench --bench race -- --quick                         a tenth of the work, for a first look
//!
//! `RACE_PROGRAM=PATH` measures another build of fisga than the one that cargo just made.
//!
//! The peers are the least that a program in C can do (`peers/bare.c`), the `inotifywait` recipe
//! (`peers/recipe.sh`) and the script that fisga comes from (`peers/original.py`). Peer and fisga
//! take turns file by file, so that a busy machine slows both. A peer that this machine lacks is
//! left out, and said so.
//!
//! Needs a C compiler, and for the other peers inotifywait, python3 with pip, and lsof
//! (`packaging/setup.sh --test`).

#[path = "../../tests/common/cache.rs"]
mod cache;
mod caches;
mod chart;
mod crowd;
mod figures;
mod film;
mod peers;
mod process;
mod producer;
mod sandbox;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use figures::Run;
use table::Table;

/// A measurement.
type Measure = fn(&mut Run, &mut Table) -> Result<()>;

/// All of them by name, in the order of the table.
const ALL: &[(&str, Measure)] = &[
    ("latency", figures::latency),
    ("hide", figures::hide),
    ("busy", figures::busy),
    ("idle", figures::idle),
    ("memory", figures::memory),
    ("start", figures::start),
    ("big", figures::big),
    ("scan", figures::scan),
    ("watched", caches::watched),
    ("entries", caches::entries),
    ("images", caches::images),
    ("film", film::film),
];

/// What the command line asks for.
#[derive(Debug, Default)]
struct Arguments {
    chart: Option<PathBuf>,
    quick: bool,
    only: Vec<String>,
}

fn parse(words: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut arguments = Arguments::default();
    let mut words = words.filter(|word| word != "--bench"); // `cargo bench` adds it
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => arguments.quick = true,
            "--chart" => {
                arguments.chart = Some(words.next().context("--chart needs a file")?.into())
            }
            name if ALL.iter().any(|(known, _)| *known == name) => arguments.only.push(word),
            _ => {
                let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
                bail!(
                    "unknown argument {word}; there are --quick, --chart FILE and {}",
                    names.join(", ")
                );
            }
        }
    }
    Ok(arguments)
}

fn run() -> Result<()> {
    let arguments = parse(std::env::args().skip(1))?;
    let mut table = Table::default();
    let mut run = Run::new(arguments.quick)?;
    for (name, measure) in ALL {
        if arguments.only.is_empty() || arguments.only.iter().any(|only| only == name) {
            eprintln!("measuring {name} ...");
            if let Err(error) = measure(&mut run, &mut table) {
                table.failed(name, &format!("{error:#}"));
            }
        }
    }
    println!("{table}");
    if let Some(path) = arguments.chart {
        let svg = chart::draw(&run.chart);
        std::fs::write(&path, svg).with_context(|| format!("can't write {}", path.display()))?;
        println!("chart: {}", path.display());
    }
    Ok(())
}

fn main() -> ExitCode {
    // Some processes of a measurement are this program again.
    let result = match producer::asked_for().or_else(crowd::asked_for) {
        Some(result) => result,
        None => run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("race: {error:#}");
            ExitCode::FAILURE
        }
    }
}
