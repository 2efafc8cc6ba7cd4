//! Ports with sockets. The client of these tests does what QEMU's netdev does.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{BROADCAST, SOON, frame, started, status};
use crate::switch::{FrameReader, Framed, MAX_FRAME, Port, Switch, append_framed};

struct Client {
    stream: UnixStream,
    reader: FrameReader,
    frames: Vec<Vec<u8>>,
}

impl Client {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        Self { stream, reader: FrameReader::default(), frames: Vec::new() }
    }

    fn send(&mut self, frame: &[u8]) {
        let mut bytes = Vec::new();
        append_framed(&mut bytes, frame);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next frame; `None` if the switch closed the connection.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        while self.frames.is_empty() {
            let count = match self.stream.read(&mut buffer) {
                Ok(count @ 1..) => count,
                Ok(0) => return None,
                // The switch ended before it accepted the connection or read all frames.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                result => panic!("failed to read: {result:?}"),
            };
            let frames = &mut self.frames;
            let keep = |framed: Framed<'_>| match framed {
                Framed::Frame(frame) => frames.push(frame.to_vec()),
                Framed::Oversized(length) => panic!("a frame of {length} bytes"),
            };
            self.reader.push(&buffer[..count], keep).unwrap();
        }
        Some(self.frames.remove(0))
    }
}

/// A switch with a station `here` in this process, and a socket `vm`.
struct Setup {
    folder: tempfile::TempDir,
    switch: Switch,
    here: Port,
    path: std::path::PathBuf,
}

fn setup() -> Setup {
    let (folder, switch) = (tempfile::tempdir().unwrap(), started());
    let here = switch.port("here").unwrap();
    let path = switch.listen("vm", folder.path()).unwrap().path;
    Setup { folder, switch, here, path }
}

/// Sends a frame from the client, and waits until it is there.
fn greet(client: &mut Client, here: &Port, payload: &[u8]) {
    client.send(&frame(2, BROADCAST, payload));
    assert_eq!(here.receive(SOON), Some(frame(2, BROADCAST, payload)));
}

#[test]
fn frames_pass_between_sockets_and_stations_of_this_process() {
    let Setup { folder, switch, here, path } = setup();
    let other = switch.listen("other", folder.path()).unwrap();
    let (mut vm, mut other) = (Client::connect(&path), Client::connect(&other.path));
    greet(&mut vm, &here, b"hello");
    other.send(&frame(3, 2, b"to vm"));
    assert_eq!(vm.receive(), Some(frame(3, 2, b"to vm")));
    assert_eq!(here.try_receive(), None, "the switch has learned the port of station 2");
    let longest = [frame(2, 3, b""), vec![9; MAX_FRAME - 14]].concat();
    vm.send(&longest);
    // Depending on the order in which both clients connected, the greeting is before it.
    let received =
        std::iter::from_fn(|| other.receive()).find(|bytes| *bytes != frame(2, BROADCAST, b"hello"));
    assert_eq!(received, Some(longest));
}

#[test]
fn the_port_of_a_client_that_ended_accepts_the_next_one() {
    let Setup { switch, here, path, folder: _folder } = setup();
    for number in 0..20_u8 {
        let mut client = Client::connect(&path);
        greet(&mut client, &here, &[number]);
        here.send(&frame(1, 2, &[number]));
        assert_eq!(client.receive(), Some(frame(1, 2, &[number])));
    }
    let connections = status(switch.control(), "vm").connections;
    assert_eq!((connections.accepted, connections.refused, connections.cut_frames), (20, 0, 0));
}

#[test]
fn frames_that_a_client_sent_before_it_ended_arrive() {
    let Setup { here, path, switch: _switch, folder: _folder } = setup();
    let mut client = Client::connect(&path);
    greet(&mut client, &here, b"hello");
    here.send(&frame(1, 2, b"never read"));
    for number in 0..100 {
        client.send(&frame(2, BROADCAST, &[number]));
    }
    drop(client);
    for number in 0..100 {
        assert_eq!(here.receive(SOON), Some(frame(2, BROADCAST, &[number])));
    }
}

#[test]
fn a_second_client_is_refused() {
    let Setup { switch, here, path, folder: _folder } = setup();
    let mut first = Client::connect(&path);
    greet(&mut first, &here, b"first");
    assert_eq!(Client::connect(&path).receive(), None);
    greet(&mut first, &here, b"still connected");
    let connections = status(switch.control(), "vm").connections;
    assert_eq!((connections.accepted, connections.refused), (1, 1));
}

#[test]
fn a_client_that_ends_within_a_frame_loses_only_this_frame() {
    let Setup { switch, here, path, folder: _folder } = setup();
    for (number, cut) in [&b"\0"[..], b"\0\0\0", b"\0\0\0\x64", b"\0\0\0\x64 ten bytes"].iter().enumerate() {
        let mut client = Client::connect(&path);
        greet(&mut client, &here, b"whole");
        client.stream.write_all(cut).unwrap();
        drop(client);
        greet(&mut Client::connect(&path), &here, b"next");
        assert_eq!(status(switch.control(), "vm").connections.cut_frames, number as u64 + 1);
    }
}

