//! A web server on 127.0.0.1 that is as slow as a test wants it.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::page::Page;

/// Bytes that a connection gets at full speed before its rate counts.
const BURST: u64 = 256 << 10;

/// Serves the files of one folder, with Range support. What a URL's query changes:
///
/// | query | effect |
/// |---|---|
/// | `rate=N` | N bytes a second on each connection; 0 is no limit |
/// | `norange=1` | Range is ignored |
/// | `nolen=1` | chunked, no Content-Length |
/// | `cc=TEXT` | `Cache-Control: TEXT` |
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    reports: Receiver<String>,
    /// What pages reported and nobody asked for yet.
    pub pending: Vec<String>,
    accept: Option<JoinHandle<()>>,
}

struct Shared {
    root: PathBuf,
    rate: u64,
    pages: Mutex<HashMap<String, String>>,
    reports: Mutex<Sender<String>>,
    log: Mutex<Vec<String>>,
    stopping: Mutex<bool>,
    stop: Condvar,
}

impl Server {
    /// Serves `root` with so many bytes a second for each connection.
    pub fn start(root: &Path, rate: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, reports) = channel();
        let shared = Arc::new(Shared {
            root: root.into(),
            rate,
            pages: Mutex::default(),
            reports: Mutex::new(sender),
            log: Mutex::default(),
            stopping: Mutex::default(),
            stop: Condvar::new(),
        });
        let accept = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self {
            shared,
            address,
            reports,
            pending: Vec::new(),
            accept: Some(accept),
        }
    }

    /// The URL of a file, perhaps with a query.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Offers a page and gives its URL.
    pub fn page(&self, page: &Page) -> String {
        let mut pages = self.shared.pages.lock().unwrap();
        let path = format!("page-{}.html", pages.len());
        pages.insert(path.clone(), page.html());
        self.url(&path)
    }

    /// Waits until a page reports an event ("ended", "seeked", "error …").
    ///
    /// # Panics
    /// If it doesn't in time, or it reports an error.
    pub fn wait_for(&mut self, event: &str, within: Duration) {
        let end = Instant::now() + within;
        loop {
            if let Some(at) = self.pending.iter().position(|report| report == event) {
                self.pending.remove(at);
                return;
            }
            match self
                .reports
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(report) if report.starts_with("error") => panic!("the page reports: {report}"),
                Ok(report) => self.pending.push(report),
                Err(_) => panic!(
                    "no {event} in {within:?}; reports {:?}; requests:\n{}",
                    self.pending,
                    self.requests().join("\n")
                ),
            }
        }
    }

    /// One line for each request that was answered: path, range, bytes sent.
    pub fn requests(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.shared.stopping.lock().unwrap() = true;
        self.shared.stop.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.accept.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if *shared.stopping.lock().unwrap() {
            break;
        }
        let handle = stream.try_clone().unwrap();
        let shared = Arc::clone(shared);
        connections.push((
            handle,
            std::thread::spawn(move || while serve(&stream, &shared).is_some() {}),
        ));
    }
    for (stream, thread) in connections {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}

