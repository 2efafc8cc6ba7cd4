//! The control socket of a lab: one request and one answer per connection, each a JSON document on one line.
//!
//! The path of a unix socket has at most 108 bytes (unix(7)), so both sides name the socket through a descriptor of its folder. Who can open
//! the folder may control the lab; only its owner can.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubedos_wire::record::Outcome;
use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::faults::Fault;

/// The maximum length of a line. An answer has a few texts of at most 1000 characters for each node.
const MAX_LINE: u64 = 64 << 20;

/// How long a client waits: the process answers between two steps, and a start of a machine is one step.
const ANSWER: Duration = Duration::from_secs(120);

/// How long the process waits for the line of a client.
const REQUEST: Duration = Duration::from_secs(10);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// The state of all nodes.
    Status,
    /// Presses Enter on the console of a node.
    Enter {
        /// The node.
        node: String,
    },
    /// Captures all frames of the switch.
    StartCapture {
        /// The file, an absolute path.
        file: PathBuf,
        /// Its maximum length.
        max_bytes: u64,
    },
    /// Ends the capture.
    StopCapture,
    /// Changes the faults between nodes.
    Fault {
        /// The change.
        fault: Fault,
        /// The nodes that it concerns.
        nodes: Vec<String>,
    },
    /// Powers all nodes off, then ends the process.
    Down {
        /// After this time, nodes that still run are killed.
        limit_s: u64,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The state of all nodes.
    Status(LabStatus),
    /// The request is being executed.
    Accepted,
    /// The request was refused.
    Refused {
        /// The reason.
        message: String,
    },
}

/// The state of a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabStatus {
    /// Seconds since the start of the process.
    pub up_s: u64,
    /// Whether the nodes are being powered off.
    pub stopping: bool,
    /// The nodes, in the order in which they start.
    pub nodes: Vec<NodeStatus>,
}

/// The state of a node, as `lab status` prints it for programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The version of this document: 1.
    pub version: u32,
    /// The name.
    pub node: String,
    /// `control-plane` or `worker`.
    pub role: String,
    /// The address in the underlay.
    pub address: Option<String>,
    /// The Ethernet address.
    pub mac: String,
    /// The state.
    pub phase: Phase,
    /// QEMU's word for the state of the machine.
    pub machine: Option<String>,
    /// The stage of the last record.
    pub stage: Option<String>,
    /// The outcome of the last record.
    pub outcome: Option<Outcome>,
    /// What the stage waits for.
    pub on: Option<String>,
    /// Why the node halted or its machine failed; otherwise the error of the last record.
    pub error: Option<String>,
    /// The volume that has a bad block.
    pub corrupt: Option<String>,
    /// Seconds since the start of the machine, while it runs.
    pub up_s: Option<u64>,
    /// The state of the planes.
    pub planes: Option<Planes>,
    /// The faults of the frames from and to the node.
    pub faults: Vec<String>,
    /// The port of the switch.
    pub port: PortTraffic,
    /// The file with the output of the console.
    pub console: PathBuf,
}

/// The state of a machine and its boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It starts when the nodes before it are ready, or have failed.
    Queued,
    /// It boots.
    Booting,
    /// The last stage of this version has succeeded.
    Ready,
    /// The last stage of this version waits for something outside the node.
    Waiting,
    /// The node halted or its kernel failed.
    Halted,
    /// The machine has ended: the node powered off or restarted.
    Off,
    /// The machine could not be started, or the emulator failed.
    Failed,
}

impl Phase {
    /// Whether the node needs no more time.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Queued | Self::Booting)
    }
}

/// The state of the planes of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planes {
    /// The outcome of the stage that configures them.
    pub outcome: Outcome,
    /// What it waits for.
    pub on: Option<String>,
    /// What is in force.
    pub note: Option<String>,
}

/// The frames at a port of the switch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortTraffic {
    /// Whether the machine is connected.
    pub attached: bool,
    /// Frames from the node.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames to the node.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
}

/// The name of the socket in its folder.
const SOCKET: &str = "control";

