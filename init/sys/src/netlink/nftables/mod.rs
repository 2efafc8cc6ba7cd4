//! Tables, chains, rules and counters of nf_tables (`include/uapi/linux/netfilter/nf_tables.h`), in the family `inet`.
//!
//! [`Nftables::replace`] replaces a whole table in one transaction: packets meet the old table or the new one, never a
//! part. [`Nftables::table`] reads it back in the same form, so two tables are equal if their values are equal; the
//! numbers in counters are not part of a table.

mod expression;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;

use rustix::net::netlink::NETFILTER;

pub use expression::{Base, Comparison, Expression, Key};

use super::attributes::{Attributes, Malformed, Writer};
use super::transport::Transport;
use super::{NLM_F_APPEND, NLM_F_CREATE, Refused, Request, Socket};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = SUBSYSTEM << 8;
const GETTABLE: u16 = NEWTABLE | 1;
const DELTABLE: u16 = NEWTABLE | 2;
const NEWCHAIN: u16 = NEWTABLE | 3;
const GETCHAIN: u16 = NEWTABLE | 4;
const NEWRULE: u16 = NEWTABLE | 6;
const GETRULE: u16 = NEWTABLE | 7;
const NEWOBJ: u16 = NEWTABLE | 18;
const GETOBJ: u16 = NEWTABLE | 19;

const NFPROTO_UNSPEC: u8 = 0;
/// `NFPROTO_INET`: IPv4 and IPv6.
pub const INET: u8 = 1;

/// The name of the table has this number in every message.
const TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
const LIST_ELEMENT: u16 = 1;
const OBJ_NAME: u16 = 2;
const OBJ_TYPE: u16 = 3;
const OBJ_DATA: u16 = 4;
const OBJECT_COUNTER: u32 = 1;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// The type of a comment in the user data of a rule, and the longest one with its zero (nft(8): 128 characters).
const COMMENT: u8 = 0;
const LONGEST_COMMENT: usize = 128;

/// A table of the family `inet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its chains.
    pub chains: Vec<Chain>,
}

/// A base chain of type `filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its hook: `NF_INET_LOCAL_IN` (1), `NF_INET_FORWARD` (2), `NF_INET_LOCAL_OUT` (3).
    pub hook: u32,
    /// Its priority.
    pub priority: i32,
    /// Packets that no rule decides on are accepted; otherwise they are dropped.
    pub accept: bool,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its conditions, counter and verdict, in order.
    pub expressions: Vec<Expression>,
    /// Its comment; empty if it has none.
    pub comment: String,
}

/// The number of packets and bytes that a counter has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, including the header of layer 3.
    pub bytes: u64,
}

/// A table of any family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName {
    /// Its family, `NFPROTO_*`; [`INET`] is 1.
    pub family: u8,
    /// Its name.
    pub name: String,
}

/// A connection to nf_tables. All requests need `CAP_NET_ADMIN`.
#[derive(Debug)]
pub struct Nftables(Socket);

