#!/bin/sh
# Installs what fisga needs from the system: with no argument what a build needs, with --test what the tests need too.
#
#   packaging/setup.sh          before `cargo build`
#   packaging/setup.sh --test   before `cargo test`
#
# Knows apt, dnf, pacman and zypper. Installs only what is missing, so a second run takes no time.
# The Debian names are those that the tests are run with; the others were looked up.
# Exit status: 0 all is there, 1 something is missing (said on stderr), 2 usage.
set -eu

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "$0"
}

say() {
    printf 'setup: %s\n' "$*"
}

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

with_tests=no
case ${1-} in
'') ;;
--test) with_tests=yes ;;
-h | --help) usage && exit 0 ;;
*) usage >&2 && exit 2 ;;
esac

# --- what each system calls it ------------------------------------------------------------------------------------

# The linker, pkg-config and GTK 3 (for the tray).
# rpm systems take the path of a program for a package's name, which is the same on all of them.
if command -v apt-get >/dev/null; then
    manager=apt
    build='gcc libc6-dev pkg-config libgtk-3-dev'
    # A display, a bus, a panel, notifications, a file manager and hands.
    desktop='xvfb xauth x11-utils dbus dbus-x11 xfce4-panel xfconf openbox dunst thunar xdotool imagemagick
        libglib2.0-bin desktop-file-utils appstream adwaita-icon-theme fonts-dejavu-core ffmpegthumbnailer
        sway waybar mako-notifier grim'
    # Producers: what plays videos and leaves temporary files or cache entries behind (npm brings the sites'
    # players; a browser shows a title only while it is heard).
    players='libwebkit2gtk-4.1-0 firefox-esr chromium nodejs npm pulseaudio gstreamer1.0-tools
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
        gstreamer1.0-plugins-ugly gstreamer1.0-libav'
    # Makers and judges of media files, and peers to compare with.
    tools='ffmpeg mkvtoolnix bubblewrap uidmap inotify-tools lsof python3 python3-gi python3-venv
        shellcheck'
elif command -v dnf >/dev/null; then
    manager=dnf
    build='gcc pkgconf-pkg-config gtk3-devel'
    desktop='/usr/bin/Xvfb /usr/bin/xauth /usr/bin/xprop /usr/bin/dbus-daemon /usr/bin/dbus-launch
        /usr/bin/xfce4-panel /usr/bin/xfconf-query /usr/bin/openbox /usr/bin/dunst /usr/bin/thunar /usr/bin/xdotool
        /usr/bin/convert /usr/bin/gdbus /usr/bin/desktop-file-validate /usr/bin/appstreamcli adwaita-icon-theme
        dejavu-sans-fonts /usr/bin/ffmpegthumbnailer /usr/bin/sway /usr/bin/waybar /usr/bin/mako /usr/bin/grim'
    players='webkit2gtk4.1 /usr/bin/firefox chromium /usr/bin/node /usr/bin/npm pulseaudio /usr/bin/gst-launch-1.0
        gstreamer1-plugins-base gstreamer1-plugins-good gstreamer1-plugins-bad-free gstreamer1-plugins-ugly-free
        gstreamer1-plugin-libav'
    tools='/usr/bin/ffmpeg /usr/bin/mkvmerge /usr/bin/bwrap /usr/bin/newuidmap /usr/bin/inotifywait /usr/bin/lsof /usr/bin/python3
        python3-gobject /usr/bin/shellcheck'
elif command -v pacman >/dev/null; then
    manager=pacman
    build='gcc pkgconf gtk3'
    desktop='xorg-server-xvfb xorg-xauth xorg-xprop dbus xfce4-panel xfconf openbox dunst thunar xdotool
        imagemagick glib2 desktop-file-utils appstream adwaita-icon-theme ttf-dejavu ffmpegthumbnailer sway waybar mako grim'
    players='webkit2gtk-4.1 firefox chromium nodejs npm pulseaudio gstreamer gst-plugins-base gst-plugins-good
        gst-plugins-bad gst-plugins-ugly gst-libav'
    tools='ffmpeg mkvtoolnix-cli bubblewrap inotify-tools lsof python python-gobject shellcheck'
elif command -v zypper >/dev/null; then
    manager=zypper
    build='gcc pkg-config gtk3-devel'
    desktop='/usr/bin/Xvfb /usr/bin/xauth /usr/bin/xprop /usr/bin/dbus-daemon /usr/bin/dbus-launch
        /usr/bin/xfce4-panel /usr/bin/xfconf-query /usr/bin/openbox /usr/bin/dunst /usr/bin/thunar /usr/bin/xdotool
        /usr/bin/convert /usr/bin/gdbus /usr/bin/desktop-file-validate /usr/bin/appstreamcli adwaita-icon-theme
        dejavu-fonts /usr/bin/ffmpegthumbnailer /usr/bin/sway /usr/bin/waybar /usr/bin/mako /usr/bin/grim'
    players='webkit2gtk3-minibrowser /usr/bin/firefox chromium nodejs-default npm-default pulseaudio
        /usr/bin/gst-launch-1.0 gstreamer-plugins-base gstreamer-plugins-good gstreamer-plugins-bad
        gstreamer-plugins-ugly gstreamer-plugins-libav'
    tools='/usr/bin/ffmpeg /usr/bin/mkvmerge /usr/bin/bwrap /usr/bin/newuidmap /usr/bin/inotifywait /usr/bin/lsof /usr/bin/python3
        python3-gobject /usr/bin/shellcheck'
