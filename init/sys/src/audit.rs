//! The kernel's audit rules (`NETLINK_AUDIT`): list, add, remove, lock (`include/uapi/linux/audit.h`).
//!
//! A rule is stored in the kernel's own format, `struct audit_rule_data`. The kernel returns the bytes that it received,
//! so two rules are equal if their bytes are equal.

use std::io;

use rustix::net::netlink::AUDIT;

use crate::netlink::{HEADER, NLM_F_ACK, NLMSG_DONE, NLMSG_ERROR, Request, Socket, error_of};

const AUDIT_GET: u16 = 1000;
const AUDIT_SET: u16 = 1001;
const AUDIT_ADD_RULE: u16 = 1011;
const AUDIT_DEL_RULE: u16 = 1012;
const AUDIT_LIST_RULES: u16 = 1013;

const AUDIT_FILTER_EXIT: u32 = 4;
const AUDIT_ALWAYS: u32 = 2;
const AUDIT_EQUAL: u32 = 0x4000_0000;
const AUDIT_ARCH: u32 = 11;
const AUDIT_PERM: u32 = 106;
const AUDIT_DIR: u32 = 107;
const AUDIT_ARG0: u32 = 200;
const AUDIT_FILTERKEY: u32 = 210;
/// `AUDIT_PERM_WRITE | AUDIT_PERM_ATTR`.
const WRITE_OR_ATTRIBUTES: u32 = 2 | 8;
const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
/// `AUDIT_MAX_FIELDS` and `AUDIT_BITMASK_SIZE`, which are equal.
const WORDS: usize = 64;
/// The highest bits of the mask are classes of system calls (`AUDIT_SYSCALL_CLASSES`), not single calls.
const CLASSES: usize = 16;
/// Value of `enabled` in `struct audit_status`: on, and locked until the next boot.
const LOCKED: u32 = 2;

/// A rule of the exit filter that always records the matching calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(Vec<u8>);

impl Rule {
    /// Records calls of 64-bit programs by their numbers; with `first_argument`, only calls with this first argument.
    pub fn calls(key: &str, numbers: &[u16], first_argument: Option<u32>) -> Self {
        let mut mask = [0_u32; WORDS];
        for number in numbers {
            if let Some(word) = mask.get_mut(usize::from(number / 32)) {
                *word |= 1 << (number % 32);
            }
        }
        let mut fields = vec![Field::Number(AUDIT_ARCH, AUDIT_ARCH_X86_64)];
        fields.extend(first_argument.map(|value| Field::Number(AUDIT_ARG0, value)));
        fields.push(Field::Text(AUDIT_FILTERKEY, key));
        Self::encode(&mask, &fields)
    }

    /// Records every opening for writing, and every change of a name or an attribute, below an existing folder.
    pub fn writes_below(key: &str, folder: &str) -> Self {
        let mut mask = [u32::MAX; WORDS];
        if let Some(last) = mask.last_mut() {
            *last >>= CLASSES;
        }
        let fields = [
            Field::Text(AUDIT_DIR, folder),
            Field::Number(AUDIT_PERM, WRITE_OR_ATTRIBUTES),
            Field::Text(AUDIT_FILTERKEY, key),
        ];
        Self::encode(&mask, &fields)
    }

