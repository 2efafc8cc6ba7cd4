//! kmod's index files: a trie of keys with values, which libkmod reads through a memory map.
//!
//! Format (kmod, `libkmod/libkmod-index.c`): big-endian words: magic `0xB007F457`, version `0x00020001`, offset of the root node. The
//! upper bits of a node's offset show which parts follow: `0x80000000` a prefix, terminated by zero; `0x20000000` first and last child byte
//! and one offset for each; `0x40000000` a count and that many values, each a priority word and a zero-terminated text. Children precede
//! their parent.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xB007_F457;
const VERSION: u32 = 0x0002_0001;
const PREFIX: u32 = 0x8000_0000;
const VALUES: u32 = 0x4000_0000;
const CHILDREN: u32 = 0x2000_0000;

/// The index exceeds the range of the format's offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a module index is longer than {MOST} bytes, the limit of its offsets")]
pub struct TooLarge;

/// The upper three bits of an offset are flags.
const MOST: usize = 1 << 29;

/// Keys with their values, sorted by priority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    keys: BTreeMap<Vec<u8>, Vec<(u32, String)>>,
}

impl Index {
    /// Adds a value. The lowest priority comes first; values of equal priority are sorted by their text.
    pub fn insert(&mut self, key: &str, value: &str, priority: usize) {
        let values = self.keys.entry(key.as_bytes().to_vec()).or_default();
        values.push((u32::try_from(priority).unwrap_or(u32::MAX), value.to_owned()));
        values.sort();
    }

    /// Encodes the index file.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, TooLarge> {
        let mut out = Vec::new();
        for word in [MAGIC, VERSION, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        let entries: Vec<Entry<'_>> =
            self.keys.iter().map(|(key, values)| (key.as_slice(), values.as_slice())).collect();
        let root = node(&mut out, &entries)?;
        let (head, _) = out.split_at_mut(12);
        head.split_at_mut(8).1.copy_from_slice(&root.to_be_bytes());
        Ok(out)
    }
}

type Values<'a> = &'a [(u32, String)];
type Entry<'a> = (&'a [u8], Values<'a>);

