//! Tests of hash trees and superblocks.

use super::*;
use kubedos_wire::hex32::{RootHash, Salt, sha256};
use proptest::prelude::*;

fn data(blocks: usize) -> Vec<u8> {
    (0..blocks)
        .flat_map(|block| {
            (0..BLOCK).map(move |at| u8::try_from((block * 31 + at * 7 + at / 256) & 0xff).unwrap())
        })
        .collect()
}

const SALT: Salt = Salt::new([0x5a; 32]);

/// Goldens: number of blocks, root hash, and digest of the hash area. The values are those of veritysetup 2.6 for the same data, salt and
/// UUID (`veritysetup format --salt 5a… --uuid …`).
const GOLDENS: [(usize, &str, &str); 4] = [
    (
        1,
        "79ff18a949a8708001455362e5f5ca8afcc2375a09154cc4797480a93a37ca20",
        "73d36ad88fed21e7943af2e548981c730d462a93471e81991abe6e49b4db9344",
    ),
    (
        128,
        "bcd3cb24780e2df885fae65f2f296c30e4655986b8b8dc58846714ee59a5f505",
        "89a8551b9cf4fb3cd9b11576966aafdcb118c4dda2283a6e228ddb3eba5e68de",
    ),
    (
        129,
        "d9a807e4f377cad4b4854baa24b088c96d2c0f939f4f342e596b1ae5b647daf6",
        "1f0ef68e462af234b135a7420961c3d01e027cfa6f04caf31fc1dd5e0cb9c8e6",
    ),
    (
        16_385,
        "bc3bc931b76b58cde5e425cf00eae9548112ae16fd1c3ec4387475d7b5f1c600",
        "20f03103a6b30f6a898911ed30041025f14a0ccdacb524da0ad9348592079e84",
    ),
];

#[test]
fn trees_equal_those_of_veritysetup() {
    for (blocks, root, area) in GOLDENS {
        let built = build(&data(blocks), &SALT).unwrap();
        assert_eq!(built.seal.root_hash.to_string(), root, "{blocks}");
        assert_eq!(hex::encode(sha256(&[&built.hash_area])), area, "{blocks}");
        assert_eq!(built.hash_area.len() as u64, hash_area_bytes(blocks as u64), "{blocks}");
    }
}

#[test]
fn the_table_line_contains_the_devices_and_the_seal() {
    let seal = Seal { root_hash: RootHash::new([1; 32]), salt: SALT, data_blocks: 15_000 };
    let expected = format!("1 254:0 /dev/x 4096 4096 15000 1 sha256 {} {}", "01".repeat(32), "5a".repeat(32));
    assert_eq!(table_line(&seal, "254:0", "/dev/x"), expected);
    assert_eq!(data_sectors(&seal), 120_000);
}

#[test]
fn a_missing_block_is_reported_by_number() {
    let mut leaves = Leaves::new(SALT);
    leaves.add(2, &data(1));
    leaves.add(0, &data(1));
    assert!(matches!(leaves.clone().finish(3), Err(VerityError::Missing(1))));
    leaves.add(1, &data(1));
    leaves.finish(3).unwrap();
}

#[test]
fn data_that_is_not_a_whole_number_of_blocks_is_refused() {
    for len in [0, 1, 4095, 4097] {
        assert!(matches!(build(&vec![0; len], &SALT), Err(VerityError::Length(_))), "{len}");
    }
}

/// A5: damage in any block is found, and the block is reported.
#[test]
fn each_flipped_block_is_reported_by_number() {
    let good = data(300);
    let Built { seal, hash_area } = build(&good, &SALT).unwrap();
    verify(&good, &hash_area, &seal).unwrap();
    check_tree(&hash_area, &seal).unwrap();
    for block in 0..300 {
        let mut bad = good.clone();
        bad[block * BLOCK + block] ^= 1;
        let found = verify(&bad, &hash_area, &seal).unwrap_err();
        assert!(matches!(found, VerityError::Corrupt(Location::Data(at)) if at == block as u64));
    }
    for at in 0..hash_area.len() {
        // Each byte of the used part of the superblock, and one byte of each 64 of the rest.
        if at > 512 && at % 64 != at / 4096 {
            continue;
        }
        let mut bad = hash_area.clone();
        bad[at] ^= 0x10;
        let expected = match at / BLOCK {
            0 => Location::Superblock,
            block => Location::Tree(block as u64),
        };
        for found in [check_tree(&bad, &seal).unwrap_err(), verify(&good, &bad, &seal).unwrap_err()] {
            assert!(matches!(found, VerityError::Corrupt(location) if location == expected), "{at}: {found}");
        }
    }
}

/// With several threads, the first of several corrupt blocks is reported.
#[test]
fn the_first_of_several_corrupt_blocks_is_reported() {
    let good = data(5000);
    let Built { seal, hash_area } = build(&good, &SALT).unwrap();
    let mut bad = good;
    for block in [4999, 2600, 1234] {
        bad[block * BLOCK] ^= 1;
        let found = verify(&bad, &hash_area, &seal).unwrap_err();
        assert!(matches!(found, VerityError::Corrupt(Location::Data(at)) if at == block as u64));
    }
}

#[test]
fn another_root_hash_salt_or_length_does_not_verify() {
    let good = data(200);
    let Built { seal, hash_area } = build(&good, &SALT).unwrap();
    let wrong = [
        Seal { root_hash: RootHash::new([0; 32]), ..seal },
        Seal { salt: Salt::new([0; 32]), ..seal },
        Seal { data_blocks: 199, ..seal },
        Seal { data_blocks: 201, ..seal },
        Seal { data_blocks: 0, ..seal },
        Seal { data_blocks: u64::MAX, ..seal },
        Seal { data_blocks: u64::MAX / 4096, ..seal },
    ];
    for seal in wrong {
        assert!(verify(&good, &hash_area, &seal).is_err(), "{seal:?}");
        assert!(check_tree(&hash_area, &seal).is_err(), "{seal:?}");
    }
    assert!(matches!(verify(&good, &hash_area[..BLOCK].to_vec(), &seal), Err(VerityError::Short(_))));
}

#[test]
fn a_superblock_with_any_changed_byte_is_refused_or_read_differently() {
    let seal = Seal { root_hash: RootHash::new([1; 32]), salt: SALT, data_blocks: 15_000 };
    let block = superblock(&seal);
    let parsed = Superblock::parse(&block).unwrap();
    assert_eq!((parsed.salt, parsed.data_blocks), (SALT, 15_000));
    for at in 0..block.len() {
        let mut changed = block.clone();
        changed[at] ^= 1;
        match Superblock::parse(&changed) {
            Err(VerityError::Superblock(_)) => {}
            Ok(other) => {
                assert_ne!(other, parsed);
                assert_eq!(other.encode(), changed);
            }
            Err(error) => panic!("{error}"),
        }
        assert!(Superblock::parse(&block[..at]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_built_volume_verifies(blocks in 1usize..600, salt: [u8; 32]) {
        let data = data(blocks);
        let built = build(&data, &Salt::new(salt)).unwrap();
        prop_assert!(verify(&data, &built.hash_area, &built.seal).is_ok());
    }
}
