//! fisga, the program: parses, runs, shows what went wrong on one line, and ends with the status that the contract names.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use clap::Parser;
use fisga::{
    app::{Start, StartError},
    cli::{self, Cli, Command, Json},
    commands::{self, Outcome, text},
    config::{self, ConfigError, Environment},
    doctor,
    engine::keeper,
    terminal::{self, TerminalError},
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // --help and --version are not errors, and go to stdout.
        Err(e) if !e.use_stderr() => {
            return ExitCode::from(if e.print().is_ok() { cli::DONE } else { cli::FAILED });
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

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let mut out = io::stdout().lock();
    let env = Environment::current().ok_or(ConfigError::NoHome)?;
    match cli.command {
        Some(Command::Watch(watch)) => {
            let (config, overrides) = (cli.global.config.clone(), cli.global.overrides());
            let start = Start { env, config, overrides, trace: watch.events };
            terminal::run(start, watch.output(), &mut out)?;
            Ok(Outcome::Good)
        }
        Some(Command::Config(which)) => commands::config::run(which, &cli.global, &env, &mut out),
        Some(Command::Check(check)) => commands::check::run(&check.files, &mut out),
        Some(Command::History(history)) => commands::history::run(history, &env, &mut out),
        Some(Command::Discard(discard)) => {
            let settings = config::load(cli.global.config.as_deref(), &cli.global.overrides(), &env)?;
            commands::discard::run(&discard.what, &settings.library, &env, &mut out)
        }
        Some(Command::Completions { shell }) => {
            commands::manual::completions(shell, &mut out)?;
            Ok(Outcome::Good)
        }
        Some(Command::Keeper { library }) => {
            keeper::run(&library)?;
            Ok(Outcome::Good)
        }
        Some(Command::Man) => {
            commands::manual::page(&mut out)?;
            Ok(Outcome::Good)
        }
        Some(Command::Doctor(Json { json })) => {
            let settings = config::load(cli.global.config.as_deref(), &cli.global.overrides(), &env)?;
            doctor::run(&settings, Path::new("/proc/self/exe"), json, &mut out)
        }
        Some(Command::Hide) => {
            doctor::child(io::stdin().lock(), &mut out)?;
            Ok(Outcome::Good)
        }
        _ => anyhow::bail!("this version of fisga has no such command yet"),
    }
}

/// The exit status for an error.
fn status(error: &anyhow::Error) -> u8 {
    let at_start = matches!(error.downcast_ref(), Some(TerminalError::Start(StartError::Config(_))));
    if at_start || error.is::<ConfigError>() { cli::USAGE } else { cli::FAILED }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let output = match error.downcast_ref() {
        Some(TerminalError::Output(e)) => Some(e),
        _ => error.downcast_ref::<io::Error>(),
    };
    output.is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

fn fail(status: u8, message: &str) -> ExitCode {
    // Without a stderr there is nobody to tell.
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
