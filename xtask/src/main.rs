//! `cargo xtask …`: see [`Chore`] for what there is.

use std::process::ExitCode;

use clap::Parser;

/// The project's own checks and chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// What a change must pass: format, house rules, licences, lints, documentation, and every test on both engines
    Ci,
    /// The rules of the house alone: edges between slices, sizes, reasons for dependencies
    House,
    /// Kill servers under load, again and again, and look for what is missing
    Kill {
        /// How many kills
        #[arg(long, default_value_t = 200)]
        rounds: usize,
        /// Where chance begins; printed by every run
        #[arg(long)]
        seed: Option<u64>,
        /// Run only the control: a server that answers before it writes, which must be caught
        #[arg(long)]
        control: bool,
    },
    /// Play a year of data subject requests in which the process dies at its commits, and look for what is left over
    Year {
        /// How many requests come in
        #[arg(long, default_value_t = 5000)]
        requests: u64,
        /// Where chance begins; printed by every run
        #[arg(long)]
        seed: Option<u64>,
        /// The process dies within so many commits, again and again; 0: never
        #[arg(long, default_value_t = 200)]
        crash_within: u64,
    },
    /// Cut the power of a loop-mounted disk under load, again and again, and look for what is missing (root only)
    PowerCut {
        /// How many cuts
        #[arg(long, default_value_t = 200)]
        rounds: usize,
        /// Where chance begins; printed by every run
        #[arg(long)]
        seed: Option<u64>,
        /// Run only the control: a server whose fsync does nothing, which must be caught
        #[arg(long)]
        control: bool,
    },
}

fn main() -> ExitCode {
    let done = match Chore::parse() {
        Chore::Ci => xtask::ci::run(),
        Chore::House => xtask::house::check(),
        Chore::Kill { rounds, seed, control } => xtask::kill::run(rounds, seed, control),
        Chore::Year {
            requests,
            seed,
            crash_within,
        } => xtask::year::run(requests, seed, crash_within),
        Chore::PowerCut { rounds, seed, control } => xtask::power_cut::run(rounds, seed, control),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
