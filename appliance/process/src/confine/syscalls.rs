//! seccomp: which system calls a process may make.
//!
//! `infer` and `extract` have a list of what they may do: they compute, so the list is short, and everything that a
//! hostile file could make of them (a socket, a program, a debugger) is absent. The hub has a list of what it may not
//! do: it runs SQLite, TLS, the resolver and a web server, whose calls change with every release of the C library, and
//! a forgotten one would take the page down; what is denied is everything that reaches around the file rules, into
//! other processes or into the kernel's own machinery.
//!
//! A denied call fails with EPERM instead of killing the process, so that a library with a second way takes it.
//! `clone3` fails with ENOSYS, because its flags lie in memory where a filter cannot see them; every C library then uses
//! `clone`, whose flags we check.

use libc as sys;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

use super::{ConfineError, ConfinementReport, Measure, Profile};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

const EPERM: u32 = sys::EPERM as u32;
const ENOSYS: u32 = sys::ENOSYS as u32;

/// Memory, threads, time and the descriptors that are open already.
const COMPUTE: &[i64] = &[
    sys::SYS_brk,
    sys::SYS_clock_getres,
    sys::SYS_clock_gettime,
    sys::SYS_clock_nanosleep,
    sys::SYS_clone3, // answered with ENOSYS by the filter before this one
    sys::SYS_close,
    sys::SYS_dup,
    sys::SYS_exit,
    sys::SYS_exit_group,
    sys::SYS_fcntl,
    sys::SYS_fstat,
    sys::SYS_futex,
    sys::SYS_getegid,
    sys::SYS_geteuid,
    sys::SYS_getgid,
    sys::SYS_getpid,
    sys::SYS_getppid,
    sys::SYS_getrandom,
    sys::SYS_getrusage,
    sys::SYS_gettid,
    sys::SYS_gettimeofday,
    sys::SYS_getuid,
    sys::SYS_lseek,
    sys::SYS_madvise,
    sys::SYS_membarrier,
    sys::SYS_mremap,
    sys::SYS_munmap,
    sys::SYS_nanosleep,
    sys::SYS_newfstatat,
    sys::SYS_ppoll,
    sys::SYS_pread64,
    sys::SYS_read,
    sys::SYS_readv,
    sys::SYS_restart_syscall,
    sys::SYS_rseq,
    sys::SYS_rt_sigaction,
    sys::SYS_rt_sigprocmask,
    sys::SYS_rt_sigreturn,
    sys::SYS_sched_getaffinity,
    sys::SYS_sched_yield,
    sys::SYS_set_robust_list,
    sys::SYS_set_tid_address,
    sys::SYS_sigaltstack,
    sys::SYS_statx,
    sys::SYS_sysinfo,
    sys::SYS_uname,
    sys::SYS_write,
    sys::SYS_writev,
];

