//! A team: threads that wait for each other's next step without sleeping. A layer of a single image takes less time than waking
//! a thread up for it would.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Does step after step, each of so many tasks: `work(step, task)`. The calling thread works from the first task on; the
/// other threads of the current rayon pool, those that have nothing else to do, from the last one back, so that a thread
/// mostly meets the same part of every step. Nobody waits for a task that has not begun: threads that are busy elsewhere
/// make this slower, but cannot stop it.
///
/// # Panics
/// If a task does; if a step has more than 65535 tasks.
pub(super) fn dispatch(tasks: &[usize], work: impl Fn(usize, usize) + Sync) {
    assert!(tasks.iter().all(|&count| count <= usize::from(u16::MAX)), "a step of too many tasks");
    let helpers = rayon::current_num_threads() - 1;
    if helpers == 0 || tasks.iter().all(|&count| count < 2) {
        for (step, &count) in tasks.iter().enumerate() {
            (0..count).for_each(|task| work(step, task));
        }
        return;
    }
    let team = Team { tasks, state: CachePadded(AtomicU64::new(0)), done: CachePadded(AtomicUsize::new(0)) };
    rayon::scope(|scope| {
        for _ in 0..helpers.min(MOST) {
            scope.spawn(|_| team.help(&work));
        }
        team.lead(&work);
    });
}

/// Helpers that find something to do in a layer.
const MOST: usize = 7;

/// Looks at a step's state before the processor is offered to somebody else.
const PATIENCE: usize = 1 << 14;

struct Team<'a> {
    tasks: &'a [usize],
    /// The step that is open (counted from 1; 0: none yet; [`CLOSED`]: none any more), and how many of its tasks are
    /// claimed from the front and from the back: 32, 16 and 16 bits.
    state: CachePadded<AtomicU64>,
    /// Tasks of the open step that have ended.
    done: CachePadded<AtomicUsize>,
}

/// In cache lines of its own: one is looked at all the time, the other one written.
#[repr(align(128))]
struct CachePadded<T>(T);

const CLOSED: u64 = u64::MAX;
const FRONT: u64 = 1 << 16;
const BACK: u64 = 1;

impl Team<'_> {
    fn lead(&self, work: &(impl Fn(usize, usize) + Sync)) {
        // Helpers stop looking for tasks however this function ends, by a panic too.
        let _close = OnDrop(|| self.state.0.store(CLOSED, Ordering::Release));
        for (step, &count) in self.tasks.iter().enumerate() {
            if count < 2 {
                (0..count).for_each(|task| work(step, task));
                continue;
            }
            self.done.0.store(0, Ordering::Relaxed);
            let open = (step as u64 + 1) << 32;
            // Publishes what earlier steps wrote.
            self.state.0.store(open, Ordering::Release);
            while let Some((step, task)) = self.claim(FRONT) {
                self.perform(step, task, work);
            }
            let mut looks = 0;
            while self.done.0.load(Ordering::Acquire) < count {
                pause(&mut looks);
            }
        }
    }

    fn help(&self, work: &(impl Fn(usize, usize) + Sync)) {
        let mut looks = 0;
        while self.state.0.load(Ordering::Relaxed) != CLOSED {
            match self.claim(BACK) {
                Some((step, task)) => {
                    self.perform(step, task, work);
                    looks = 0;
                }
                None => pause(&mut looks),
            }
        }
    }

    /// Claims a task of the open step, if one is left.
    fn claim(&self, side: u64) -> Option<(usize, usize)> {
        let mut state = self.state.0.load(Ordering::Acquire);
        loop {
            if state == CLOSED {
                return None;
            }
            let step = ((state >> 32) as usize).checked_sub(1)?;
            let (front, back) = ((state >> 16 & 0xffff) as usize, (state & 0xffff) as usize);
            if front + back >= self.tasks[step] {
                return None;
            }
            match self.state.0.compare_exchange_weak(state, state + side, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if side == FRONT => return Some((step, front)),
                Ok(_) => return Some((step, self.tasks[step] - 1 - back)),
                Err(now) => state = now,
            }
        }
    }

    fn perform(&self, step: usize, task: usize, work: &(impl Fn(usize, usize) + Sync)) {
        // A task that panics has ended as well; the scope hands the panic on.
        let _done = OnDrop(|| {
            self.done.0.fetch_add(1, Ordering::Release);
        });
        work(step, task);
    }
}

fn pause(looks: &mut usize) {
    *looks += 1;
    if looks.is_multiple_of(PATIENCE) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;

    use super::*;

    fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    #[test]
    fn every_task_once_and_steps_in_order() {
        let tasks: Vec<usize> = (0..200).map(|step| step * 7 % 9).collect();
        for threads in [1, 2, 5] {
            let log = Mutex::new(Vec::new());
            in_pool(threads, || dispatch(&tasks, |step, task| log.lock().unwrap().push((step, task))));
            let log = log.into_inner().unwrap();
            assert!(log.is_sorted_by_key(|&(step, _)| step), "{threads} threads");
            let mut sorted = log;
            sorted.sort_unstable();
            let all = tasks.iter().enumerate().flat_map(|(step, &count)| (0..count).map(move |task| (step, task)));
            assert!(sorted.into_iter().eq(all), "{threads} threads");
        }
    }

    #[test]
    fn teams_inside_of_a_busy_pool_end() {
        let total = AtomicUsize::new(0);
        in_pool(3, || {
            rayon::scope(|scope| {
                for _ in 0..40 {
                    scope.spawn(|_| {
                        dispatch(&[5; 20], |_, _| {
                            total.fetch_add(1, Ordering::Relaxed);
                        })
                    });
                }
            });
        });
        assert_eq!(total.into_inner(), 40 * 100);
    }

    #[test]
    fn a_panic_in_any_task_is_handed_on() {
        for bad in [0, 3, 7] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                in_pool(2, || dispatch(&[8; 50], |step, task| assert!((step, task) != (25, bad))));
            }));
            assert!(outcome.is_err(), "task {bad}");
        }
    }
}
