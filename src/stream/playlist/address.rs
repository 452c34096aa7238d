//! Addresses in playlists: relative ones made absolute, and how much of them one playlist may
//! bring.

use std::borrow::Cow;

use url::Url;

/// Bytes of addresses that one playlist may bring. A long film with signed addresses has 3 MB of
/// them; a hostile playlist can make every short line of its own as long as its base.
const BUDGET: usize = 16 << 20;
/// The longest address that browsers load.
const LONGEST: usize = 64 << 10;

/// Resolves the addresses of one playlist.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    left: usize,
}

/// The playlist brings more addresses than any video has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its addresses are longer than any video's")]
pub(crate) struct TooLong;

impl Default for Resolver {
    fn default() -> Self {
        Self { left: BUDGET }
    }
}

impl Resolver {
    /// `reference` seen from `base` (RFC 3986, as browsers do it: WHATWG URL), without a fragment.
    /// `None` for what no browser loads from the network: other schemes, addresses that can't be
    /// parsed.
    ///
    /// # Errors
    /// [`TooLong`] once the playlist has used up its budget.
    pub(crate) fn join(&mut self, base: &Url, reference: &str) -> Result<Option<String>, TooLong> {
        if reference.len() > LONGEST {
            return Err(TooLong);
        }
        let Ok(mut url) = base.join(reference) else {
            return Ok(None);
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Ok(None);
        }
        url.set_fragment(None);
        self.charge(url.as_str().len())?;
        Ok(Some(url.into()))
    }

    /// Accounts for a copy of an address.
    ///
    /// # Errors
    /// [`TooLong`] once the playlist has used up its budget.
    pub(crate) fn charge(&mut self, len: usize) -> Result<(), TooLong> {
        self.left = self.left.checked_sub(len).ok_or(TooLong)?;
        Ok(())
    }
}

/// The address of a playlist itself, if it is one of the network.
pub(crate) fn base(url: &str) -> Option<Url> {
    Url::parse(url)
        .ok()
        .filter(|u| matches!(u.scheme(), "http" | "https") && u.as_str().len() <= LONGEST)
}

/// `scheme://host:port` of an address, empty when it has none.
pub(crate) fn origin(url: &str) -> &str {
    let Some(start) = url.find("://").map(|i| i + 3) else {
        return "";
    };
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |i| start + i);
    &url[..end]
}

/// The address of a playlist without what asks for a certain version of it (delivery directives,
/// draft-pantos-hls-rfc8216bis, 6.2.5).
pub(crate) fn without_directives(url: &str) -> Cow<'_, str> {
    match url.split_once('?') {
        Some((path, query)) if query.contains("_HLS_") => {
            let kept: Vec<&str> = query
                .split('&')
                .filter(|pair| !pair.starts_with("_HLS_"))
                .collect();
            if kept.is_empty() {
                path.into()
            } else {
                format!("{path}?{}", kept.join("&")).into()
            }
        }
        _ => url.into(),
    }
}

/// An address without its query: tokens change from one request to the next.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives() {
        for (url, want) in [
            ("http://a/l.m3u8", "http://a/l.m3u8"),
            ("http://a/l.m3u8?t=1", "http://a/l.m3u8?t=1"),
            ("http://a/l.m3u8?_HLS_msn=5&_HLS_part=2", "http://a/l.m3u8"),
            (
                "http://a/l.m3u8?_HLS_skip=YES&t=1&_HLS_msn=5",
                "http://a/l.m3u8?t=1",
            ),
        ] {
            assert_eq!(without_directives(url), want);
        }
    }

    #[test]
    fn references() {
        let at = base("https://a.example/v/list.m3u8?token=1#x").unwrap();
        let cases = [
            ("seg1.ts", Some("https://a.example/v/seg1.ts")),
            ("../../../etc/passwd", Some("https://a.example/etc/passwd")),
            ("/abs.ts?x=%2F#f", Some("https://a.example/abs.ts?x=%2F")),
            ("//cdn.example/s.ts", Some("https://cdn.example/s.ts")),
            ("http://b.example:81/s", Some("http://b.example:81/s")),
            (
                "?only=query",
                Some("https://a.example/v/list.m3u8?only=query"),
            ),
            ("file:///etc/passwd", None),
            ("data:video/mp4;base64,AA", None),
            ("blob:https://a.example/1", None),
            ("javascript:alert(1)", None),
            ("http://[", None),
        ];
        for (reference, want) in cases {
            assert_eq!(
                Resolver::default().join(&at, reference).unwrap().as_deref(),
                want,
                "{reference}"
            );
        }
    }

    #[test]
    fn a_long_base_does_not_multiply() {
        let at = base(&format!("http://h/{}/", "x".repeat(60_000))).unwrap();
        let mut resolver = Resolver::default();
        let n = (0..)
            .take_while(|_| resolver.join(&at, "a").is_ok())
            .count();
        assert!(n < 300, "{n}");
    }

    #[test]
    fn parts() {
        assert_eq!(origin("https://h:1/a/b?c"), "https://h:1");
        assert_eq!(origin("https://h?c"), "https://h");
        assert_eq!(origin("nothing"), "");
        assert_eq!(without_query("http://h/a?b#c"), "http://h/a");
    }
}
