//! Bodies that the server compressed, which browsers store as they came: playlists and subtitles.

use std::io::{self, Read};

/// The most that is decoded, in bytes: a playlist of a whole day has less than a megabyte.
pub const MAX: u64 = 16 << 20;
/// The largest zstd window (RFC 8878, 3.1.1.1.2, recommends to support 8 MiB).
const MAX_WINDOW: u64 = 8 << 20;

/// Why a body was not decoded.
#[derive(Debug, thiserror::Error)]
pub enum Undecoded {
    /// A content coding that no browser of today asks for.
    #[error("content coding {0:?} is unknown")]
    Unknown(String),
    /// It holds more than [`MAX`].
    #[error("more than {} MiB when decoded", MAX >> 20)]
    TooLong,
    /// It is damaged.
    #[error("decoding {0}")]
    Damaged(String, #[source] io::Error),
}

/// Undoes the `Content-Encoding` (RFC 9110, 8.4): `gzip`, `br`, `zstd`, `deflate`, several one
/// after the other.
///
/// # Errors
/// See [`Undecoded`]. Memory stays below [`MAX`] and a window.
pub fn decode(encoding: &str, bytes: &[u8]) -> Result<Vec<u8>, Undecoded> {
    let mut out = Vec::new();
    plain(encoding, bytes)?
        .take(MAX + 1)
        .read_to_end(&mut out)
        .map_err(|e| Undecoded::Damaged(encoding.into(), e))?;
    if out.len() as u64 > MAX {
        Err(Undecoded::TooLong)
    } else {
        Ok(out)
    }
}

/// The first bytes of what `bytes`, a beginning, decodes to: as many as can be had, up to `most`.
pub fn head(encoding: &str, bytes: &[u8], most: usize) -> Vec<u8> {
    let start = |bytes: Vec<u8>, coding: &str| {
        let mut out = Vec::new();
        if let Ok(plain) = undo(coding, Box::new(&*bytes)) {
            // What was decoded before the error counts.
            let _ = plain.take(most as u64).read_to_end(&mut out);
        }
        out
    };
    codings(encoding).fold(bytes.into(), start)
}

/// The codings to undo, one after the other: the last in the header was applied last.
fn codings(encoding: &str) -> impl Iterator<Item = &str> {
    encoding.rsplit(',').map(str::trim)
}

/// What is behind all codings.
fn plain<'a>(encoding: &str, bytes: &'a [u8]) -> Result<Box<dyn Read + 'a>, Undecoded> {
    let mut from: Box<dyn Read + 'a> = Box::new(bytes);
    for coding in codings(encoding) {
        // No layer may be longer than all of it, so that none keeps us busy for nothing.
        from = undo(coding, Box::new(from.take(MAX + 1)))?;
    }
    Ok(from)
}

fn undo<'a>(coding: &str, from: Box<dyn Read + 'a>) -> Result<Box<dyn Read + 'a>, Undecoded> {
    Ok(match coding {
        "gzip" | "x-gzip" => Box::new(flate2::read::MultiGzDecoder::new(from)),
        "deflate" => Box::new(flate2::read::ZlibDecoder::new(from)),
        "br" => Box::new(brotli_decompressor::Decompressor::new(from, 4096)),
        "zstd" => {
            let zstd =
                ruzstd::decoding::StreamingDecoder::new_with_max_window_size(from, MAX_WINDOW);
            let damaged = |e| Undecoded::Damaged("zstd".into(), io::Error::other(format!("{e}")));
            Box::new(zstd.map_err(damaged)?)
        }
        "identity" => from,
        other => return Err(Undecoded::Unknown(other.into())),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    }

    /// "#EXTM3U\n" twenty times, by the reference encoders (brotli 1.1, zstd 1.5).
    const BR: &[u8] = &[
        0x1b, 0x9f, 0x00, 0xf8, 0x8d, 0x94, 0xab, 0x93, 0x6b, 0x3d, 0x52, 0x54, 0x85, 0xa5, 0x15,
        0x66, 0x9a, 0xa8, 0x84, 0x6e, 0xe1, 0x00, 0x09, 0x3f, 0x03,
    ];
    const ZSTD: &[u8] = &[
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x00, 0x7d, 0x00, 0x00, 0x40, 0x23, 0x45, 0x58, 0x54, 0x4d,
        0x33, 0x55, 0x0a, 0x01, 0x00, 0x95, 0x51, 0x85, 0x0b, 0xc0, 0xb1, 0x3e, 0x01,
    ];

    #[test]
    fn every_coding() {
        let want = "#EXTM3U\n".repeat(20).into_bytes();
        for (coding, bytes) in [
            ("gzip", gzip(&want)),
            ("br", BR.into()),
            ("zstd", ZSTD.into()),
        ] {
            assert_eq!(decode(coding, &bytes).unwrap(), want, "{coding}");
            assert!(
                decode(coding, &bytes[..bytes.len() - 1]).is_err(),
                "{coding} cut short"
            );
            assert_eq!(head(coding, &bytes, 9), b"#EXTM3U\n#", "{coding}");
        }
        for (codings, bytes) in [("br, gzip", gzip(BR)), ("identity,gzip", gzip(&want))] {
            assert_eq!(decode(codings, &bytes).unwrap(), want, "{codings}");
        }
        let noise: Vec<u8> = (0..60_000_u32).map(|n| ((n * n) >> 7) as u8).collect();
        let twice = gzip(&gzip(&noise));
        let start = head("gzip, gzip", &twice[..4096], 4096);
        assert!(start.len() > 500 && noise.starts_with(&start), "{start:?}");
        assert!(matches!(
            decode("compress", b""),
            Err(Undecoded::Unknown(_))
        ));
    }

    #[test]
    fn a_bomb_is_refused() {
        assert!(matches!(
            decode("gzip", &gzip(&vec![0; MAX as usize + 1])),
            Err(Undecoded::TooLong)
        ));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for coding in ["gzip", "deflate", "br", "zstd"] {
                let _ = decode(coding, &bytes).is_ok();
            }
            let _ = decode("br", &[BR, &bytes].concat()).is_ok();
            let _ = decode("zstd", &[ZSTD, &bytes].concat()).is_ok();
        }
    }
}
