//! Processing of many items by several threads. The results arrive in the order of the items, and the number of results that are in
//! memory at the same time is limited.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The maximum number of items that the threads may be ahead of the sink, per thread.
const AHEAD: usize = 3;

struct State<R> {
    /// The next item that no thread has taken.
    next: usize,
    /// The item that the sink waits for.
    wanted: usize,
    results: BTreeMap<usize, R>,
    /// The sink has failed, or a thread has panicked: all waits end.
    is_over: bool,
}

/// The maximum number of threads. More threads only wait for each other.
const MOST: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// The number of processors, at most 16.
pub fn threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).min(MOST)
}

/// Calls `work` for each item in one of the threads, and `sink` with each result in the calling thread, in the order of the items. Stops at
/// the first error of the sink.
pub fn ordered<T: Sync, R: Send, E>(
    threads: NonZeroUsize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut sink: impl FnMut(&T, R) -> Result<(), E>,
) -> Result<(), E> {
    if threads.get() == 1 || items.len() < 2 {
        return items.iter().try_for_each(|item| sink(item, work(item)));
    }
    let state = Mutex::new(State { next: 0, wanted: 0, results: BTreeMap::new(), is_over: false });
    let changed = Condvar::new();
    let window = threads.get() * AHEAD;
    std::thread::scope(|scope| {
        for _ in 0..threads.get().min(items.len()) {
            scope.spawn(|| {
                let over = EndOnPanic { state: &state, changed: &changed };
                while let Some((number, item)) = take(&state, &changed, window, items) {
                    let result = work(item);
                    lock(&state).results.insert(number, result);
                    changed.notify_all();
                }
                drop(over);
            });
        }
        let ended = EndOnPanic { state: &state, changed: &changed };
        for (number, item) in items.iter().enumerate() {
            let Some(result) = wait(&state, &changed, number) else { break };
            if let Err(error) = sink(item, result) {
                lock(&state).is_over = true;
                changed.notify_all();
                return Err(error);
            }
        }
        drop(ended);
        Ok(())
    })
}

/// Waits until the next item is at most `window` items ahead of the sink, then takes it. `None`: no item is left, or the work is over.
fn take<'t, T, R>(
    state: &Mutex<State<R>>,
    changed: &Condvar,
    window: usize,
    items: &'t [T],
) -> Option<(usize, &'t T)> {
    let too_far = |state: &mut State<R>| !state.is_over && state.next >= state.wanted + window;
    let mut state = changed.wait_while(lock(state), too_far).unwrap_or_else(PoisonError::into_inner);
    if state.is_over {
        return None;
    }
    let number = state.next;
    let item = items.get(number)?;
    state.next += 1;
    Some((number, item))
}

/// Waits for the result of an item. `None`: the work is over and the result does not arrive.
fn wait<R>(state: &Mutex<State<R>>, changed: &Condvar, number: usize) -> Option<R> {
    let missing = |state: &mut State<R>| !state.is_over && !state.results.contains_key(&number);
    let mut state = changed.wait_while(lock(state), missing).unwrap_or_else(PoisonError::into_inner);
    let result = state.results.remove(&number);
    state.wanted = number + 1;
    drop(state);
    changed.notify_all();
    result
}

fn lock<R>(state: &Mutex<State<R>>) -> MutexGuard<'_, State<R>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all waits when its thread panics, so that the scope can propagate the panic.
struct EndOnPanic<'s, R> {
    state: &'s Mutex<State<R>>,
    changed: &'s Condvar,
}

impl<R> Drop for EndOnPanic<'_, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.state).is_over = true;
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_come_in_order_and_few_are_in_memory() {
        let items: Vec<usize> = (0..500).collect();
        let alive = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let mut seen = Vec::new();
        let threads = NonZeroUsize::new(4).unwrap();
        let work = |item: &usize| {
            most.fetch_max(alive.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first of each ten items is slow.
            if item.is_multiple_of(10) {
                std::thread::yield_now();
            }
            item * 2
        };
        ordered(threads, &items, work, |item, result| {
            alive.fetch_sub(1, Ordering::SeqCst);
            assert_eq!(result, item * 2);
            seen.push(*item);
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!(seen, items);
        assert!(most.load(Ordering::SeqCst) <= 4 * AHEAD + 1);
    }

    #[test]
    fn an_error_of_the_sink_ends_the_work() {
        let items: Vec<usize> = (0..1000).collect();
        for threads in [1, 3] {
            let threads = NonZeroUsize::new(threads).unwrap();
            let done = AtomicUsize::new(0);
            let work = |_: &usize| done.fetch_add(1, Ordering::SeqCst);
            let error = ordered(threads, &items, work, |item, _| if *item == 7 { Err("no") } else { Ok(()) });
            assert_eq!(error, Err("no"));
            assert!(done.load(Ordering::SeqCst) < 100);
        }
    }

    #[test]
    fn a_panic_in_a_thread_is_propagated_and_ends_all_threads() {
        let items: Vec<usize> = (0..100).collect();
        let run = || {
            let threads = NonZeroUsize::new(3).unwrap();
            ordered(threads, &items, |item| assert!(*item != 20), |_, ()| Ok::<_, ()>(()))
        };
        assert!(std::panic::catch_unwind(run).is_err());
    }
}
