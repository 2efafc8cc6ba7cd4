//! The firewall: the table that `kubedos_wire::firewall` computes, in the kernel.
//!
//! [`table`] translates the rules into expressions of nf_tables. The whole table is replaced in one transaction, so packets
//! meet the old table or the new one. It is replaced only if the kernel's table differs: counters survive a restart of the
//! agent. Tables of other programs are removed, because no program of this version adds one.
//!
//! A rule with several values becomes several rules of the kernel, in the same order, with the same counter: nf_tables
//! evaluates a short list of comparisons as fast as a set, and each rule can be compared as a whole.

use std::collections::BTreeMap;
use std::io;

use kubedos_base::outcome::{Class, Classified};
use kubedos_sys::netlink::nftables::{
    Base, Chain, Comparison, Count, Expression, Key, Nftables, Rule, Table, TableName,
};
use kubedos_wire::firewall::{
    Device, Family, Hook, IcmpType, Match, Rule as Want, Ruleset, Set, State, TABLE, Verdict,
};
use kubedos_wire::value::{Cidr, PortRange, Protocol};

/// Length of a device's name with its zeroes, `IFNAMSIZ`.
const IFNAMSIZ: usize = 16;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_ICMPV6: u8 = 58;

/// The kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The table of kubedOS; `None` if it does not exist.
    pub own: Option<Table>,
    /// All other tables.
    pub foreign: Vec<TableName>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Replaces the table of kubedOS, or creates it.
    Replace {
        /// The new table.
        table: Box<Table>,
        /// The difference that made it necessary.
        because: String,
    },
    /// Removes the tables of other programs.
    Remove(Vec<TableName>),
}

/// Why the firewall is not in force.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The kernel refused a request.
    #[error("failed to {0}")]
    Kernel(String, #[source] io::Error),
}

impl Classified for SettleError {
    fn class(&self) -> Class {
        match self {
            Self::Kernel(..) => Class::Retry,
        }
    }
}

/// Observes the kernel's tables; makes no change.
pub fn observe(kernel: &mut Nftables) -> Result<Observed, SettleError> {
    let failed = |error| SettleError::Kernel("read the firewall".into(), error);
    let (own, foreign) = kernel.table_and_others(TABLE).map_err(failed)?;
    Ok(Observed { own, foreign })
}

/// The changes that bring the rules into force. Pure.
pub fn plan(want: &Ruleset, have: &Observed) -> Vec<Change> {
    let table = table(want);
    let mut changes = Vec::new();
    let because = match &have.own {
        Some(own) => difference(&table, own),
        None => Some("it does not exist".to_owned()),
    };
    changes.extend(because.map(|because| Change::Replace { table: Box::new(table), because }));
    if !have.foreign.is_empty() {
        changes.push(Change::Remove(have.foreign.clone()));
    }
    changes
}

/// Applies one change.
pub fn apply(kernel: &mut Nftables, change: &Change) -> Result<(), SettleError> {
    let done = match change {
        Change::Replace { table, .. } => kernel.replace(table),
        Change::Remove(tables) => kernel.remove(tables),
    };
    done.map_err(|error| SettleError::Kernel(describe(change), error))
}

/// Brings the rules into force. Returns a description of each change.
pub fn settle(kernel: &mut Nftables, want: &Ruleset) -> Result<Vec<String>, SettleError> {
    let changes = plan(want, &observe(kernel)?);
    changes.iter().map(|change| apply(kernel, change).map(|()| describe(change))).collect()
}

/// The packets that each rule has decided on, by the name of its counter.
pub fn counters(kernel: &mut Nftables) -> Result<BTreeMap<String, Count>, SettleError> {
    kernel
        .counters(TABLE)
        .map_err(|error| SettleError::Kernel("read the counters of the firewall".into(), error))
}

/// The counters of the rules that drop packets.
pub fn drop_counters(want: &Ruleset) -> Vec<String> {
    want.rules().filter(|rule| rule.verdict == Verdict::Drop).map(|rule| rule.name.clone()).collect()
}

/// How many packets the rules with these counters have dropped, the largest number first, without rules that dropped none.
pub fn drops(of: &[String]) -> Result<Vec<(String, u64)>, SettleError> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let mut kernel =
        Nftables::open().map_err(|error| SettleError::Kernel("open a netlink socket".into(), error))?;
    let counters = counters(&mut kernel)?;
    let mut drops: Vec<(String, u64)> = of
        .iter()
        .filter_map(|name| Some((name.clone(), counters.get(name)?.packets)))
        .filter(|(_, packets)| *packets > 0)
        .collect();
    drops.sort_by(|(one, packets), (other, more)| more.cmp(packets).then_with(|| one.cmp(other)));
    Ok(drops)
}

