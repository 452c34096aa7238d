#![no_main]

use fisga::stream::{Piece, Pieces, Ref, dash};

struct Nothing;

impl Pieces for Nothing {
    fn get(&self, _: &Ref) -> Option<&Piece> {
        None
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = [b"<MPD mediaPresentationDuration='PT60S'>", bytes, b"</MPD>"].concat();
    if let Ok(mut assembly) = dash::assembly(&text, "https://a.example/v/manifest.mpd", &Nothing) {
        assert!(assembly.refs().all(|r| r.url.is_empty() || r.url.starts_with("http")));
        let again = assembly.clone();
        dash::unite(&mut assembly, again);
        dash::from_zero(&mut assembly);
    }
});
