//! Asks many peers at once, and repeats what was not answered: loss must not look like a small path.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use kubedos_sys::icmp::{Icmp, Icmp6, path_mtu, send_unfragmented};
use kubedos_wire::packets::icmp::{
    IP_HEADER, IPV6_HEADER, MESSAGE_HEADER, Message, TooLarge, echo_request, parse, parse_v6,
};

use super::search::{Found, Search};

/// How often a size is tried. With 20 % loss in each direction, all tries fail once in 165 times, and a smaller path is
/// reported only if a second search agrees.
const TRIES: usize = 5;

/// How long the first answer may take.
const LONGEST: Duration = Duration::from_secs(2);

/// How many peers are asked at once; their answers fit into the socket's buffer.
const BATCH: usize = 32;

/// WireGuard ignores a packet that starts with this: it has no message of type 0.
const NO_MESSAGE: [u8; 4] = [0; 4];

/// A packet for a peer: its address on the plane, and the size in bytes with all headers of IP.
pub type Ask = (Ipv4Addr, u16);

/// What the search needs of the network.
pub trait Echo {
    /// Sends each packet once and waits for the answers, at most this long. Returns whether each was answered, and the
    /// longest time that an answer took.
    fn ask(&mut self, asks: &[Ask], patience: Duration) -> io::Result<(Vec<bool>, Duration)>;
}

/// The largest packets that reach peers and come back, in the order of the peers.
pub fn find(echo: &mut impl Echo, peers: &[Ipv4Addr], planned: u16) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for batch in peers.chunks(BATCH) {
        let first = search(echo, batch, planned)?;
        let small = |(found, _): &(Found, &Ipv4Addr)| matches!(found, Found::Passes(size) if *size < planned);
        let doubted: Vec<Ipv4Addr> =
            first.iter().copied().zip(batch).filter(small).map(|(_, peer)| *peer).collect();
        let mut second = search(echo, &doubted, planned)?.into_iter();
        found.extend(first.into_iter().map(|found| match found {
            Found::Passes(size) if size < planned => larger(found, second.next()),
            Found::Passes(_) | Found::Silent => found,
        }));
    }
    Ok(found)
}

/// The better of two results. A peer that is silent in one of them is not known.
fn larger(first: Found, second: Option<Found>) -> Found {
    match (first, second) {
        (Found::Passes(first), Some(Found::Passes(second))) => Found::Passes(first.max(second)),
        _ => Found::Silent,
    }
}

fn search(echo: &mut impl Echo, peers: &[Ipv4Addr], planned: u16) -> io::Result<Vec<Found>> {
    let mut searches: Vec<Search> = peers.iter().map(|_| Search::new(planned)).collect();
    let mut patience = LONGEST;
    loop {
        let asks: Vec<(usize, Ask)> = searches
            .iter()
            .zip(peers)
            .enumerate()
            .filter_map(|(at, (search, peer))| Some((at, (*peer, search.size()?))))
            .collect();
        if asks.is_empty() {
            break;
        }
        let (answered, slowest) = ask_again(echo, &asks, patience)?;
        for (arrived, (at, _)) in answered.into_iter().zip(&asks) {
            if let Some(search) = searches.get_mut(*at) {
                search.answer(arrived);
            }
        }
        // Later questions wait three times as long as the slowest answer so far.
        patience = (slowest * 3).clamp(LONGEST / 5, LONGEST);
    }
    Ok(searches.iter().map(|search| search.found().unwrap_or(Found::Silent)).collect())
}

/// Repeats questions without an answer.
fn ask_again(
    echo: &mut impl Echo,
    asks: &[(usize, Ask)],
    patience: Duration,
) -> io::Result<(Vec<bool>, Duration)> {
    let (mut answered, mut slowest) = (vec![false; asks.len()], Duration::ZERO);
    for _ in 0..TRIES {
        let open: Vec<(usize, Ask)> = asks
            .iter()
            .enumerate()
            .filter(|(at, _)| answered.get(*at) == Some(&false))
            .map(|(at, (_, ask))| (at, *ask))
            .collect();
        if open.is_empty() {
            break;
        }
        let asked: Vec<Ask> = open.iter().map(|(_, ask)| *ask).collect();
        let (now, took) = echo.ask(&asked, patience)?;
        slowest = slowest.max(took);
        for (arrived, (at, _)) in now.into_iter().zip(open) {
            if let Some(known) = answered.get_mut(at) {
                *known |= arrived;
            }
        }
    }
    Ok((answered, slowest))
}

/// Echo requests of this node from its address on a plane. The kernel of a peer answers them; the session of WireGuard
/// authenticates both directions.
#[derive(Debug)]
pub struct Kernel {
    socket: Icmp,
    id: u16,
    sequence: u16,
    secret: [u8; 16],
}

impl Kernel {
    /// Opens the socket.
    pub fn open(source: Ipv4Addr, secret: [u8; 16]) -> io::Result<Self> {
        let [a, b, ..] = secret;
        let id = u16::from_be_bytes([a, b]);
        Ok(Self { socket: Icmp::open(Some(source))?, id, sequence: 0, secret })
    }

