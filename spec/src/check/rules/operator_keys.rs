//! Detects operator keys whose private key is not secret: published keys, keys with a private key that is easy to guess, and
//! points of the curve that are not usable.
//!
//! Keys are compared as X25519 reads them (RFC 7748 §5): without bit 255 and modulo 2^255 - 19, so that two encodings of one key
//! are equal. The lists contain known keys only; other weaknesses of a key are not detected.

use kubedos_wire::value::WireguardKey;

/// Why a key must not be an operator's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The key of the operator `demo` of the examples.
    Demo,
    /// A key that is published elsewhere, with the place.
    Published(&'static str),
    /// A key whose private key is easy to guess, with a description of the private key.
    Guessable(&'static str),
    /// A key that `wg pubkey` does not print for a random private key, with the reason.
    Weak(&'static str),
}

/// The key of the operator `demo`, which is Alice's key in RFC 7748 §6.1.
const DEMO: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

/// Keys that are printed in documentation. Readers copy them, and many are printed together with their private key.
const PUBLISHED: &[(&str, &str)] = &[
    ("3p7bfXt9vBtNNbYcLs5DU3P4NDyFt4Z02t/H4Ub4grQ=", "RFC 7748 (Bob)"),
    ("Sl2dW6TOLeFyjjv0gDUPJeB+IclH0Z4zdvCbPB4WF0I=", "RFC 7748 (the shared secret)"),
    ("HJ/Yj0VgbZMqgMcYJK4VHRXXPnfeOOjgAIUuYU+ucBk=", "RFC 7748 (a test scalar)"),
    ("/2P+V7+/Q/o/VjYosUmvcE09tiU2nEmYNlA0empx4A4=", "RFC 7748 (a test scalar)"),
    ("5ttoZ1gwMNs1lMGkJLFffHJmJOwmszU7EKkDptCrHEw=", "RFC 7748 (a test vector)"),
    ("5SEPEnhoEdP0t5WdBTiuLDHb5xBvwDw+/EzVSccVpJM=", "RFC 7748 (a test vector)"),
    ("w9pVN53pxpCOlOpN8o0ITzLszwNJHHH3VLQHVXeihVI=", "RFC 7748 (a test vector)"),
    ("lcvelHbokH16reRctLhz+ItZWmh5n6FS5vj3ZHqseVc=", "RFC 7748 (a test vector)"),
    ("QiyOemIn17yhNQs+K7cnn3iXuHu2hUt4PGDoAxGuMHk=", "RFC 7748 (a test vector)"),
    ("aEz1m6gzCVUoAO9Wby9NPBw4h8STYOOHXy65TZlTLFE=", "RFC 7748 (a test vector)"),
    ("fDkR4Kslhv2GRJcpfldebzvGAcCIPDDfX03S0k9mVCQ=", "RFC 7748 (a test vector)"),
    ("HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=", "the manual page wg(8)"),
    ("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "the manual page wg(8)"),
    ("TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=", "the manual page wg(8)"),
    ("gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=", "the manual page wg(8)"),
    ("GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdxLevJ+qtKU=", "the manual page wg-quick(8)"),
    ("clei1xcOL9V1BVgBlS8UN4ehzqq0ShJ92i543AGh2hU=", "the manual page systemd.netdev(5)"),
    ("RDf+LSpeEre7YEIKaxg+wbpsNV7du+ktR99uBEtIiCA=", "the manual page systemd.netdev(5)"),
    ("ScAASeLLtKY8vmHEiA17P/YpWjr94IfyrfG6ySNMYBQ=", "the reference of Talos"),
    ("fP+xJZvUA5n1Pi/f5wcPiV6tZ6fHwqcGaXe98NfEgkE=", "the reference of Talos"),
    ("TDd25Cwq6tMZANIKUaqred+Zt+09HtCqwFeOLtKQ9Cs=", "the reference of Talos"),
];

/// One key per line, with a description of its private key: 32 equal bytes, small numbers, counting bytes, hashes of words.
const GUESSABLE: &str = include_str!("guessable_keys.txt");

/// 2^255 - 19, little-endian.
const P: [u8; 32] = {
    let mut p = [0xff; 32];
    p[0] = 0xed;
    p[31] = 0x7f;
    p
};

/// The points of small order (their product with any private key is known), by their canonical u: 0, 1, p - 1, and the two of order 8.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut u = P;
        u[0] = 0xec;
        u
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
];

/// A key with fewer different bytes is a pattern: 32 random bytes have about 30, and fewer than 16 in one of 10^18 keys.
const LEAST_DIFFERENT_BYTES: usize = 16;

/// The flaw of a key, if it has one.
pub(super) fn flaw(key: &WireguardKey) -> Option<Flaw> {
    let u = canonical(key.bytes());
    let is = |text: &str| text.parse::<WireguardKey>().is_ok_and(|known| canonical(known.bytes()) == u);
    if is(DEMO) {
        return Some(Flaw::Demo);
    }
    if SMALL_ORDER.contains(&u) {
        return Some(Flaw::Weak("a point of small order, so the shared secret is not secret"));
    }
    if let Some((_, place)) = PUBLISHED.iter().find(|(text, _)| is(text)) {
        return Some(Flaw::Published(place));
    }
    let mut guessable = GUESSABLE.lines().filter_map(|line| line.split_once(' '));
    if let Some((_, what)) = guessable.find(|(text, _)| is(text)) {
        return Some(Flaw::Guessable(what));
    }
    if u != *key.bytes() {
        return Some(Flaw::Weak("not in the encoding that `wg pubkey` prints"));
    }
    is_pattern(&u).then_some(Flaw::Weak(
        "a pattern (few different bytes, equal halves, counting bytes or only ASCII text), \
         so it is not from a random private key",
    ))
}

/// The u coordinate that X25519 computes with.
fn canonical(bytes: &[u8; 32]) -> [u8; 32] {
    let mut u = *bytes;
    u[31] &= 0x7f;
    // Only 19 values are at least p. For each of them, the difference from p is the difference of the first bytes.
    let not_below = u[0] >= P[0] && u[1..31].iter().all(|byte| *byte == 0xff) && u[31] == P[31];
    if not_below {
        let first = u[0] - P[0];
        u = [0; 32];
        u[0] = first;
    }
    u
}

fn is_pattern(key: &[u8; 32]) -> bool {
    let different = key.iter().collect::<std::collections::BTreeSet<_>>().len();
    let halves = key.split_at(16);
    let steps = key.windows(2).map(|pair| match pair {
        [a, b] => b.wrapping_sub(*a),
        _ => 0,
    });
    let counts = steps.clone().all(|step| steps.clone().next() == Some(step));
    let is_text = key.iter().all(|byte| (0x20..0x7f).contains(byte));
    different < LEAST_DIFFERENT_BYTES || halves.0 == halves.1 || counts || is_text
}

/// SHA-256 digests that are published: those of the demo keys' certificates, and those of examples in documentation.
pub(super) const FINGERPRINTS: &[(&str, &str)] = &[
    ("bcd809904207df381cd7a26d20cd73a0e5f9feac28faeb00663920a9e142d3e4", "the root CA of the demo keys"),
    (
        "a9fe8c42487f65200e2f32e83ab9d9269732fe42a7c306f689224a048e00e245",
        "the intermediate CA of the demo keys",
    ),
    (
        "92891bbf6607316a2167020ce4ab683580d52fb5e08ce41d8ec63b0cc275b992",
        "a Secure Boot certificate of the demo keys",
    ),
    (
        "026c67efc882c5f5d4e45d9e82ea4a55be39a9d68b67c7cf2d66acc14c9547c6",
        "a Secure Boot certificate of the demo keys",
    ),
    (
        "8c186820f35031a548f43a31e1b1e3591eec15982fba8a0db9b5a88e59ff1ca6",
        "a Secure Boot certificate of the demo keys",
    ),
    ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "the example of the documentation"),
    ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "the digest of an empty file"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bytes: [u8; 32]) -> WireguardKey {
        WireguardKey::new(bytes)
    }

    fn hex(text: &str) -> [u8; 32] {
        *text.parse::<kubedos_wire::hex32::PublicKey>().unwrap().as_bytes()
    }

    #[test]
    fn every_listed_key_is_valid_and_is_detected() {
        for (text, place) in PUBLISHED {
            assert_eq!(flaw(&text.parse().unwrap()), Some(Flaw::Published(place)), "{text}");
        }
        for line in GUESSABLE.lines() {
            let (text, what) = line.split_once(' ').unwrap();
            let found = flaw(&text.parse().unwrap());
            assert_eq!(found, Some(Flaw::Guessable(what)), "{line}");
        }
        assert_eq!(flaw(&DEMO.parse().unwrap()), Some(Flaw::Demo));
    }

    /// Generates the list from the private keys that it describes: no key is missing, and no key is wrong.
    #[test]
    fn the_list_of_guessable_keys_follows_from_its_private_keys() {
        let mut private: Vec<([u8; 32], String)> =
            (0..=255_u8).map(|byte| ([byte; 32], format!("32 times {byte:#04x}"))).collect();
        for number in 1..=255_u8 {
            let one = |place: usize| std::array::from_fn(|at| if at == place { number } else { 0 });
            private.push((one(0), format!("the number {number}")));
            private.push((one(31), format!("the number {number}, big-endian")));
        }
        let counted = |from: fn(u8) -> u8| std::array::from_fn(|at| from(u8::try_from(at).unwrap()));
        private.push((counted(|at| at), "0 to 31".to_owned()));
        private.push((counted(|at| at + 1), "1 to 32".to_owned()));
        private.push((counted(|at| 31 - at), "31 to 0".to_owned()));
        for word in ["wireguard", "password", "test", "demo", "secret", "kubernetes", "admin", "changeme", ""]
        {
            let digest = ring::digest::digest(&ring::digest::SHA256, word.as_bytes());
            private.push((digest.as_ref().try_into().unwrap(), format!("sha256({word})")));
        }
        // Several private keys have the same public key, because X25519 clears and sets some of their bits.
        let mut seen = std::collections::HashSet::new();
        let mut list = String::new();
        for (private, what) in private {
            let public = x25519_dalek::x25519(private, x25519_dalek::X25519_BASEPOINT_BYTES);
            let published = matches!(flaw(&key(public)), Some(Flaw::Published(_)));
            if seen.insert(public) && !published {
                list.push_str(&format!("{} {what}\n", key(public)));
            }
        }
        assert!(list == GUESSABLE, "the list should be:\n{list}");
    }

    /// The known encodings that lead to a shared secret of zero, each with both values of bit 255.
    #[test]
    fn points_of_small_order_are_refused_in_every_encoding() {
        for text in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ] {
            for top in [0, 0x80] {
                let mut bytes = hex(text);
                bytes[31] |= top;
                let found = flaw(&key(bytes));
                assert!(
                    matches!(found, Some(Flaw::Weak(why)) if why.contains("small order")),
                    "{text} {found:?}"
                );
            }
        }
        let mut zero_with_the_top_bit = [0; 32];
        zero_with_the_top_bit[31] = 0x80;
        assert!(flaw(&key(zero_with_the_top_bit)).is_some());
    }

    #[test]
    fn a_second_encoding_of_a_known_key_is_detected() {
        let mut bytes = *DEMO.parse::<WireguardKey>().unwrap().bytes();
        bytes[31] |= 0x80;
        assert_eq!(flaw(&key(bytes)), Some(Flaw::Demo));
        let mut other =
            *"/sC7IdAPKKrByEx9BScM3rPg9skm4PXb6SwJow+502I=".parse::<WireguardKey>().unwrap().bytes();
        assert_eq!(flaw(&key(other)), None);
        other[31] |= 0x80;
        assert!(matches!(flaw(&key(other)), Some(Flaw::Weak(_))));
    }

    #[test]
    fn patterns_are_refused() {
        let mut base_point = [0; 32];
        base_point[0] = 9;
        let counting: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 3).unwrap());
        let halves: [u8; 32] = std::array::from_fn(|at| u8::try_from((at % 16) * 7 + 1).unwrap());
        for bytes in [base_point, counting, halves, [0x55; 32], *b"my very own public key, honestly"] {
            assert!(flaw(&key(bytes)).is_some(), "{bytes:?}");
        }
    }
}
