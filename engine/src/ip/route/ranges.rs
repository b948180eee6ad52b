//! Where an address falls among a million ranges: a static B+ tree whose nodes are cache lines.
//!
//! Prefixes nest or are apart, so they cut the addresses into ranges, each with one way: at most
//! two more boundaries a prefix. The boundaries stand sorted, a cache line a node; above them
//! stand, line for line, the first keys of lines below. A search counts in each line the keys that
//! are not greater, without a branch that could be predicted wrong, and goes on in the child of
//! that number. 2^20 prefixes take six lines in IPv4 and seven in IPv6, of which all but two
//! stay in the second-level cache, whatever the prefixes are like.
//!
//! After "Static B-Trees" in Slotin's "Algorithms for Modern Hardware" (en.algorithmica.org/hpc),
//! here with ranges, and with many trees in one place: IPv6 addresses are searched by their first
//! half, and where prefixes are longer than that, by the second half in a tree of its own.

/// The leaf that says "no way".
pub(super) const NONE: u32 = 0;

/// Marks the leaf of a half address behind which there is another tree.
const DEEPER: u32 = 1 << 31;

/// A part of an address, as a number.
pub(super) trait Part: Copy + Ord + Default {
    /// The last one.
    const MAX: Self;
    /// The last address of the prefix of `len` bits that starts here; `len` is at most the bits
    /// of the part.
    fn last(self, len: u8) -> Self;
    /// The next one; the last has none.
    fn next(self) -> Option<Self>;
}

