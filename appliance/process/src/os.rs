//! The one place of this crate with `unsafe`: descriptors that arrive as numbers, and what happens between `fork`
//! and `exec`.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::{
    cmsg_space,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};

/// Descriptors that one message may carry through the kernel to us; we send one at most.
const MAX_RIGHTS: usize = 4;

/// Writes bytes, and a descriptor with the first of them.
pub(crate) fn send(
    stream: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let rights: Vec<RawFd> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = if rights.is_empty() { vec![] } else { vec![ControlMessage::ScmRights(&rights)] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    Ok(sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(bytes)], &rights, flags, None)?)
}

/// Reads bytes into `chunk` and takes over the descriptors that came with them.
pub(crate) fn receive(
    stream: BorrowedFd<'_>,
    chunk: &mut [u8],
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut control = cmsg_space!([RawFd; MAX_RIGHTS]);
    let mut slices = [IoSliceMut::new(chunk)];
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(rights) = control {
            for number in rights {
                // SAFETY: the kernel has just installed this descriptor for this process and nothing else knows its
                // number, so we are its only owner.
                descriptors.push_back(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    Ok(message.bytes)
}

/// Inherited descriptors that were taken, as bits: an `OwnedFd` must be the only owner of its number.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Takes over the descriptor with the fixed number `number` (below 64) that the parent left open for this process.
pub(crate) fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    let bit = u32::try_from(number)
        .ok()
        .and_then(|number| 1_u64.checked_shl(number))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    if TAKEN.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "this inherited descriptor was taken before",
        ));
    }
    // SAFETY: `fcntl` with these commands reads and sets flags of a descriptor number; a number that is not open
    // gives EBADF.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // A descriptor that this process opened itself would carry CLOEXEC, as all of ours do: it is not inherited,
    // and taking it over would make two owners.
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the parent process left no such descriptor"));
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, was not opened by this process (no CLOEXEC above) and is taken only once
    // (`TAKEN`), so the returned value is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lowest number to which descriptors are moved before they get their fixed numbers, so that none is overwritten.
const PARKING: RawFd = 32;

/// Lets the child of `command` inherit `descriptors` under their fixed numbers, and nothing else beyond the standard
/// streams.
pub(crate) fn inherit_only(command: &mut Command, descriptors: Vec<(OwnedFd, RawFd)>) {
    // SAFETY: the closure runs in the child between fork and exec. It allocates nothing, takes no lock and calls only
    // async-signal-safe system calls (close_range, fcntl, dup2); the vector was made before the fork and lives as
    // long as the command.
    unsafe {
        command.pre_exec(move || close_and_place(&descriptors));
    }
}

fn close_and_place(descriptors: &[(OwnedFd, RawFd)]) -> io::Result<()> {
    mark_close_on_exec(3)?;
    // First away from the fixed numbers, then onto them: dup2 clears CLOEXEC.
    let mut parked = [-1; 8];
    if descriptors.len() > parked.len() {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    for ((source, _), slot) in descriptors.iter().zip(&mut parked) {
        // SAFETY: plain system call on a descriptor that we own.
        *slot = unsafe { libc::fcntl(source.as_raw_fd(), libc::F_DUPFD_CLOEXEC, PARKING) };
        if *slot < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for ((_, target), slot) in descriptors.iter().zip(parked) {
        // SAFETY: plain system call; `target` is a fixed number below `PARKING`, and what it held is closed on exec
        // anyway. Should that be std's own pipe for a failed exec, then the failure shows as the child's exit.
        if unsafe { libc::dup2(slot, *target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn mark_close_on_exec(first: RawFd) -> io::Result<()> {
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC only sets a flag on open descriptors.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if outcome == 0 {
        return Ok(());
    }
    // Before Linux 5.11: one by one up to the limit.
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place to write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let last = RawFd::try_from(limit.rlim_cur).unwrap_or(65_536).min(65_536);
    for number in first..last {
        // SAFETY: sets a flag; a number that is not open gives EBADF, which does not matter here.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Gives up every capability outside `keep` (a bit mask of capability numbers), for this thread and what it starts.
pub(crate) fn keep_capabilities(keep: u64) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`: two words of 32 bits each.
    const VERSION: u32 = 0x2008_0522;
    const LAST_POSSIBLE: u32 = 63;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    for capability in (0..=LAST_POSSIBLE).filter(|bit| keep & (1 << bit) == 0) {
        // SAFETY: plain prctl; a number that the kernel does not know gives EINVAL, which is as good as dropped.
        let outcome = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
        if outcome < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
            return Err(io::Error::last_os_error());
        }
    }
    let header = Header { version: VERSION, pid: 0 };
    let word = |shift: u32| {
        let bits = (keep >> shift) as u32;
        Data { effective: bits, permitted: bits, inheritable: 0 }
    };
    let data = [word(0), word(32)];
    // SAFETY: header and data have the layout of version 3 of the call and outlive it.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Gives memory that was freed back to the system; the C library keeps it otherwise, for the next time.
pub(crate) fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and the C library locks what it works on; it may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Sets the calling process's niceness, 0 to 19.
pub(crate) fn set_niceness(niceness: u8) -> io::Result<()> {
    // SAFETY: plain system call on our own process.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, libc::c_int::from(niceness)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
