//! A site and its CDN on 127.0.0.1: media with the cache headers that a test wants, and the pages
//! that play it.
//!
//! `/POLICY/SET/ROW/FILE` is `SET/FILE` of the media folder, for the row's own use; what stands
//! before a `~` in the name is left out:
//!
//! | policy | headers |
//! |---|---|
//! | `maxage` | `max-age`, `ETag`, `Last-Modified` |
//! | `nocache` | `no-cache`, `ETag` |
//! | `private` | `private, must-revalidate`, `Last-Modified` |
//! | `lm` | `Last-Modified` only |
//! | `bare` | none |
//! | `nostore` | `no-store` |
//! | `listless` | `max-age`, but playlists `no-store` |
//! | `token` | as `maxage`; each playlist signs its segments anew |
//! | `gzip`, `br` | as `maxage`; playlists compressed |
//! | `norange` | as `maxage`; ranges are ignored |
//! | `live`, `live4` | as `maxage`; the playlist is a window of three segments that slides every second, or every four |
//! | `parts` | the same with parts of a second, of which a new one comes every second; the first segment can be had whole |
//! | `slow` | as `maxage`, a megabyte a second |

use std::{
    collections::{HashMap, VecDeque},
    fs,
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const PAGE: &[u8] = include_bytes!("page.html");
/// A service worker that does nothing yet.
const WORKER: &[u8] = b"addEventListener('install', () => skipWaiting());";
const SINCE: &str = "Last-Modified: Wed, 01 Jan 2025 00:00:00 GMT\r\n";

/// The server; ends with the value.
pub(crate) struct Site {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    said: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    media: PathBuf,
    npm: PathBuf,
    pages: Mutex<VecDeque<String>>,
    say: Mutex<Sender<String>>,
    /// When a live playlist was first asked for, by its path.
    live: Mutex<HashMap<String, Instant>>,
    over: Mutex<bool>,
}

struct Request {
    path: String,
    query: String,
    range: Option<(u64, Option<u64>)>,
    etag: Option<String>,
}

impl Site {
    /// Serves sets of media and players from npm; `pages` are given out one after the other.
    pub(crate) fn start(media: &Path, npm: &Path, pages: impl FnOnce(u16) -> Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (say, said) = channel();
        let shared = Arc::new(Shared {
            media: media.into(),
            npm: npm.into(),
            pages: Mutex::new(pages(port).into()),
            say: Mutex::new(say),
            live: Mutex::default(),
            over: Mutex::new(false),
        });
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Self {
            port,
            shared,
            said,
            thread: Some(thread),
        }
    }

    /// The page that begins the session, in so many windows.
    pub(crate) fn first(&self, windows: usize) -> String {
        format!("http://localhost:{}/page?windows={windows}", self.port)
    }

    /// What pages say until the session is over in every window: "ROW what".
    ///
    /// # Panics
    /// If nothing is said for so long.
    pub(crate) fn session(&mut self, windows: usize, patience: Duration) -> Vec<String> {
        let (mut all, mut open) = (Vec::new(), windows);
        while open > 0 {
            match self.said.recv_timeout(patience) {
                Ok(line) if line == "session over" => open -= 1,
                Ok(line) => all.push(line),
                Err(_) => panic!("the browser says nothing for {patience:?}; before: {all:?}"),
            }
        }
        all
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        *self.shared.over.lock().unwrap() = true;
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if *shared.over.lock().unwrap() {
            break;
        }
        let (handle, shared) = (stream.try_clone().unwrap(), shared.clone());
        let serve = move || {
            let mut reader = BufReader::new(stream);
            while let Some(request) = Request::read(&mut reader) {
                if answer(reader.get_mut(), &request, &shared).is_none() {
                    break;
                }
            }
        };
        connections.push((handle, std::thread::spawn(serve)));
    }
    for (stream, thread) in connections {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}

impl Request {
    fn read(reader: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let target = line.split(' ').nth(1)?.to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut request = Self {
            path: path.into(),
            query: query.into(),
            range: None,
            etag: None,
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                return Some(request);
            };
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = range(value.trim()),
                "if-none-match" => request.etag = Some(value.trim().into()),
                _ => {}
            }
        }
    }
}

fn range(value: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()))
}