struct Request {
    head_only: bool,
    path: String,
    query: HashMap<String, String>,
    range: Option<String>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        // One request at a time: browsers don't pipeline.
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let mut range = None;
        for line in lines {
            let line = line.ok()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("range")
            {
                range = Some(value.trim().to_string());
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        Some(Self {
            head_only: method == "HEAD",
            path: decode(path.trim_start_matches('/')),
            query: query
                .map(|(name, value)| (name.into(), decode(value)))
                .collect(),
            range,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }
}

/// Answers one request; `None` when the connection is over.
fn serve(stream: &TcpStream, shared: &Shared) -> Option<()> {
    let request = Request::read(stream)?;
    if request.path == "report" {
        let event = request.query.get("event").cloned().unwrap_or_default();
        let _ = shared.reports.lock().unwrap().send(event);
        return whole(stream, "200 OK", "text/plain", b"");
    }
    let page = shared.pages.lock().unwrap().get(&request.path).cloned();
    if let Some(page) = page {
        return whole(
            stream,
            "200 OK",
            "text/html; charset=utf-8",
            page.as_bytes(),
        );
    }
    let path = shared.root.join(&request.path);
    match File::open(&path) {
        Ok(file) if !request.path.contains("..") && path.is_file() => {
            send(stream, shared, &request, file)
        }
        _ => whole(stream, "404 Not Found", "text/plain", b""),
    }
}

fn whole(mut stream: &TcpStream, status: &str, kind: &str, body: &[u8]) -> Option<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )
    .ok()?;
    stream.write_all(body).ok()
}

fn send(mut stream: &TcpStream, shared: &Shared, request: &Request, mut file: File) -> Option<()> {
    let size = file.metadata().ok()?.len();
    let range = request.range.as_deref().filter(|_| !request.has("norange"));
    let (start, end) = match range {
        None => (0, size),
        Some(range) => match parse_range(range, size) {
            Some(range) => range,
            None => return whole(stream, "416 Range Not Satisfiable", "text/plain", b""),
        },
    };
    let mut head = match range {
        None => "HTTP/1.1 200 OK\r\n".to_string(),
        Some(_) => {
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}\r\n",
                end - 1
            )
        }
    };
    head += &format!(
        "Content-Type: {}\r\nETag: \"{}-{size}\"\r\n",
        content_type(&request.path),
        request.path
    );
    if !request.has("norange") {
        head += "Accept-Ranges: bytes\r\n";
    }
    if let Some(value) = request.query.get("cc") {
        head += &format!("Cache-Control: {value}\r\n");
    }
    let chunked = request.has("nolen");
    head += &if chunked {
        "Transfer-Encoding: chunked\r\n\r\n".into()
    } else {
        format!("Content-Length: {}\r\n\r\n", end - start)
    };
    stream.write_all(head.as_bytes()).ok()?;
    if request.head_only {
        return Some(());
    }
    let rate = request
        .query
        .get("rate")
        .and_then(|rate| rate.parse().ok())
        .unwrap_or(shared.rate);
    file.seek(SeekFrom::Start(start)).ok()?;
    let began = Instant::now();
    let mut sent = 0;
    let mut buf = [0; 32 << 10];
    let outcome = loop {
        let n = file
            .read(&mut buf[..(end - start - sent).min(32 << 10) as usize])
            .ok()?;
        if n == 0 {
            break if chunked {
                stream.write_all(b"0\r\n\r\n").ok()
            } else {
                Some(())
            };
        }
        let piece = if chunked {
            [format!("{n:x}\r\n").as_bytes(), &buf[..n], b"\r\n"].concat()
        } else {
            buf[..n].to_vec()
        };
        if stream.write_all(&piece).is_err() {
            break None;
        }
        sent += n as u64;
        if rate > 0
            && sent > BURST
            && !shared.pause(began + Duration::from_secs_f64(sent as f64 / rate as f64))
        {
            break None;
        }
    };
    let end = if outcome.is_some() { "all" } else { "cut off" };
    let line = format!(
        "{} {} from {start}: {sent} bytes, {end}",
        request.path,
        range.unwrap_or("whole")
    );
    shared.log.lock().unwrap().push(line);
    outcome
}

impl Shared {
    /// Keeps the rate: waits until then, or until the server is dropped (`false`).
    fn pause(&self, until: Instant) -> bool {
        let stopping = self.stopping.lock().unwrap();
        let left = until.saturating_duration_since(Instant::now());
        !*self
            .stop
            .wait_timeout_while(stopping, left, |stopping| !*stopping)
            .unwrap()
            .0
    }
}

/// RFC 9110, 14.1.2: `bytes=A-B`, `bytes=A-`, `bytes=-N`. Start and end, end excluded.
fn parse_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first, last) {
        ("", n) => (size.saturating_sub(n.parse().ok()?), size),
        (a, "") => (a.parse().ok()?, size),
        (a, b) => (a.parse().ok()?, size.min(b.parse::<u64>().ok()? + 1)),
    };
    (start < end).then_some((start, end))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "ogv" => "video/ogg",
        "ogg" => "audio/ogg",
        "mkv" => "video/x-matroska",
        "flv" => "video/x-flv",
        "mp3" => "audio/mpeg",
        "ts" => "video/mp2t",
        "m3u8" => "application/vnd.apple.mpegurl",
        "mpd" => "application/dash+xml",
        "js" => "text/javascript",
        "html" => "text/html",
        _ => "application/octet-stream",
    }
}

/// Percent-decoding (RFC 3986, 2.1).
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..2)
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
