//! Integers in as few bytes as their spread allows: times and sequences of neighbouring rows differ little, and an index
//! that keeps millions of them should not pay eight bytes for each.

/// `base + unit * offset` for each value, the offsets in the narrowest width that holds them.
#[derive(Debug)]
pub(super) struct Packed {
    base: i64,
    unit: u64,
    offsets: Offsets,
}

#[derive(Debug)]
enum Offsets {
    /// All values are equal.
    None,
    U8(Box<[u8]>),
    U16(Box<[u16]>),
    U32(Box<[u32]>),
    Plain(Box<[i64]>),
}

impl Packed {
    pub(super) fn new(values: &[i64]) -> Self {
        let base = values.iter().copied().min().unwrap_or(0);
        // No value is less than the base, so that the difference is exact as a number without sign.
        let spread = |value: &i64| value.wrapping_sub(base).cast_unsigned();
        let unit = common_unit(values.iter().map(spread));
        // Mostly there is none, and dividing takes longer than all the rest.
        let offset = |value: &i64| match unit {
            1 => spread(value),
            unit => spread(value) / unit,
        };
        let offsets = match values.iter().map(offset).max().unwrap_or(0) {
            0 => Offsets::None,
            1..=0xff => Offsets::U8(narrow(values, offset)),
            0x100..=0xffff => Offsets::U16(narrow(values, offset)),
            0x1_0000..=0xffff_ffff => Offsets::U32(narrow(values, offset)),
            _ => return Self::plain(values),
        };
        Self {
            base,
            unit,
            offsets,
        }
    }

    fn plain(values: &[i64]) -> Self {
        Self {
            base: 0,
            unit: 1,
            offsets: Offsets::Plain(values.into()),
        }
    }

    pub(super) fn get(&self, row: usize) -> i64 {
        let offset = match &self.offsets {
            Offsets::None => 0,
            Offsets::U8(offsets) => u64::from(offsets[row]),
            Offsets::U16(offsets) => u64::from(offsets[row]),
            Offsets::U32(offsets) => u64::from(offsets[row]),
            Offsets::Plain(values) => return values[row],
        };
        self.base.wrapping_add((self.unit * offset).cast_signed())
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.offsets {
            Offsets::None => 0,
            Offsets::U8(offsets) => offsets.len(),
            Offsets::U16(offsets) => 2 * offsets.len(),
            Offsets::U32(offsets) => 4 * offsets.len(),
            Offsets::Plain(values) => 8 * values.len(),
        }
    }
}

fn narrow<T: TryFrom<u64> + Default>(values: &[i64], offset: impl Fn(&i64) -> u64) -> Box<[T]> {
    let narrowed = |value| T::try_from(offset(value)).unwrap_or_default();
    values.iter().map(narrowed).collect()
}

/// The greatest number that divides all of some.
fn common_unit(spreads: impl IntoIterator<Item = u64>) -> u64 {
    let mut unit = 0;
    for spread in spreads {
        unit = gcd(unit, spread);
        if unit == 1 {
            break;
        }
    }
    unit.max(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], 0)]
    #[case(&[i64::MIN; 3], 0)]
    #[case(&[0, 3_600_000_000, 7_200_000_000], 3)]
    #[case(&[1, 1 + 0x10000], 2)]
    #[case(&[0, 1, 0x10000], 12)]
    #[case(&[i64::MIN, i64::MAX, 0], 24)]
    fn width_follows_the_spread(#[case] values: &[i64], #[case] bytes: usize) {
        assert_eq!(Packed::new(values).bytes(), bytes);
    }

    proptest! {
        #[test]
        fn values_come_back(
            values in prop::collection::vec(any::<i64>(), 0..20),
            shift in 0_u32..64,
            unit in 1_i64..1000,
        ) {
            let values: Vec<i64> = values.iter().map(|value| (value >> shift).wrapping_mul(unit)).collect();
            let packed = Packed::new(&values);
            for (row, value) in values.iter().enumerate() {
                prop_assert_eq!(packed.get(row), *value);
            }
        }
    }
}
