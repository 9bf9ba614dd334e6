//! Many seeds, on all cores.

use std::{
    ops::Range,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use crate::run::{Outcome, run};

/// Threads that this machine runs at a time.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Plays these seeds, each on one of so many threads, until all are played or `stop` is set; tells of
/// each as it ends.
pub fn play(seeds: Range<u64>, threads: usize, stop: &AtomicBool, mut each: impl FnMut(Outcome)) {
    let next = AtomicU64::new(seeds.start);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (next, tell) = (&next, tell.clone());
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || tell.send(run(seed, false)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        told.into_iter().for_each(&mut each);
    });
}
