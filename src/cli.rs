//! Commands and flags.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    config::Overrides,
    doctor,
    terminal::Output,
    units::{SPAN_FORM, Span},
};

/// Exit status: done.
pub const DONE: u8 = 0;
/// Exit status: failed; the reason is on stderr.
pub const FAILED: u8 = 1;
/// Exit status: a command line or a configuration that can't be used.
pub const USAGE: u8 = 2;
/// Exit status: no running fisga to talk to.
pub const NOT_RUNNING: u8 = 3;

/// Keeps the videos that you watch.
///
/// A browser or player that streams a video writes it to a temporary file, and many remove that
/// file's name at once. fisga notices the file the moment it is created, holds on to it, and puts
/// it into your Videos folder when it is whole.
///
/// Without a command it sits in the tray; without a desktop it says so and watches in the terminal.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "fisga",
    version,
    propagate_version = false,
    subcommand_value_name = "COMMAND"
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do; the tray without it.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What holds for every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Configuration file, instead of ~/.config/fisga/config.json
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for finished videos, instead of the configured one
    #[arg(long, global = true, value_name = "DIR")]
    pub library: Option<PathBuf>,
    /// Say more: -v what happens, -vv why, -vvv everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

impl Global {
    /// What the command line sets beside the configuration file.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            library: self.library.clone(),
        }
    }

    /// The log filter (`tracing_subscriber::EnvFilter`) where `RUST_LOG` gives none.
    pub fn log_filter(&self) -> &'static str {
        match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) => "warn",
            (false, 1) => "warn,fisga=info",
            (false, 2) => "warn,fisga=debug",
            (false, _) => "debug,fisga=trace",
        }
    }
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Watch in the foreground, without a desktop
    Watch(Watch),
    /// Say what the running fisga does
    Status(Json),
    /// Hold nothing for a while
    Pause(Pause),
    /// Hold again
    Resume,
    /// Save what is playing now, though it was opened before fisga ran
    Grab,
    /// Open the folder with the videos
    Open,
    /// End the running fisga
    Quit,
    /// Show what was saved, dropped or lost, and why; the newest last
    History(History),
    /// Check this machine by really hiding a file from itself in each watched folder
    Doctor(Json),
    /// Say of media files whether they are whole; exit status 0 when all are, else 1
    Check(Check),
    /// Put a saved video into the trash
    Discard(Discard),
    /// Put videos together from an existing browser cache
    Rebuild(Rebuild),
    /// Show, check or describe the configuration
    #[command(subcommand)]
    Config(Config),
    /// Start on login, or not
    #[command(subcommand)]
    Autostart(Autostart),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
    /// Hide files as a browser does, for the doctor
    #[command(name = doctor::CHILD, hide = true)]
    Hide,
    /// Hold what has no name left, for a fisga that may crash (it starts this itself)
    #[command(hide = true)]
    Keeper {
        /// Where files are put that nobody takes over, the library first
        places: Vec<PathBuf>,
    },
}

/// `fisga watch`.
#[derive(Clone, Copy, Debug, Args)]
pub struct Watch {
    /// Print one event a line as JSON
    #[arg(long)]
    pub json: bool,
    /// Print "Create: PATH" and "Remove: PATH" for all that happens in the watched folders
    #[arg(long, conflicts_with = "json")]
    pub events: bool,
}

