//! The thread pool: parallel regions of microseconds that survive a busy machine.
//!
//! A decode step is some 150 parallel regions, so the barrier between them must cost about a microsecond, which only
//! spinning does; and a board also runs a web server, so a worker may lose its core at any moment, for milliseconds. Three
//! rules make both work:
//! - work is taken in chunks from one counter: a worker that is not running takes none, and the others do its share;
//! - nobody waits for a worker that has not entered the region: the caller closes the region when the counter has run
//!   out and waits only for those inside;
//! - every spin has a bound, after which the thread sleeps in the kernel; an idle core then pulls the very worker that
//!   is being waited for from the core that it lost.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::KernelError;

/// Most threads of one pool, the caller included.
pub const MAX_THREADS: usize = 64;
/// How long a worker without work spins for the next region before it sleeps. Between two regions of a decode step lie
/// a few microseconds of serial work.
const IDLE_SPIN: Duration = Duration::from_micros(60);
/// How long a caller that is out of chunks spins for those still inside. A chunk takes tens of microseconds, so who is
/// not out after this has most likely lost its core.
const FINISH_SPIN: Duration = Duration::from_micros(40);
/// Spins between two looks at the clock.
const SPINS_PER_LOOK: u32 = 32;
/// Bit of [`Shared::gate`] that says that nobody may enter any more; the other bits count those inside.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// How a pool is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Threads that work, the calling thread included; 1 ..= [`MAX_THREADS`], others are brought into that range.
    pub threads: usize,
    /// Ties each worker to one of the processors that this process may use. Good on a board that does nothing else,
    /// bad on a shared computer.
    pub pinned: bool,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { threads: available_threads(), pinned: false }
    }
}

/// Processors that this process may use: its affinity mask and its control group's quota are taken into account.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

/// A pool of worker threads that run one parallel region at a time.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    region: Mutex<()>,
}

struct Shared {
    /// Counts regions; a change is what idle workers wait for.
    epoch: Padded<AtomicUsize>,
    /// [`CLOSED`] or the number of workers inside the open region.
    gate: Padded<AtomicUsize>,
    /// Next item of the open region.
    next: Padded<AtomicUsize>,
    job: UnsafeCell<Job>,
    /// Workers with an index below this take part; the others sleep.
    limit: AtomicUsize,
    stop: AtomicBool,
    panicked: AtomicBool,
    /// Workers that sleep, or are about to.
    sleepers: AtomicUsize,
    /// The caller sleeps until the gate is empty.
    caller_waits: AtomicBool,
    bed: Mutex<()>,
    wake_workers: Condvar,
    /// For workers above the limit, so that opening a region does not wake them.
    wake_spare: Condvar,
    wake_caller: Condvar,
}

#[derive(Clone, Copy)]
struct Job {
    run: unsafe fn(*const (), usize),
    context: *const (),
    items: usize,
}

/// Keeps counters that different threads write on cache lines of their own.
#[repr(align(128))]
struct Padded<T>(T);

// SAFETY: `job` is written only by the one caller that holds `Pool::region`, while the gate is closed and empty, and read
// only by workers that entered through the open gate; the gate's atomic orders the two.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is only followed inside an open region, during which its target is borrowed by the caller.
unsafe impl Send for Shared {}

