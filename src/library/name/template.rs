//! The template of a name: what the configuration's `name` may say, and how its fields are filled.

use std::{fmt, str::FromStr, time::Duration};

use chrono::{
    DateTime, Local,
    format::{Item, StrftimeItems},
};

use super::{
    Name, StemPart,
    text::{clean, extension, is_refused, replace},
};

const FIELDS: &str = "{title}, {program}, {date}, {time}, {rule}, {container}, {length}, {number}";

/// The configuration's `name`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<TemplatePart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    Title,
    Program,
    /// A strftime format; both `{date}` and `{time}`.
    At(String),
    Rule,
    Container,
    Length,
    Number,
}

/// Why a template is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A field that does not exist.
    #[error("unknown field {{{0}}}: allowed are {FIELDS}")]
    UnknownField(String),
    /// A format after a field that takes none.
    #[error("{{{0}}} takes no format: only {{date:…}} and {{time:…}} do")]
    NoFormat(String),
    /// A format that strftime does not know.
    #[error("{{{field}:{format}}}: not a strftime format (for example %Y-%m-%d or %H.%M.%S)")]
    Format {
        /// "date" or "time".
        field: String,
        /// The format.
        format: String,
    },
    /// `{` without `}` or the other way round.
    #[error("a brace without its partner: {{field}} is a field, {{{{ and }}}} are braces")]
    Brace,
    /// A character that not every system takes in a file name.
    #[error(
        "{0:?} can't be in a file name: not allowed are control characters and / \\ * ? \" < > |"
    )]
    Character(char),
    /// Nothing at all.
    #[error("the name is empty: allowed are text and {FIELDS}")]
    Empty,
}

/// The values of a template's fields.
#[derive(Clone, Debug)]
pub struct Fields {
    /// Title, if there is one; white space alone is none.
    pub title: Option<String>,
    /// The program that wrote the file.
    pub program: Option<String>,
    /// The rule that matched.
    pub rule: String,
    /// Container, as an extension without the dot; also the extension of the name.
    pub container: String,
    /// Length of the video.
    pub length: Option<Duration>,
    /// When the file was held.
    pub at: DateTime<Local>,
    /// The share that is there, 0 to 1, of a video that is not whole: becomes "45 %" after the
    /// title.
    pub share: Option<f64>,
}

impl Template {
    /// Checks a template.
    ///
    /// # Errors
    /// The first thing that is wrong with it, and what is allowed.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = source.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.next_if_eq(&c).is_some() => text.push(c),
                '{' => {
                    let mut field = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            None | Some('{') => return Err(TemplateError::Brace),
                            Some(c) => field.push(c),
                        }
                    }
                    if !text.is_empty() {
                        parts.push(TemplatePart::Text(std::mem::take(&mut text)));
                    }
                    parts.push(TemplatePart::parse(&field)?);
                }
                '}' => return Err(TemplateError::Brace),
                c if is_refused(c) && c != ':' => return Err(TemplateError::Character(c)),
                c => text.push(c),
            }
        }
        if !text.is_empty() {
            parts.push(TemplatePart::Text(text));
        }
        if parts.is_empty() {
            return Err(TemplateError::Empty);
        }
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The name of one file.
    pub fn name(&self, fields: &Fields) -> Name {
        let title = match clean(fields.title.as_deref().unwrap_or_default()) {
            title if title.is_empty() => "Video".to_owned(),
            title => title,
        };
        let share = fields.share.map(|share| format!(" {}", percent(share)));
        Name {
            stem: self.parts.iter().map(|part| part.fill(fields)).collect(),
            title,
            share: share.unwrap_or_default(),
            extension: extension(&fields.container),
        }
    }
}

impl Default for Template {
    fn default() -> Self {
        let date_and_time =
            ["%Y-%m-%d", "%H.%M.%S"].map(|format| TemplatePart::At(format.to_owned()));
        let [date, time] = date_and_time;
        let space = || TemplatePart::Text(" ".to_owned());
        Self {
            source: "{title} {date} {time}".to_owned(),
            parts: vec![TemplatePart::Title, space(), date, space(), time],
        }
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(source: &str) -> Result<Self, TemplateError> {
        Self::parse(source)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl TemplatePart {
    /// The part for one file.
    fn fill(&self, fields: &Fields) -> StemPart {
        let kept = |c| if c == ':' { c } else { replace(c) };
        StemPart::Text(match self {
            Self::Title => return StemPart::Title,
            Self::Number => return StemPart::Number,
            Self::Text(text) => text.clone(),
            Self::Program => clean(fields.program.as_deref().unwrap_or_default()),
            Self::At(format) => fields
                .at
                .format(format)
                .to_string()
                .chars()
                .map(kept)
                .collect(),
            Self::Rule => clean(&fields.rule),
            Self::Container => clean(&fields.container),
            Self::Length => fields.length.map(length).unwrap_or_default(),
        })
    }

    fn parse(field: &str) -> Result<Self, TemplateError> {
        let (field, format) = match field.split_once(':') {
            Some((field, format)) => (field, Some(format)),
            None => (field, None),
        };
        let at = |default: &str| {
            let format = format.unwrap_or(default);
            if format.is_empty() || StrftimeItems::new(format).any(|item| item == Item::Error) {
                return Err(TemplateError::Format {
                    field: field.to_owned(),
                    format: format.to_owned(),
                });
            }
            Ok(Self::At(format.to_owned()))
        };
        let part = match field {
            "date" => return at("%Y-%m-%d"),
            "time" => return at("%H.%M.%S"),
            "title" => Self::Title,
            "program" => Self::Program,
            "rule" => Self::Rule,
            "container" => Self::Container,
            "length" => Self::Length,
            "number" => Self::Number,
            _ => return Err(TemplateError::UnknownField(field.to_owned())),
        };
        match format {
            Some(_) => Err(TemplateError::NoFormat(field.to_owned())),
            None => Ok(part),
        }
    }
}

/// A share as in a name: "45 %", and never "100 %" of something that is not whole.
fn percent(share: f64) -> String {
    format!("{} %", (share.clamp(0.0, 0.99) * 100.0).floor())
}

/// A length as in a name: `45s`, `3m25s`, `1h02m03s`.
fn length(length: Duration) -> String {
    let s = length.as_secs_f64().round() as u64;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, s) => format!("{h}h{m:02}m{s:02}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (s, text) in [
            (0.4, "0s"),
            (45.0, "45s"),
            (205.2, "3m25s"),
            (59.9, "1m00s"),
            (3723.0, "1h02m03s"),
        ] {
            assert_eq!(length(Duration::from_secs_f64(s)), text);
        }
    }
}
