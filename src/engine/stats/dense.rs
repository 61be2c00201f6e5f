//! Values by small numbers that are given one after the other.
//!
//! Accounts, and those present on a day, are numbered from 0: a value is found without hashing, growing moves nothing, and little is
//! left over, as it would be in the free places of a table or of a list that doubles.

use serde::{Deserialize, Serialize};

/// Values that lie together.
const PIECE: usize = 256;

/// A value for each number; one that was never asked for is the default, and takes no place where its neighbours take none.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Dense<T>(Vec<Vec<T>>);

fn place(number: u32) -> (usize, usize) {
    (number as usize / PIECE, number as usize % PIECE)
}

impl<T: Default> Dense<T> {
    /// The value of a number, to be changed.
    pub fn entry(&mut self, number: u32) -> &mut T {
        let (piece, at) = place(number);
        if self.0.len() <= piece {
            self.0.resize_with(piece + 1, Vec::new);
        }
        let piece = &mut self.0[piece];
        if piece.len() <= at {
            piece.reserve_exact(PIECE - piece.len());
            piece.resize_with(at + 1, T::default);
        }
        &mut piece[at]
    }

    /// Takes out the value of a number.
    pub fn take(&mut self, number: u32) -> T {
        let (piece, at) = place(number);
        self.0.get_mut(piece).and_then(|piece| piece.get_mut(at)).map(std::mem::take).unwrap_or_default()
    }
}

impl<T> Dense<T> {
    /// The value of a number, where it or a later neighbour was ever asked for.
    pub fn get(&self, number: u32) -> Option<&T> {
        let (piece, at) = place(number);
        self.0.get(piece)?.get(at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    proptest::proptest! {
        #[test]
        fn keeps_what_a_map_keeps(steps in proptest::collection::vec((0_u32..3_000, 0_u32..3), 0..300)) {
            let (mut dense, mut naive) = (Dense::<u32>::default(), BTreeMap::<u32, u32>::new());
            for (number, what) in steps {
                match what {
                    0 => proptest::prop_assert_eq!(dense.take(number), naive.remove(&number).unwrap_or_default()),
                    _ => {
                        *dense.entry(number) += what;
                        *naive.entry(number).or_default() += what;
                    }
                }
                proptest::prop_assert_eq!(dense.get(number).copied().unwrap_or_default(), naive.get(&number).copied().unwrap_or_default());
            }
        }
    }
}
