//! What is held survives: a crash, an orderly end, a library that can't be written to.

mod common;

use std::fs;

use common::{
    hash, media,
    namespace::{in_namespace, mount, mount_again},
    producer::Producer,
    sandbox::{Fisga, SOON, Sandbox},
};
use fisga::event::{Event, How};
use serde_json::json;

fn held(event: &Event) -> bool {
    matches!(event, Event::Held { .. })
}

/// Killed while it holds a file without a name; the producer goes on, and ends after the next
/// start.
#[test]
fn killed_while_the_producer_writes() {
    for hidden in [true, false] {
        let sandbox = Sandbox::new();
        sandbox.configure(json!({}));
        let clip = media::clip("short.flv");
        let mut fisga = sandbox.watch();
        let producer = Producer::start(&sandbox.tmp().join("Flash1"), &clip, hidden);
        fisga.wait_for("held", SOON, held);
        fisga.kill();
        let mut fisga = sandbox.watch();
        fisga.wait_for("held", SOON, held);
        producer.close();
        let saved = fisga.wait_saved(SOON);
        assert_eq!(hash(saved.path.as_ref()), hash(&clip), "hidden: {hidden}");
        fisga.stop();
        assert_eq!(sandbox.history().len(), 1);
    }
}

/// Killed while it holds a file without a name; the producer closes it before the next start. The
/// kernel would free the content then, if nobody kept it.
#[test]
fn killed_and_the_producer_ends() {
    for hidden in [true, false] {
        let sandbox = Sandbox::new();
        let clip = media::clip("short.flv");
        let mut fisga = sandbox.watch();
        let half = sandbox.path("half");
        let (whole, cut) = (
            fs::read(&clip).unwrap(),
            fs::metadata(&clip).unwrap().len() as usize / 2,
        );
        fs::write(&half, &whole[..cut]).unwrap();
        let rest = sandbox.path("rest");
        fs::write(&rest, &whole[cut..]).unwrap();
        let mut producer = Producer::start(&sandbox.tmp().join("Flash1"), &half, hidden);
        fisga.wait_for("held", SOON, held);
        fisga.kill();
        producer.append(&rest);
        producer.close();
        let mut fisga = sandbox.watch();
        let saved = fisga.wait_saved(SOON);
        assert_eq!(hash(saved.path.as_ref()), hash(&clip), "hidden: {hidden}");
        fisga.stop();
        assert_eq!(sandbox.history().len(), 1, "{:?}", sandbox.history());
    }
}

/// SIGTERM in the middle: the rest is saved after the next start, and nothing but the staged file
/// is left meanwhile.
#[test]
fn ended_while_the_producer_writes() {
    let sandbox = Sandbox::new();
    sandbox.configure(json!({}));
    let clip = media::clip("short.flv");
    let mut fisga = sandbox.watch();
    let producer = Producer::start(&sandbox.tmp().join("Flash1"), &clip, false);
    fisga.wait_for("held", SOON, held);
    fisga.stop();
    producer.close();
    fs::remove_file(sandbox.tmp().join("Flash1")).unwrap();
    let mut fisga = sandbox.watch();
    let saved = fisga.wait_saved(SOON);
    assert_eq!(saved.how, How::Link);
    assert_eq!(hash(saved.path.as_ref()), hash(&clip));
    fisga.stop();
}

/// A library that is not there: held, said once, saved when it is there.
#[test]
fn the_library_comes_back() {
    let sandbox = Sandbox::new();
    let library = sandbox.path("disk/videos");
    sandbox.configure(json!({ "library": library }));
    let clip = media::clip("short.flv");
    let mut fisga = sandbox.watch();
    for name in ["Flash1", "Flash2"] {
        let producer = Producer::start(&sandbox.tmp().join(name), &clip, true);
        fisga.wait_for("held", SOON, held);
        producer.close();
    }
    let error = |event: &Event| matches!(event, Event::Error { message } if message.contains("is held is saved"));
    fisga.wait_for("a message", SOON, error);
    fs::create_dir_all(&library).unwrap();
    let saved = fisga.wait_saved(SOON);
    assert_eq!(hash(saved.path.as_ref()), hash(&clip));
    fisga.stop();
}

/// A disk that is full: held, said once, saved when there is room.
#[test]
fn the_disk_is_full() {
    if !in_namespace("the_disk_is_full") {
        return;
    }
    let sandbox = Sandbox::new();
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    mount("size=3m", &disk);
    sandbox.configure(json!({ "library": disk.join("videos") }));
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let clip = media::clip("short.flv");
    let mut fisga = sandbox.watch();
    let producer = Producer::start(&sandbox.tmp().join("FlashFull"), &clip, true);
    fisga.wait_for("held", SOON, held);
    producer.close();
    fisga.wait_for(
        "a message",
        SOON,
        |event| matches!(event, Event::Error { message } if message.contains("is held is saved as soon as")),
    );
    fs::remove_file(ballast).unwrap();
    // Nothing tells that there is room: the next try is some seconds away.
    let saved = fisga.wait_saved(SOON * 3);
    assert_eq!(hash(saved.path.as_ref()), hash(&clip));
    fisga.stop();
}

/// A disk that can't be written to, for a while.
#[test]
fn the_disk_is_read_only() {
    if !in_namespace("the_disk_is_read_only") {
        return;
    }
    let sandbox = Sandbox::new();
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    mount("size=30m", &disk);
    fs::create_dir(disk.join("videos")).unwrap();
    sandbox.configure(json!({ "library": disk.join("videos") }));
    let clip = media::clip("short.flv");
    let mut fisga = sandbox.watch();
    mount_again("remount,bind,ro", &disk);
    let producer = Producer::start(&sandbox.tmp().join("FlashReadOnly"), &clip, true);
    fisga.wait_for("held", SOON, held);
    producer.close();
    fisga.wait_for(
        "a message",
        SOON,
        |event| matches!(event, Event::Error { message } if message.contains("can't be written to")),
    );
    mount_again("remount,bind,rw", &disk);
    let saved = fisga.wait_saved(SOON * 3);
    assert_eq!(hash(saved.path.as_ref()), hash(&clip));
    fisga.stop();
}

/// Too few watches: which folder is not watched, and what to do; the others are.
#[test]
fn the_limit_of_watches_is_reached() {
    let sandbox = Sandbox::new();
    sandbox.configure(json!({}));
    let script = "echo 1 > /proc/sys/user/max_inotify_watches && exec \"$0\" watch --json";
    let mut command = sandbox.command("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        script,
        env!("CARGO_BIN_EXE_fisga"),
    ]);
    let mut fisga = Fisga::start(command);
    let told = fisga.wait_for("a message", SOON, |event| {
        matches!(event, Event::Error { .. })
    });
    let Event::Error { message } = told else {
        unreachable!()
    };
    assert!(
        message.contains("is not watched")
            && message.contains("sysctl fs.inotify.max_user_watches="),
        "{message}"
    );
    fisga.stop();
}
