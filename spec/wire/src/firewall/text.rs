//! The table as text for `nft -f`.
//!
//! The text replaces the table `kubedos` and no other one, in a single transaction: it declares the table, so that the
//! deletion cannot fail, deletes it, and defines it again. The counters start at zero.

use std::fmt::{self, Display, Formatter};

use super::rule::{Chain, Family, Hook, Limit, Match, Rule, Set, State, Verdict};
use super::{Ruleset, TABLE};
use crate::value::{Cidr, PortRange, Protocol};

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "# the firewall of {}, generation {}", self.node, self.generation)?;
        writeln!(f, "table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{")?;
        for rule in self.rules() {
            writeln!(f, "    counter {} {{ }}", rule.name)?;
        }
        for chain in &self.chains {
            write!(f, "\n{chain}")?;
        }
        writeln!(f, "}}")
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let hook = self.hook;
        writeln!(f, "    chain {hook} {{")?;
        writeln!(f, "        type filter hook {hook} priority filter; policy {};", self.policy)?;
        let width = self.rules.iter().map(|rule| rule.name.len()).max().unwrap_or(0);
        for rule in &self.rules {
            writeln!(f)?;
            let conditions = conditions(rule);
            if !conditions.is_empty() {
                writeln!(f, "        {conditions} \\")?;
            }
            let (name, indent) = (format!("\"{}\"", rule.name), if conditions.is_empty() { 8 } else { 12 });
            let width = width + 2 + 12 - indent;
            writeln!(
                f,
                "{:indent$}counter name {name:width$} {:6} comment \"{}\"",
                "", rule.verdict, rule.comment
            )?;
        }
        writeln!(f, "    }}")
    }
}

fn conditions(rule: &Rule) -> String {
    let limit = rule.limit.iter().map(ToString::to_string);
    rule.matches.iter().map(ToString::to_string).chain(limit).collect::<Vec<_>>().join(" ")
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputDevice(devices) => {
                write!(f, "iifname {}", set(devices, |device| format!("\"{device}\"")))
            }
            Self::OutputDevice(devices) => {
                write!(f, "oifname {}", set(devices, |device| format!("\"{device}\"")))
            }
            Self::Source(ranges) => write!(f, "{} saddr {}", ip(ranges), set(ranges, range)),
            Self::Destination(ranges) => write!(f, "{} daddr {}", ip(ranges), set(ranges, range)),
            Self::Family(family) => write!(f, "meta nfproto {family}"),
            Self::SourcePort(ranges) => write!(f, "{} sport {}", protocol(ranges), one_of(ranges, ports)),
            Self::DestinationPort(ranges) => {
                write!(f, "{} dport {}", protocol(ranges), one_of(ranges, ports))
            }
            Self::Icmp(types) => {
                let v6 = types.iter().any(|icmp| icmp.family == Family::Ipv6);
                let header = if v6 { "icmpv6" } else { "icmp" };
                write!(f, "{header} type {}", one_of(types, |icmp| icmp.name.to_owned()))
            }
            Self::HopLimit(hops) => write!(f, "ip6 hoplimit {hops}"),
            Self::State(states) => {
                let names: Vec<String> = states.iter().map(ToString::to_string).collect();
                write!(f, "ct state {}", names.join(","))
            }
        }
    }
}

fn set<T>(set: &Set<T>, text: impl Fn(&T) -> String) -> String {
    format!("{}{}", if set.negated { "!= " } else { "" }, one_of(&set.values, text))
}

fn one_of<T>(values: &[T], text: impl Fn(&T) -> String) -> String {
    let texts: Vec<String> = values.iter().map(text).collect();
    if texts.len() == 1 { texts.concat() } else { format!("{{ {} }}", texts.join(", ")) }
}

fn ip(ranges: &Set<Cidr>) -> &'static str {
    if ranges.values.iter().all(Cidr::is_ipv4) { "ip" } else { "ip6" }
}

fn range(cidr: &Cidr) -> String {
    if cidr.size() == 1 { cidr.network().to_string() } else { cidr.to_string() }
}

fn protocol(ranges: &[PortRange]) -> &'static str {
    if ranges.iter().all(|range| range.protocol == Protocol::Tcp) { "tcp" } else { "udp" }
}

fn ports(range: &PortRange) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        format!("{}-{}", range.first, range.last)
    }
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "limit rate {}/second burst {} packets", self.per_second, self.burst)
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
        })
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

impl Display for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Established => "established",
            Self::Related => "related",
            Self::Invalid => "invalid",
            Self::Untracked => "untracked",
        })
    }
}
