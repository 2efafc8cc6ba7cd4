//! Netlink against the kernel of this host, in a network namespace that ends with the test.
//!
//! The test starts itself again below `unshare --map-root-user --net`, so it needs no root. What the kernel stores is
//! read back and compared.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic; the lint exempts test functions, not their helpers"
)]
use std::env;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use kubedos_sys::netlink::events::Events;
use kubedos_sys::netlink::nftables::{
    Base, Chain, Comparison, Count, Expression, Key, Nftables, Rule, Table, TableName,
};
use kubedos_sys::netlink::route::{Address, Route, Rtnetlink};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sendto, socket_with};

const INSIDE: &str = "KUBEDOS_TEST_NAMESPACE";

/// Runs the test with this name in a new network namespace; returns whether this process is in it.
fn in_namespace(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let program = env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net"]).arg(program).args(["--exact", test, "--nocapture"]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

#[test]
fn devices_addresses_and_routes_are_created_listed_and_removed() {
    if !in_namespace("devices_addresses_and_routes_are_created_listed_and_removed") {
        return;
    }
    let mut kernel = Rtnetlink::open().unwrap();
    kernel.create_link("wg1", "bridge", 1440).unwrap();
    assert!(kernel.create_link("wg1", "bridge", 1440).is_err(), "the name is in use");
    let link = |kernel: &mut Rtnetlink| kernel.links().unwrap().into_iter().find(|link| link.name == "wg1");
    let created = link(&mut kernel).unwrap();
    assert_eq!((created.kind.as_deref(), created.mtu, created.up), (Some("bridge"), 1440, false));
    kernel.set_mtu(created.index, 1408).unwrap();
    kernel.enable(created.index).unwrap();
    let changed = link(&mut kernel).unwrap();
    assert_eq!((changed.mtu, changed.up), (1408, true));

    for (range, address, bits) in [("10.101.0.0", "10.101.0.1", 24), ("fd00:101::", "fd00:101::1", 64)] {
        let (range, own): (IpAddr, IpAddr) = (range.parse().unwrap(), address.parse().unwrap());
        let address =
            Address { link: created.index, address: own, prefix: if own.is_ipv4() { 32 } else { 128 } };
        kernel.add_address(&address).unwrap();
        assert!(kernel.addresses().unwrap().contains(&address));
        let route = Route::through(created.index, range, bits, own);
        kernel.add_route(&route).unwrap();
        assert!(kernel.routes().unwrap().contains(&route), "{route:?} in {:?}", kernel.routes());
        assert!(kernel.add_route(&route).is_err(), "the route exists");
        kernel.remove_route(&route).unwrap();
        assert!(!kernel.routes().unwrap().contains(&route));
        kernel.remove_address(&address).unwrap();
        assert!(!kernel.addresses().unwrap().contains(&address));
    }
    kernel.delete_link(created.index).unwrap();
    assert_eq!(link(&mut kernel), None);
}

/// The host has more devices than fit into one message: the parts of a list are joined.
#[test]
fn a_list_of_many_devices_is_complete() {
    if !in_namespace("a_list_of_many_devices_is_complete") {
        return;
    }
    let mut kernel = Rtnetlink::open().unwrap();
    for number in 0..200 {
        kernel.create_link(&format!("d{number}"), "bridge", 1500).unwrap();
    }
    let links = kernel.links().unwrap();
    for number in 0..200 {
        assert!(links.iter().any(|link| link.name == format!("d{number}")), "{number}");
    }
}

fn rule(expressions: Vec<Expression>, comment: &str) -> Rule {
    Rule { expressions, comment: comment.to_owned() }
}

fn table(rules: Vec<Rule>) -> Table {
    let chain =
        |name: &str, hook, accept, rules| Chain { name: name.into(), hook, priority: 0, accept, rules };
    let chains = vec![
        chain("input", 1, false, rules),
        chain("forward", 2, false, vec![]),
        chain("output", 3, true, vec![]),
    ];
    Table { name: "kubedos".into(), chains }
}

fn device(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn counted(mut expressions: Vec<Expression>, counter: &str, verdict: Expression) -> Vec<Expression> {
    expressions.extend([Expression::Counter(counter.into()), verdict]);
    expressions
}

/// One rule for each expression: the kernel lists what was sent.
#[test]
fn a_table_is_read_back_as_it_was_sent() {
    if !in_namespace("a_table_is_read_back_as_it_was_sent") {
        return;
    }
    let port = [
        Expression::Meta(Key::Protocol),
        Expression::Compare(Comparison::Equal, vec![17]),
        Expression::Payload { base: Base::Transport, offset: 2, length: 2 },
    ];
    let range = Expression::Range(vec![0xca, 0x6c], vec![0xca, 0x6e]);
    let mut kernel = Nftables::open().unwrap();
    let sent = table(vec![
        rule(
            counted(
                vec![
                    Expression::Meta(Key::InputDevice),
                    Expression::Compare(Comparison::NotEqual, device("wg1")),
                    Expression::Meta(Key::Family),
                    Expression::Compare(Comparison::Equal, vec![2]),
                    Expression::Payload { base: Base::Network, offset: 12, length: 4 },
                    Expression::Mask(vec![255, 255, 255, 0]),
                    Expression::Compare(Comparison::Equal, vec![10, 101, 0, 0]),
                ],
                "input.source",
                Expression::Drop,
            ),
            "anti-spoofing: sources in wg1",
        ),
        rule(
            counted(
                vec![
                    Expression::ConnectionState,
                    Expression::Mask(6_u32.to_ne_bytes().to_vec()),
                    Expression::Compare(Comparison::NotEqual, vec![0; 4]),
                ],
                "input.established",
                Expression::Accept,
            ),
            "",
        ),
        rule(
            counted(
                [port.to_vec(), vec![range, Expression::Limit { rate: 200, burst: 400 }]].concat(),
                "input.port",
                Expression::Accept,
            ),
            "port",
        ),
        rule(counted(port.to_vec(), "input.port", Expression::Drop), ""),
    ]);
    kernel.replace(&sent).unwrap();
    assert_eq!(kernel.table("kubedos").unwrap(), Some(sent.clone()));
    assert_eq!(kernel.counters("kubedos").unwrap().len(), 3);
    let fewer = table(sent.chains[0].rules[1..2].to_vec());
    kernel.replace(&fewer).unwrap();
    assert_eq!(kernel.table("kubedos").unwrap(), Some(fewer));
    assert_eq!(kernel.counters("kubedos").unwrap().into_keys().collect::<Vec<_>>(), ["input.established"]);
    assert_eq!(kernel.table("other").unwrap(), None);
}

/// A table with a rule that the kernel refuses leaves the old table in force, and the error contains the rule.
#[test]
fn a_refused_table_changes_nothing() {
    if !in_namespace("a_refused_table_changes_nothing") {
        return;
    }
    let mut kernel = Nftables::open().unwrap();
    let good = table(vec![rule(counted(vec![], "input.all", Expression::Drop), "")]);
    kernel.replace(&good).unwrap();
    let too_long = Expression::Payload { base: Base::Network, offset: 0, length: 200 };
    let bad = table(vec![
        rule(counted(vec![], "input.first", Expression::Accept), ""),
        rule(counted(vec![too_long], "input.second", Expression::Accept), "the bad one"),
    ]);
    let error = kernel.replace(&bad).unwrap_err().to_string();
    assert!(error.contains("rule 1 of chain input (the bad one)"), "{error}");
    assert_eq!(kernel.table("kubedos").unwrap(), Some(good));
}

#[test]
fn a_thousand_rules_fit_into_one_transaction() {
    if !in_namespace("a_thousand_rules_fit_into_one_transaction") {
        return;
    }
    let mut kernel = Nftables::open().unwrap();
    let one = |number: u32| {
        let address = Expression::Compare(Comparison::Equal, number.to_be_bytes().to_vec());
        let load = Expression::Payload { base: Base::Network, offset: 12, length: 4 };
        rule(counted(vec![load, address], &format!("input.allow.{number}"), Expression::Accept), "policy")
    };
    let sent = table((0..1000).map(one).collect());
    kernel.replace(&sent).unwrap();
    assert_eq!(kernel.table("kubedos").unwrap(), Some(sent));
}

/// Packets meet the rules that were sent.
#[test]
fn counters_count_and_foreign_tables_are_removed() {
    if !in_namespace("counters_count_and_foreign_tables_are_removed") {
        return;
    }
    let mut route = Rtnetlink::open().unwrap();
    route.enable(1).unwrap();
    let mut kernel = Nftables::open().unwrap();
    let lo = vec![Expression::Meta(Key::InputDevice), Expression::Compare(Comparison::Equal, device("lo"))];
    let udp = vec![Expression::Meta(Key::Protocol), Expression::Compare(Comparison::Equal, vec![17])];
    let rules = vec![rule(counted([lo, udp].concat(), "input.loopback", Expression::Drop), "")];
    kernel.replace(&table(rules.clone())).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"12345", socket.local_addr().unwrap()).unwrap();
    let counted = kernel.counters("kubedos").unwrap();
    assert_eq!(counted["input.loopback"], Count { packets: 1, bytes: 20 + 8 + 5 });
    kernel.replace(&Table { name: "foreign".into(), ..table(rules) }).unwrap();
    let names = |kernel: &mut Nftables| -> Vec<TableName> { kernel.tables().unwrap() };
    let foreign: Vec<TableName> =
        names(&mut kernel).into_iter().filter(|table| table.name != "kubedos").collect();
    assert_eq!(foreign.len(), 1);
    kernel.remove(&foreign).unwrap();
    assert_eq!(names(&mut kernel).len(), 1);
}

/// A program with `CAP_NET_ADMIN` can send datagrams to the socket of another one. They look like answers of the kernel
/// except for their sender, and are ignored.
#[test]
fn an_answer_of_another_sender_than_the_kernel_is_ignored() {
    if !in_namespace("an_answer_of_another_sender_than_the_kernel_is_ignored") {
        return;
    }
    let mut kernel = Rtnetlink::open().unwrap();
    let links = kernel.links().unwrap(); // sequence 1; the kernel gives the first socket of a process the process's number
    let port = std::process::id();
    let flags = SocketFlags::CLOEXEC;
    let forger = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).unwrap();
    let header = |length: u32, kind: u16, sequence: u32| {
        [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &2_u16.to_ne_bytes(),
            &sequence.to_ne_bytes(),
            &[0; 4],
        ]
        .concat()
    };
    let mut forged = header(16 + 16 + 12, 16, 2); // RTM_NEWLINK: an enabled device
    forged.extend([0, 0, 0, 0, 77, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    forged.extend([8, 0, 3, 0, b'w', b'g', b'1', 0, 4, 0, 99, 0]);
    forged.extend(header(20, 3, 2)); // NLMSG_DONE
    forged.extend([0; 4]);
    let sent = sendto(&forger, &forged, SendFlags::empty(), &SocketAddrNetlink::new(port, 0)).unwrap();
    assert_eq!(sent, forged.len());
    assert_eq!(kernel.links().unwrap(), links);
}

/// A change of a link or of a table is an event, reading is none, and a flood that overflows the queue is one that ends.
#[test]
fn changes_are_events_and_a_flood_of_them_ends() {
    if !in_namespace("changes_are_events_and_a_flood_of_them_ends") {
        return;
    }
    let (mut kernel, mut nftables) = (Rtnetlink::open().unwrap(), Nftables::open().unwrap());
    let events = Events::open().unwrap();
    let is_quiet = || !events.wait(Duration::ZERO).unwrap();
    assert!(is_quiet());
    kernel.create_link("wg1", "bridge", 1440).unwrap();
    assert!(!is_quiet(), "a new link");
    events.discard().unwrap();
    let link = kernel.links().unwrap().into_iter().find(|link| link.name == "wg1").unwrap().index;
    drop((kernel.addresses().unwrap(), kernel.routes().unwrap(), nftables.tables().unwrap()));
    assert!(is_quiet(), "reading the state");
    nftables.replace(&Table { name: "foreign".into(), chains: Vec::new() }).unwrap();
    assert!(!is_quiet(), "a new table");
    events.discard().unwrap();
    let address = Address { link, address: "10.101.0.77".parse().unwrap(), prefix: 32 };
    kernel.add_address(&address).unwrap();
    assert!(!is_quiet(), "a new address");
    events.discard().unwrap();

    for number in 0..3000 {
        kernel.set_mtu(link, 1300 + number % 2).unwrap();
    }
    assert!(!is_quiet(), "a flood");
    events.discard().unwrap();
    assert!(is_quiet(), "the flood ends");
    kernel.set_mtu(link, 1400).unwrap();
    assert!(!is_quiet(), "a change after the flood");
}