/// The same where x86-64 still has the older calls.
#[cfg(target_arch = "x86_64")]
const COMPUTE_OLD: &[i64] = &[sys::SYS_arch_prctl, sys::SYS_poll, sys::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const COMPUTE_OLD: &[i64] = &[];

/// An event loop over inherited sockets, and opening files, which Landlock narrows to the models.
const SERVE: &[i64] = &[
    sys::SYS_epoll_create1,
    sys::SYS_epoll_ctl,
    sys::SYS_epoll_pwait,
    sys::SYS_eventfd2,
    sys::SYS_faccessat,
    sys::SYS_faccessat2,
    sys::SYS_fadvise64,
    sys::SYS_getcwd,
    sys::SYS_getdents64,
    sys::SYS_getpeername,
    sys::SYS_getsockname,
    sys::SYS_getsockopt,
    sys::SYS_mincore,
    sys::SYS_mlock,
    sys::SYS_munlock,
    sys::SYS_openat,
    sys::SYS_pipe2,
    sys::SYS_readahead,
    sys::SYS_readlinkat,
    sys::SYS_recvfrom,
    sys::SYS_recvmsg,
    sys::SYS_sched_getparam,
    sys::SYS_sched_getscheduler,
    sys::SYS_sched_setaffinity,
    sys::SYS_sendmsg,
    sys::SYS_sendto, // towards journald over the socket opened before; no new socket can be made
    sys::SYS_setsockopt,
    sys::SYS_shutdown,
    sys::SYS_statfs,
    sys::SYS_fstatfs,
];

/// The same where x86-64 still has the older calls.
#[cfg(target_arch = "x86_64")]
const SERVE_OLD: &[i64] =
    &[sys::SYS_access, sys::SYS_epoll_wait, sys::SYS_open, sys::SYS_readlink, sys::SYS_stat, sys::SYS_lstat];
#[cfg(not(target_arch = "x86_64"))]
const SERVE_OLD: &[i64] = &[];

/// Keeping files whole in the one folder that Landlock leaves for writing.
const KEEP: &[i64] =
    &[sys::SYS_fdatasync, sys::SYS_fsync, sys::SYS_renameat, sys::SYS_renameat2, sys::SYS_unlinkat];

/// The same where x86-64 still has the older calls.
#[cfg(target_arch = "x86_64")]
const KEEP_OLD: &[i64] = &[sys::SYS_rename, sys::SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
const KEEP_OLD: &[i64] = &[];

/// What the hub may not do.
const NOT_FOR_THE_HUB: &[i64] = &[
    // other processes
    sys::SYS_ptrace,
    sys::SYS_process_vm_readv,
    sys::SYS_process_vm_writev,
    sys::SYS_pidfd_getfd,
    sys::SYS_kcmp,
    sys::SYS_process_madvise,
    // the kernel
    sys::SYS_bpf,
    sys::SYS_perf_event_open,
    sys::SYS_init_module,
    sys::SYS_finit_module,
    sys::SYS_delete_module,
    sys::SYS_kexec_load,
    sys::SYS_userfaultfd,
    sys::SYS_io_uring_setup,
    sys::SYS_io_uring_enter,
    sys::SYS_io_uring_register,
    sys::SYS_syslog,
    sys::SYS_personality,
    // keys
    sys::SYS_add_key,
    sys::SYS_keyctl,
    sys::SYS_request_key,
    // mounts and name spaces
    sys::SYS_mount,
    sys::SYS_umount2,
    sys::SYS_pivot_root,
    sys::SYS_chroot,
    sys::SYS_fsopen,
    sys::SYS_fsconfig,
    sys::SYS_fsmount,
    sys::SYS_fspick,
    sys::SYS_move_mount,
    sys::SYS_open_tree,
    sys::SYS_mount_setattr,
    sys::SYS_setns,
    sys::SYS_unshare,
    // around the file rules
    sys::SYS_name_to_handle_at,
    sys::SYS_open_by_handle_at,
    sys::SYS_fanotify_init,
    sys::SYS_quotactl,
    sys::SYS_mknodat,
    // the machine
    sys::SYS_reboot,
    sys::SYS_swapon,
    sys::SYS_swapoff,
    sys::SYS_acct,
    sys::SYS_settimeofday,
    sys::SYS_clock_settime,
    sys::SYS_clock_adjtime,
    sys::SYS_adjtimex,
    sys::SYS_sethostname,
    sys::SYS_setdomainname,
    sys::SYS_vhangup,
    // becoming someone else
    sys::SYS_setuid,
    sys::SYS_setgid,
    sys::SYS_setreuid,
    sys::SYS_setregid,
    sys::SYS_setresuid,
    sys::SYS_setresgid,
    sys::SYS_setgroups,
    sys::SYS_setfsuid,
    sys::SYS_setfsgid,
];

#[cfg(target_arch = "x86_64")]
const NOT_FOR_THE_HUB_OLD: &[i64] =
    &[sys::SYS_iopl, sys::SYS_ioperm, sys::SYS_kexec_file_load, sys::SYS_mknod, sys::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const NOT_FOR_THE_HUB_OLD: &[i64] = &[];

/// Kinds of socket that the hub needs: local, IPv4, IPv6, and the kernel's list of addresses.
const HUB_SOCKETS: [i32; 4] = [sys::AF_UNIX, sys::AF_INET, sys::AF_INET6, sys::AF_NETLINK];

/// Puts the profile's filter in force.
pub(super) fn restrict(profile: Profile, report: &mut ConfinementReport) -> Result<(), ConfineError> {
    let failed = ConfineError::failed("restricting system calls");
    for program in programs(profile).map_err(|e| failed(&e))? {
        match seccompiler::apply_filter(&program) {
            Ok(()) => {}
            Err(seccompiler::Error::Seccomp(error)) if error.raw_os_error() == Some(sys::ENOSYS) => {
                report.lacks(Measure::SystemCalls, "this kernel has no seccomp filters");
                return Ok(());
            }
            Err(error) => return Err(failed(&error)),
        }
    }
    let held = match profile {
        Profile::Hub => "none that reach into other processes or the kernel",
        Profile::Infer => "only those for reading, computing and answering; no network, no new process",
        Profile::Extract => {
            "only those for computing and writing its answer; no files, no network, no new process"
        }
    };
    report.holds(Measure::SystemCalls, held);
    Ok(())
}

/// The filters of a profile, in the order in which they are put in force.
fn programs(profile: Profile) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    if profile == Profile::Hub {
        let mut denied = all(&[NOT_FOR_THE_HUB, NOT_FOR_THE_HUB_OLD]);
        let other_socket = HUB_SOCKETS
            .into_iter()
            .map(|family| Condition::new(0, Length::Dword, Op::Ne, family as u64))
            .collect::<Result<_, _>>()?;
        denied.insert(sys::SYS_socket, vec![SeccompRule::new(other_socket)?]);
        // TIOCSTI types into the terminal that the hub was started from.
        denied.insert(sys::SYS_ioctl, vec![argument(1, Op::Eq, sys::TIOCSTI)?]);
        return Ok(vec![compile(denied, SeccompAction::Allow, SeccompAction::Errno(EPERM))?]);
    }
    let mut allowed = all(&[COMPUTE, COMPUTE_OLD]);
    let threads = sys::CLONE_THREAD as u64;
    allowed.insert(sys::SYS_clone, vec![argument(0, Op::MaskedEq(threads), threads)?]);
    // No memory becomes a program.
    let executable = sys::PROT_EXEC as u64;
    allowed.insert(sys::SYS_mmap, vec![argument(2, Op::MaskedEq(executable), 0)?]);
    allowed.insert(sys::SYS_mprotect, vec![argument(2, Op::MaskedEq(executable), 0)?]);
    // To abort oneself, not to signal others.
    allowed.insert(sys::SYS_tgkill, vec![argument(0, Op::Eq, u64::from(std::process::id()))?]);
    allowed.insert(
        sys::SYS_prctl,
        vec![
            argument(0, Op::Eq, sys::PR_SET_NAME as u64)?,
            argument(0, Op::Eq, sys::PR_GET_NAME as u64)?,
            argument(0, Op::Eq, sys::PR_SET_VMA as u64)?,
        ],
    );
    // Limits may be asked for, not set.
    allowed.insert(
        sys::SYS_prlimit64,
        vec![SeccompRule::new(vec![Condition::new(2, Length::Qword, Op::Eq, 0)?])?],
    );
    allowed
        .insert(sys::SYS_ioctl, vec![argument(1, Op::Eq, sys::FIONBIO)?, argument(1, Op::Eq, sys::TCGETS)?]);
    if profile == Profile::Infer {
        allowed.append(&mut all(&[SERVE, SERVE_OLD, KEEP, KEEP_OLD]));
        // The event loop wakes itself through a pair of its own.
        allowed.insert(sys::SYS_socketpair, vec![argument(0, Op::Eq, sys::AF_UNIX as u64)?]);
    }
    let unseen = all(&[&[sys::SYS_clone3]]);
    Ok(vec![
        compile(unseen, SeccompAction::Allow, SeccompAction::Errno(ENOSYS))?,
        compile(allowed, SeccompAction::Errno(EPERM), SeccompAction::Allow)?,
    ])
}

fn all(lists: &[&[i64]]) -> Rules {
    lists.iter().copied().flatten().map(|call| (*call, Vec::new())).collect()
}

fn argument(index: u8, op: Op, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![Condition::new(index, Length::Dword, op, value)?])
}

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(rules, otherwise, on_match, std::env::consts::ARCH.try_into()?)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_compiles_and_fits_the_kernels_limit() {
        for profile in [Profile::Hub, Profile::Infer, Profile::Extract] {
            for program in programs(profile).unwrap() {
                assert!(program.len() <= 4096, "{profile:?}: {} instructions", program.len());
            }
        }
    }

    #[test]
    fn nothing_on_the_short_lists_opens_a_way_out() {
        let ways_out = [
            sys::SYS_execve,
            sys::SYS_execveat,
            sys::SYS_socket,
            sys::SYS_connect,
            sys::SYS_bind,
            sys::SYS_listen,
            sys::SYS_accept4,
            sys::SYS_ptrace,
            sys::SYS_process_vm_writev,
            sys::SYS_kill,
            sys::SYS_io_uring_setup,
            sys::SYS_memfd_create,
            sys::SYS_pidfd_open,
            sys::SYS_linkat,
            sys::SYS_bpf,
        ];
        for list in [COMPUTE, COMPUTE_OLD, SERVE, SERVE_OLD, KEEP, KEEP_OLD] {
            assert!(list.iter().all(|call| !ways_out.contains(call)));
        }
    }
}
