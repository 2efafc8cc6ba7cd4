//! A mirror on the loopback: serves bytes from memory, and misbehaves where it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What becomes of one request.
#[derive(Debug, Clone)]
pub enum Rule {
    /// An answer without a body.
    Status(u16),
    /// The bytes end after so many, as if the connection broke.
    Cut(usize),
    /// After so many bytes nothing comes, until the client goes away.
    Stall(usize),
    /// One bit of this byte is another.
    Flip(usize),
    /// Go to another path.
    Redirect(String),
    /// These bytes are the whole answer, and then the connection ends.
    Raw(Vec<u8>),
}

#[derive(Default)]
pub struct State {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Taken one a request, the first first; then the file is served as it is.
    pub rules: BTreeMap<String, VecDeque<Rule>>,
    /// Path and `Range` of each request.
    pub log: Vec<(String, Option<String>)>,
    /// Path and head of each request, as it came.
    pub heads: Vec<(String, String)>,
    /// What every request gets that has no rule, in place of the files.
    pub always: Option<Rule>,
    /// Ranges are not known here.
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
                // A client that went away is no failure of the mirror.
                std::thread::spawn(move || drop(answer(&state, stream)));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/debian", self.port)
    }

    /// The host as messages name it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The same rule for every request.
    pub fn always(&self, rule: Rule) {
        self.state.lock().unwrap().always = Some(rule);
    }

    /// How many requests came.
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
            // Ends when the client hangs up.
            reader.read_line(&mut String::new()).map(drop)
        }
        _ => stream.write_all(body),
    }
}
