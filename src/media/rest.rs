//! What follows the place where a walk along a structure ended: padding, something that another
//! program put there, or more of the file behind a gap or out of order.

use super::{
    gaps::Gaps,
    reader::{Reader, Step},
    report::{Report, Verdict},
};

/// Longest tail in bytes; more is content.
const LONGEST_TAIL: u64 = 16 << 20;
/// Zeros in a row that are a gap if something stands behind them.
const GAP: u64 = 64;

/// What lies between the end of a structure and the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The file ends there, too.
    Nothing,
    /// Zeros up to the end: padding.
    Zeros,
    /// Bytes of something else, with no more of the structure among them.
    Foreign,
    /// This many bytes in a gap, and other bytes behind it.
    Gap(u64),
    /// More of the structure, out of place.
    More,
}

/// Says what follows `stop`. `is_more` is shown the bytes at each place, `width` of them or fewer
/// near the end, and says whether a part of the structure begins there.
pub(crate) fn follows(
    reader: &mut Reader,
    gaps: &Gaps,
    stop: u64,
    width: usize,
    is_more: impl FnMut(&[u8]) -> bool,
) -> Step<Rest> {
    let len = reader.len();
    if stop >= len {
        return Ok(Rest::Nothing);
    }
    let Some(first) = reader.first_nonzero(stop..len)? else {
        return Ok(Rest::Zeros);
    };
    // A tail of something else may be padded, too, but has no gap inside.
    let inside = gaps.stretches(stop..len, true).into_iter();
    let gap = inside
        .filter(|gap| gap.end < len)
        .map(|gap| gap.end - gap.start);
    let gap = gap.sum::<u64>().max(first - stop);
    if gap >= GAP {
        return Ok(Rest::Gap(gap));
    }
    if len - stop > LONGEST_TAIL || reader.search(stop..len, width, is_more)? {
        return Ok(Rest::More);
    }
    Ok(Rest::Foreign)
}

impl Rest {
    /// Whether what follows is no part of the file.
    pub(crate) fn is_tail(self) -> bool {
        matches!(self, Self::Nothing | Self::Zeros | Self::Foreign)
    }
}

/// Notes in the report on a whole file what follows its end.
pub(crate) fn note(reader: &mut Reader, report: &mut Report) -> Step<()> {
    let len = reader.len();
    if let (Verdict::Complete, Some(end)) = (&report.verdict, report.content_len)
        && end < len
    {
        let what = if reader.zeros_to_end(end)? {
            "zeros"
        } else {
            "other bytes"
        };
        report.detail = Some(format!("{} {what} follow its end", len - end));
    }
    Ok(())
}
