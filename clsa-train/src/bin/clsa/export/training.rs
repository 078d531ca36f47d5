//! How an encoder was trained, as rows of a card: nothing that tells where on the machine anything was.

use crate::source_kind::source_kind;
use clsa_augment::View;
use clsa_run::{BankKeys, Checkpoint, Config, DataIdentity, OptimizerKind, RunFolder, Schedule, StrongLoss};
use std::path::Path;

/// What is said of a training, each with its value.
pub fn rows(run: &RunFolder, config: &Config, checkpoint: &Path) -> Vec<(&'static str, String)> {
    let Config { method, optim, train, views, .. } = config;
    let mut rows = vec![("images", images(run, config))];
    if let Some(epochs) = epochs(config, checkpoint) {
        rows.push(("epochs", epochs));
    }
    if let Some(init) = &config.init {
        let name = Path::new(&init.weights).file_name().unwrap_or_default().to_string_lossy();
        rows.push(("began with", format!("`{name}`, SHA-256 `{}`", init.sha256)));
    }
    rows.push(("key view", described(std::slice::from_ref(&views.key))));
    rows.push(("weak views", described(&views.weak)));
    rows.push(("strong views", described(&views.strong)));
    let symmetric = if method.symmetric { ", in both directions" } else { "" };
    rows.push(("loss of weak views", format!("InfoNCE, temperature {}{symmetric}", method.temperature)));
    if !views.strong.is_empty() {
        rows.push((
            "loss of strong views",
            match method.strong_loss {
                StrongLoss::Ddm => {
                    format!(
                        "distributional divergence, temperature {}, weight {}",
                        method.ddm_temperature, method.alpha
                    )
                }
                StrongLoss::InfoNce => format!("InfoNCE, temperature {}, as of weak views", method.temperature),
            },
        ));
    }
    let negatives = if method.batch_negatives { " and those of the batch" } else { "" };
    let of_each = match method.bank_keys {
        BankKeys::KeyView => "",
        BankKeys::Both => " with two of each image",
    };
    rows.push(("negatives", format!("{} keys of a memory bank{of_each}{negatives}", method.bank)));
    let last = method.final_momentum.map(|last| format!(" to {last}")).unwrap_or_default();
    rows.push(("momentum of the key encoder", format!("{}{last}", method.momentum)));
    rows.push(("batch", format!("{} images", train.global_batch())));
    let warmup = match optim.warmup_epochs {
        0 => String::new(),
        epochs => format!(" after a warmup of {epochs} epochs"),
    };
    let each = match optim.schedule {
        Schedule::Epoch => "epoch",
        Schedule::Step => "step",
    };
    let kind = match optim.kind {
        OptimizerKind::Sgd => format!("SGD, momentum {}", optim.momentum),
        OptimizerKind::Lars => {
            format!("LARS, momentum {}, trust coefficient {}", optim.momentum, optim.trust_coefficient)
        }
        OptimizerKind::Adamw => format!("AdamW, betas {} and {}", optim.betas[0], optim.betas[1]),
    };
    let factor = optim.lr_factor(train.global_batch());
    let excluded = if optim.exclude_norm_and_bias { " but on norms and biases" } else { "" };
    let clipped =
        if optim.clip_norm > 0.0 { format!(", gradients of norm {} at most", optim.clip_norm) } else { String::new() };
    rows.push((
        "optimizer",
        format!(
            "{kind}, learning rate {} to {} by a cosine with each {each}{warmup}, weight decay {}{excluded}{clipped}",
            product(optim.lr, factor),
            product(optim.final_lr, factor),
            optim.weight_decay
        ),
    ));
    rows.push(("seed", train.seed.to_string()));
    rows
}

/// A product that is written with few digits where its factors are: 0.3 times 3 is 0.8999999999999999 in f64.
fn product(a: f64, b: f64) -> f32 {
    (a * b) as f32
}

/// What the run was trained on.
fn images(run: &RunFolder, config: &Config) -> String {
    let kind = source_kind(&config.data.source);
    match DataIdentity::read(run) {
        Ok(Some(DataIdentity { images, classes: 0, .. })) => format!("{images} of {kind}, without labels"),
        Ok(Some(DataIdentity { images, classes, .. })) => {
            format!("{images} of {kind}, of {classes} classes that training did not see")
        }
        Ok(None) | Err(_) => kind,
    }
}

/// How far the run was when it wrote this checkpoint.
fn epochs(config: &Config, checkpoint: &Path) -> Option<String> {
    let position = Checkpoint::position_of(checkpoint)?;
    let batches = if position.batch == 0 { String::new() } else { format!(" and {} batches", position.batch) };
    Some(format!("{}{batches} of {}, {} steps", position.epoch, config.train.epochs, position.step))
}

/// Views in few words. What the first of them is made with stands for all.
fn described(views: &[View]) -> String {
    let Some(first) = views.first() else { return "none".to_owned() };
    let size = |view: &View| format!("{} pixels of {} to {} of the area", view.size, view.scale.0, view.scale.1);
    let sizes: Vec<String> = views.iter().map(size).collect();
    let mut with = Vec::new();
    with.extend(first.jitter.is_some().then_some("color jitter"));
    with.extend((first.grayscale > 0.0).then_some("grayscale"));
    with.extend(first.blur.is_some().then_some("blur"));
    with.extend((first.flip > 0.0).then_some("flip"));
    with.extend(first.strong.is_some().then_some("stronger augmentations"));
    let with = if with.is_empty() { String::new() } else { format!("; {}", with.join(", ")) };
    format!("{}{with}", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::product;

    #[test]
    fn a_learning_rate_has_no_digits_that_nobody_wrote() {
        let written = [product(0.3, 3.0), product(0.06, 1.0), product(1e-5, 1.0)].map(|rate| rate.to_string());
        assert_eq!(written, ["0.9", "0.06", "0.00001"]);
    }
}
