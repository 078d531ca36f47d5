//! What lies in a run's folder: checkpoints, features, records.

use super::{LIMIT_MIB, LONG, error_stream, failed, limited, refused, sparse};
use std::fs;
use tempfile::TempDir;

#[test]
fn checkpoints_and_features_that_state_more_than_they_hold_are_refused_or_made_anew() {
    let root = TempDir::new().unwrap();
    let run = root.path().join("run");
    let mut pretrain = limited(LIMIT_MIB);
    pretrain.args(["pretrain", "--threads", "1", "--epochs=1", "--batch-size=8", "--out"]).arg(&run);
    for setting in [
        "data.source=procedural:classes=2,train=16,test=8,side=8",
        "model.width=0.125",
        "eval={resize=8, crop=8}",
        "views={key={size=8}, weak=[{size=8}], strong=[{size=8, strong=true}]}",
        "knn={every=0, k=3}",
        "method.bank=16",
    ] {
        pretrain.args(["--set", setting]);
    }
    pretrain.assert().success();
    let eval = || {
        let mut command = limited(LIMIT_MIB);
        command.args(["eval", "--threads", "1", "--protocol", "knn", "--k", "3", "--run"]).arg(&run);
        command
    };
    eval().assert().success();

    for entry in fs::read_dir(run.join("features")).unwrap().map(Result::unwrap) {
        let whole = fs::read(entry.path()).unwrap();
        for length in [u64::MAX, 1 << 40, 1 << 30, 1 << 16] {
            sparse(&entry.path(), &[&length.to_le_bytes(), &whole[8..]].concat(), LONG);
            let output = eval().output().unwrap();
            let text = error_stream(&output);
            assert!(output.status.success() && text.contains("warning: "), "{length}: {}: {text}", output.status);
        }
    }

    let checkpoint = run.join("checkpoints/step-00000002.safetensors");
    let whole = fs::read(&checkpoint).unwrap();
    let commands = || {
        [&["pretrain", "--resume"][..], &["eval", "--run"], &["convert"]].map(|args| {
            let mut command = limited(LIMIT_MIB);
            command.args(args).arg(&run);
            if args == ["convert"] {
                command.arg(root.path().join("out.pth"));
            }
            command
        })
    };
    for length in [u64::MAX, 1 << 40, 99_000_000] {
        fs::write(&checkpoint, [&length.to_le_bytes(), &whole[8..]].concat()).unwrap();
        for mut command in commands() {
            refused(&format!("header of {length}"), &mut command, "step-00000002.safetensors");
        }
    }
    // As long as it is: what there is no memory for fails.
    sparse(&checkpoint, &whole, LONG);
    for mut command in commands() {
        assert!(failed("long checkpoint", &mut command).contains("step-00000002.safetensors"));
    }
    fs::write(&checkpoint, &whole).unwrap();
    sparse(&run.join("metrics.jsonl"), b"{", LONG);
    let mut resume = limited(LIMIT_MIB);
    resume.args(["pretrain", "--epochs", "2", "--resume"]).arg(&run);
    assert!(failed("long records", &mut resume).contains("metrics.jsonl"));
}
