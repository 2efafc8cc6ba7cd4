//! A client of QEMU's control socket (QEMU Machine Protocol specification).
//!
//! Both sides send one JSON object per line: a greeting first, then commands with their answers, and events between
//! them. The client sends one command at a time and keeps the events.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Timeout for an answer; QEMU answers between guest instructions, also on a busy host.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection to a running QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
    events: Vec<Value>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket failed, or no answer came.
    #[error("the emulator's control socket failed")]
    Socket(#[from] std::io::Error),
    /// The answer is not JSON.
    #[error("the emulator sent an answer that is not JSON")]
    Syntax(#[from] serde_json::Error),
    /// QEMU closed the connection.
    #[error("the emulator closed its control socket")]
    Closed,
    /// QEMU refused the command.
    #[error("the emulator refused `{command}`: {message}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's message.
        message: String,
    },
}

impl Qmp {
    /// Connects as soon as the socket exists.
    ///
    /// # Errors
    /// If there is no socket after `patience`, or QEMU sends no greeting.
    pub fn connect(path: &Path, patience: Duration) -> Result<Self, QmpError> {
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if start.elapsed() > patience => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let mut qmp = Self { stream: BufReader::new(stream), events: Vec::new() };
        qmp.receive()?;
        qmp.command("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// If QEMU refuses the command or does not answer.
    pub fn command(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let mut line = serde_json::to_vec(&json!({ "execute": command, "arguments": arguments }))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        loop {
            let answer = self.receive()?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                let message = error.get("desc").and_then(Value::as_str).unwrap_or_default().to_owned();
                return Err(QmpError::Refused { command: command.to_owned(), message });
            }
            self.events.push(answer);
        }
    }

    /// The events received so far.
    pub fn events(&self) -> &[Value] {
        &self.events
    }

    fn receive(&mut self) -> Result<Value, QmpError> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(QmpError::Closed);
        }
        Ok(serde_json::from_str(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A QEMU that answers each line with the next of `answers`.
    fn answering(answers: &'static [&'static str]) -> (tempfile::TempDir, Qmp) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut stream = stream;
            stream.write_all(b"{\"QMP\":{}}\n").unwrap();
            for answer in ["{\"return\":{}}"].iter().chain(answers) {
                if lines.next().is_none() {
                    break;
                }
                stream.write_all(answer.as_bytes()).unwrap();
                stream.write_all(b"\n").unwrap();
            }
        });
        let qmp = Qmp::connect(&path, Duration::from_secs(5)).unwrap();
        (folder, qmp)
    }

    #[test]
    fn events_before_an_answer_are_kept() {
        let (_folder, mut qmp) = answering(&["{\"event\":\"RESET\"}\n{\"return\":{\"status\":\"running\"}}"]);
        assert_eq!(qmp.command("query-status", json!({})).unwrap()["status"], "running");
        assert_eq!(qmp.events()[0]["event"], "RESET");
    }

    #[test]
    fn a_refusal_contains_the_command_and_the_cause() {
        let (_folder, mut qmp) = answering(&[r#"{"error":{"class":"GenericError","desc":"no such disk"}}"#]);
        let error = qmp.command("eject", json!({})).unwrap_err();
        assert_eq!(error.to_string(), "the emulator refused `eject`: no such disk");
    }

    #[test]
    fn a_closed_connection_is_an_error() {
        let (_folder, mut qmp) = answering(&[]);
        assert!(qmp.command("quit", json!({})).is_err());
    }
}
