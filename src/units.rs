//! Sizes and durations as people write them: "1 MiB", "500 kB", "10 s", "1h30m".

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a size may look like, for error messages and help.
pub const SIZE_FORM: &str = r#"a size such as "1 MiB", "500 kB" or a number of bytes"#;
/// What a duration may look like, for error messages and help.
pub const SPAN_FORM: &str = r#"a duration such as "10 s", "30m" or "1h30m""#;

/// Largest unit first. Those with an `i` are powers of 1024, the others of 1000 (IEC 80000-13).
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Milliseconds of each unit; the first spelling of a value is the one that is written.
const SPANS: [(&str, u64); 14] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
    ("day", 86_400_000),
    ("days", 86_400_000),
    ("hour", 3_600_000),
    ("hours", 3_600_000),
    ("min", 60_000),
    ("minute", 60_000),
    ("minutes", 60_000),
    ("sec", 1_000),
    ("seconds", 1_000),
];

/// Why a size or a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No size can be read from it.
    #[error("{0:?} is not a size")]
    Size(String),
    /// No duration can be read from it.
    #[error("{0:?} is not a duration")]
    Span(String),
    /// More than 64 bits hold.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Size(text.to_owned());
        let trimmed = text.trim();
        let (number, unit) = trimmed.split_at(number_len(trimmed));
        let unit = match unit.trim_start() {
            "" if number.contains('.') => return Err(wrong()),
            "" => 1,
            unit => {
                SIZES
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                    .ok_or_else(wrong)?
                    .1
            }
        };
        scaled(number, unit)
            .ok_or_else(wrong)?
            .map(Self)
            .ok_or_else(|| UnitError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for Size {
    /// The largest unit that gives a whole number, so that reading it again gives the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SIZES
            .iter()
            .find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        match whole {
            Some((name, unit)) => write!(f, "{} {name}", self.0 / unit),
            None => write!(f, "0 B"),
        }
    }
}

/// A length of time, in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Span(text.to_owned());
        let large = || UnitError::TooLarge(text.to_owned());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut total = 0_u64;
        while !rest.is_empty() {
            let (number, after) = rest.split_at(number_len(rest));
            let after = after.trim_start();
            let letters = after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let &(_, unit) = SPANS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(wrong)?;
            let part = scaled(number, unit).ok_or_else(wrong)?.ok_or_else(large)?;
            total = total.checked_add(part).ok_or_else(large)?;
            rest = after.trim_start();
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return write!(f, "0 s");
        }
        let mut gap = "";
        for (name, unit) in &SPANS[..5] {
            let n = rest / unit;
            rest %= unit;
            if n > 0 {
                write!(f, "{gap}{n} {name}")?;
                gap = " ";
            }
        }
        Ok(())
    }
}

/// Length of the decimal number that `text` begins with.
fn number_len(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len())
}

/// `number` times `unit`, rounded down. `None`: not a number; `Some(None)`: more than 64 bits.
fn scaled(number: &str, unit: u64) -> Option<Option<u64>> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || part.is_empty() || part.contains('.') {
        return None;
    }
    // Nine decimals resolve a byte in a GiB; more than that changes nothing that anyone could mean.
    let part = &part[..part.len().min(9)];
    let Ok(whole) = whole.parse::<u64>() else {
        return Some(None);
    };
    let fraction =
        u128::from(part.parse::<u64>().ok()?) * u128::from(unit) / 10_u128.pow(part.len() as u32);
    let total = u128::from(whole) * u128::from(unit) + fraction;
    Some(u64::try_from(total).ok())
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": SIZE_FORM,
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT]?[bB]|[kKmMgGtT][iI][bB])?\s*$" }
            ]
        })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": SPAN_FORM,
            "type": "string",
            "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*[a-z]+\s*)+$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        let cases: &[(&str, u64)] = &[
            ("0", 0),
            ("1048576", 1 << 20),
            ("1 MiB", 1 << 20),
            ("1MiB", 1 << 20),
            (" 1  mib ", 1 << 20),
            ("500 kB", 500_000),
            ("500 KB", 500_000),
            ("1.5 GiB", 3 << 29),
            ("0.001 kB", 1),
            ("2 TB", 2_000_000_000_000),
            ("16777215 TiB", 16_777_215 << 40),
            ("7 B", 7),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Size(*bytes)), "{text}");
        }
        for text in [
            "",
            " ",
            "MiB",
            "1 Mi",
            "1 M",
            "-1",
            "1e6",
            "1,5 GiB",
            "1.5",
            ".5 GiB",
            "1. GiB",
            "1.2.3 GiB",
            "١ B",
        ] {
            assert_eq!(
                text.parse::<Size>(),
                Err(UnitError::Size(text.into())),
                "{text}"
            );
        }
        for text in ["16777216 TiB", "99999999999999999999"] {
            assert_eq!(
                text.parse::<Size>(),
                Err(UnitError::TooLarge(text.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn spans() {
        let cases: &[(&str, u64)] = &[
            ("10 s", 10_000),
            ("30m", 1_800_000),
            ("1h30m", 5_400_000),
            ("1 h 30 min", 5_400_000),
            ("0 s", 0),
            ("1.5 h", 5_400_000),
            ("250ms", 250),
            ("2 days", 172_800_000),
        ];
        for (text, ms) in cases {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(*ms))), "{text}");
        }
        for text in ["", "10", "s", "10 parsecs", "-1 s", "1h30", "1:30", "10 S"] {
            assert_eq!(
                text.parse::<Span>(),
                Err(UnitError::Span(text.into())),
                "{text}"
            );
        }
        for text in [
            "99999999999999999999 s",
            "213503982335 d",
            "213503982334 d 213503982334 d",
        ] {
            assert_eq!(
                text.parse::<Span>(),
                Err(UnitError::TooLarge(text.into())),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(n: u64, shift in 0_u32..64) {
            let size = Size(n >> shift);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            let span = Span(Duration::from_millis(n >> shift));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn any_text_is_an_answer(text: String) {
            let _ = text.parse::<Size>();
            let _ = text.parse::<Span>();
        }
    }
}
