//! Threads that turn workers: one of its own for each, or a helper behind the applications.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use corewire_drivers::env::{Clock, Counter, Instant};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::caller::{HELPER_AFTER, Turner};
use super::config::Idle;
use super::driver::Driver;
use super::handle::WorkerRef;
use super::idle::IdleSince;
use crate::socket::Application;

/// What a worker's thread says at its end: whether every frame came home.
pub(super) type Ended = JoinHandle<bool>;

/// How long the helper sleeps while an application holds the worker for long: in a call that
/// waits, it turns it. Longer, and the helper comes late when the call ends; shorter, and it wakes
/// up for nothing.
const HELPER_REST: Duration = Duration::from_millis(1);

/// Starts the thread that turns `driver` for ever.
///
/// # Errors
/// When the host starts no thread, or the core is none of this process's.
pub(super) fn dedicate<A: Application + Send + 'static>(
    driver: Driver,
    application: A,
    idle: Idle,
    core: Option<usize>,
) -> io::Result<Ended> {
    if let Some(core) = core {
        check_core(core)?;
    }
    let name = format!("corewire-{}", driver.handle.number);
    thread::Builder::new().name(name).spawn(move || live(driver, application, idle, core))
}

fn live<A: Application>(
    mut driver: Driver,
    mut application: A,
    idle: Idle,
    core: Option<usize>,
) -> bool {
    if let Some(core) = core {
        // Checked before the thread was started; a cpuset that shrinks meanwhile only costs speed.
        let _ = pin(core);
    }
    let handle = driver.handle.clone();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        run(&mut driver, &mut application, idle);
        driver.shut_down()
    }));
    if ran.is_err() {
        handle.counters.add(Counter::PanicsCaught, 1);
    }
    handle.end();
    let bells = driver.bells();
    // The ends of rings and queues go with it; a device that panics again must not stop us.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(driver)));
    for bell in bells {
        bell.ring();
    }
    ran.unwrap_or(false)
}

/// Turns until told to stop.
fn run<A: Application>(driver: &mut Driver, application: &mut A, idle: Idle) {
    let handle = driver.handle.clone();
    let mut since = IdleSince::default();
    while !handle.is_stopping() {
        let (now, progress) = driver.turn(application);
        if !progress.is_idle() {
            since.reset();
        } else if since.lasted(now, idle.look_for()) || handle.is_cut_off() {
            // No memory to poll with: then we look again.
            let _ = driver.sleep(Instant::FAR_FUTURE);
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Starts the helper of a worker that applications turn.
///
/// # Errors
/// When the host starts no thread.
pub(super) fn help(
    worker: WorkerRef,
    turner: Arc<Turner<Driver>>,
    clock: Clock,
) -> io::Result<Ended> {
    let name = format!("corewire-{}-helper", worker.handle.number);
    thread::Builder::new().name(name).spawn(move || {
        while !worker.handle.is_stopping() && !worker.handle.has_ended() {
            let now = clock.now();
            if turner.is_overdue(now) {
                worker.help(&turner);
            } else if now.saturating_since(turner.last_turn()) > HELPER_REST {
                thread::sleep(HELPER_REST);
            } else {
                thread::sleep(HELPER_AFTER);
            }
        }
        stop_turner(&worker, &turner)
    })
}

/// Ends a worker that applications turned. Whether every frame came home.
fn stop_turner(worker: &WorkerRef, turner: &Turner<Driver>) -> bool {
    let mut ended = None;
    let mut bells = Vec::new();
    while ended.is_none() && !turner.is_dead() {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            turner.try_run(|driver| {
                if ended.is_none() {
                    ended = Some(driver.shut_down());
                    bells = driver.bells();
                }
                super::caller::Turned { at: driver.clock.now(), news: true }
            })
        }));
        if ran.is_err() {
            break;
        }
        worker.handle.mail.bell().ring();
        thread::yield_now();
    }
    worker.handle.end();
    for bell in bells {
        bell.ring();
    }
    ended.unwrap_or(false)
}

/// Refuses a core that this process may not use.
fn check_core(core: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    if core < CpuSet::MAX_CPU && allowed.is_set(core) {
        return Ok(());
    }
    let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let message = format!(
        "core {core} is none of those that this process may use ({cores:?}); choose one of them, \
         or widen its cpuset (taskset, systemd's AllowedCPUs=)"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}
