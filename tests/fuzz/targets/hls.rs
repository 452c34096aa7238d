#![no_main]

use fisga::stream::hls::{Playlist, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = [b"#EXTM3U\n", bytes].concat();
    match parse(&text, "https://a.example/v/list.m3u8") {
        Ok(Playlist::Media(mut media)) => {
            let again = media.clone();
            assert!(media.unite(&again), "a playlist is the same stream as itself");
            assert_eq!(media.assembly(), again.assembly());
        }
        Ok(Playlist::Master(master)) => drop(master.assembly(|_| None)),
        Err(_) => {}
    }
});
