//! A mirror on the loopback. It serves files from memory, and fails according to rules.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The answer to one request.
#[derive(Debug, Clone)]
pub enum Rule {
    /// An answer without a body.
    Status(u16),
    /// The connection ends after this number of bytes of the body.
    Cut(usize),
    /// After this number of bytes, the server sends no more data and waits until the client disconnects.
    Stall(usize),
    /// One bit of the byte at this offset is flipped.
    Flip(usize),
    /// A redirect to a different path.
    Redirect(String),
    /// These bytes are the whole answer. Then the connection ends.
    Raw(Vec<u8>),
}

#[derive(Default)]
pub struct State {
    pub files: BTreeMap<String, Vec<u8>>,
    /// The rules of each path. Each request consumes one; without a rule, the file is served.
    pub rules: BTreeMap<String, VecDeque<Rule>>,
    /// Path and `Range` of each request.
    pub log: Vec<(String, Option<String>)>,
    /// Path and head of each request.
    pub heads: Vec<(String, String)>,
    /// The answer to every request without a rule of its path, instead of the file.
    pub always: Option<Rule>,
    /// Whether the server ignores `Range` headers.
    pub ignores_ranges: bool,
}

#[derive(Clone)]
pub struct Server {
    pub state: Arc<Mutex<State>>,
    port: u16,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { state: Arc::default(), port: listener.local_addr().unwrap().port() };
        let state = Arc::clone(&server.state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, stream) = (Arc::clone(&state), stream.unwrap());
                // A client that disconnected is not an error of the mirror.
                std::thread::spawn(move || drop(answer(&state, stream)));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/debian", self.port)
    }

    /// The host as in messages.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Applies a rule to every request.
    pub fn always(&self, rule: Rule) {
        self.state.lock().unwrap().always = Some(rule);
    }

    /// The number of requests.
    pub fn count(&self) -> usize {
        self.state.lock().unwrap().log.len()
    }

    pub fn rule(&self, path: &str, rule: Rule) {
        self.state.lock().unwrap().rules.entry(path.to_owned()).or_default().push_back(rule);
    }

    /// The `Range` headers of the requests for a path.
    pub fn requests(&self, path: &str) -> Vec<Option<String>> {
        let state = self.state.lock().unwrap();
        state.log.iter().filter(|(asked, _)| asked == path).map(|(_, range)| range.clone()).collect()
    }
}

fn answer(state: &Mutex<State>, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches("/debian/").to_owned();
    let (mut range, mut head) = (None, line.clone());
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        head += &header;
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("range")
        {
            range = Some(value.trim().to_owned());
        }
    }
    let (rule, file, ignores_ranges) = {
        let mut state = state.lock().unwrap();
        state.log.push((path.clone(), range.clone()));
        state.heads.push((path.clone(), head));
        let rule = state.rules.get_mut(&path).and_then(VecDeque::pop_front).or_else(|| state.always.clone());
        (rule, state.files.get(&path).cloned(), state.ignores_ranges)
    };
    let mut stream = stream;
    let plain = |stream: &mut TcpStream, head: &str| {
        write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    match &rule {
        Some(Rule::Raw(bytes)) => return stream.write_all(bytes),
        Some(Rule::Status(status)) => return plain(&mut stream, &format!("{status} No")),
        Some(Rule::Redirect(to)) => {
            return plain(&mut stream, &format!("302 There\r\nLocation: /debian/{to}"));
        }
        _ => {}
    }
    let Some(mut bytes) = file else { return plain(&mut stream, "404 Not Found") };
    if let Some(Rule::Flip(at)) = rule {
        bytes[at] ^= 0x20;
    }
    let from = range
        .filter(|_| !ignores_ranges)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let total = bytes.len();
    let body = match from {
        Some(from) if from >= total => return plain(&mut stream, "416 Range Not Satisfiable"),
        Some(from) => {
            let range = format!("bytes {from}-{}/{total}", total - 1);
            write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\n")?;
            &bytes[from..]
        }
        None => {
            write!(stream, "HTTP/1.1 200 OK\r\n")?;
            &bytes[..]
        }
    };
    write!(stream, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    match rule {
        Some(Rule::Cut(length)) => stream.write_all(&body[..length]),
        Some(Rule::Stall(length)) => {
            stream.write_all(&body[..length])?;
            stream.flush()?;
            // Returns when the client disconnects.
            reader.read_line(&mut String::new()).map(drop)
        }
        _ => stream.write_all(body),
    }
}
