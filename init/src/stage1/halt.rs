//! The one way in which stage 1 ends without having booted: it says which step failed and why on every console, leaves time to read it,
//! and restarts the machine. There is no shell, no prompt, and no other way out; a panic comes here as well.

use std::error::Error;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use kubedos_spec::record::Outcome;
use kubedos_spec::stage::EarlyStage;
use kubedos_sys::watchdog::Watchdog;
use rustix::system::{RebootCommand, reboot};

use crate::console::{Console, Event};

/// How long the reason stays on the screen before the machine restarts.
pub const READABLE: Duration = Duration::from_secs(30);

/// How long the machine may go without a sign of life, from the moment in which its watchdog is armed until systemd takes it over.
pub const WATCHDOG: Duration = Duration::from_secs(120);

/// A failed step.
#[derive(Debug)]
pub struct Failure {
    /// The step.
    pub stage: EarlyStage,
    /// Why.
    pub error: Box<dyn Error>,
    /// The volume that it was about.
    pub volume: Option<&'static str>,
}

/// The console that a panic finds.
static CONSOLE: OnceLock<Console> = OnceLock::new();

/// The console of stage 1; the first call opens it.
pub fn console() -> &'static Console {
    CONSOLE.get_or_init(Console::first)
}

/// Lets a panic end like any other failure.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let event = Event::new("Panic", Outcome::Halted).error_text(format!("stage 1 panicked: {panic}"));
        end(event);
    }));
}

/// Reports a failure and restarts the machine.
pub fn halt(failure: &Failure) -> ! {
    let mut event = Event::new(failure.stage.name(), Outcome::Halted).error(failure.error.as_ref());
    if let Some(volume) = failure.volume {
        event = event.volume(volume);
    }
    end(event)
}

fn end(event: Event) -> ! {
    console().emit(event);
    console().say(&format!("stage 1 cannot go on; restarting in {} seconds", READABLE.as_secs()));
    thread::sleep(READABLE);
    loop {
        let answer = reboot(RebootCommand::Restart);
        console().say(&format!(
            "the kernel did not restart the machine ({answer:?}); the watchdog will, if there is one"
        ));
        thread::sleep(READABLE);
    }
}

/// Arms the first watchdog, if the machine has one.
pub fn arm_watchdog() -> Option<Watchdog> {
    let watchdog = Watchdog::arm(std::path::Path::new("/dev/watchdog0")).ok()?; // no such device: nothing to arm
    drop(watchdog.set_timeout(WATCHDOG)); // one with a fixed timeout keeps its own
    Some(watchdog)
}
