//! Gives back what only the start, or a burst of work, needed.
//!
//! Parsing the command line, the configuration and the globs touches most of the program once. Its
//! pages would stay in our memory map for weeks, though the little that watching needs fits into a
//! tenth of them.

/// Returns free heap to the system and drops the program's own code and constants from the memory
/// map; the kernel maps again what is used, a page fault each. Called when watching has begun, and
/// when the tray has.
pub(crate) fn start_is_over() {
    free_heap();
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    for (from, to) in maps
        .lines()
        .filter_map(|line| unwritten(line, program.to_str()?))
    {
        // SAFETY: a private mapping of a file that was never written to: MADV_DONTNEED only makes
        // the next access read the same bytes from the file again (madvise(2)). It is our own
        // program, which cannot be changed while it runs (ETXTBSY, open(2)).
        #[allow(unsafe_code)]
        let result = unsafe {
            rustix::mm::madvise(
                from as *mut std::ffi::c_void,
                to - from,
                rustix::mm::Advice::LinuxDontNeed,
            )
        };
        if let Err(e) = result {
            tracing::debug!("madvise: {e}");
        }
    }
}

/// Returns free heap to the system.
pub(crate) fn free_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time, by any thread (malloc_trim(3), "MT-Safe").
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The address range of a line of `/proc/self/maps` (proc(5)), if it maps what was never written of
/// `program`: code, or the constants at the file's beginning. What is read-only further on was
/// written before (`PT_GNU_RELRO`).
fn unwritten(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, mode, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let beginning = usize::from_str_radix(offset, 16).ok()? == 0;
    if !(mode == "r-xp" || mode == "r--p" && beginning) || !line.ends_with(program) {
        return None;
    }
    let (from, to) = range.split_once('-')?;
    Some((
        usize::from_str_radix(from, 16).ok()?,
        usize::from_str_radix(to, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_written_is_dropped() {
        let cases = [
            (
                "5600-5700 r-xp 00001000 fd:00 12 /usr/bin/fisga",
                Some((0x5600, 0x5700)),
            ),
            (
                "5500-5600 r--p 00000000 fd:00 12 /usr/bin/fisga",
                Some((0x5500, 0x5600)),
            ),
            ("5500-5600 rw-p 00000000 fd:00 12 /usr/bin/fisga", None),
            ("5700-5800 r--p 00002000 fd:00 12 /usr/bin/fisga", None),
            ("5800-5900 rw-p 00003000 fd:00 12 /usr/bin/fisga", None),
            ("7f00-7f10 r-xp 00001000 fd:00 13 /usr/lib/libc.so.6", None),
            ("7fff-8000 r-xp 00000000 00:00 0 [vdso]", None),
            ("", None),
        ];
        for (line, want) in cases {
            assert_eq!(unwritten(line, "/usr/bin/fisga"), want, "{line}");
        }
    }

    #[test]
    fn the_program_goes_on() {
        start_is_over();
        assert_eq!((1..=10).sum::<u32>(), 55);
    }
}
