//! Ends stage 1 without booting: reports the failed step and the error on every console, waits so that a person can read
//! them, and restarts the machine. Stage 1 has no shell and no prompt. Every failure ends here, also a panic.

use std::error::Error;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use kubedos_sys::watchdog::Watchdog;
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::EarlyStage;
use rustix::system::{RebootCommand, reboot};

use kubedos_base::console::{Console, Event};

/// How long the error stays on the screen before the machine restarts.
pub const READABLE: Duration = Duration::from_secs(30);

/// The timeout of the watchdog, from the moment when it is armed until systemd takes it over.
pub const WATCHDOG: Duration = Duration::from_secs(120);

/// A failed step.
#[derive(Debug)]
pub struct Failure {
    /// The step.
    pub stage: EarlyStage,
    /// The error.
    pub error: Box<dyn Error>,
    /// The volume that the step opens, if it opens one.
    pub volume: Option<&'static str>,
}

/// The console, for the panic handler.
static CONSOLE: OnceLock<Console> = OnceLock::new();

/// The console of stage 1; the first call opens it.
pub fn console() -> &'static Console {
    CONSOLE.get_or_init(Console::first)
}

/// Handles a panic like any other failure.
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
    console().log_line(&format!("stage 1 cannot continue; restarting in {} seconds", READABLE.as_secs()));
    thread::sleep(READABLE);
    loop {
        let answer = reboot(RebootCommand::Restart);
        console().log_line(&format!(
            "the kernel did not restart the machine ({answer:?}); a watchdog, if present, will restart it"
        ));
        thread::sleep(READABLE);
    }
}

/// Arms the first watchdog, if the machine has one.
pub fn arm_watchdog() -> Option<Watchdog> {
    let watchdog = Watchdog::arm(std::path::Path::new("/dev/watchdog0")).ok()?; // the machine has no watchdog
    drop(watchdog.set_timeout(WATCHDOG)); // a watchdog with a fixed timeout keeps it
    Some(watchdog)
}
