//! x
/// x
pub fn run(_rounds: usize, _seed: Option<u64>, _control: bool) -> anyhow::Result<()> {
    Ok(())
}
