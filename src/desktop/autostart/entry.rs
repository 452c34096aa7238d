//! The text of a desktop entry, as far as autostart is concerned. Pure.
//!
//! Rules: Desktop Entry Specification 1.5, "The Exec key", "Value types"; Desktop Application
//! Autostart Specification 0.5, "Autostart of Applications".

/// The value of an `Exec` key that runs `arguments`, the first of which is the program.
///
/// Two layers, from the inside out: each argument in double quotes with `" ` $
/// \` escaped and `%` doubled; then the whole as a value of type string, where `\` is doubled and line breaks are written `\n`, `\r`.
pub fn exec<S: AsRef<str>>(arguments: &[S]) -> String {
    let quoted: Vec<_> = arguments.iter().map(|a| quote(a.as_ref())).collect();
    escape(&quoted.join(" "))
}

fn quote(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    let mut quoted = String::from('"');
    for c in argument.chars() {
        match c {
            '"' | '`' | '$' | '\\' => quoted.extend(['\\', c]),
            '%' => quoted.push_str("%%"),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

fn escape(value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t");
    match value.strip_prefix(' ') {
        Some(rest) => format!("\\s{rest}"),
        None => value,
    }
}

/// The arguments that an `Exec` value runs; `None` if it breaks the rules. Field codes are left
/// out, as a launcher that has no file to open does.
pub fn arguments(exec: &str) -> Option<Vec<String>> {
    let value = unescape(exec)?;
    let mut arguments = Vec::new();
    let mut chars = value.chars().peekable();
    loop {
        while chars.next_if_eq(&' ').is_some() {}
        let mut argument = String::new();
        match chars.next() {
            None => break,
            Some('"') => loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => argument.push(chars.next()?),
                    '%' => drop(chars.next_if_eq(&'%').map(|c| argument.push(c))),
                    c => argument.push(c),
                }
            },
            Some('%') if chars.peek().is_some_and(char::is_ascii_alphabetic) => {
                chars.next();
                continue;
            }
            Some(first) => {
                let mut next = Some(first);
                while let Some(c) = next {
                    argument.push(c);
                    if c == '%' {
                        chars.next_if_eq(&'%');
                    }
                    next = chars.next_if(|c| *c != ' ');
                }
            }
        }
        arguments.push(argument);
    }
    Some(arguments)
}

fn unescape(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next()? {
            's' => plain.push(' '),
            'n' => plain.push('\n'),
            't' => plain.push('\t'),
            'r' => plain.push('\r'),
            '\\' => plain.push('\\'),
            // Not in the specification, and found in the wild: left as it is, as GLib does.
            other => plain.extend(['\\', other]),
        }
    }
    Some(plain)
}

/// What an autostart entry says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesktopEntry {
    /// What it runs.
    pub exec: Option<String>,
    /// It counts as deleted.
    pub hidden: bool,
    /// The switch of GNOME and others (`X-GNOME-Autostart-enabled`).
    pub disabled: bool,
}

impl DesktopEntry {
    /// Reads the `[Desktop Entry]` group of a file; what it doesn't know is skipped.
    pub fn parse(text: &str) -> Self {
        let mut entry = DesktopEntry::default();
        for (key, value) in keys(text) {
            match key {
                "Exec" => entry.exec = Some(value.to_owned()),
                "Hidden" => entry.hidden = value == "true",
                "X-GNOME-Autostart-enabled" => entry.disabled = value == "false",
                _ => {}
            }
        }
        entry
    }

    /// Whether it starts its program at login.
    pub fn is_on(&self) -> bool {
        self.exec.is_some() && !self.hidden && !self.disabled
    }
}

fn keys(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut inside = false;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == "[Desktop Entry]";
        }
        let (key, value) = line
            .split_once('=')
            .filter(|_| inside && !line.starts_with('#'))?;
        Some((key.trim_end(), value.trim_start()))
    })
}

/// The same file with another `Exec`; everything else stays as its owner wrote it.
pub fn with_exec(text: &str, exec: &str) -> String {
    let mut inside = false;
    let lines = text.lines().map(|line| {
        if line.trim_start().starts_with('[') {
            inside = line.trim() == "[Desktop Entry]";
        }
        match line.split_once('=') {
            Some((key, _)) if inside && key.trim() == "Exec" => format!("Exec={exec}\n"),
            _ => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quoting() {
        let cases: &[(&[&str], &str)] = &[
            (&["/usr/bin/fisga"], "/usr/bin/fisga"),
            (
                &["/opt/my apps/fisga", "watch"],
                r#""/opt/my apps/fisga" watch"#,
            ),
            (&["/a/100%/fisga"], r#""/a/100%%/fisga""#),
            (&["/a/$HOME/fisga"], r#""/a/\\$HOME/fisga""#),
            (&[r"/a/b\c"], r#""/a/b\\\\c""#),
            (&[r#"/a/"q"/`x`"#], r#""/a/\\"q\\"/\\`x\\`""#),
            (&["/a/line\nbreak"], r#""/a/line\nbreak""#),
            (&["/a/'single'"], r#""/a/'single'""#),
            (&["/ä/ß"], r#""/ä/ß""#),
            (&["/x", ""], r#"/x """#),
        ];
        for (plain, value) in cases {
            assert_eq!(exec(plain), *value);
            assert_eq!(arguments(value).unwrap(), *plain, "{value}");
        }
    }

    #[test]
    fn exec_lines_of_others() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            ("fisga", Some(&["fisga"])),
            ("  fisga   watch ", Some(&["fisga", "watch"])),
            ("fisga %U", Some(&["fisga"])),
            ("fisga 100%%", Some(&["fisga", "100%"])),
            (r#""open quote"#, None),
            (r"fisga \", None),
        ];
        for (value, want) in cases {
            let got = arguments(value);
            let got: Option<Vec<_>> = got.as_ref().map(|a| a.iter().map(String::as_str).collect());
            assert_eq!(got.as_deref(), *want, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_argument_comes_back(all in prop::collection::vec("\\PC*|[\\\\\"$`% \n\t]*", 1..4)) {
            prop_assert_eq!(arguments(&exec(&all)), Some(all));
        }

        #[test]
        fn nothing_makes_it_panic(text in ".*") {
            let _ = (arguments(&text), DesktopEntry::parse(&text), with_exec(&text, "x"));
        }
    }

    #[test]
    fn entries() {
        let on = "[Desktop Entry]\nType=Application\nExec=fisga\n";
        let cases = [
            (on.to_owned(), true),
            (format!("{on}Hidden=true\n"), false),
            (format!("{on}Hidden=false\n"), true),
            (format!("{on}X-GNOME-Autostart-enabled=false\n"), false),
            (format!("{on}X-GNOME-Autostart-enabled = true\n"), true),
            (format!("{on}[Desktop Action x]\nHidden=true\n"), true),
            (format!("# Hidden=true\n{on}#Hidden=true\n"), true),
            ("[Other]\nExec=fisga\n".to_owned(), false),
            (String::new(), false),
        ];
        for (text, on) in cases {
            assert_eq!(DesktopEntry::parse(&text).is_on(), on, "{text}");
        }
    }

    #[test]
    fn mending_touches_one_line() {
        let text =
            "# mine\n[Desktop Entry]\nExec = /old\nX-Delay=5\n[Desktop Action a]\nExec=/old a\n";
        let want =
            "# mine\n[Desktop Entry]\nExec=/new\nX-Delay=5\n[Desktop Action a]\nExec=/old a\n";
        assert_eq!(with_exec(text, "/new"), want);
    }
}