impl Watch {
    /// What goes to stdout.
    pub fn output(self) -> Output {
        match (self.json, self.events) {
            (true, _) => Output::Json,
            (_, true) => Output::Events,
            _ => Output::Plain,
        }
    }
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, Args)]
pub struct Json {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `fisga pause`.
#[derive(Clone, Copy, Debug, Args)]
pub struct Pause {
    /// Resume by itself after this time, such as 30m or "1h 30m"
    #[arg(long = "for", value_name = "DURATION", value_parser = span)]
    pub span: Option<Span>,
}

/// `fisga history`.
#[derive(Clone, Copy, Debug, Args)]
pub struct History {
    /// Print one entry a line as JSON
    #[arg(long)]
    pub json: bool,
    /// Only the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// `fisga check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// Print one file a line as JSON
    #[arg(long)]
    pub json: bool,
    /// Media files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `fisga discard`.
#[derive(Clone, Debug, Args)]
pub struct Discard {
    /// LAST for the video that was saved last, or a file: its path, or its name in the library
    #[arg(value_name = "LAST|FILE")]
    pub what: PathBuf,
}

/// `fisga rebuild`.
#[derive(Clone, Debug, Args)]
pub struct Rebuild {
    /// A browser's cache, or a folder above it
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Only these, by their numbers in the list; without a number, all
    #[arg(value_name = "NUMBER", conflicts_with = "list")]
    pub numbers: Vec<usize>,
    /// List what could be put together, and save nothing
    #[arg(long)]
    pub list: bool,
}

/// `fisga config`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Config {
    /// Print where the configuration is
    Path,
    /// Print what is in force, with every default, as a configuration
    Show,
    /// Say whether the configuration can be used
    Check,
    /// Print the JSON schema of the configuration
    Schema,
}

/// `fisga autostart`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Autostart {
    /// Start fisga on login
    On,
    /// Don't
    Off,
    /// Say which
    Status,
}

fn span(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(span) if span.0.is_zero() => Err("is no time at all".into()),
        Ok(span) => Ok(span),
        Err(e) => Err(format!("{e}; allowed: {SPAN_FORM}")),
    }
}

/// What clap found wrong, as one line: its first paragraph, and its tips.
pub fn usage_error(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut paragraphs = text
        .split("\n\n")
        .map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut line = paragraphs.next().unwrap_or_default();
    for tip in paragraphs.filter(|p| p.starts_with("tip: ")) {
        line = format!("{line}; {tip}");
    }
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    format!("{line} (fisga --help shows what there is)")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn command_lines() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let cases = [
            "fisga",
            "fisga -vv watch",
            "fisga watch --json -v",
            "fisga watch --events",
            "fisga status --json",
            "fisga pause",
            "fisga resume",
            "fisga grab",
            "fisga open",
            "fisga quit",
            "fisga history --json --limit 5",
            "fisga doctor --json",
            "fisga check a b",
            "fisga check --json a b",
            "fisga discard LAST",
            "fisga rebuild /x",
            "fisga rebuild --list /x",
            "fisga rebuild /x 1 3",
            "fisga config path",
            "fisga --config x --library y config show",
            "fisga config check",
            "fisga config schema",
            "fisga autostart on",
            "fisga autostart off",
            "fisga autostart status",
            "fisga completions zsh",
            "fisga man",
        ];
        for line in cases {
            assert!(parse(line).is_ok(), "{line}");
        }
        let Some(Command::Pause(pause)) = parse("fisga pause --for 1h30m").unwrap().command else {
            panic!()
        };
        assert_eq!(pause.span, Some(Span(Duration::from_secs(5400))));
    }

    #[test]
    fn usage_errors_are_one_line() {
        let cases = [
            ("fisga --nope", "unexpected argument '--nope' found"),
            (
                "fisga wach",
                "unrecognized subcommand 'wach'; tip: a similar subcommand exists: 'watch'",
            ),
            (
                "fisga check",
                "the following required arguments were not provided: <FILE>...",
            ),
            (
                "fisga watch --json --events",
                "the argument '--json' cannot be used with '--events'",
            ),
            (
                "fisga history --limit x",
                "invalid value 'x' for '--limit <N>': invalid digit found in string",
            ),
            (
                "fisga pause --for 5",
                "invalid value '5' for '--for <DURATION>': \"5\" is not a duration; allowed: a duration such as \"10 s\", \
                 \"30m\" or \"1h30m\"",
            ),
        ];
        for (line, expected) in cases {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(USAGE), "{line}");
            assert_eq!(
                usage_error(&error),
                format!("{expected} (fisga --help shows what there is)")
            );
        }
    }
}