fn answer(out: &mut TcpStream, request: &Request, shared: &Shared) -> Option<()> {
    let fresh = "Cache-Control: no-store\r\n";
    match request.path.as_str() {
        "/page" => return send(out, "200 OK", "text/html; charset=utf-8", fresh, PAGE),
        "/next" => {
            let page = shared.pages.lock().unwrap().pop_front().unwrap_or_default();
            return send(out, "200 OK", "text/plain", fresh, page.as_bytes());
        }
        "/worker.js" => return send(out, "200 OK", "text/javascript", fresh, WORKER),
        "/say" => {
            let text = percent_encoding::percent_decode_str(&request.query)
                .decode_utf8_lossy()
                .into_owned();
            let _ = shared.say.lock().unwrap().send(text);
            return send(out, "200 OK", "text/plain", fresh, b"");
        }
        _ => {}
    }
    if let Some(image) = request.path.strip_prefix("/image/") {
        let body = [b"\x89PNG\r\n\x1a\n", image.as_bytes(), &[7; 4000]].concat();
        return send(
            out,
            "200 OK",
            "image/png",
            "Cache-Control: max-age=3600\r\n",
            &body,
        );
    }
    if let Some(script) = request.path.strip_prefix("/npm/") {
        let body = fs::read(shared.npm.join("node_modules").join(script)).unwrap_or_default();
        return send(out, "200 OK", "text/javascript", fresh, &body);
    }
    media(out, request, shared)
}

fn media(out: &mut TcpStream, request: &Request, shared: &Shared) -> Option<()> {
    let mut parts = request.path.trim_start_matches('/').splitn(4, '/');
    let (Some(policy), Some(set), Some(_row), Some(file)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return send(out, "404 Not Found", "text/plain", "", b"");
    };
    let file = file.rsplit('~').next().unwrap_or(file);
    let Ok(mut body) = fs::read(shared.media.join(set).join(file)) else {
        return send(out, "404 Not Found", "text/plain", "", b"");
    };
    if policy == "parts" && file.starts_with("seg") && file != "seg0.m4s" {
        return send(out, "404 Not Found", "text/plain", "", b"");
    }
    let (kind, list) = match file.rsplit('.').next() {
        Some("m3u8") => ("application/vnd.apple.mpegurl", true),
        Some("mpd") => ("application/dash+xml", true),
        Some("ts") => ("video/mp2t", false),
        Some("vtt") => ("text/vtt", false),
        _ => ("video/mp4", false),
    };
    let mut head = String::new();
    let live = matches!(policy, "live" | "live4" | "parts");
    if list && live {
        let seconds = shared
            .live
            .lock()
            .unwrap()
            .entry(request.path.clone())
            .or_insert_with(Instant::now)
            .elapsed()
            .as_secs();
        body = match policy {
            "live4" => window(&body, seconds / 4),
            "live" => window(&body, seconds),
            _ => window_of_parts(blocked(&request.query, seconds)),
        };
    }
    if list && policy == "token" {
        let stamp = Instant::now().elapsed().as_nanos();
        let text = String::from_utf8(body).unwrap();
        let sign = |l: &str| {
            if l.starts_with('#') || l.is_empty() {
                l.into()
            } else {
                format!("{l}?sig=a%2Fb{stamp}&e=9")
            }
        };
        body = text
            .lines()
            .map(sign)
            .collect::<Vec<String>>()
            .join("\n")
            .into_bytes();
    }
    let coded = if list && matches!(policy, "gzip" | "br") {
        Some(policy)
    } else {
        None
    };
    if let Some(coding) = coded {
        body = super::clips::compress(coding, &body);
        head += &format!("Content-Encoding: {coding}\r\nVary: Accept-Encoding\r\n");
    }
    let etag = format!("\"{}\"", &blake3::hash(&body).to_hex()[..16]);
    head += &match policy {
        "nostore" => "Cache-Control: no-store\r\n".to_owned(),
        "listless" if list => "Cache-Control: no-store\r\n".to_owned(),
        _ if list && live => format!("Cache-Control: no-cache\r\nETag: {etag}\r\n"),
        "nocache" => format!("Cache-Control: no-cache\r\nETag: {etag}\r\n"),
        "private" => format!("Cache-Control: private, max-age=0, must-revalidate\r\n{SINCE}"),
        "lm" => SINCE.to_owned(),
        "bare" => String::new(),
        _ => format!("Cache-Control: public, max-age=3600\r\nETag: {etag}\r\n{SINCE}"),
    };
    if request.etag.as_ref() == Some(&etag) {
        return send(out, "304 Not Modified", kind, &head, b"");
    }
    let size = body.len() as u64;
    match request.range.filter(|_| policy != "norange") {
        Some((first, last)) if first < size => {
            let last = last.unwrap_or(size - 1).min(size - 1);
            head +=
                &format!("Accept-Ranges: bytes\r\nContent-Range: bytes {first}-{last}/{size}\r\n");
            let part = &body[first as usize..=last as usize];
            if policy == "slow" {
                return slowly(out, kind, &head, part);
            }
            send(out, "206 Partial Content", kind, &head, part)
        }
        _ => send(out, "200 OK", kind, &head, &body),
    }
}

