//! A strict reader of the part of pcapng that the capture writes: everything else is a failed test.

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) interfaces: Vec<String>,
    pub(super) frames: Vec<Captured>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Captured {
    pub(super) interface: String,
    pub(super) nanoseconds: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) comment: Option<String>,
    pub(super) flags: u32,
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

fn padded(bytes: &[u8], length: usize) -> (&[u8], &[u8]) {
    let (padded, rest) = bytes.split_at(length.next_multiple_of(4));
    let (value, padding) = padded.split_at(length);
    assert!(padding.iter().all(|byte| *byte == 0), "padding that is not zero");
    (value, rest)
}

/// The options of a block, which end with the block.
fn options(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    loop {
        let (head, rest) = bytes.split_at(4);
        let code = u16::from_le_bytes(head[..2].try_into().unwrap());
        let (value, rest) = padded(rest, usize::from(u16::from_le_bytes(head[2..].try_into().unwrap())));
        bytes = rest;
        if code == 0 {
            assert!(value.is_empty() && rest.is_empty(), "bytes after the options");
            return all;
        }
        all.push((code, value));
    }
}

pub(super) fn read(mut bytes: &[u8]) -> Contents {
    let mut contents = Contents::default();
    let mut first = true;
    while !bytes.is_empty() {
        let (kind, length) = (number(bytes), number(&bytes[4..]) as usize);
        assert!(length >= 12 && length.is_multiple_of(4), "a block of {length} bytes");
        let (block, rest) = bytes.split_at(length);
        bytes = rest;
        assert_eq!(number(&block[length - 4..]) as usize, length);
        let body = &block[8..length - 4];
        assert_eq!(kind == 0x0a0d_0d0a, first, "the section header is the first block, and the only one");
        first = false;
        match kind {
            0x0a0d_0d0a => {
                assert_eq!(body[..16], *b"\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
                assert_eq!(options(&body[16..]), [(4, &b"kubedos-lab"[..])]);
            }
            1 => {
                assert_eq!(body[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
                let [(2, name), (9, [9])] = options(&body[8..])[..] else { panic!("interface options") };
                contents.interfaces.push(String::from_utf8(name.to_vec()).unwrap());
            }
            6 => {
                let length = number(&body[12..]);
                assert_eq!(number(&body[16..]), length);
                let (bytes, rest) = padded(&body[20..], length as usize);
                let options = options(rest);
                let (comment, flags) = match options[..] {
                    [(1, comment), (2, flags)] => (Some(String::from_utf8(comment.to_vec()).unwrap()), flags),
                    [(2, flags)] => (None, flags),
                    _ => panic!("packet options {options:?}"),
                };
                assert_eq!(flags.len(), 4);
                contents.frames.push(Captured {
                    interface: contents.interfaces[number(body) as usize].clone(),
                    nanoseconds: u64::from(number(&body[4..])) << 32 | u64::from(number(&body[8..])),
                    bytes: bytes.to_vec(),
                    comment,
                    flags: number(flags),
                });
            }
            _ => panic!("a block of kind {kind:#x}"),
        }
    }
    contents
}
