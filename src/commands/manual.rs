//! `fisga man` and `fisga completions`, both made from the command line's own definition.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::cli::Cli;

/// Prints a completion script.
///
/// # Errors
/// An `out` that can't be written.
pub fn completions(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    // clap_complete panics where it can't write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fisga", &mut script);
    out.write_all(&script)
}

/// Prints the manual page: one for the program with all of its commands.
///
/// # Errors
/// An `out` that can't be written.
pub fn page(out: &mut impl Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let man = Man::new(command.clone()).manual("User Commands");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;

    let mut page = Roff::new();
    page.control("SH", ["COMMANDS"]);
    commands(&mut page, &command);
    let sections: [(&str, &[(&str, &str)]); 3] = [
        (
            "EXIT STATUS",
            &[
                ("0", "Done."),
                (
                    "1",
                    "Failed; the reason is on stderr. For check: a file is not whole.",
                ),
                (
                    "2",
                    "A command line or a configuration that cannot be used.",
                ),
                ("3", "No fisga is running."),
            ],
        ),
        (
            "FILES",
            &[
                (
                    "$XDG_CONFIG_HOME/fisga/config.json",
                    "The configuration; ~/.config when the variable is not set.",
                ),
                (
                    "$XDG_STATE_HOME/fisga/history.jsonl",
                    "What was saved, dropped or lost; ~/.local/state.",
                ),
                (
                    "~/Videos/Fisga",
                    "The library, unless the configuration says otherwise.",
                ),
            ],
        ),
        (
            "ENVIRONMENT",
            &[(
                "RUST_LOG",
                "What is logged to stderr, in place of -v and -q: for example fisga=debug.",
            )],
        ),
    ];
    for (title, entries) in sections {
        page.control("SH", [title]);
        for (term, text) in entries {
            page.control("TP", []);
            page.text([bold(*term)]);
            page.text([roman(*text)]);
        }
    }
    page.to_writer(out)
}

/// Each command that does something, with what belongs to it alone.
fn commands(page: &mut Roff, above: &Command) {
    for command in above
        .get_subcommands()
        .filter(|c| c.get_name() != "help" && !c.is_hide_set())
    {
        if command.has_subcommands() {
            commands(page, command);
            continue;
        }
        let own = || {
            command
                .get_arguments()
                .filter(|arg| !arg.is_global_set() && arg.get_id() != "help")
        };
        page.control("TP", []);
        page.text([bold(usage(command))]);
        page.text([roman(format!(
            "{}.",
            command.get_about().cloned().unwrap_or_default()
        ))]);
        for arg in own().filter(|arg| arg.get_help().is_some()) {
            page.control("RS", []);
            page.control("TP", []);
            page.text([bold(arg.to_string())]);
            page.text([roman(format!(
                "{}.",
                arg.get_help().cloned().unwrap_or_default()
            ))]);
            page.control("RE", []);
        }
    }
}

/// "fisga history [OPTIONS]".
fn usage(command: &Command) -> String {
    let text = command.clone().render_usage().to_string();
    text.strip_prefix("Usage: ")
        .unwrap_or(&text)
        .replace(" [OPTIONS]", "")
}
