//! The process of a lab. `lab up` starts it, it continues in a session of its own, and `lab down` ends it.
//!
//! One thread owns the switch and the machines. Connections of the control socket are read by threads of their own, which pass their
//! requests to it, so that a client that sends nothing delays nobody. SIGTERM ends the process at once, and the machines with it, as a loss
//! of power would; the next command recognises the remains by the record of the process.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use clap::Args;
use kubedos_debian::failure::Failure;
use kubedos_wire::printable::chain;

use super::Where;
use super::error::LabError;
use super::fleet::Fleet;
use super::folder::Folder;
use super::machines::planned;
use super::protocol::{self, Answer, Request};
use crate::terminal::{print, say};

/// The longest time between two looks at the machines.
const STEP: Duration = Duration::from_millis(200);

/// What the process prints when it can be controlled.
pub const READY: &str = "ready";

/// Own the switch and the machines of a lab; started by `lab up`
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    at: Where,
}

type Asked = (Request, Sender<Answer>);

impl Serve {
    /// Runs until `lab down`.
    pub fn run(&self) -> Result<(), Failure> {
        // In its own session, the process gets no signals from the terminal. It fails only if this is the leader of a group already.
        if let Err(error) = rustix::process::setsid() {
            say!("the process has no session of its own: {error}");
        }
        let folder = Folder::open(&self.at.folder)?;
        let run = folder.run_folder()?;
        folder.record_process()?;
        let listener =
            protocol::listen(&run).map_err(LabError::file("create the control socket in", &run))?;
        let mut fleet = Fleet::new(planned(&folder)?, folder.root(), &run)?;
        let (sender, requests) = channel();
        std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept(&listener, &sender))
            .map_err(LabError::file("start the thread of", &run))?;
        print(&format!("{READY}\n"))?;
        work(&mut fleet, &requests);
        drop(fleet);
        Ok(folder.clean()?)
    }
}

fn accept(listener: &UnixListener, requests: &Sender<Asked>) {
    for stream in listener.incoming() {
        let requests = requests.clone();
        let served = stream.and_then(|stream| {
            std::thread::Builder::new().spawn(move || {
                let answer = |request| {
                    let (sender, answer) = channel();
                    requests.send((request, sender)).ok()?;
                    answer.recv().ok()
                };
                if let Err(error) = protocol::serve(stream, answer) {
                    say!("a request failed: {}", chain(&error));
                }
            })
        });
        if let Err(error) = served {
            say!("a connection failed: {}", chain(&error));
            std::thread::sleep(STEP);
        }
    }
}

fn work(fleet: &mut Fleet, requests: &Receiver<Asked>) {
    while !fleet.has_stopped() {
        match requests.recv_timeout(STEP) {
            Ok((request, sender)) => {
                // The client may have gone.
                drop(sender.send(answer(fleet, request)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(STEP),
        }
        fleet.step();
    }
    drop(std::io::stderr().flush());
}

fn answer(fleet: &mut Fleet, request: Request) -> Answer {
    let result = match request {
        Request::Status => return Answer::Status(fleet.status()),
        Request::Enter { node } => fleet.press_enter(&node),
        Request::StartCapture { file, max_bytes } => fleet.start_capture(file, max_bytes),
        Request::StopCapture => {
            fleet.stop_capture();
            Ok(())
        }
        Request::Fault { fault, nodes } => fleet.disturb(fault, &nodes),
        Request::Down { limit_s } => {
            fleet.stop(Duration::from_secs(limit_s));
            Ok(())
        }
    };
    match result {
        Ok(()) => Answer::Accepted,
        Err(error) => Answer::Refused { message: chain(&error) },
    }
}