/// Sends a request to the process of a lab, whose sockets are in the folder `run`.
pub fn ask(run: &Path, request: &Request) -> Result<Answer, LabError> {
    let exchange = || -> io::Result<String> {
        let mut stream = UnixStream::connect(short_path(&File::open(run)?))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(REQUEST))?;
        send(&mut stream, request)?;
        receive(&stream)
    };
    let line = exchange().map_err(LabError::Control)?;
    match serde_json::from_str(&line) {
        Ok(Answer::Refused { message }) => Err(LabError::Refused(message)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(LabError::Answer(Some(error))),
    }
}

/// The state of all nodes.
pub fn status(run: &Path) -> Result<LabStatus, LabError> {
    match ask(run, &Request::Status)? {
        Answer::Status(status) => Ok(status),
        Answer::Accepted | Answer::Refused { .. } => Err(LabError::Answer(None)),
    }
}

/// Creates the socket in the folder `run`, and replaces the socket of a process that has ended.
pub fn listen(run: &Path) -> io::Result<UnixListener> {
    let path = run.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(short_path(&File::open(run)?))
}

/// Serves one connection: reads the request, and writes what `answer` returns.
pub fn serve(mut stream: UnixStream, answer: impl FnOnce(Request) -> Option<Answer>) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST))?;
    stream.set_write_timeout(Some(REQUEST))?;
    let answer = match serde_json::from_str(&receive(&stream)?) {
        Ok(request) => answer(request),
        Err(error) => Some(Answer::Refused { message: format!("the request is not valid: {error}") }),
    };
    answer.map_or(Ok(()), |answer| send(&mut stream, &answer))
}

fn short_path(folder: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(SOCKET)
}

fn send(stream: &mut UnixStream, document: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn receive(stream: &UnixStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line)?;
    if line.ends_with('\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that answers one connection.
    fn once(run: &Path, answer: Answer) -> std::thread::JoinHandle<Option<Request>> {
        let listener = listen(run).unwrap();
        std::thread::spawn(move || {
            let mut received = None;
            serve(listener.accept().unwrap().0, |request| {
                received = Some(request);
                Some(answer)
            })
            .unwrap();
            received
        })
    }

    #[test]
    fn a_request_gets_its_answer_in_a_deep_folder() {
        let base = tempfile::tempdir().unwrap();
        let run = base.path().join("deep/".repeat(40));
        std::fs::create_dir_all(&run).unwrap();
        for request in [
            Request::Status,
            Request::Enter { node: "cp-1".into() },
            Request::StartCapture { file: "/x".into(), max_bytes: 1 },
            Request::StopCapture,
            Request::Fault { fault: Fault::Reorder { ppm: 1, distance: 2 }, nodes: vec!["w-1".into()] },
            Request::Fault { fault: Fault::Heal, nodes: vec![] },
            Request::Down { limit_s: 1 },
        ] {
            let process = once(&run, Answer::Accepted);
            assert_eq!(ask(&run, &request).unwrap(), Answer::Accepted);
            assert_eq!(process.join().unwrap(), Some(request));
        }
        let process = once(&run, Answer::Refused { message: "no".into() });
        assert!(matches!(ask(&run, &Request::Status), Err(LabError::Refused(message)) if message == "no"));
        process.join().unwrap();
    }

    #[test]
    fn a_line_that_is_no_request_is_refused() {
        let run = tempfile::tempdir().unwrap();
        for line in ["{}\n", "\n", "\u{1b}[2J\n", "{\"request\":\"format\"}\n", "null\n"] {
            let process = once(run.path(), Answer::Accepted);
            let mut stream = UnixStream::connect(run.path().join(SOCKET)).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            let answer = serde_json::from_str(&receive(&stream).unwrap()).unwrap();
            assert!(matches!(answer, Answer::Refused { .. }), "{line:?}");
            assert_eq!(process.join().unwrap(), None);
        }
    }

    #[test]
    fn an_abandoned_socket_is_an_error_and_is_replaced() {
        let run = tempfile::tempdir().unwrap();
        drop(listen(run.path()).unwrap());
        assert!(matches!(ask(run.path(), &Request::Status), Err(LabError::Control(_))));
        let process = once(run.path(), Answer::Accepted);
        ask(run.path(), &Request::StopCapture).unwrap();
        process.join().unwrap();
    }
}