/// A megabyte a second.
fn slowly(out: &mut TcpStream, kind: &str, head: &str, body: &[u8]) -> Option<()> {
    let mut blocks = body.chunks(64 << 10);
    begin(out, "206 Partial Content", kind, head, body.len())?;
    blocks.try_for_each(|block| {
        std::thread::sleep(Duration::from_millis(64));
        out.write_all(block).ok()
    })
}

/// Three segments from number `from`, with an end once the last is among them.
fn window(list: &[u8], from: u64) -> Vec<u8> {
    let text = std::str::from_utf8(list).unwrap();
    let segments: Vec<&str> = text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
        .collect();
    let from = (from as usize).min(segments.len().saturating_sub(3));
    let mut out = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{from}\n"
    );
    for segment in segments.iter().skip(from).take(3) {
        out += &format!("#EXTINF:4.0,\n{segment}\n");
    }
    if from + 3 >= segments.len() {
        out += "#EXT-X-ENDLIST\n";
    }
    out.into_bytes()
}

/// Waits for the part that a player asks for beforehand (`_HLS_msn`, `_HLS_part`); a new one comes
/// every second.
fn blocked(query: &str, seconds: u64) -> u64 {
    let number = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.parse::<u64>().ok())
    };
    let Some(segment) = number("_HLS_msn=") else {
        return seconds;
    };
    let wanted = (4 * segment + number("_HLS_part=").unwrap_or(3) + 1).saturating_sub(4);
    let end = u64::from(super::clips::SECONDS);
    std::thread::sleep(Duration::from_secs(
        wanted.min(end + 1).saturating_sub(seconds),
    ));
    seconds.max(wanted.min(end + 1))
}

/// The set `parts` after so many seconds: three segments with their parts, the parts of the next,
/// or the end.
fn window_of_parts(seconds: u64) -> Vec<u8> {
    let end = u64::from(super::clips::SECONDS);
    let there = (seconds + 4).min(end);
    let from = (there / 4).saturating_sub(3);
    let mut out = format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:4\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=5\n\
         #EXT-X-PART-INF:PART-TARGET=1\n#EXT-X-MEDIA-SEQUENCE:{from}\n#EXT-X-MAP:URI=\"init.mp4\"\n"
    );
    for part in from * 4..there {
        out += &format!("#EXT-X-PART:DURATION=1,URI=\"part{part}.m4s\"\n");
        if part % 4 == 3 {
            out += &format!("#EXTINF:4,\nseg{}.m4s\n", part / 4);
        }
    }
    // Told together with the last part, the end keeps hls.js from loading that.
    if seconds > end {
        out += "#EXT-X-ENDLIST\n";
    }
    out.into_bytes()
}

fn send(out: &mut TcpStream, status: &str, kind: &str, head: &str, body: &[u8]) -> Option<()> {
    begin(out, status, kind, head, body.len())?;
    out.write_all(body).ok()
}

fn begin(out: &mut TcpStream, status: &str, kind: &str, head: &str, len: usize) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nAccess-Control-Allow-Origin: *\r\n\
         Access-Control-Allow-Headers: *\r\nAccess-Control-Expose-Headers: *\r\n{head}\r\n"
    );
    out.write_all(head.as_bytes()).ok()
}