impl Nftables {
    /// Opens the connection.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn open() -> io::Result<Self> {
        Socket::open(Some(NETFILTER)).map(Self)
    }

    /// A connection over another transport.
    pub fn over(transport: Box<dyn Transport>) -> Self {
        Self(Socket::over(transport))
    }

    /// The tables of all families.
    ///
    /// # Errors
    /// The kernel's error, or an answer that is not understood.
    pub fn tables(&mut self) -> io::Result<Vec<TableName>> {
        let request = Request { kind: GETTABLE, flags: 0, payload: &header(NFPROTO_UNSPEC, 0) };
        self.0.dump(request, Vec::new, |tables, kind, answer| {
            if kind == NEWTABLE {
                let (family, attributes) = fields(answer)?;
                let name = text_of(attributes, TABLE)?.ok_or(Malformed("table"))?.to_owned();
                tables.push(TableName { family, name });
            }
            Ok(())
        })
    }

    /// A table of the family `inet`; `None` if it does not exist. Sets and maps are not part of the result; a rule that
    /// uses one has an [`Expression::Foreign`]. A chain without a hook has the hook `u32::MAX`.
    ///
    /// # Errors
    /// The kernel's error, or an answer that is not understood.
    pub fn table(&mut self, name: &str) -> io::Result<Option<Table>> {
        self.table_and_others(name).map(|(table, _)| table)
    }

    /// As [`Self::table`], and the names of all other tables of all families.
    ///
    /// # Errors
    /// The kernel's error, or an answer that is not understood.
    pub fn table_and_others(&mut self, name: &str) -> io::Result<(Option<Table>, Vec<TableName>)> {
        let wanted = TableName { family: INET, name: name.to_owned() };
        let mut others = self.tables()?;
        let all = others.len();
        others.retain(|table| *table != wanted);
        if others.len() == all {
            return Ok((None, others));
        }
        let request = Request { kind: GETCHAIN, flags: 0, payload: &header(INET, 0) };
        let mut chains: Vec<Chain> = self.0.dump(request, Vec::new, |chains, kind, answer| {
            let (_, attributes) = fields(answer)?;
            if kind == NEWCHAIN && text_of(attributes, TABLE)? == Some(name) {
                chains.push(read_chain(attributes)?);
            }
            Ok(())
        })?;
        let request = Request { kind: GETRULE, flags: 0, payload: &header(INET, 0) };
        let rules = self.0.dump(request, Vec::new, |rules, kind, answer| {
            let (_, attributes) = fields(answer)?;
            if kind == NEWRULE && text_of(attributes, TABLE)? == Some(name) {
                let chain = text_of(attributes, RULE_CHAIN)?.ok_or(Malformed("rule"))?;
                rules.push((chain.to_owned(), read_rule(attributes)?));
            }
            Ok(())
        })?;
        for (chain, rule) in rules {
            let chain = chains.iter_mut().find(|known| known.name == chain);
            chain.ok_or(Malformed("chain of a rule"))?.rules.push(rule);
        }
        Ok((Some(Table { name: name.to_owned(), chains }), others))
    }

    /// The counters of a table of the family `inet`, by name.
    ///
    /// # Errors
    /// The kernel's error, or an answer that is not understood.
    pub fn counters(&mut self, table: &str) -> io::Result<BTreeMap<String, Count>> {
        let request = Request { kind: GETOBJ, flags: 0, payload: &header(INET, 0) };
        self.0.dump(request, BTreeMap::new, |counters, kind, answer| {
            let (_, attributes) = fields(answer)?;
            if kind == NEWOBJ && text_of(attributes, TABLE)? == Some(table) {
                counters.extend(read_counter(attributes)?);
            }
            Ok(())
        })
    }

    /// Replaces a table, or creates it. Its counters start at zero.
    ///
    /// # Errors
    /// The kernel's error, with the refused object. The kernel then has changed nothing.
    pub fn replace(&mut self, table: &Table) -> io::Result<()> {
        let mut batch = Batch::new();
        let this = || {
            let mut message = Writer::after(&header(INET, 0));
            message.text(TABLE, &table.name);
            message
        };
        // The first message creates the table, so that the second one cannot fail.
        for (kind, flags) in [(NEWTABLE, NLM_F_CREATE), (DELTABLE, 0), (NEWTABLE, NLM_F_CREATE)] {
            batch.push(kind, flags, this(), format!("table {}", table.name));
        }
        for counter in table.counters() {
            let mut message = this();
            message.text(OBJ_NAME, counter).be32(OBJ_TYPE, OBJECT_COUNTER).nest(OBJ_DATA, |_| {});
            batch.push(NEWOBJ, NLM_F_CREATE, message, format!("counter {counter}"));
        }
        for chain in &table.chains {
            let mut message = this();
            write_chain(&mut message, chain);
            batch.push(NEWCHAIN, NLM_F_CREATE, message, format!("chain {}", chain.name));
        }
        for chain in &table.chains {
            for (position, rule) in chain.rules.iter().enumerate() {
                let mut message = this();
                write_rule(&mut message, &chain.name, rule)?;
                let what = format!("rule {position} of chain {} ({})", chain.name, rule.comment);
                batch.push(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, message, what);
            }
        }
        batch.commit(&mut self.0)
    }

    /// Removes tables of any family in one transaction.
    ///
    /// # Errors
    /// The kernel's error. The kernel then has removed none.
    pub fn remove(&mut self, tables: &[TableName]) -> io::Result<()> {
        let mut batch = Batch::new();
        for table in tables {
            let mut message = Writer::after(&header(table.family, 0));
            message.text(TABLE, &table.name);
            batch.push(DELTABLE, 0, message, format!("table {}", table.name));
        }
        if tables.is_empty() { Ok(()) } else { batch.commit(&mut self.0) }
    }
}

/// The messages of a transaction, and the name of the object of each.
struct Batch {
    messages: Vec<(u16, u16, Vec<u8>)>,
    objects: Vec<String>,
}

impl Batch {
    fn new() -> Self {
        let begin = (BATCH_BEGIN, 0, header(NFPROTO_UNSPEC, SUBSYSTEM));
        Self { messages: vec![begin], objects: vec![String::new()] }
    }

    fn push(&mut self, kind: u16, flags: u16, message: Writer, object: String) {
        self.messages.push((kind, flags, message.0));
        self.objects.push(object);
    }

    fn commit(mut self, socket: &mut Socket) -> io::Result<()> {
        self.messages.push((BATCH_END, 0, header(NFPROTO_UNSPEC, SUBSYSTEM)));
        socket.transaction(&self.messages).map_err(|Refused { message, source }| {
            match message.and_then(|at| self.objects.get(at)).filter(|object| !object.is_empty()) {
                Some(object) => {
                    io::Error::new(source.kind(), format!("the kernel refuses {object}: {source}"))
                }
                None => source,
            }
        })
    }
}

