//! Decisions from a list of numbers, so that proptest can shrink clusters and packets.

use proptest::prelude::*;
use proptest::test_runner::TestRng;

/// The numbers that determine the decisions; when they are used up, every decision is the first choice.
#[derive(Debug, Clone)]
pub struct Draw {
    numbers: std::vec::IntoIter<u16>,
}

impl Draw {
    /// Numbers of a generator.
    pub fn random(random: &mut TestRng, count: usize) -> Self {
        let numbers: Vec<u16> = (0..count).map(|_| (random.next_u32() >> 16) as u16).collect();
        Self { numbers: numbers.into_iter() }
    }

    /// These decisions.
    pub fn of(numbers: &[usize]) -> Self {
        let numbers: Vec<u16> = numbers.iter().map(|number| u16::try_from(*number).unwrap()).collect();
        Self { numbers: numbers.into_iter() }
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.numbers.next().unwrap_or(0)) % limit.max(1)
    }

    /// Whether one of `in_all` decisions falls on this.
    pub fn one_in(&mut self, in_all: usize) -> bool {
        self.below(in_all) == in_all - 1
    }

    /// One of several.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// Up to `most` random decisions.
pub fn draws(most: usize) -> impl Strategy<Value = Draw> {
    prop::collection::vec(any::<u16>(), 0..=most).prop_map(|numbers| Draw { numbers: numbers.into_iter() })
}