/// Describes one change.
pub fn describe(change: &Change) -> String {
    match change {
        Change::Replace { because, .. } => format!("load the firewall: {because}"),
        Change::Remove(tables) => {
            let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
            format!("remove foreign tables: {}", names.join(", "))
        }
    }
}

/// The first difference between two tables, for a person.
fn difference(want: &Table, have: &Table) -> Option<String> {
    let names =
        |table: &Table| -> Vec<String> { table.chains.iter().map(|chain| chain.name.clone()).collect() };
    if let Some(foreign) = names(have).iter().find(|name| !names(want).contains(name)) {
        return Some(format!("it has the foreign chain {foreign}"));
    }
    for chain in &want.chains {
        let Some(found) = have.chains.iter().find(|found| found.name == chain.name) else {
            return Some(format!("the chain {} is missing", chain.name));
        };
        let head = |chain: &Chain| (chain.hook, chain.priority, chain.accept);
        if head(chain) != head(found) {
            return Some(format!("the chain {} has another hook, priority or policy", chain.name));
        }
        let (mut wanted, mut present) = (chain.rules.iter(), found.rules.iter());
        let mut position = 1_u32;
        loop {
            match (wanted.next(), present.next()) {
                (None, None) => break,
                (want, have) if want == have => position += 1,
                (Some(want), _) => {
                    return Some(format!("rule {position} of {} is not `{}`", chain.name, want.comment));
                }
                (None, Some(_)) => {
                    return Some(format!("{} has more than {} rules", chain.name, position - 1));
                }
            }
        }
    }
    None
}

/// The table in the kernel's form.
pub fn table(ruleset: &Ruleset) -> Table {
    let chain = |chain: &kubedos_wire::firewall::Chain| Chain {
        name: chain.hook.to_string(),
        hook: match chain.hook {
            Hook::Input => 1,
            Hook::Forward => 2,
            Hook::Output => 3,
        },
        priority: 0,
        accept: chain.policy == Verdict::Accept,
        rules: chain.rules.iter().flat_map(rules).collect(),
    };
    Table { name: TABLE.to_owned(), chains: ruleset.chains.iter().map(chain).collect() }
}

/// The rules of the kernel for one rule: one for each combination of values.
fn rules(rule: &Want) -> Vec<Rule> {
    let mut combinations = vec![Vec::new()];
    for alternatives in rule.matches.iter().map(conditions) {
        combinations = combinations
            .iter()
            .flat_map(|so_far| alternatives.iter().map(|more| [so_far.as_slice(), more].concat()))
            .collect();
    }
    let limit =
        rule.limit.map(|limit| Expression::Limit { rate: limit.per_second.into(), burst: limit.burst });
    let verdict = match rule.verdict {
        Verdict::Accept => Expression::Accept,
        Verdict::Drop => Expression::Drop,
    };
    let end = [Expression::Counter(rule.name.clone()), verdict];
    let complete = |conditions: Vec<Expression>| Rule {
        expressions: conditions.into_iter().chain(limit.clone()).chain(end.clone()).collect(),
        comment: rule.comment.clone(),
    };
    combinations.into_iter().map(complete).collect()
}

/// The expressions for one condition: it holds if one of the alternatives holds.
fn conditions(condition: &Match) -> Vec<Vec<Expression>> {
    match condition {
        Match::InputDevice(devices) => one_of(devices, &[], |device| device_name(Key::InputDevice, device)),
        Match::OutputDevice(devices) => one_of(devices, &[], |device| device_name(Key::OutputDevice, device)),
        Match::Source(ranges) => addresses(ranges, (12, 8)),
        Match::Destination(ranges) => addresses(ranges, (16, 24)),
        Match::Family(family) => vec![is_family(*family).to_vec()],
        Match::SourcePort(ranges) => ranges.iter().map(|range| port(0, range)).collect(),
        Match::DestinationPort(ranges) => ranges.iter().map(|range| port(2, range)).collect(),
        Match::Icmp(types) => types.iter().map(icmp).collect(),
        Match::HopLimit(hops) => {
            vec![[is_family(Family::Ipv6).to_vec(), bytes(Base::Network, 7, vec![*hops])].concat()]
        }
        Match::State(states) => vec![state(states)],
    }
}