impl Table {
    /// The names of the counters that its rules use, each once.
    fn counters(&self) -> impl Iterator<Item = &str> {
        let mut seen = std::collections::BTreeSet::new();
        let expressions =
            self.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.expressions);
        expressions.filter_map(move |expression| match expression {
            Expression::Counter(name) if seen.insert(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// `struct nfgenmsg`; the last field is in network byte order.
fn header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

/// The family and the attributes of an answer.
fn fields(answer: &[u8]) -> Result<(u8, Attributes<'_>), Malformed> {
    let (header, attributes) = answer.split_first_chunk::<4>().ok_or(Malformed("nf_tables message"))?;
    let [family, ..] = header;
    Ok((*family, Attributes(attributes)))
}

fn text_of(attributes: Attributes<'_>, number: u16) -> Result<Option<&str>, Malformed> {
    let mut found = None;
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.number == number {
            found = Some(attribute.text()?);
        }
    }
    Ok(found)
}

fn write_chain(message: &mut Writer, chain: &Chain) {
    message.text(CHAIN_NAME, &chain.name);
    message.nest(CHAIN_HOOK, |hook| {
        hook.be32(HOOK_NUMBER, chain.hook).bytes(HOOK_PRIORITY, &chain.priority.to_be_bytes());
    });
    message.be32(CHAIN_POLICY, if chain.accept { NF_ACCEPT } else { NF_DROP }).text(CHAIN_TYPE, "filter");
}

/// A chain without its rules. A chain of another type has the hook `u32::MAX`, so it equals no desired chain.
fn read_chain(attributes: Attributes<'_>) -> Result<Chain, Malformed> {
    let (mut hook, mut priority, mut filter) = (u32::MAX, 0, false);
    let mut chain = Chain { name: String::new(), hook, priority, accept: true, rules: Vec::new() };
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.number {
            CHAIN_NAME => attribute.text()?.clone_into(&mut chain.name),
            CHAIN_POLICY => chain.accept = attribute.be32()? == NF_ACCEPT,
            CHAIN_TYPE => filter = attribute.text()? == "filter",
            CHAIN_HOOK => {
                for field in attribute.nested() {
                    let field = field?;
                    match field.number {
                        HOOK_NUMBER => hook = field.be32()?,
                        HOOK_PRIORITY => priority = field.be32()?.cast_signed(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if filter {
        (chain.hook, chain.priority) = (hook, priority);
    }
    Ok(chain)
}

fn write_rule(message: &mut Writer, chain: &str, rule: &Rule) -> io::Result<()> {
    let invalid = |text: &'static str| io::Error::new(io::ErrorKind::InvalidInput, text);
    message.text(RULE_CHAIN, chain);
    if rule.expressions.iter().any(|expression| matches!(expression, Expression::Foreign(_))) {
        return Err(invalid("a rule with a foreign expression cannot be written"));
    }
    message.nest(RULE_EXPRESSIONS, |list| {
        for expression in &rule.expressions {
            list.nest(LIST_ELEMENT, |element| expression.write(element));
        }
    });
    if !rule.comment.is_empty() {
        let length = rule.comment.len() + 1;
        let length = u8::try_from(length).ok().filter(|_| length <= LONGEST_COMMENT);
        let length = length.ok_or_else(|| invalid("the comment of a rule is too long"))?;
        let mut data = vec![COMMENT, length];
        data.extend(rule.comment.as_bytes());
        data.push(0);
        message.bytes(RULE_USERDATA, &data);
    }
    Ok(())
}

fn read_rule(attributes: Attributes<'_>) -> Result<Rule, Malformed> {
    let mut rule = Rule { expressions: Vec::new(), comment: String::new() };
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.number {
            RULE_EXPRESSIONS => {
                for element in attribute.nested() {
                    rule.expressions.push(Expression::read(element?.nested())?);
                }
            }
            RULE_USERDATA => rule.comment = read_comment(attribute.value).unwrap_or_default(),
            _ => {}
        }
    }
    Ok(rule)
}

/// The comment in the user data of a rule, which the kernel stores without looking at it: type, length, value.
fn read_comment(mut data: &[u8]) -> Option<String> {
    loop {
        let ([kind, length], rest) = data.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        data = rest;
    }
}

/// The name and the numbers of a counter; `None` for another kind of object.
fn read_counter(attributes: Attributes<'_>) -> Result<Option<(String, Count)>, Malformed> {
    let (mut name, mut data, mut counter) = (None, Attributes(&[]), false);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.number {
            OBJ_NAME => name = Some(attribute.text()?.to_owned()),
            OBJ_TYPE => counter = attribute.be32()? == OBJECT_COUNTER,
            OBJ_DATA => data = attribute.nested(),
            _ => {}
        }
    }
    let name = name.ok_or(Malformed("counter"))?;
    if !counter {
        return Ok(None);
    }
    let mut count = Count::default();
    for field in data {
        let field = field?;
        match field.number {
            COUNTER_BYTES => count.bytes = field.be64()?,
            COUNTER_PACKETS => count.packets = field.be64()?,
            _ => {}
        }
    }
    Ok(Some((name, count)))
}
