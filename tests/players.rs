//! Real players, playing from a slow server: what they leave in the library.

mod common;

use std::time::Duration;

use common::{browser, desktop::Xvfb, media, page::Page, sandbox::Sandbox, server::Server};

#[test]
fn minibrowser() {
    let sandbox = Sandbox::new();
    let display = Xvfb::start(&sandbox);
    media::clip("short.mp4");
    let mut server = Server::start(&media::folder(), 1 << 20);
    let url = server.page(&Page::new("short.mp4").rate(2.0));
    let _browser = browser::minibrowser(&sandbox, &display, &url);
    server.wait_for("ended", Duration::from_secs(60));
}
