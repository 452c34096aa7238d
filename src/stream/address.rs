//! Addresses in playlists: relative ones made absolute, and how much of them one playlist may
//! bring.

use std::borrow::Cow;

use url::Url;

/// Bytes of addresses that one playlist may bring. A long film with signed addresses has 3 MB of
/// them; a hostile playlist can make every short line of its own as long as its base.
const BUDGET: usize = 16 << 20;
/// The longest address that browsers load.
const LONGEST: usize = 64 << 10;
/// The longest that stands for bytes itself: a `moov` has a few kilobytes.
const LONGEST_DATA: usize = 1 << 20;

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
    /// `reference` resolved against `base` (RFC 3986, as browsers do it: WHATWG URL), without a
    /// fragment. `None` for what no browser loads from the network: other schemes, addresses that
    /// can't be parsed.
    ///
    /// # Errors
    /// [`TooLong`] once the playlist has used up its budget.
    pub(crate) fn join(&mut self, base: &Url, reference: &str) -> Result<Option<String>, TooLong> {
        // An initialisation segment may stand in the playlist itself.
        if reference.starts_with("data:") && reference.len() <= LONGEST_DATA {
            self.charge(reference.len())?;
            return Ok(Some(reference.to_owned()));
        }
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

    /// Counts a copy of an address against the budget.
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

/// Parameters of a query that say who may load an address and until when, and nothing of what is
/// loaded.
const CREDENTIALS: [&str; 34] = [
    "_",
    "access_token",
    "auth",
    "auth_key",
    "authorization",
    "authtoken",
    "cachebuster",
    "cb",
    "e",
    "exp",
    "expire",
    "expires",
    "expiry",
    "hdnea",
    "hdntl",
    "hdnts",
    "hmac",
    "jwt",
    "key-pair-id",
    "md5",
    "nonce",
    "policy",
    "rand",
    "rnd",
    "sig",
    "sign",
    "signature",
    "st",
    "tok",
    "token",
    "txsecret",
    "txtime",
    "wssecret",
    "wstime",
];

/// Whether a parameter changes from one request of the same content to the next.
pub(crate) fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIALS.contains(&&*name) || name.starts_with("x-amz-") || name.starts_with("x-goog-")
}

/// The parameters of a query that may say what is loaded, in their order.
pub(crate) fn parameters(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split('#').next().and_then(|u| u.split_once('?'));
    let pairs = query.map_or("", |(_, query)| query).split('&');
    pairs
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| !is_credential(name))
}

/// What an address names, without credentials and without a fragment. Two addresses that differ in
/// any other parameter are two things.
pub(crate) fn identity(url: &str) -> String {
    let mut out = without_query(url).to_owned();
    for (n, (name, value)) in parameters(url).enumerate() {
        out.push(if n == 0 { '?' } else { '&' });
        out.push_str(name);
        if !value.is_empty() {
            out.push('=');
            out.push_str(value);
        }
    }
    out
}

/// The parts of an address's path, the host left out.
pub(crate) fn path(url: &str) -> &str {
    &without_query(url)[origin(url).len()..]
}

/// An address with each group of digits replaced, without credentials: segments of one video have
/// one pattern.
pub(crate) fn pattern(url: &str) -> String {
    without_digits(&identity(url))
}

/// A text with each group of digits replaced.
pub(crate) fn without_digits(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

/// The last part of an address's path.
pub(crate) fn file_name(url: &str) -> &str {
    path(url).rsplit('/').next().unwrap_or_default()
}

/// How many parts an address's path has.
pub(crate) fn depth(url: &str) -> usize {
    path(url).split('/').filter(|part| !part.is_empty()).count()
}

/// How many parts of their paths two addresses have in common, counted from the end.
pub(crate) fn common_tail(a: &str, b: &str) -> usize {
    let parts = |url| path(url).split('/').rev();
    parts(a)
        .zip(parts(b))
        .take_while(|(a, b)| a == b && !a.is_empty())
        .count()
}

/// The last two labels of the host: what one operator's servers have in common.
pub(crate) fn domain(url: &str) -> &str {
    let host = origin(url).split("://").nth(1).unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    let dots: Vec<usize> = host.rmatch_indices('.').map(|(i, _)| i).take(2).collect();
    dots.get(1).map_or(host, |dot| &host[dot + 1..])
}

/// The bytes that stand in a `data:` address itself (RFC 2397).
pub(crate) fn inline(url: &str) -> Option<Vec<u8>> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(data).collect();
    if head.ends_with(";base64") {
        base64(&bytes)
    } else {
        Some(bytes)
    }
}

/// Undoes base64 (RFC 4648, 4 and 5); white space and padding are passed over.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for &c in text {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' | b' ' | b'\n' | b'\r' | b'\t' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// An address without its query.
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
            ("data:video/mp4;base64,AA", Some("data:video/mp4;base64,AA")),
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
    fn what_an_address_names() {
        let cases = [
            (
                "http://a/s.ts?token=1",
                "http://a/s.ts?token=2&expires=5",
                true,
            ),
            ("http://a/s.ts", "http://a/s.ts?X-Amz-Date=1#f", true),
            ("http://a/get?id=1&n=2", "http://a/get?id=1&n=2&sig=x", true),
            ("http://a/get?id=1&n=2", "http://a/get?id=1&n=3", false),
            ("http://a/v?itag=18", "http://a/v?itag=22", false),
            ("http://a/s.ts?m=A", "http://a/s.ts", false),
        ];
        for (a, b, same) in cases {
            assert_eq!(identity(a) == identity(b), same, "{a} {b}");
        }
        assert_eq!(common_tail("http://a/x/f/1.ts?q", "http://b/f/1.ts"), 2);
        assert_eq!(common_tail("http://a/1.ts", "http://b/2.ts"), 0);
        assert_eq!(domain("https://edge1.cdn.example:8/x"), "cdn.example");
        assert_eq!(domain("http://localhost/x"), "localhost");
    }

    #[test]
    fn bytes_in_an_address() {
        let cases: [(&str, Option<&[u8]>); 5] = [
            ("data:video/mp4;base64,AAECAw==", Some(&[0, 1, 2, 3])),
            ("data:;base64,__8", Some(&[255, 255])),
            ("data:,a%20b", Some(b"a b")),
            ("data:;base64,!", None),
            ("http://a/", None),
        ];
        for (url, want) in cases {
            assert_eq!(inline(url).as_deref(), want, "{url}");
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
