//! Streams made by ffmpeg, once for the whole run, and a site that serves them from files.

use std::{
    collections::HashMap,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use fisga::stream::{Body, Piece, Pieces, Ref, Storage};

/// Segments of every stream, four seconds each.
pub const SEGMENTS: u64 = 6;
/// Frames of pictures.
pub const FRAMES: u64 = 600;
/// AAC frames; the encoder's delay makes one or two more.
pub const SOUND: RangeInclusive<u64> = 1123..=1128;
const HOST: &str = "https://cdn.example";

/// The folder with all streams.
pub fn media() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        folder
    });
    FOLDER.get().unwrap().path()
}

fn ffmpeg(folder: &Path, args: &str) {
    let mut command = Command::new("ffmpeg");
    // A `|` in an argument stands for a space.
    let args = args.split_whitespace().map(|a| a.replace('|', " "));
    command
        .current_dir(folder)
        .args(["-nostdin", "-v", "error", "-y"])
        .args(args.clone());
    let output = command
        .output()
        .expect("ffmpeg is needed: install the Debian package ffmpeg");
    let args: Vec<String> = args.collect();
    assert!(
        output.status.success(),
        "ffmpeg {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn make(folder: &Path) {
    let d = FRAMES / 25;
    for (name, size, rate) in [("l", "160x90", 80), ("m", "320x180", 250)] {
        ffmpeg(
            folder,
            &format!(
                "-f lavfi -i testsrc2=s={size}:r=25:d={d} -f lavfi -i sine=f=440:d={d}:r=48000 -c:v libx264 \
             -preset ultrafast -b:v {rate}k -g 100 -keyint_min 100 -sc_threshold 0 -pix_fmt yuv420p -bf 2 \
             -c:a aac -b:a 64k -ac 2 {name}.mp4"
            ),
        );
    }
    let hls = "-c copy -f hls -hls_time 4 -hls_playlist_type vod";
    let fmp4 = "-hls_segment_type fmp4";
    for sub in [
        "ts", "fmp4", "br", "brf", "aud", "audts", "audaac/v", "audaac/a", "aes", "l", "master",
        "masterf",
    ] {
        fs::create_dir_all(folder.join(sub)).unwrap();
    }
    let at = |sub: &str, args: &str| ffmpeg(&folder.join(sub), args);
    at(
        "ts",
        &format!("-i ../m.mp4 {hls} -hls_segment_filename seg%d.ts index.m3u8"),
    );
    at(
        "l",
        &format!("-i ../l.mp4 {hls} -hls_segment_filename seg%d.ts index.m3u8"),
    );
    at(
        "fmp4",
        &format!(
            "-i ../m.mp4 {hls} {fmp4} -hls_fmp4_init_filename init.mp4 -hls_segment_filename seg%d.m4s index.m3u8"
        ),
    );
    at(
        "br",
        &format!("-i ../m.mp4 {hls} -hls_flags single_file index.m3u8"),
    );
    at(
        "brf",
        &format!("-i ../m.mp4 {hls} {fmp4} -hls_flags single_file index.m3u8"),
    );
    let apart = "-map 0:v -map 0:a -master_pl_name master.m3u8 -var_stream_map v:0,agroup:aud|a:0,agroup:aud";
    let apart = |extra: &str| {
        let args = format!(
            "-i ../m.mp4 {hls} {extra} {apart} -hls_segment_filename s%v/seg%d.X s%v/index.m3u8"
        );
        args.replace(".X", if extra.is_empty() { ".ts" } else { ".m4s" })
    };
    at(
        "aud",
        &apart("-hls_segment_type fmp4 -hls_fmp4_init_filename init_%v.mp4"),
    );
    at("audts", &apart(""));
    for (sub, extra) in [
        ("master", ""),
        (
            "masterf",
            "-hls_segment_type fmp4 -hls_fmp4_init_filename init_%v.mp4",
        ),
    ] {
        let ext = if extra.is_empty() { "ts" } else { "m4s" };
        at(
            sub,
            &format!(
                "-i ../l.mp4 -i ../m.mp4 -map 0:v -map 0:a -map 1:v -map 1:a {hls} {extra} -var_stream_map v:0,a:0|v:1,a:1 \
             -master_pl_name master.m3u8 -hls_segment_filename v%v/seg%d.{ext} v%v/index.m3u8"
            ),
        );
    }
    packed(folder);
    dash(folder);
    fs::write(folder.join("aes/key.bin"), [7; 16]).unwrap();
    fs::write(
        folder.join("aes/info"),
        "key.bin\nkey.bin\n000102030405060708090a0b0c0d0e0f\n",
    )
    .unwrap();
    at(
        "aes",
        &format!(
            "-i ../m.mp4 {hls} -hls_key_info_file info -hls_segment_filename seg%d.ts index.m3u8"
        ),
    );
}

/// Manifests of every way to name segments.
fn dash(folder: &Path) {
    let both = "-i ../l.mp4 -i ../m.mp4 -map 0:v -map 1:v -map 1:a -adaptation_sets id=0,streams=0,1|id=1,streams=2";
    let one = "-i ../m.mp4";
    let names = "-init_seg_name init-$RepresentationID$.mp4 -media_seg_name";
    let cases = [
        (
            "dashn",
            one,
            format!(
                "-use_template 1 -use_timeline 0 {names} c-$RepresentationID$-$Number%05d$.m4s"
            ),
        ),
        (
            "dasht",
            both,
            format!("-use_template 1 -use_timeline 1 {names} c-$RepresentationID$-$Time$.m4s"),
        ),
        (
            "dashl",
            one,
            format!("-use_template 0 -use_timeline 0 {names} c-$RepresentationID$-$Number$.m4s"),
        ),
        ("dash1", one, "-single_file 1".to_owned()),
        ("dashod", one, "-single_file 1 -global_sidx 1".to_owned()),
    ];
    for (sub, input, how) in cases {
        fs::create_dir_all(folder.join(sub)).unwrap();
        ffmpeg(
            &folder.join(sub),
            &format!("{input} -c copy -f dash -seg_duration 4 {how} manifest.mpd"),
        );
    }
    // ffmpeg names the file by a time before 0, the manifest says 0.
    fs::rename(
        folder.join("dasht/c-2--1024.m4s"),
        folder.join("dasht/c-2-0.m4s"),
    )
    .unwrap();
    let d = FRAMES / 25;
    fs::create_dir_all(folder.join("dashw")).unwrap();
    ffmpeg(
        &folder.join("dashw"),
        &format!(
            "-f lavfi -i testsrc2=s=160x90:r=25:d={d} -f lavfi -i sine=f=440:d={d}:r=48000 -c:v libvpx-vp9 -deadline realtime \
         -cpu-used 8 -b:v 100k -g 100 -keyint_min 100 -c:a libopus -b:a 32k -f dash -dash_segment_type webm \
         -seg_duration 4 -use_template 1 -use_timeline 1 -init_seg_name init-$RepresentationID$.webm \
         -media_seg_name c-$RepresentationID$-$Number$.webm manifest.mpd"
        ),
    );
}

/// Pictures in a transport stream, sound as packed AAC with the time of each segment in an ID3 tag.
fn packed(folder: &Path) {
    let v = folder.join("audaac/v");
    let hls = "-f hls -hls_time 4 -hls_playlist_type vod";
    ffmpeg(
        &v,
        &format!("-i ../../m.mp4 -map 0:v -c copy {hls} -hls_segment_filename seg%d.ts index.m3u8"),
    );
    let a = folder.join("audaac/a");
    ffmpeg(&a, "-i ../../m.mp4 -map 0:a -c copy all.aac");
    let all = fs::read(a.join("all.aac")).unwrap();
    let mut list = String::from("#EXTM3U\n#EXT-X-TARGETDURATION:4\n");
    let (mut at, mut frame, mut number) = (0, 0_u64, 0);
    // What ffmpeg gives the pictures of a transport stream to start with.
    let first = 126_000;
    while at < all.len() {
        let owner = b"com.apple.streaming.transportStreamTimestamp\0";
        let mut segment = b"ID3\x04\0\0\0\0\0\x3fPRIV\0\0\0\x35\0\0".to_vec();
        segment.extend_from_slice(owner);
        segment.extend_from_slice(&(first + frame * 1024 * 90_000 / 48_000).to_be_bytes());
        let from = frame;
        while at < all.len() && frame - from < 188 {
            let len = usize::from(all[at + 3] & 3) << 11
                | usize::from(all[at + 4]) << 3
                | usize::from(all[at + 5] >> 5);
            segment.extend_from_slice(&all[at..at + len]);
            at += len;
            frame += 1;
        }
        fs::write(a.join(format!("seg{number}.aac")), segment).unwrap();
        list += &format!(
            "#EXTINF:{},\nseg{number}.aac\n",
            (frame - from) as f64 * 1024.0 / 48_000.0
        );
        number += 1;
    }
    fs::write(a.join("index.m3u8"), list + "#EXT-X-ENDLIST\n").unwrap();
    let master = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",URI=\"a/index.m3u8\"\n\
                  #EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=320x180,AUDIO=\"a\"\nv/index.m3u8\n";
    fs::write(folder.join("audaac/master.m3u8"), master).unwrap();
}

/// Serves [`media`] as a browser's cache would have it.
pub struct Site {
    pieces: HashMap<String, Piece>,
}

impl Site {
    pub fn new() -> Self {
        let mut site = Self {
            pieces: HashMap::new(),
        };
        let mut folders: Vec<PathBuf> = vec![media().into()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    site.add(&path);
                }
            }
        }
        site
    }

    pub fn empty() -> Self {
        Self {
            pieces: HashMap::new(),
        }
    }

    fn add(&mut self, path: &Path) {
        let name = path.strip_prefix(media()).unwrap().display().to_string();
        let len = fs::metadata(path).unwrap().len();
        self.insert(&name, Body::stretch(Storage::path(path), 0..len));
    }

    /// A piece in memory.
    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        self.insert(path, Body::bytes(bytes));
    }

    fn insert(&mut self, path: &str, body: Body) {
        let url = self.url(path);
        let piece = Piece {
            url: url.clone(),
            partition: "test".into(),
            status: 200,
            content_type: None,
            encoding: None,
            validator: None,
            file_name: None,
            body,
        };
        self.pieces.insert(url, piece);
    }

    pub fn url(&self, path: &str) -> String {
        format!("{HOST}/{path}")
    }

    pub fn has(&self, url: &str) -> bool {
        self.pieces.contains_key(url)
    }

    pub fn read(&self, url: &str) -> Vec<u8> {
        fs::read(media().join(url.strip_prefix(HOST).unwrap().trim_start_matches('/'))).unwrap()
    }

    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.values()
    }

    /// As if it had never been loaded.
    pub fn lose(&mut self, path: &str) {
        let url = self.url(path);
        assert!(self.pieces.remove(&url).is_some(), "{path} is not there");
    }

    pub fn lose_all(&mut self, prefix: &str) {
        let prefix = self.url(prefix);
        self.pieces.retain(|url, _| !url.starts_with(&prefix));
    }
}

impl Pieces for Site {
    fn get(&self, of: &Ref) -> Option<&Piece> {
        let bare = |url: &str| url.split('?').next().unwrap_or_default().to_owned();
        self.pieces
            .get(&bare(&of.url))
            .filter(|p| of.range.as_ref().is_none_or(|r| p.body.has(r)))
    }
}