impl Pool {
    /// Starts the workers of a pool.
    ///
    /// # Errors
    /// [`KernelError::Thread`] when the system refuses a thread.
    pub fn new(options: PoolOptions) -> Result<Self, KernelError> {
        let threads = options.threads.clamp(1, MAX_THREADS);
        let shared = Arc::new(Shared {
            epoch: Padded(AtomicUsize::new(0)),
            gate: Padded(AtomicUsize::new(CLOSED)),
            next: Padded(AtomicUsize::new(0)),
            job: UnsafeCell::new(Job { run: nothing, context: std::ptr::null(), items: 0 }),
            limit: AtomicUsize::new(threads),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            caller_waits: AtomicBool::new(false),
            bed: Mutex::new(()),
            wake_workers: Condvar::new(),
            wake_spare: Condvar::new(),
            wake_caller: Condvar::new(),
        });
        let mut pool = Self { shared, workers: Vec::with_capacity(threads - 1), region: Mutex::new(()) };
        let cores = if options.pinned { crate::affinity::allowed() } else { Vec::new() };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let core = cores.get(index % cores.len().max(1)).copied();
            let worker = std::thread::Builder::new()
                .name(format!("kernel-{index}"))
                .spawn(move || {
                    if let Some(core) = core {
                        crate::affinity::pin(core);
                    }
                    shared.work(index);
                })
                .map_err(|e| KernelError::Thread { index, reason: e.to_string() })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads that take part in regions, the caller included.
    pub fn threads(&self) -> usize {
        self.shared.limit.load(SeqCst)
    }

    /// Threads that the pool was made with, the caller included.
    pub fn most_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Changes how many threads take part from the next region on, between 1 and the number that the pool was made
    /// with: fewer when the board is hot or the page needs a core. Takes effect without a pause.
    pub fn set_threads(&self, threads: usize) {
        self.shared.limit.store(threads.clamp(1, self.most_threads()), SeqCst);
        let _bed = lock(&self.shared.bed);
        self.shared.wake_spare.notify_all();
    }

    /// Calls `item` with every index in `0..items`, once each, on the threads of the pool, and returns when all are
    /// done. Items should take between ten and a few hundred microseconds. A region opened while another one runs, from
    /// inside it or from another thread, runs on its caller alone.
    ///
    /// # Panics
    /// Passes on a panic of `item`, after every thread has left the region.
    pub fn run<F: Fn(usize) + Sync>(&self, items: usize, item: F) {
        let guard = self.region.try_lock().ok();
        if items <= 1 || self.threads() == 1 || self.workers.is_empty() || guard.is_none() {
            (0..items).for_each(item);
            return;
        }
        let shared = &*self.shared;
        let job = Job { run: call::<F>, context: std::ptr::from_ref(&item).cast(), items };
        // SAFETY: the gate is closed and empty (the previous region ended so) and `guard` keeps other callers out.
        unsafe { *shared.job.get() = job };
        shared.next.0.store(0, SeqCst);
        shared.gate.0.store(0, SeqCst);
        shared.epoch.0.fetch_add(1, SeqCst);
        if shared.sleepers.load(SeqCst) > 0 {
            let _bed = lock(&shared.bed);
            shared.wake_workers.notify_all();
        }
        let mine = catch_unwind(AssertUnwindSafe(|| shared.take_items(job)));
        if mine.is_err() {
            shared.next.0.store(items, SeqCst);
        }
        shared.close();
        let theirs = shared.panicked.swap(false, SeqCst);
        drop(guard);
        if let Err(panic) = mine {
            resume_unwind(panic);
        }
        if theirs {
            resume_unwind(Box::new("a worker panicked in a parallel region"));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.epoch.0.fetch_add(1, SeqCst);
        {
            let _bed = lock(&self.shared.bed);
            self.shared.wake_workers.notify_all();
            self.shared.wake_spare.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its items, so there is nothing to learn from its result.
            drop(worker.join());
        }
    }
}

impl Shared {
    /// Runs items until the counter is past the end.
    fn take_items(&self, job: Job) {
        loop {
            let index = self.next.0.fetch_add(1, SeqCst);
            if index >= job.items {
                return;
            }
            // SAFETY: `context` is the closure that `call` was made for; its caller does not return before the gate is
            // closed and empty, and this thread is inside (or is that caller).
            unsafe { (job.run)(job.context, index) };
        }
    }

    /// Ends a region: nobody enters any more, and all who did are out when this returns.
    fn close(&self) {
        if self.gate.0.fetch_or(CLOSED, SeqCst) == 0 {
            return;
        }
        let empty = || self.gate.0.load(SeqCst) == CLOSED;
        if spin(FINISH_SPIN, empty) {
            return;
        }
        let mut bed = lock(&self.bed);
        self.caller_waits.store(true, SeqCst);
        while !empty() {
            bed = self.wake_caller.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_waits.store(false, SeqCst);
    }

    /// Enters the open region, if there is one.
    fn enter(&self) -> bool {
        let mut seen = self.gate.0.load(SeqCst);
        while seen & CLOSED == 0 {
            match self.gate.0.compare_exchange_weak(seen, seen + 1, SeqCst, SeqCst) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    fn leave(&self) {
        if self.gate.0.fetch_sub(1, SeqCst) == CLOSED | 1 && self.caller_waits.load(SeqCst) {
            let _bed = lock(&self.bed);
            self.wake_caller.notify_one();
        }
    }

    /// The life of a worker.
    fn work(&self, index: usize) {
        let mut epoch = 0;
        loop {
            self.wait_for_region(index, &mut epoch);
            if self.stop.load(SeqCst) {
                return;
            }
            if self.enter() {
                // SAFETY: inside the open gate the job is not written (see `Sync for Shared`).
                let job = unsafe { *self.job.get() };
                if catch_unwind(AssertUnwindSafe(|| self.take_items(job))).is_err() {
                    self.panicked.store(true, SeqCst);
                    self.next.0.store(job.items, SeqCst);
                }
                self.leave();
            }
        }
    }

    /// Returns when the region counter differs from `epoch`, which is brought up to date, and this worker is wanted.
    fn wait_for_region(&self, index: usize, epoch: &mut usize) {
        let changed = |epoch: usize| self.epoch.0.load(SeqCst) != epoch;
        let spare = || index >= self.limit.load(SeqCst) && !self.stop.load(SeqCst);
        if spare() {
            let mut bed = lock(&self.bed);
            while spare() {
                bed = self.wake_spare.wait(bed).unwrap_or_else(PoisonError::into_inner);
            }
        } else if !spin(IDLE_SPIN, || changed(*epoch)) {
            let mut bed = lock(&self.bed);
            self.sleepers.fetch_add(1, SeqCst);
            while !changed(*epoch) {
                bed = self.wake_workers.wait(bed).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, SeqCst);
        }
        *epoch = self.epoch.0.load(SeqCst);
    }
}

/// Spins until `done` or until `limit` has passed; says whether it is done.
fn spin(limit: Duration, done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..SPINS_PER_LOOK {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > limit {
            return done();
        }
    }
}

/// A panic while the lock was held cannot leave anything half done: it protects no data, only the order of sleep and wake.
fn lock(mutex: &Mutex<()>) -> std::sync::MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Safety
/// `context` must point to a live `F`.
unsafe fn call<F: Fn(usize)>(context: *const (), index: usize) {
    // SAFETY: by the contract above.
    let item = unsafe { &*context.cast::<F>() };
    item(index);
}

/// The job of a pool that has not run any.
unsafe fn nothing(_: *const (), _: usize) {}

#[cfg(test)]
mod tests;
