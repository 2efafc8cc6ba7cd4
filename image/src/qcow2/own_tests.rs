//! Tests of the check of qcow2 files that kubedOS wrote.

use super::super::{Image, write};
use super::*;
use crate::sparse::Runs;
use kubedos_wire::hex32::sha256;
use proptest::prelude::*;

fn wrapped(source: &dyn Source) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut last = 0;
    let len = write(source, |at, piece| {
        assert!(at >= last);
        last = at + piece.len() as u64;
        bytes.resize(usize::try_from(at).unwrap(), 0);
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    bytes.resize(usize::try_from(len).unwrap(), 0);
    bytes
}

fn sample() -> Runs<'static> {
    let mut runs = Runs::new((893 << 20) + 512);
    runs.add_bytes(0, vec![1; 512]).unwrap();
    runs.add_bytes((1 << 20) - 7, vec![2; 200_000]).unwrap();
    runs.add_bytes(600 << 20, vec![0; 1 << 20]).unwrap();
    runs.add_bytes(893 << 20, vec![3; 512]).unwrap();
    runs
}

#[test]
fn an_image_has_pinned_bytes() {
    let bytes = wrapped(&sample());
    // The first cluster, the five clusters around 1 MiB, and the last cluster.
    assert_eq!(check(&bytes).unwrap(), 1 + 5 + 1);
    assert_eq!(
        hex::encode(sha256(&[&bytes])),
        "e2cca9a862a79d6ce094b54c500205c6e7ff356b6c0dbbc7de7efb6bcdfb20ce"
    );
}

#[test]
fn the_guest_disk_has_the_bytes_of_the_raw_image() {
    let runs = sample();
    let bytes = wrapped(&runs);
    let image = Image::open(&bytes).unwrap();
    assert_eq!(Source::len(&image), runs.len());
    for at in [0, 65_000, (1 << 20) - 9, (1 << 20) + 150_000, 600 << 20, (893 << 20) - 1000] {
        let (mut a, mut b) = (vec![0; 1512], vec![1; 1512]);
        runs.read_exact_at(&mut a, at).unwrap();
        image.read_exact_at(&mut b, at).unwrap();
        assert_eq!(a, b, "{at}");
    }
    assert!(image.read_exact_at(&mut [0; 2], runs.len() - 1).is_err());
}

#[test]
fn the_plan_has_enough_refcount_blocks_for_large_images() {
    // One refcount block covers 2 GiB of data. The test checks the plan only, so that it needs no large image.
    for data in [32_000, 32_760, 32_763, 32_764, 32_768, 40_000, 70_000_000] {
        let found = plan(1 << 43, 1000, data);
        assert!(found.refcount_block_count * COUNTS >= found.total, "{data}");
        assert!((found.refcount_block_count - 1) * COUNTS < found.total, "{data}");
        assert!(found.refcount_table_clusters * TABLE >= found.refcount_block_count, "{data}");
        assert_eq!(layout_of(1 << 43, 1000, found.total), Some(found), "{data}");
    }
}

#[test]
fn disks_of_an_unsupported_size_are_refused() {
    for len in [0, 511, (1 << 44) + 512] {
        let refused = write(&Runs::new(len), |_, _| Ok(()));
        assert!(matches!(refused, Err(Qcow2Error::Length(_))), "{len}");
    }
}

#[test]
fn a_flip_in_any_byte_except_the_data_is_found() {
    let mut runs = Runs::new(1 << 20);
    runs.add_bytes(70_000, vec![5; 100]).unwrap();
    let good = wrapped(&runs);
    let data = good.len() - (1 << 16);
    for at in (0..data).filter(|at| at % 65_536 < 1024 || at % 4096 == 77) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        // Another size of the guest disk may need tables of the same size, so that the image is still valid.
        let noticed =
            || Image::open(&bad).is_ok_and(|image| (24..32).contains(&at) && image.len() != 1 << 20);
        assert!(check(&bad).is_err() || noticed(), "{at}");
    }
    for len in [0, 104, 65_536, good.len() - 65_536, good.len() - 1] {
        assert!(check(&good[..len].to_vec()).is_err(), "{len}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_disk_round_trips(
        sectors in 1u64..4096,
        pieces in proptest::collection::vec((0u64..2_000_000, 1usize..100_000, any::<u8>()), 0..6),
    ) {
        let mut runs = Runs::new(sectors * 512);
        for (at, len, byte) in pieces {
            if runs.add_bytes(at, vec![byte; len]).is_err() {
                continue;
            }
        }
        let bytes = wrapped(&runs);
        let image = Image::open(&bytes).unwrap();
        let len = usize::try_from(runs.len()).unwrap();
        let (mut a, mut b) = (vec![0; len], vec![1; len]);
        runs.read_exact_at(&mut a, 0).unwrap();
        image.read_exact_at(&mut b, 0).unwrap();
        prop_assert!(a == b);
    }
}