macro_rules! part {
    ($($number:ty),+) => {$(
        impl Part for $number {
            const MAX: Self = Self::MAX;

            fn last(self, len: u8) -> Self {
                self | Self::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    )+};
}

part!(u32, u64);

/// A prefix: first address, length, leaf.
type Prefix<K> = (K, u8, u32);

/// The ranges of IPv4 addresses.
#[derive(Clone)]
pub(super) struct RangesV4 {
    forest: Forest<u32, 16>,
    root: Tree,
}

impl RangesV4 {
    /// Of prefixes sorted by first address and length, without repetition.
    pub(super) fn new(prefixes: &[Prefix<u32>]) -> Self {
        let mut forest = Forest::default();
        let root = forest.plant(&ranges(prefixes, NONE));
        Self { forest, root }
    }

    /// The leaf of the longest prefix that holds `address`.
    #[inline]
    pub(super) fn lookup(&self, address: u32) -> u32 {
        self.forest.find(&self.root, address)
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.forest.memory()
    }
}

/// The ranges of IPv6 addresses.
#[derive(Clone)]
pub(super) struct RangesV6 {
    forest: Forest<u64, 8>,
    /// Over the first halves.
    root: Tree,
    /// Over the second halves of those first halves that have longer prefixes.
    deeper: Vec<Tree>,
}

impl RangesV6 {
    /// Of prefixes sorted by first address and length, without repetition.
    pub(super) fn new(prefixes: &[Prefix<u128>]) -> Self {
        let (high, low) = (|key: u128| (key >> 64) as u64, |key: u128| key as u64);
        let short = prefixes.iter().filter(|(_, len, _)| *len <= 64);
        let mut by_high: Vec<_> = short.map(|&(key, len, leaf)| (high(key), len, leaf)).collect();
        let above = ranges(&by_high, NONE);
        let long: Vec<_> = prefixes.iter().filter(|(_, len, _)| *len > 64).copied().collect();
        let mut forest = Forest::default();
        let mut deeper = Vec::new();
        for group in long.chunk_by(|(a, ..), (b, ..)| high(*a) == high(*b)) {
            let Some(&(key, ..)) = group.first() else { continue };
            let first = high(key);
            let by_low: Vec<_> =
                group.iter().map(|&(key, len, leaf)| (low(key), len - 64, leaf)).collect();
            // The first boundary is 0, so there is one that is not greater.
            let covering = above.partition_point(|(key, _)| *key <= first) - 1;
            let tree = forest.plant(&ranges(&by_low, above[covering].1));
            by_high.push((first, 64, DEEPER | deeper.len() as u32));
            deeper.push(tree);
        }
        // Stable, and of two at the same place the later counts: the one that goes deeper.
        by_high.sort_by_key(|&(key, len, _)| (key, len));
        let root = forest.plant(&ranges(&by_high, NONE));
        forest.shrink();
        Self { forest, root, deeper }
    }

    /// The leaf of the longest prefix that holds `address`.
    #[inline]
    pub(super) fn lookup(&self, address: u128) -> u32 {
        let leaf = self.forest.find(&self.root, (address >> 64) as u64);
        if leaf & DEEPER == 0 {
            return leaf;
        }
        self.forest.find(&self.deeper[(leaf & !DEEPER) as usize], address as u64)
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.forest.memory() + self.deeper.capacity() * size_of::<Tree>()
    }
}

/// The first address of each range, and its leaf; neighbours with the same leaf are one range.
/// Where no prefix is, the leaf is `outside`.
fn ranges<K: Part>(prefixes: &[Prefix<K>], outside: u32) -> Vec<(K, u32)> {
    let mut ranges: Vec<(K, u32)> = Vec::with_capacity(2 * prefixes.len() + 1);
    let begin = |ranges: &mut Vec<(K, u32)>, at: K, leaf: u32| {
        // Of what begins at the same address the last said is what is true.
        if ranges.last().is_some_and(|(last, _)| *last == at) {
            ranges.pop();
        }
        if ranges.last().is_none_or(|(_, before)| *before != leaf) {
            ranges.push((at, leaf));
        }
    };
    begin(&mut ranges, K::default(), outside);
    // The prefixes around the present one, the innermost last: where it ends, and its leaf.
    let mut around: Vec<(K, u32)> = Vec::new();
    let close = |ranges: &mut Vec<(K, u32)>, around: &mut Vec<(K, u32)>| {
        let Some((last, _)) = around.pop() else { return };
        let leaf = around.last().map_or(outside, |(_, leaf)| *leaf);
        if let Some(next) = last.next() {
            begin(ranges, next, leaf);
        }
    };
    for &(first, len, leaf) in prefixes {
        while around.last().is_some_and(|(last, _)| *last < first) {
            close(&mut ranges, &mut around);
        }
        begin(&mut ranges, first, leaf);
        around.push((first.last(len), leaf));
    }
    while !around.is_empty() {
        close(&mut ranges, &mut around);
    }
    ranges
}

/// Trees over ranges, of which each node is a cache line of `B` keys.
#[derive(Clone)]
struct Forest<K, const B: usize> {
    nodes: Vec<Node<K, B>>,
    /// The leaf of each range, in the order of the ranges.
    leaves: Vec<u32>,
}

/// A cache line.
#[derive(Copy, Clone)]
#[repr(align(64))]
struct Node<K, const B: usize>([K; B]);

/// One tree of a forest.
#[derive(Copy, Clone, Default)]
struct Tree {
    /// Where each level's nodes begin, the root's first.
    levels: [u32; MAX_LEVELS],
    height: u32,
    first_leaf: u32,
    count: u32,
}

/// 9 to the 11th is more than 32 bits count, so no tree is higher.
const MAX_LEVELS: usize = 11;

impl<K, const B: usize> Default for Forest<K, B> {
    fn default() -> Self {
        Self { nodes: Vec::new(), leaves: Vec::new() }
    }
}

impl<K: Part, const B: usize> Forest<K, B> {
    /// Adds a tree over `ranges`, of which there is at least one.
    fn plant(&mut self, ranges: &[(K, u32)]) -> Tree {
        let first_leaf = self.leaves.len() as u32;
        self.leaves.extend(ranges.iter().map(|(_, leaf)| *leaf));
        // From the bottom up: the keys of each level.
        let mut levels = vec![ranges.iter().map(|(key, _)| *key).collect::<Vec<K>>()];
        // The first key under each node of the level below.
        let mut firsts: Vec<K> = levels[0].iter().step_by(B).copied().collect();
        while firsts.len() > 1 {
            // A node's first child needs no key: it is where one goes when none is not greater.
            let mut keys = Vec::with_capacity(firsts.len());
            for (node, children) in firsts.chunks(B + 1).enumerate() {
                keys.extend_from_slice(&children[1..]);
                keys.resize((node + 1) * B, K::MAX);
            }
            firsts = firsts.iter().step_by(B + 1).copied().collect();
            levels.push(keys);
        }
        let mut tree =
            Tree { first_leaf, count: ranges.len() as u32, height: 0, ..Tree::default() };
        for keys in levels.iter().rev().take(MAX_LEVELS) {
            tree.levels[tree.height as usize] = self.nodes.len() as u32;
            tree.height += 1;
            self.nodes.extend(keys.chunks(B).map(|chunk| {
                let mut node = [K::MAX; B];
                node[..chunk.len()].copy_from_slice(chunk);
                Node(node)
            }));
        }
        tree
    }

    /// The leaf of the range that holds `key`.
    #[inline]
    fn find(&self, tree: &Tree, key: K) -> u32 {
        // The last range; elsewhere the keys that fill up a node are greater than any other.
        let last = tree.count as usize - 1;
        let range = if key == K::MAX { last } else { self.rank(tree, key) - 1 };
        self.leaves[tree.first_leaf as usize + range]
    }

    /// How many ranges begin at `key` or before.
    #[inline]
    fn rank(&self, tree: &Tree, key: K) -> usize {
        let (mut node, mut not_greater) = (0, 0);
        for (depth, first) in tree.levels[..tree.height as usize].iter().enumerate() {
            if depth > 0 {
                node = node * (B + 1) + not_greater;
            }
            let Node(keys) = &self.nodes[*first as usize + node];
            not_greater = keys.iter().map(|have| usize::from(*have <= key)).sum();
        }
        node * B + not_greater
    }

    fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.leaves.shrink_to_fit();
    }

    fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<K, B>>() + self.leaves.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search_agrees<K: Part + std::fmt::Debug, const B: usize>(count: usize, key: fn(u64) -> K) {
        let mut forest = Forest::<K, B>::default();
        // Another tree before it, so that places in the forest are not places in the tree.
        forest.plant(&[(K::default(), 99)]);
        let ranges: Vec<_> = (0..count as u64).map(|i| (key(3 * i), i as u32)).collect();
        let tree = forest.plant(&ranges);
        for place in 0..3 * count as u64 {
            let found = forest.find(&tree, key(place));
            assert_eq!(u64::from(found), place / 3, "place {place} of {count} ranges");
        }
        assert_eq!(forest.find(&tree, K::MAX) as usize, count - 1, "the end of {count} ranges");
    }

    /// Every number of children that a node can have, on up to four levels.
    #[test]
    fn trees_of_every_shape_find_every_range() {
        let counts: Vec<usize> = if cfg!(miri) {
            vec![1, 9, 17, 73, 290]
        } else {
            (1..700).chain([4_600, 4_609, 4_625, 4_640, 6_000, 79_000]).collect()
        };
        for count in counts {
            search_agrees::<u32, 16>(count, |i| i as u32);
            search_agrees::<u64, 8>(count, |i| i);
        }
    }

    #[test]
    fn nested_prefixes_become_ranges() {
        let prefixes = [(0u32, 0, 1), (16, 28, 2), (16, 32, 3), (31, 32, 4), (u32::MAX, 32, 5)];
        let found = ranges(&prefixes, NONE);
        assert_eq!(found, [(0, 1), (16, 3), (17, 2), (31, 4), (32, 1), (u32::MAX, 5)]);
        assert_eq!(ranges::<u64>(&[], 7), [(0, 7)]);
        assert_eq!(ranges(&[(u64::MAX, 64, 1)], NONE), [(0, NONE), (u64::MAX, 1)]);
    }
}
