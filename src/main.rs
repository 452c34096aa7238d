//! fisga, the program: parses, runs, shows what went wrong on one line, and ends with the status
//! that the contract names.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use clap::Parser;
use fisga::{
    app::{Start, StartError},
    cli::{self, Cli, Command, Json},
    commands::{
        self, Outcome,
        control::{self, Request},
    },
    config::{self, ConfigError},
    doctor::{self, Level},
    engine::keeper,
    environment::Environment,
    library::history::History,
    pipeline::Store,
    terminal::{self, TerminalError},
    text,
    title::Titles,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // --help and --version are not errors, and go to stdout.
        Err(e) if !e.use_stderr() => {
            return ExitCode::from(if e.print().is_ok() {
                cli::DONE
            } else {
                cli::FAILED
            });
        }
        Err(e) => return fail(cli::USAGE, &cli::usage_error(&e)),
    };
    log(&cli);
    match run(cli) {
        Ok(Outcome::Good) => ExitCode::from(cli::DONE),
        Ok(Outcome::Bad) => ExitCode::from(cli::FAILED),
        // Who reads us has seen enough: `fisga history | head`.
        Err(e) if is_broken_pipe(&e) => ExitCode::from(cli::DONE),
        Err(e) => fail(status(&e), &format!("{e:#}")),
    }
}

fn run(Cli { global, command }: Cli) -> anyhow::Result<Outcome> {
    let mut out = io::stdout().lock();
    let env = Environment::current().ok_or(ConfigError::NoHome)?;
    let settings = || config::load(global.config.as_deref(), &global.overrides(), &env);
    let start = |trace| Start {
        env: env.clone(),
        config: global.config.clone(),
        overrides: global.overrides(),
        trace,
    };
    match command {
        None => good(resident(start(false), &mut out)),
        Some(Command::Watch(watch)) => {
            good(terminal::run(start(watch.events), watch.output(), &mut out))
        }
        Some(Command::Status(Json { json })) => control::run(Request::Status { json }, &mut out),
        Some(Command::Pause(pause)) => control::run(Request::Pause(pause), &mut out),
        Some(Command::Resume) => control::run(Request::Resume, &mut out),
        Some(Command::Grab) => control::run(Request::Grab, &mut out),
        Some(Command::Open) => control::run(Request::Open, &mut out),
        Some(Command::Quit) => control::run(Request::Quit, &mut out),
        Some(Command::History(history)) => commands::history::run(history, &env, &mut out),
        Some(Command::Doctor(Json { json })) => {
            let program = Path::new("/proc/self/exe");
            Ok(match doctor::run(&settings()?, program, json, &mut out)? {
                Level::Ok | Level::Note => Outcome::Good,
                Level::Problem => Outcome::Bad,
            })
        }
        Some(Command::Check(check)) => commands::check::run(&check, &mut out),
        Some(Command::Discard(discard)) => {
            let (library, history) = (settings()?.library, History::open(&env.history_file())?);
            commands::discard::run(discard.what.as_os_str(), &library, &history, &mut out)
        }
        Some(Command::Rebuild(rebuild)) => {
            let store = || Ok(Store::open(&env, Titles::default())?);
            commands::rebuild::run(&rebuild, settings()?, store, &mut out)
        }
        Some(Command::Config(which)) => commands::config::run(which, &global, &env, &mut out),
        Some(Command::Autostart(which)) => commands::autostart::run(which, &mut out),
        Some(Command::Completions { shell }) => {
            good(commands::manual::completions(shell, &mut out))
        }
        Some(Command::Man) => good(commands::manual::page(&mut out)),
        Some(Command::Hide) => good(doctor::child(io::stdin().lock(), &mut out)),
        Some(Command::Keeper { places }) => good(keeper::run(&places)),
    }
}

/// What has nothing to judge is good when it went well.
fn good<E: Into<anyhow::Error>>(result: Result<(), E>) -> anyhow::Result<Outcome> {
    result.map(|()| Outcome::Good).map_err(Into::into)
}

/// `fisga` without a command.
#[cfg(feature = "tray")]
fn resident(start: Start, out: &mut impl Write) -> Result<(), fisga::resident::ResidentError> {
    fisga::resident::run(start, out)
}

/// `fisga` without a command, and without the desktop's part.
#[cfg(not(feature = "tray"))]
fn resident(start: Start, out: &mut impl Write) -> Result<(), TerminalError> {
    terminal::run(start, terminal::Output::Plain, out)
}

/// The exit status for an error.
fn status(error: &anyhow::Error) -> u8 {
    if control::is_not_running(error) {
        return cli::NOT_RUNNING;
    }
    // Whichever face it was that couldn't use the configuration.
    if error.chain().any(|e| e.is::<ConfigError>() || is_config(e)) {
        cli::USAGE
    } else {
        cli::FAILED
    }
}

/// Transparent errors stand for their source in the chain, and are not found by its type.
fn is_config(error: &(dyn std::error::Error + 'static)) -> bool {
    let start = match error.downcast_ref() {
        Some(TerminalError::Start(start)) => Some(start),
        _ => None,
    };
    #[cfg(feature = "tray")]
    let start = match error.downcast_ref() {
        Some(fisga::resident::ResidentError::Start(start)) => Some(start),
        _ => start,
    };
    matches!(start, Some(StartError::Config(_)))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let output = match error.downcast_ref() {
        Some(TerminalError::Output(e)) => Some(e),
        _ => error.downcast_ref::<io::Error>(),
    };
    output.is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

fn fail(status: u8, message: &str) -> ExitCode {
    // Without a stderr nobody can read an error.
    let _ = writeln!(io::stderr(), "fisga: {}", text::one_line(message));
    ExitCode::from(status)
}

/// The log goes to stderr: `RUST_LOG`, else what -v and -q ask for.
fn log(cli: &Cli) {
    // A directive in RUST_LOG that doesn't parse is said on stderr, and the others count.
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) if !text.is_empty() => EnvFilter::new(text),
        _ => EnvFilter::new(cli.global.log_filter()),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
