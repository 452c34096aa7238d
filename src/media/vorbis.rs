//! Vorbis comments, which Ogg and FLAC share (Vorbis I specification, 5.2).

use super::text;

/// The title among the comments that `bytes` begin with.
pub(crate) fn title(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes;
    field(&mut rest)?; // who wrote it
    let count;
    (count, rest) = rest
        .split_first_chunk()
        .map(|(n, rest)| (u32::from_le_bytes(*n), rest))?;
    for _ in 0..count {
        let comment = field(&mut rest)?;
        if let Some((name, value)) = comment.split_at_checked(6)
            && name.eq_ignore_ascii_case(b"title=")
        {
            return text::utf8(value);
        }
    }
    None
}

/// Takes a length and that many bytes from the beginning of `rest`.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (n, after) = rest.split_first_chunk()?;
    let (field, after) = after.split_at_checked(u32::from_le_bytes(*n) as usize)?;
    *rest = after;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_title() {
        let good = b"\x03\0\0\0abc\x02\0\0\0\x03\0\0\0A=b\x0a\0\0\0Title=x \xc3\xa4rest";
        assert_eq!(title(good).unwrap(), "x ä");
        for n in 0..good.len() - 4 {
            assert_eq!(title(&good[..n]), None);
        }
        assert_eq!(title(b"\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }
}