/// A set of values: one alternative for each, or one with all of them excluded. `load` gives the expressions that load a
/// value and the one to compare with.
fn one_of<T>(
    set: &Set<T>,
    before: &[Expression],
    load: impl Fn(&T) -> (Vec<Expression>, Vec<u8>),
) -> Vec<Vec<Expression>> {
    let compare = |value: &T, comparison: Comparison| {
        let (mut expressions, with) = load(value);
        expressions.push(Expression::Compare(comparison, with));
        expressions
    };
    if set.negated {
        let all = set.values.iter().flat_map(|value| compare(value, Comparison::NotEqual));
        vec![before.iter().cloned().chain(all).collect()]
    } else {
        let one = |value| [before.to_vec(), compare(value, Comparison::Equal)].concat();
        set.values.iter().map(one).collect()
    }
}

fn device_name(key: Key, device: &Device) -> (Vec<Expression>, Vec<u8>) {
    let mut name = device.name().as_bytes().to_vec();
    name.resize(IFNAMSIZ, 0);
    (vec![Expression::Meta(key)], name)
}

/// Addresses at these offsets in the header of IPv4 and IPv6. All ranges of a set are of one family; packets of the other
/// one never match.
fn addresses(ranges: &Set<Cidr>, (v4, v6): (u32, u32)) -> Vec<Vec<Expression>> {
    let ipv4 = ranges.values.iter().all(Cidr::is_ipv4);
    let (family, offset, length) = if ipv4 { (Family::Ipv4, v4, 4) } else { (Family::Ipv6, v6, 16) };
    one_of(ranges, &is_family(family), |range| {
        let mut load = vec![Expression::Payload { base: Base::Network, offset, length }];
        if u32::from(range.prefix()) < length * 8 {
            load.push(Expression::Mask(mask(range.prefix(), length)));
        }
        let network = match range.network() {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        (load, network)
    })
}

fn mask(prefix: u8, length: u32) -> Vec<u8> {
    let ones = |byte: u32| u32::from(prefix).saturating_sub(byte * 8).min(8);
    (0..length).map(|byte| !u8::MAX.checked_shr(ones(byte)).unwrap_or(0)).collect()
}

fn is_family(family: Family) -> [Expression; 2] {
    let number = match family {
        Family::Ipv4 => NFPROTO_IPV4,
        Family::Ipv6 => NFPROTO_IPV6,
    };
    [Expression::Meta(Key::Family), Expression::Compare(Comparison::Equal, vec![number])]
}

fn is_protocol(number: u8) -> [Expression; 2] {
    [Expression::Meta(Key::Protocol), Expression::Compare(Comparison::Equal, vec![number])]
}

/// Loads bytes and compares them.
fn bytes(base: Base, offset: u32, with: Vec<u8>) -> Vec<Expression> {
    let length = u32::try_from(with.len()).unwrap_or(u32::MAX); // one or two
    vec![Expression::Payload { base, offset, length }, Expression::Compare(Comparison::Equal, with)]
}

fn port(offset: u32, range: &PortRange) -> Vec<Expression> {
    let protocol = match range.protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
    };
    let (first, last) = (range.first.to_be_bytes().to_vec(), range.last.to_be_bytes().to_vec());
    let rest = if first == last {
        bytes(Base::Transport, offset, first)
    } else {
        let load = Expression::Payload { base: Base::Transport, offset, length: 2 };
        vec![load, Expression::Range(first, last)]
    };
    [is_protocol(protocol).to_vec(), rest].concat()
}

fn icmp(icmp: &IcmpType) -> Vec<Expression> {
    let protocol = match icmp.family {
        Family::Ipv4 => IPPROTO_ICMP,
        Family::Ipv6 => IPPROTO_ICMPV6,
    };
    let head = [is_family(icmp.family), is_protocol(protocol)].concat();
    [head, bytes(Base::Transport, 0, vec![icmp.number])].concat()
}

/// `NF_CT_STATE_*` of `include/uapi/linux/netfilter/nf_conntrack_common.h`, in host byte order.
fn state(states: &[State]) -> Vec<Expression> {
    let bit = |state: &State| match state {
        State::Invalid => 1_u32,
        State::Established => 2,
        State::Related => 4,
        State::New => 8,
        State::Untracked => 64,
    };
    let mask = states.iter().map(bit).fold(0, |bits, bit| bits | bit);
    vec![
        Expression::ConnectionState,
        Expression::Mask(mask.to_ne_bytes().to_vec()),
        Expression::Compare(Comparison::NotEqual, vec![0; 4]),
    ]
}