    fn data(&self, size: u16) -> Vec<u8> {
        let length = usize::from(size.saturating_sub(IP_HEADER + MESSAGE_HEADER));
        self.secret.iter().copied().cycle().take(length).collect()
    }
}

impl Echo for Kernel {
    fn ask(&mut self, asks: &[Ask], patience: Duration) -> io::Result<(Vec<bool>, Duration)> {
        let begun = Instant::now();
        let mut open = Vec::new();
        for (to, size) in asks {
            self.sequence = self.sequence.wrapping_add(1);
            open.push(Some((*to, self.sequence, *size)));
            let request = echo_request(self.id, self.sequence, &self.data(*size));
            match self.socket.send(*to, &request) {
                Ok(()) => {}
                // Without a route or a session, there is no answer.
                Err(error) if is_about_the_path(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let (mut buffer, mut slowest) = (vec![0; 1 << 16], Duration::ZERO);
        while open.iter().any(Option::is_some) {
            let Some(packet) = self.socket.receive(&mut buffer, begun + patience)? else { break };
            let Some(Message::Reply { from, id, sequence, data }) = parse(packet) else { continue };
            let answers = |ask: &&mut Option<(Ipv4Addr, u16, u16)>| {
                ask.is_some_and(|(to, number, size)| {
                    (to, self.id, number) == (from, id, sequence) && data == self.data(size)
                })
            };
            if let Some(ask) = open.iter_mut().find(answers) {
                *ask = None;
                slowest = begun.elapsed();
            }
        }
        Ok((open.iter().map(Option::is_none).collect(), slowest))
    }
}

fn is_about_the_path(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::WouldBlock
    ) || error.raw_os_error().is_some_and(|number| [89, 90, 105, 126].contains(&number)) // EDESTADDRREQ, EMSGSIZE, ENOBUFS, ENOKEY
}

/// Sends a UDP datagram of `size` bytes that no router fragments to a peer's endpoint, and waits for a router that says that
/// it is too large. The peer ignores the datagram. Returns the MTU that the router reports.
///
/// Anybody can send such a message. It counts only if it quotes the random bytes of the datagram, which only those can know
/// who see the path.
pub fn ask_routers(
    endpoint: SocketAddr,
    size: u16,
    random: &[u8; 16],
    patience: Duration,
) -> io::Result<Option<u16>> {
    let to = endpoint.ip();
    let (header, mut routers) = if to.is_ipv4() {
        (IP_HEADER, Routers::V4(Icmp::open(None)?))
    } else {
        (IPV6_HEADER, Routers::V6(Icmp6::open()?))
    };
    let mut data = [&NO_MESSAGE[..], random].concat();
    data.resize(usize::from(size.saturating_sub(header + MESSAGE_HEADER)), 0);
    match send_unfragmented(to, endpoint.port(), &data) {
        Ok(()) => {}
        Err(error) if is_about_the_path(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let (end, mut buffer) = (Instant::now() + patience, vec![0; 1 << 16]);
    while let Some(message) = routers.next(&mut buffer, end)? {
        if let Some(mtu) = message.and_then(|message| believed(&message, to, size, random)) {
            return Ok(Some(mtu));
        }
    }
    Ok(None)
}

/// A socket that hears routers.
enum Routers {
    V4(Icmp),
    V6(Icmp6),
}

impl Routers {
    /// The next message; `None` at the end of the time, and `Some(None)` for a message of another kind.
    fn next<'b>(&mut self, buffer: &'b mut [u8], end: Instant) -> io::Result<Option<Option<TooLarge<'b>>>> {
        match self {
            Self::V4(socket) => Ok(socket.receive(buffer, end)?.map(|packet| match parse(packet)? {
                Message::TooLarge(message) => Some(message),
                Message::Reply { .. } => None,
            })),
            Self::V6(socket) if socket.wait(end)? => Ok(Some(socket.receive(buffer)?.and_then(parse_v6))),
            Self::V6(_) => Ok(None),
        }
    }
}

/// The MTU that a message reports about our datagram. It must be smaller than the datagram, and at least 68 (RFC 791).
pub fn believed(message: &TooLarge<'_>, sent_to: IpAddr, size: u16, random: &[u8; 16]) -> Option<u16> {
    let TooLarge { mtu, to, quoted } = *message;
    let own = to == sent_to && quoted.strip_prefix(&NO_MESSAGE)?.starts_with(random);
    (own && (68..size).contains(&mtu)).then_some(mtu)
}

/// The path MTU that the kernel believes in, if packets of `size` bytes are larger. Over IPv6, everybody who knows the addresses
/// and ports can send the message that it follows from; the kernel then splits packets of planes into fragments.
pub fn believed_by_the_kernel(endpoint: SocketAddr, size: u16) -> io::Result<Option<u16>> {
    let IpAddr::V6(to) = endpoint.ip() else { return Ok(None) }; // `net.ipv4.ip_no_pmtu_disc`
    match path_mtu(to) {
        Ok(mtu) => Ok(u16::try_from(mtu).ok().filter(|mtu| *mtu < size)),
        Err(error) if is_about_the_path(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
