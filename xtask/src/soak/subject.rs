//! What the campaigns run: the program on small generated images.

use crate::files::{at, make_folder, remove_folder};
use crate::{cargo, code, program, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is packed.
pub const IMAGES: &str = "procedural:classes=4,train=512,test=64,side=32";

/// 16 steps in two epochs, with a checkpoint after every third step.
const SETTINGS: [&str; 10] = [
    "data.source=procedural:classes=4,train=128,test=32,side=16",
    "model.width=0.125",
    "eval={resize=16, crop=16}",
    "views={key={size=16}, weak=[{size=16}], strong=[{size=16, strong=true}]}",
    "knn={every=1, k=5, train_samples=64, test_samples=32}",
    "method.bank=32",
    "train.epochs=2",
    "train.batch_size=16",
    "checkpoint.every_steps=3",
    "checkpoint.keep=2",
];

/// Builds the program and makes an empty folder for a campaign.
pub fn prepare(campaign: &str) -> Result<PathBuf, String> {
    if code(cargo().args(["build", "--release", "--quiet", "--package", "clsa-train"]))? != 0 {
        return Err("clsa did not build".to_owned());
    }
    let folder = target().join("soak").join(campaign);
    remove_folder(&folder)?;
    make_folder(&folder)?;
    Ok(folder)
}

/// The program with arguments, silent.
pub fn clsa(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The command that begins a run in a folder.
pub fn pretrain(run: &Path) -> Command {
    let mut command = clsa(&["pretrain", "--out"]);
    command.arg(run);
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
    command
}

/// The command that goes on with a run, or begins it again where it has no checkpoint and so nothing to lose.
pub fn go_on(run: &Path) -> Command {
    if checkpoints(run).is_empty() {
        let _ = fs::remove_dir_all(run);
        return pretrain(run);
    }
    let mut command = clsa(&["pretrain", "--resume"]);
    command.arg(run);
    command
}

/// The command that evaluates a run, and writes `eval.json` and the folder `features` to another one.
pub fn evaluate(run: &Path, out: &Path) -> Command {
    let mut command = clsa(&["eval", "--protocol", "knn,linear-features", "--k", "3", "--run"]);
    command.arg(run).arg("--cache").arg(out).arg("--out").arg(out.join("eval.json"));
    command
}

/// The command that writes features of a run, and keeps them, in another folder.
pub fn embed(run: &Path, out: &Path) -> Command {
    let mut command = clsa(&["embed", "--force", "--run"]);
    command.arg(run).arg("--cache").arg(out).arg("--out").arg(out.join("features.npy"));
    command
}

/// The command that packs images to a folder.
pub fn pack(out: &Path) -> Command {
    let mut command = clsa(&["data", "pack", "--shard-size", "1", IMAGES]);
    command.arg(out);
    command
}

/// A run's checkpoints, by step.
pub fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().filter_map(Result::ok);
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("step-"));
    let mut found: Vec<_> = named.map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Runs a command to its end, and returns how long it took.
pub fn timed(command: &mut Command) -> Result<Duration, String> {
    let start = Instant::now();
    match code(command)? {
        0 => Ok(start.elapsed()),
        code => Err(format!("{command:?} ended with code {code}")),
    }
}

/// The digest in a run's last checkpoint, over all tensors, the configuration and the position.
pub fn end_of(run: &Path) -> Result<String, String> {
    let path = run.join("checkpoints/step-00000016.safetensors");
    let bytes = fs::read(&path).map_err(at(&path))?;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1 << 20)]).into_owned();
    let digest = text.split("\"digest\":\"").nth(1).and_then(|rest| rest.get(..64));
    digest.map(str::to_owned).ok_or_else(|| format!("{}: no digest", path.display()))
}