#[test]
fn a_runt_is_counted_and_an_impossible_length_ends_the_connection() {
    let Setup { switch, here, path, folder: _folder } = setup();
    let mut client = Client::connect(&path);
    client.send(&[]);
    client.send(&[0; 13]);
    client.send(&vec![0; MAX_FRAME + 1]);
    greet(&mut client, &here, b"after invalid frames");
    let dropped = status(switch.control(), "vm").dropped_in;
    assert_eq!((dropped.runt, dropped.oversized), (2, 1));
    client.send(&frame(2, BROADCAST, b"before"));
    client.stream.write_all(&[0xff; 4]).unwrap();
    assert_eq!(here.receive(SOON), Some(frame(2, BROADCAST, b"before")));
    assert_eq!(client.receive(), None);
    let connections = status(switch.control(), "vm").connections;
    assert_eq!((connections.framing_errors, connections.cut_frames), (1, 0));
    greet(&mut Client::connect(&path), &here, b"next");
}

#[test]
fn a_client_that_does_not_read_does_not_stop_the_others() {
    let Setup { folder, switch, here, path } = setup();
    let mut stuck = Client::connect(&path);
    greet(&mut stuck, &here, b"hello");
    let watcher = switch.port("watcher").unwrap();
    let payload = [7; 1400];
    let sent = (1..20_000).find(|_| {
        here.send(&frame(1, BROADCAST, &payload));
        assert_eq!(watcher.try_receive(), Some(frame(1, BROADCAST, &payload)));
        status(switch.control(), "vm").dropped_out.queue_full > 0
    });
    assert!(sent.is_some(), "the queue of the stuck client is not bounded");
    let other = switch.listen("other", folder.path()).unwrap();
    let mut other = Client::connect(&other.path);
    greet(&mut other, &here, b"other");
    here.send(&frame(1, 2, b"answer"));
    assert_eq!(other.receive(), Some(frame(1, 2, b"answer")));
    // The frames of the stuck client are still transmitted.
    greet(&mut stuck, &here, b"stuck");
    assert_eq!(stuck.receive(), Some(frame(1, BROADCAST, &payload)));
}

#[test]
fn a_link_that_goes_down_closes_the_connection_between_two_frames() {
    let Setup { switch, here, path, folder } = setup();
    let control = switch.control();
    let id = crate::switch::PortId(1);
    let other = switch.listen("other", folder.path()).unwrap();
    let (mut client, mut other) = (Client::connect(&path), Client::connect(&other.path));
    greet(&mut client, &here, b"up");
    let mut bytes = Vec::new();
    append_framed(&mut bytes, &frame(2, BROADCAST, b"cut"));
    client.stream.write_all(&bytes[..10]).unwrap();
    control.set_link(id, false).unwrap();
    // When this frame is there, the thread has finished a turn with the link down.
    greet(&mut other, &here, b"turn");
    assert_eq!(client.stream.write(&bytes[10..]).unwrap(), bytes.len() - 10);
    assert_eq!(client.receive(), None);
    assert_eq!(Client::connect(&path).receive(), None, "a link that is down refuses clients");
    let port = status(control, "vm");
    assert_eq!((port.dropped_in.link_down, port.connections.cut_frames, port.attached), (1, 0, false));
    control.set_link(id, true).unwrap();
    greet(&mut Client::connect(&path), &here, b"up again");
}

#[test]
fn a_client_connects_by_a_link_to_a_path_that_is_too_long_for_a_socket() {
    let Setup { folder, switch, here, path: _ } = setup();
    let deep = (0..30).fold(folder.path().to_owned(), |path, _| path.join("deeper"));
    std::fs::create_dir_all(&deep).unwrap();
    let socket = switch.listen("deep", &deep).unwrap();
    assert!(socket.path.as_os_str().len() > 108);
    let link = folder.path().join("net0");
    std::os::unix::fs::symlink(&socket.path, &link).unwrap();
    greet(&mut Client::connect(&link), &here, b"deep");
}

#[test]
fn an_abandoned_socket_is_replaced_and_a_used_one_is_not() {
    let (folder, switch) = (tempfile::tempdir().unwrap(), started());
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("vm")).unwrap());
    std::fs::write(folder.path().join("file"), "content").unwrap();
    let path = switch.listen("vm", folder.path()).unwrap().path;
    let other = started();
    assert!(other.listen("vm", folder.path()).is_err());
    assert!(other.listen("file", folder.path()).is_err());
    assert_eq!(
        switch.listen("vm", folder.path()).unwrap_err().to_string(),
        "the switch already has a port `vm`"
    );
    // A socket that cannot be created leaves no port.
    assert!(other.listen("vm2", &folder.path().join("missing")).is_err());
    assert!(other.control().status().ports.is_empty());
    let mut client = Client::connect(&path);
    drop(switch);
    assert_eq!(client.receive(), None);
    assert!(!path.exists());
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"content");
}

#[test]
fn a_station_notices_the_end_of_the_switch() {
    let Setup { switch, here, path: _, folder: _folder } = setup();
    let waiting = std::thread::spawn(move || {
        let received = here.receive(SOON);
        here.send(&frame(1, BROADCAST, b"ignored"));
        received
    });
    drop(switch);
    assert_eq!(waiting.join().unwrap(), None);
}