    /// `struct audit_rule_data`: list, action, number of fields, mask of calls, then kinds, values and operators of the
    /// fields, and then the concatenated texts.
    fn encode(mask: &[u32; WORDS], fields: &[Field<'_>]) -> Self {
        let (mut kinds, mut values, mut operators, mut texts) =
            ([0; WORDS], [0; WORDS], [0; WORDS], Vec::new());
        let places = kinds.iter_mut().zip(&mut values).zip(&mut operators);
        let mut count = 0_u32;
        for (((kind, value), operator), field) in places.zip(fields) {
            count += 1;
            *operator = AUDIT_EQUAL;
            (*kind, *value) = match *field {
                Field::Number(kind, value) => (kind, value),
                Field::Text(kind, text) => {
                    texts.extend_from_slice(text.as_bytes());
                    (kind, length(text.as_bytes()))
                }
            };
        }
        let head = [AUDIT_FILTER_EXIT, AUDIT_ALWAYS, count];
        let words = head.iter().chain(mask).chain(&kinds).chain(&values).chain(&operators);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(length(&texts).to_ne_bytes());
        bytes.extend(texts);
        Self(bytes)
    }

    /// A rule as the kernel lists it. The kernel may pad it; the padding is removed.
    fn listed(bytes: &[u8]) -> Self {
        const TEXTS: usize = 4 * (3 + 4 * WORDS);
        let length = word(bytes, TEXTS).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        Self(bytes.get(..TEXTS + 4 + length).unwrap_or(bytes).to_vec())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its key, for messages: the last text of every rule that kubedOS adds.
    pub fn key(&self) -> String {
        const KINDS: usize = 4 * (3 + WORDS);
        const VALUES: usize = KINDS + 4 * WORDS;
        let key = (0..WORDS).find_map(|at| {
            let is_key = word(&self.0, KINDS + 4 * at)? == AUDIT_FILTERKEY;
            let length = usize::try_from(word(&self.0, VALUES + 4 * at)?).ok()?;
            is_key.then(|| self.0.len().checked_sub(length).and_then(|from| self.0.get(from..)))?
        });
        key.map_or_else(|| "without a key".to_owned(), |key| String::from_utf8_lossy(key).into_owned())
    }
}

enum Field<'a> {
    Number(u32, u32),
    Text(u32, &'a str),
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The active rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// In the kernel's order.
    pub rules: Vec<Rule>,
    /// The rules are locked until the next boot.
    pub locked: bool,
}

/// A connection to the kernel's audit subsystem.
#[derive(Debug)]
pub struct Audit(Socket);

impl Audit {
    /// Opens the connection. The requests need `CAP_AUDIT_CONTROL`.
    ///
    /// # Errors
    /// If the kernel has no audit subsystem.
    pub fn open() -> io::Result<Self> {
        Socket::open(Some(AUDIT)).map(Self)
    }

    /// Lists the active rules.
    ///
    /// # Errors
    /// The kernel's error, or a timeout.
    pub fn list(&mut self) -> io::Result<Rules> {
        let sequence = self.send(AUDIT_GET, 0, &[])?;
        let status = self.receive(sequence, |kind, payload| (kind == AUDIT_GET).then(|| word(payload, 4)))?;
        let sequence = self.send(AUDIT_LIST_RULES, 0, &[])?;
        let mut rules = Vec::new();
        self.receive(sequence, |kind, payload| {
            if kind == AUDIT_LIST_RULES {
                rules.push(Rule::listed(payload));
            }
            (kind == NLMSG_DONE).then_some(())
        })?;
        Ok(Rules { rules, locked: status == Some(LOCKED) })
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// The kernel's error: the rule exists already, its folder does not exist, or the rules are locked.
    pub fn add(&mut self, rule: &Rule) -> io::Result<()> {
        self.request(AUDIT_ADD_RULE, rule.as_bytes())
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// The kernel's error: the rule does not exist, or the rules are locked.
    pub fn remove(&mut self, rule: &Rule) -> io::Result<()> {
        self.request(AUDIT_DEL_RULE, rule.as_bytes())
    }

    /// Locks rules and settings until the next boot.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn lock(&mut self) -> io::Result<()> {
        /// `AUDIT_STATUS_ENABLED`: the request sets only this field of `struct audit_status`.
        const ENABLED: u32 = 1;
        let status = [ENABLED, LOCKED, 0, 0, 0, 0, 0, 0];
        self.request(AUDIT_SET, &status.map(u32::to_ne_bytes).concat())
    }

    fn request(&mut self, kind: u16, payload: &[u8]) -> io::Result<()> {
        let sequence = self.send(kind, NLM_F_ACK, payload)?;
        self.receive(sequence, |_, _| None)
    }

    fn send(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<u32> {
        self.0.post(Request { kind, flags, payload })
    }

    /// Passes the kernel's answers to one request to `take` until `take` returns a value, or until the kernel
    /// acknowledges the request.
    fn receive<T: Default>(
        &mut self,
        sequence: u32,
        mut take: impl FnMut(u16, &[u8]) -> Option<T>,
    ) -> io::Result<T> {
        loop {
            // One answer per datagram. The length field is ignored: some answers of the audit subsystem do not count
            // the header in it.
            let message = self.0.bytes()?;
            let Some((header, payload)) = message.split_at_checked(HEADER) else { continue };
            let (Some(kind), Some(answers)) = (word(header, 4), word(header, 8)) else { continue };
            if answers != sequence {
                continue;
            }
            let [low, high, ..] = kind.to_ne_bytes();
            let kind = u16::from_ne_bytes([low, high]);
            if kind == NLMSG_ERROR {
                return error_of(payload)?.map_or(Ok(T::default()), Err);
            }
            if let Some(taken) = take(kind, payload) {
                return Ok(taken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offsets of `struct audit_rule_data`.
    #[test]
    fn a_rule_has_the_kernels_layout() {
        let rule = Rule::calls("k", &[101, 0], Some(16));
        let words: Vec<u32> = rule.as_bytes()[..1040]
            .chunks(4)
            .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words[..3], [4, 2, 3], "exit filter, always, three fields");
        assert_eq!((words[3], words[3 + 3]), (1, 1 << 5), "calls 0 and 101");
        assert_eq!(words[67..71], [11, 200, 210, 0], "kinds");
        assert_eq!(words[131..135], [0xC000_003E, 16, 1, 0], "values");
        assert_eq!(words[195..199], [0x4000_0000, 0x4000_0000, 0x4000_0000, 0], "operators");
        assert_eq!((words[259], &rule.as_bytes()[1040..]), (1, b"k".as_slice()));
        assert_eq!(rule.key(), "k");
    }

    #[test]
    fn a_folder_rule_contains_its_folder_and_every_call() {
        let rule = Rule::writes_below("kubedos-state", "/var/lib/x");
        assert_eq!(&rule.as_bytes()[1040..], b"/var/lib/xkubedos-state");
        assert_eq!(rule.as_bytes()[12..266], [0xff; 254]);
        assert_eq!(rule.as_bytes()[266..268], [0, 0], "no class");
        assert_eq!(rule.key(), "kubedos-state");
    }

    #[test]
    fn padding_is_removed_and_invalid_bytes_have_no_key() {
        let rule = Rule::calls("k", &[1], None);
        let padded = [rule.as_bytes(), &[0; 3]].concat();
        assert_eq!(Rule::listed(&padded), rule);
        assert_eq!(Rule::listed(b"short").key(), "without a key");
    }

    /// With `CAP_AUDIT_CONTROL` the kernel lists the rules; without it, it refuses the request.
    #[test]
    fn the_kernel_lists_the_rules_or_refuses() {
        let answer = Audit::open().and_then(|mut audit| audit.list());
        if let Err(error) = answer {
            let refused = [
                io::ErrorKind::PermissionDenied,
                io::ErrorKind::ConnectionRefused,
                io::ErrorKind::Unsupported,
            ];
            assert!(refused.contains(&error.kind()), "{error:?}");
        }
    }
}
