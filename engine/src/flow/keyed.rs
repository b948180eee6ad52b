//! Hashes that a stranger can't predict.

use std::hash::{BuildHasher, Hash};

use corewire_drivers::env::Rng;
use siphasher::sip::SipHasher24;

/// The secret of a hash table. SipHash-2-4, so that nobody outside can choose tuples that fall
/// into one bucket; every worker has its own.
#[derive(Copy, Clone)]
pub struct HashKey(u64, u64);

impl HashKey {
    /// A fresh secret.
    pub fn new(rng: &mut Rng) -> Self {
        Self(rng.next_u64(), rng.next_u64())
    }

    /// The hash of `value`.
    #[inline]
    pub(crate) fn hash<T: Hash>(&self, value: &T) -> u64 {
        self.hash_one(value)
    }
}

impl BuildHasher for HashKey {
    type Hasher = SipHasher24;

    fn build_hasher(&self) -> SipHasher24 {
        SipHasher24::new_with_keys(self.0, self.1)
    }
}

/// A secret is not for logs.
impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey")
    }
}
