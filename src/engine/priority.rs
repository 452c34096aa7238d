//! Priorities of threads: the engine's must run within microseconds, a scan of `/proc` may wait.

/// Asks for a short time slice for the calling thread, so that the scheduler lets it run soon after
/// it wakes. It gets no more processor time by that, and no privilege is needed (sched_setattr(2);
/// since Linux 6.12 `sched_runtime` means the slice of a normal thread, older kernels ignore it).
pub(crate) fn wake_soon() {
    // The call sets the nice value too, so it is given the present one.
    let nice = rustix::process::getpriority_process(None).unwrap_or_default();
    let attributes = Attributes {
        size: SIZE,
        nice,
        runtime: SLICE,
        ..Attributes::default()
    };
    // SAFETY: the kernel reads `size` bytes from a value that lives through the call; thread 0 is
    // the caller. No safe crate offers the call.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result != 0 {
        tracing::debug!("sched_setattr: {}", std::io::Error::last_os_error());
    }
}

/// Gives the calling thread less processor time than others (setpriority(2): a thread's own on
/// Linux).
pub(crate) fn stand_back() {
    if let Err(e) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("setpriority: {e}");
    }
}

/// In nanoseconds: the shortest that the kernel grants.
const SLICE: u64 = 100_000;
/// About a third of a normal thread's weight.
const NICE: i32 = 5;
const SIZE: u32 = size_of::<Attributes>() as u32;

/// `struct sched_attr`, its first version (SCHED_ATTR_SIZE_VER0).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}
