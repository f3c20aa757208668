//! Random choices from a seed: the same seed makes the same choices.

/// A generator of random numbers (SplitMix64) with its state.
pub struct Chance(pub u64);

impl Chance {
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_number() % bound
    }

    /// One of these choices, each equally likely.
    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()].clone()
    }

    /// True with a probability of one in `one_in`.
    pub fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// A generator of its own for somebody else, so that neither disturbs the other.
    pub fn fork(&mut self) -> Self {
        Self(self.next_number())
    }
}

/// A number from the environment, for longer runs than the usual ones.
pub fn budget(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => usual,
    }
}
