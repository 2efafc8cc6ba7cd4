//! Mutations of a corpus, for tests without libFuzzer. The random generator has a fixed seed, so that each run tries the same inputs.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// Numbers at which parsers often fail.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Replacements for numbers in texts.
const TEXTS: [&str; 8] = ["0", "-1", "+1", "4294967296", "18446744073709551616", "1e999", "0x", "\u{2460}"];

/// Characters for mutations of texts.
const SIGNS: &[u8] = b"\n\n\t  \"\"''#$%&()*+,-./0123456789::;<=>?@AZ[]\\^_`abcxyz{|}~";

/// Creates `count` mutations of the members of `corpus`, in turn. The same arguments give the same mutations.
pub fn mutants(seed: u64, corpus: &[Vec<u8>], count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count).zip(corpus.iter().cycle()).map(move |(_, input)| {
        let mut input = input.clone();
        for _ in 0..random.gen_range(1..=4) {
            mutate(&mut input, corpus, &mut random);
        }
        input
    })
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut StdRng) {
    let at = random.gen_range(0..=input.len());
    let end = (at + random.gen_range(1..=64)).min(input.len());
    // Most random bytes would make a text invalid UTF-8, at which a parser of texts stops.
    let is_text = std::str::from_utf8(input).is_ok() && random.gen_ratio(15, 16);
    let byte = |random: &mut StdRng| if is_text { *SIGNS.choose(random).unwrap() } else { random.r#gen() };
    match random.gen_range(0..10) {
        0 if !is_text => {
            input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.gen_range(0..8));
        }
        0 | 1 => input.iter_mut().skip(at).take(1).for_each(|to| *to = byte(random)),
        2 | 3 if !is_text => {
            let number = *NUMBERS.choose(random).unwrap();
            let width = *[1, 2, 4, 8].choose(random).unwrap();
            let mut bytes = number.to_le_bytes()[..width].to_vec();
            if random.r#gen() {
                bytes.reverse();
            }
            input.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = from);
        }
        4 => input.truncate(at),
        5 => drop(input.drain(at..end)),
        6 => {
            let copy = input[at..end].to_vec();
            let to = random.gen_range(0..=input.len());
            input.splice(to..to, copy);
        }
        7 => {
            let bytes: Vec<u8> = (0..random.gen_range(1..=8)).map(|_| byte(random)).collect();
            input.splice(at..at, bytes);
        }
        8 => {
            let other = corpus.choose(random).unwrap();
            let from = random.gen_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            // Replace the first run of digits at or after the position, if there is one.
            let digits = |from: usize| input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if let Some(from) = (at..input.len()).find(|from| input[*from].is_ascii_digit()) {
                let to = from + digits(from);
                input.splice(from..to, TEXTS.choose(random).unwrap().bytes());
            }
        }
    }
}
