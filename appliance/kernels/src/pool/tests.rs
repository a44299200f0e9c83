use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use super::*;

fn pool(threads: usize) -> Pool {
    Pool::new(PoolOptions { threads, pinned: false }).unwrap()
}

/// Runs `regions` regions and checks that every item ran exactly once.
fn check_each_once(pool: &Pool, regions: usize, items: usize) {
    for region in 0..regions {
        let counts: Vec<AtomicU32> = (0..items).map(|_| AtomicU32::new(0)).collect();
        pool.run(items, |i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        for (i, count) in counts.iter().enumerate() {
            assert_eq!(count.load(Ordering::Relaxed), 1, "item {i} of region {region}");
        }
    }
}

#[test]
fn every_item_runs_once() {
    for threads in [1, 2, 3, 8] {
        let pool = pool(threads);
        for items in [0, 1, 2, 7, 64, 1000] {
            check_each_once(&pool, 20, items);
        }
    }
}

#[test]
fn more_threads_than_cores_and_busy_neighbours_lose_no_item() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        check_each_once(&pool(16), 300, 40);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_sleeping_pool_wakes_up() {
    let pool = pool(4);
    for _ in 0..3 {
        // Every worker is asleep once it has been counted as a sleeper.
        let deadline = Instant::now() + Duration::from_secs(20);
        while pool.shared.sleepers.load(SeqCst) < 3 {
            assert!(Instant::now() < deadline, "workers never went to sleep");
            std::thread::yield_now();
        }
        let reached = AtomicUsize::new(0);
        // Items that wait for each other: they end only if a second thread takes part.
        pool.run(2, |_| {
            reached.fetch_add(1, SeqCst);
            while reached.load(SeqCst) < 2 && Instant::now() < deadline {
                std::thread::yield_now();
            }
        });
        assert!(Instant::now() < deadline, "no worker woke up");
    }
}

#[test]
fn the_number_of_threads_follows_the_setting() {
    let pool = pool(4);
    pool.set_threads(1);
    let caller = std::thread::current().id();
    pool.run(50, |_| assert_eq!(std::thread::current().id(), caller));
    pool.set_threads(99);
    assert_eq!(pool.threads(), 4);
    check_each_once(&pool, 10, 100);
    pool.set_threads(0);
    assert_eq!(pool.threads(), 1);
}

#[test]
fn a_region_inside_a_region_runs_on_its_caller() {
    let pool = pool(3);
    let count = AtomicUsize::new(0);
    pool.run(6, |_| {
        pool.run(5, |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(count.load(Ordering::Relaxed), 30);
}

#[test]
fn two_callers_share_one_pool() {
    let pool = pool(3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| check_each_once(&pool, 200, 30));
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
    let pool = pool(3);
    for bad in 0..8 {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(8, |i| assert!(i != bad, "item {i}"));
        }));
        assert!(outcome.is_err(), "the panic of item {bad} was lost");
        check_each_once(&pool, 3, 20);
    }
}

#[test]
fn pinned_pools_compute_the_same() {
    let pool = Pool::new(PoolOptions { threads: 3, pinned: true }).unwrap();
    check_each_once(&pool, 20, 50);
}
