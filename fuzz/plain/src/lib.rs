//! Fuzz targets without a fuzzer: the seeds of a target and random changes of them, as a plain test on any toolchain.
//!
//! It knows nothing of coverage, so it finds what is near the seeds. No dependency, because every crate's tests stand on it.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// One target: it reads bytes from outside and panics if its rule does not hold for them.
pub type Target = (&'static str, fn(&[u8]));

/// Inputs of one target in one test, unless `ANTUMBRA_FUZZ_RUNS` says otherwise.
const RUNS: u64 = 1_000;
/// Changes of one input.
const CHANGES_MAX: u64 = 6;
/// Longer inputs are cut: a target that needs more makes it itself.
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// Runs each target (or only the one that `ANTUMBRA_FUZZ` names) over its seeds, and over random changes of them. The seed of chance is printed, and
/// `ANTUMBRA_TEST_SEED` plays a run again.
///
/// # Panics
/// If a target does, after printing its input as a Rust literal; or if a target has no seeds.
pub fn run(targets: &[Target]) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("ANTUMBRA_TEST_SEED").unwrap_or_else(|| RandomState::new().hash_one("fuzz"));
    let runs = number("ANTUMBRA_FUZZ_RUNS").unwrap_or(RUNS);
    println!("ANTUMBRA_TEST_SEED={seed}");
    let alone = std::env::var("ANTUMBRA_FUZZ").ok();
    for (name, target) in targets
        .iter()
        .filter(|(name, _)| alone.as_deref().is_none_or(|alone| alone == *name))
    {
        let seeds = seeds(name);
        let mut chance = Chance(seed);
        let changed = (0..runs).map(|_| chance.change(&seeds));
        for input in seeds.iter().cloned().chain(changed) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
                println!(
                    "ANTUMBRA_TEST_SEED={seed}, target {name}: b\"{}\"",
                    input.escape_ascii()
                );
                resume_unwind(panic);
            }
        }
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{} has no seeds: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a folder can be read").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", folder.display());
    let read = |path| fs::read(path).expect("a seed can be read");
    paths.iter().map(read).collect()
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0 if there is none.
    fn below(&mut self, bound: usize) -> usize {
        (self.draw() % (bound.max(1) as u64)) as usize
    }

    fn change(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.draw() % CHANGES_MAX {
            let other = &seeds[self.below(seeds.len())];
            self.change_once(&mut input, other);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change_once(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        const TELLING: [u8; 16] = *b"\0\x01\x7f\x80\xff\"\\[]{}:\r\n 9";
        let at = self.below(input.len());
        let end = at + self.below((input.len() - at).min(64) + 1);
        match self.draw() % 8 {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = TELLING[self.below(TELLING.len())],
            2 => input.insert(at, TELLING[self.below(TELLING.len())]),
            3 => drop(input.drain(at..end)),
            4 => {
                let again = input[at..end].repeat(1 + self.below(8));
                input.splice(at..at, again);
            }
            5 => input.truncate(end),
            6 => {
                let from = self.below(other.len());
                let to = from + self.below((other.len() - from).min(64) + 1);
                input.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                let count = self.below(9);
                let noise = self.draw().to_le_bytes();
                input.splice(at..end, noise[..count.min(8)].iter().copied());
            }
        }
    }
}