else
    fail 'found none of apt-get, dnf, pacman and zypper; a build needs a C compiler, pkg-config and the GTK 3 headers'
fi

# hls.js, dash.js, shaka and video.js come from the npm registry. An npm from elsewhere does as well.
if ! command -v npm >/dev/null; then
    case $manager in
    apt | pacman) tools="$tools npm" ;;
    *) tools="$tools /usr/bin/npm" ;;
    esac
fi

installed() {
    case $manager in
    apt)
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ||
            # Another package may stand in for it, as NodeSource's nodejs does for npm.
            dpkg-query -W -f '${db:Status-Status} ${Provides},\n' | grep -Eq "^installed .*[ ,]$1( \(|,)"
        ;;
    pacman) [ -z "$(pacman -T "$1" || true)" ] ;;
    *) rpm -q --whatprovides "$1" >/dev/null 2>&1 ;;
    esac
}

# Prints those of its arguments that are not installed.
missing() {
    for package in "$@"; do
        installed "$package" || printf ' %s' "$package"
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        say "as root: $*"
        sudo "$@"
    else
        fail "not root, and there is no sudo; run this as root: $*"
    fi
}

refresh() {
    case $manager in
    apt) as_root apt-get update -q ;;
    *) ;; # the others refresh by themselves, or must not be half upgraded (pacman)
    esac
}

install() {
    case $manager in
    apt) as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --no-remove "$@" ;;
    dnf) as_root dnf install -y --setopt=install_weak_deps=False "$@" ;;
    pacman) as_root pacman -S --needed --noconfirm "$@" ;;
    zypper) as_root zypper --non-interactive install --no-recommends "$@" ;;
    esac
}

# --- packages -----------------------------------------------------------------------------------------------------

wanted=$build
[ $with_tests = no ] || wanted="$build $desktop $players $tools"

# Word splitting is meant: no package's name holds a space.
# shellcheck disable=SC2086
absent=$(missing $wanted)

if [ -z "$absent" ]; then
    say "$manager: all packages are there"
else
    say "$manager: installing$absent"
    refresh
    # All at once is fast. If one of them isn't offered here, all are refused: then one by one, to get the others.
    # shellcheck disable=SC2086
    if ! install $absent </dev/null; then
        say "that failed as a whole; trying one by one"
        for package in $absent; do
            install "$package" </dev/null || true
        done
    fi
    # shellcheck disable=SC2086
    left=$(missing $build)
    [ -z "$left" ] || fail "a build needs what could not be installed:$left"
    # shellcheck disable=SC2086
    left=$(missing $wanted)
    [ -z "$left" ] || say "not to be had here, so the tests that need it will fail:$left"
fi

# Tests with several users need numbers for them. Every login user has a range; `nobody`, as whom tests run that root
# starts (tests/as-user), has none.
if [ $with_tests = yes ] && [ "$(id -u)" -eq 0 ] && ! grep -q '^nobody:' /etc/subuid 2>/dev/null; then
    say 'giving the user nobody a range of subordinate user ids'
    usermod --add-subuids 1000000000-1000065535 --add-subgids 1000000000-1000065535 nobody
fi

# --- cargo --------------------------------------------------------------------------------------------------------

cd "$(dirname "$0")/.."
needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)

how_to_get_rust() {
    printf 'Get Rust %s or newer:\n' "$needed"
    [ $manager != apt ] || printf '  Debian with updates:  apt-get install cargo-web rustc-web   (see that it is new enough)\n'
    [ $manager != dnf ] || printf '  Fedora:               dnf install cargo\n'
    [ $manager != pacman ] || printf '  Arch:                 pacman -S rust\n'
    [ $manager != zypper ] || printf '  openSUSE:             zypper install cargo\n'
    printf '  everywhere:           https://rustup.rs\n'
}

if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
    [ ! -x "${HOME-}/.cargo/bin/cargo" ] || fail 'cargo is not in the PATH; try: . ~/.cargo/env'
    how_to_get_rust >&2
    fail 'cargo or rustc is missing'
fi

# `rustc --version` prints "rustc 1.95.0 (59807616e 2026-04-14)".
found=$(rustc --version | cut -d' ' -f2)
newer_or_same=$(printf '%s\n%s\n' "$needed" "$found" | LC_ALL=C sort -t. -k1,1n -k2,2n -k3,3n | head -n1)
if [ "$newer_or_same" != "$needed" ]; then
    how_to_get_rust >&2
    fail "Rust $found is too old"
fi
say "Rust $found is new enough ($needed)"