/// Writes the node of these sorted keys, whose common path above is already removed. Returns its offset with flags, 0 for no node.
fn node(out: &mut Vec<u8>, entries: &[Entry<'_>]) -> Result<u32, TooLarge> {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else { return Ok(0) };
    let shared = first.iter().zip(*last).take_while(|(a, b)| a == b).count();
    let here = entries.iter().find(|(key, _)| key.len() == shared).map(|(_, values)| *values);
    // For each key: the byte after the common prefix, and the rest of the key.
    let below: Vec<(u8, Entry<'_>)> = entries
        .iter()
        .filter_map(|(key, values)| {
            let (byte, rest) = key.split_at(shared).1.split_first()?;
            Some((*byte, (rest, *values)))
        })
        .collect();

    let range = below.first().zip(below.last()).map(|((low, _), (high, _))| (*low, *high));
    let mut children = Vec::new();
    if let Some((low, high)) = range {
        for wanted in low..=high {
            let entries: Vec<Entry<'_>> =
                below.iter().filter(|(byte, _)| *byte == wanted).map(|(_, entry)| *entry).collect();
            children.push(node(out, &entries)?);
        }
    }

    let start = u32::try_from(out.len()).ok().filter(|_| out.len() < MOST);
    let mut offset = start.ok_or(TooLarge)?;
    if shared > 0 {
        out.extend_from_slice(first.split_at(shared).0);
        out.push(0);
        offset |= PREFIX;
    }
    if let Some((low, high)) = range {
        out.extend_from_slice(&[low, high]);
        out.extend(children.iter().flat_map(|child| child.to_be_bytes()));
        offset |= CHILDREN;
    }
    if let Some(values) = here {
        let count = u32::try_from(values.len()).map_err(|_| TooLarge)?;
        out.extend_from_slice(&count.to_be_bytes());
        for (priority, value) in values {
            out.extend_from_slice(&priority.to_be_bytes());
            out.extend_from_slice(value.as_bytes());
            out.push(0);
        }
        offset |= VALUES;
    }
    Ok(offset)
}

/// Decodes an index file; `None` if the file is invalid. It is used by tests and `inspect`; the values keep the order of the file.
///
/// Depending on its version, `depmod` writes nodes before or after their children. Every byte must belong to exactly one node.
pub fn decode(bytes: &[u8]) -> Option<BTreeMap<String, Vec<String>>> {
    if word(bytes, 0)? != MAGIC || word(bytes, 4)? != VERSION {
        return None;
    }
    let left = bytes.len().checked_sub(12)?;
    let mut decoder = Decoder { bytes, left, key: Vec::new(), keys: BTreeMap::new() };
    decoder.node(word(bytes, 8)?)?;
    (decoder.left == 0).then_some(decoder.keys)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Returns the zero-terminated text at an offset, without the zero byte.
fn text(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    rest.get(..rest.iter().position(|byte| *byte == 0)?)
}

/// Longer than any key of a kernel, in bytes. Each node consumes at least one byte of a key, so this also bounds the depth.
const LONGEST_KEY: usize = 1024;

struct Decoder<'a> {
    bytes: &'a [u8],
    /// The number of bytes that no node has used yet. A node with several parents is counted each time, so decoding terminates for any
    /// offsets.
    left: usize,
    /// The key of the current node.
    key: Vec<u8>,
    keys: BTreeMap<String, Vec<String>>,
}

impl Decoder<'_> {
    fn node(&mut self, offset: u32) -> Option<()> {
        if offset == 0 {
            return Some(());
        }
        let start = usize::try_from(offset & !(PREFIX | VALUES | CHILDREN)).ok()?;
        let (mut at, above) = (start, self.key.len());
        if offset & PREFIX != 0 {
            let prefix = text(self.bytes, at)?;
            at += prefix.len() + 1;
            self.key.extend_from_slice(prefix);
        }
        if self.key.len() > LONGEST_KEY {
            return None;
        }
        let mut children = None;
        if offset & CHILDREN != 0 {
            let [low, high] = *self.bytes.get(at..)?.first_chunk()?;
            children = Some((low..=high, at + 2));
            at += 2 + 4 * (low..=high).len();
        }
        if offset & VALUES != 0 {
            at = self.values(at)?;
        }
        self.left = self.left.checked_sub(at - start)?;
        for (byte, at) in children.into_iter().flat_map(|(bytes, table)| bytes.zip((table..).step_by(4))) {
            self.key.push(byte);
            self.node(word(self.bytes, at)?)?;
            self.key.pop();
        }
        self.key.truncate(above);
        Some(())
    }

    /// Reads the values of the current key. Returns the offset after them.
    fn values(&mut self, mut at: usize) -> Option<usize> {
        let count = word(self.bytes, at)?;
        at += 4;
        let mut values = Vec::new();
        for _ in 0..count {
            let value = text(self.bytes, at + 4)?;
            at += 4 + value.len() + 1;
            values.push(String::from_utf8(value.to_vec()).ok()?);
        }
        let key = String::from_utf8(self.key.clone()).ok()?;
        (!values.is_empty() && self.keys.insert(key, values).is_none()).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_index_format_is_fixed() {
        let mut index = Index::default();
        index.insert("ab", "x", 7);
        index.insert("ac", "y", 1);
        let mut want = Vec::new();
        want.extend_from_slice(&[0xB0, 0x07, 0xF4, 0x57, 0, 2, 0, 1]);
        want.extend_from_slice(&(32 | PREFIX | CHILDREN).to_be_bytes());
        want.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 7, b'x', 0]); // offset 12
        want.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, b'y', 0]); // offset 22
        want.extend_from_slice(b"a\0bc");
        want.extend_from_slice(&(12 | VALUES).to_be_bytes());
        want.extend_from_slice(&(22 | VALUES).to_be_bytes());
        assert_eq!(index.encode().unwrap(), want);
        assert_eq!(decode(&Index::default().encode().unwrap()), Some(BTreeMap::new()));
    }

    /// All children of a node are the same node, in sixteen levels of 256: without a bound the decoder would need 256^16 visits.
    #[test]
    fn a_node_is_read_once() {
        let mut bytes: Vec<u8> = [MAGIC, VERSION, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut below = 12 | VALUES;
        bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, b'x', 0]);
        for _ in 0..16 {
            let here = u32::try_from(bytes.len()).unwrap();
            bytes.extend_from_slice(&[0, 255]);
            bytes.extend(below.to_be_bytes().repeat(256));
            below = here | CHILDREN;
        }
        bytes[8..12].copy_from_slice(&below.to_be_bytes());
        assert_eq!(decode(&bytes), None);
    }

    #[test]
    fn a_too_long_key_and_a_key_without_values_are_refused() {
        let mut index = Index::default();
        index.insert(&"k".repeat(LONGEST_KEY), "x", 0);
        assert_eq!(decode(&index.encode().unwrap()).unwrap().len(), 1);
        index.insert(&"k".repeat(LONGEST_KEY + 1), "x", 0);
        assert_eq!(decode(&index.encode().unwrap()), None);
        let head: Vec<u8> =
            [MAGIC, VERSION, 12 | VALUES, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(decode(&head), None);
    }

    /// `depmod` of kmod 34 writes nodes before their children.
    #[test]
    fn a_node_may_precede_its_children() {
        let mut bytes: Vec<u8> =
            [MAGIC, VERSION, 12 | PREFIX | CHILDREN].iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend_from_slice(b"dm\0__");
        bytes.extend((21 | PREFIX | VALUES).to_be_bytes());
        bytes.extend_from_slice(b"mod\0\0\0\0\x01\0\0\0\0x\0");
        let keys = BTreeMap::from([("dm_mod".to_owned(), vec!["x".to_owned()])]);
        assert_eq!(decode(&bytes), Some(keys));
        bytes.push(0);
        assert_eq!(decode(&bytes), None, "a byte belongs to no node");
    }

    #[test]
    fn keys_beyond_ascii_are_read_back() {
        let mut index = Index::default();
        index.insert("gr\u{fc}n", "x", 0);
        index.insert("gr\u{fd}n", "y", 0);
        assert_eq!(
            decode(&index.encode().unwrap()).unwrap().into_keys().collect::<Vec<_>>(),
            ["gr\u{fc}n", "gr\u{fd}n"]
        );
    }

    proptest! {
        #[test]
        fn an_encoded_index_decodes_to_the_same_keys(keys in proptest::collection::btree_map("[a-z*:_]{0,12}", proptest::collection::vec("[a-z]{1,5}", 1..4), 0..40)) {
            let mut index = Index::default();
            for (key, values) in &keys {
                for (priority, value) in values.iter().enumerate() {
                    index.insert(key, value, priority);
                }
            }
            prop_assert_eq!(decode(&index.encode().unwrap()), Some(keys));
        }
    }
}
