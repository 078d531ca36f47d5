//! The same bits from any number of threads.

use super::subject;

/// Runs the campaign.
pub fn run() -> Result<u8, String> {
    let folder = subject::prepare("threads")?;
    let mut ends = Vec::new();
    for threads in [1, 2, 3, 4, 7, 8, 16, 33, 64] {
        let run = folder.join(threads.to_string());
        let mut command = subject::pretrain(&run);
        if crate::code(command.args(["--threads", &threads.to_string()]))? != 0 {
            return Err(format!("training with {threads} threads failed"));
        }
        ends.push((threads, subject::end_of(&run)?));
    }
    let other: Vec<_> =
        ends.iter().filter(|(_, end)| *end != ends[0].1).map(|(threads, _)| threads.to_string()).collect();
    if other.is_empty() {
        crate::show(&format!("threads: {} runs with 1 to 64 threads, the same bits from all\n", ends.len()));
        Ok(0)
    } else {
        Err(format!("other bits with {} threads than with 1", other.join(", ")))
    }
}
