//! Which values a configuration accepts, as far as that can be said without looking at the data.

use super::{BankKeys, BankPrecision, Config, ConfigError};
use clsa_augment::MAX_SIDE;
use clsa_model::Precision;
use std::fmt::Display;
use std::ops::RangeInclusive;

impl Config {
    /// Checks every value and every pair of values that must fit, without looking at the data.
    ///
    /// # Errors
    /// Names the first key at fault.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.model.validate().map_err(ConfigError::Model)?;
        self.views.validate().map_err(|error| ConfigError::Views(error.within("views")))?;
        let Self { method, optim, train, compute, data, eval, checkpoint, knn, .. } = self;
        let (batch, global) = (train.batch_size, train.global_batch());
        let monitored = knn.is_on();
        let fraction = "use a number from 0 to 1";
        let one = "use at least 1";
        let neighbors = "use at least 1 neighbor and 1 image of each split";
        let (entering, what) = match method.bank_keys {
            BankKeys::KeyView => (global, "one batch"),
            BankKeys::Both => (global.saturating_mul(2), "both keys of one batch"),
        };
        let bank = format!(
            "the bank must hold at least {what} of {global} (train.batch_size, on every rank); use a larger bank or a smaller batch"
        );
        let splits = format!("use a divisor of train.batch_size, which is {batch}");
        let parts = format!(
            "use a divisor of compute.bn_splits, which is {}: each part of a batch has batch norm groups of its own",
            compute.bn_splits
        );
        let bf16 = compute.bank == BankPrecision::Bf16 && compute.precision == Precision::F64;
        let rules = [
            rule(batch > 0, "train.batch_size", batch, one),
            rule(train.ranks > 0, "train.ranks", train.ranks, one),
            rule(train.epochs > 0, "train.epochs", train.epochs, one),
            rule(
                train.stop_epoch <= train.epochs,
                "train.stop_epoch",
                train.stop_epoch,
                "use an epoch up to train.epochs, or 0 for all of them",
            ),
            rule(
                i64::try_from(train.seed).is_ok(),
                "train.seed",
                train.seed,
                "use a number below 2^63, as TOML has them",
            ),
            rule(method.bank >= entering, "method.bank", method.bank, &bank),
            rule(
                method.symmetric || method.bank_keys == BankKeys::KeyView,
                "method.bank_keys",
                "both",
                "only a symmetric loss has keys of both views; set method.symmetric=true, or use key_view",
            ),
            within(0.0..=1.0, "method.momentum", method.momentum, fraction),
            method
                .final_momentum
                .map_or(Ok(()), |momentum| within(0.0..=1.0, "method.final_momentum", momentum, fraction)),
            within(1e-6..=1e6, "method.temperature", method.temperature, "use a number from 0.000001 to 1000000"),
            within(
                1e-6..=1e6,
                "method.ddm_temperature",
                method.ddm_temperature,
                "use a number from 0.000001 to 1000000",
            ),
            not_negative("method.alpha", method.alpha),
            not_negative("optim.lr", optim.lr),
            not_negative("optim.momentum", optim.momentum),
            within(0.0..=BELOW_ONE, "optim.betas", optim.betas[0], "use two numbers from 0 to below 1"),
            within(0.0..=BELOW_ONE, "optim.betas", optim.betas[1], "use two numbers from 0 to below 1"),
            not_negative("optim.trust_coefficient", optim.trust_coefficient),
            not_negative("optim.clip_norm", optim.clip_norm),
            not_negative("optim.weight_decay", optim.weight_decay),
            rule(
                optim.warmup_epochs < train.epochs,
                "optim.warmup_epochs",
                optim.warmup_epochs,
                "use fewer epochs than train.epochs",
            ),
            not_negative("optim.final_lr", optim.final_lr),
            rule(
                compute.bn_splits > 0 && batch.is_multiple_of(compute.bn_splits),
                "compute.bn_splits",
                compute.bn_splits,
                &splits,
            ),
            rule(
                !bf16,
                "compute.bank",
                "bf16",
                "a bank in bf16 does not fit compute.precision = f64; use compute.bank = f32",
            ),
            rule(
                train.accumulate > 0 && compute.bn_splits.is_multiple_of(train.accumulate),
                "train.accumulate",
                train.accumulate,
                &parts,
            ),
            within(0.0..=1.0, "data.max_bad_fraction", data.max_bad_fraction, fraction),
            rule(data.prefetch > 0, "data.prefetch", data.prefetch, one),
            rule(eval.resize <= MAX_SIDE, "eval.resize", eval.resize, &format!("use up to {MAX_SIDE} pixels")),
            rule((1..=eval.resize).contains(&eval.crop), "eval.crop", eval.crop, "use 1 to eval.resize pixels"),
            rule(checkpoint.keep > 0, "checkpoint.keep", checkpoint.keep, one),
            rule(checkpoint.every > 0, "checkpoint.every", checkpoint.every, one),
            rule(!monitored || knn.k > 0, "knn.k", knn.k, neighbors),
            rule(!monitored || knn.train_samples > 0, "knn.train_samples", knn.train_samples, neighbors),
            rule(
                !(monitored || self.probe.lr > 0.0) || knn.test_samples > 0,
                "knn.test_samples",
                knn.test_samples,
                neighbors,
            ),
            positive("knn.temperature", knn.temperature),
            not_negative("probe.lr", self.probe.lr),
        ];
        rules.into_iter().collect()
    }
}

type Rule = Result<(), ConfigError>;

fn rule(holds: bool, key: &'static str, value: impl Display, expected: &str) -> Rule {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Value { key, value: value.to_string(), expected: expected.to_owned() })
}

/// The largest number below 1.
const BELOW_ONE: f64 = 1.0 - f64::EPSILON / 2.0;

fn within(range: RangeInclusive<f64>, key: &'static str, value: f64, expected: &str) -> Rule {
    rule(range.contains(&value), key, value, expected)
}

fn positive(key: &'static str, value: f64) -> Rule {
    rule(value.is_finite() && value > 0.0, key, value, "use a positive number")
}

fn not_negative(key: &'static str, value: f64) -> Rule {
    rule(value.is_finite() && value >= 0.0, key, value, "use a number that is not negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named_by_its_key_and_with_what_it_takes() {
        let cases = [
            ("train.batch_size=0", "train.batch_size = 0: use at least 1"),
            ("method.momentum=1.5", "method.momentum = 1.5: use a number from 0 to 1"),
            ("compute.bn_splits=3", "compute.bn_splits = 3: use a divisor of train.batch_size"),
            ("knn.test_samples=0", "knn.test_samples = 0"),
            ("eval.resize=20000", "eval.resize = 20000: use up to 16384 pixels"),
            ("model.width=100", "model.width"),
            ("views.key.size=0", "views.key.size"),
            ("views.key.early_sizes=[{until_epoch=0,size=16}]", "views.key.early_sizes.until_epoch"),
            ("views.key.early_sizes=[{until_epoch=2,size=0}]", "views.key.early_sizes.size"),
            ("train.accumulate=0", "train.accumulate = 0: use a divisor of compute.bn_splits"),
            ("train.accumulate=2", "train.accumulate = 2: use a divisor of compute.bn_splits, which is 1"),
            ("method.bank_keys=both", "method.bank_keys = both: only a symmetric loss has keys of both views"),
        ];
        for (text, message) in cases {
            let error = Config::load("demo", &[text.to_owned()]).unwrap().validate().unwrap_err();
            assert!(error.to_string().starts_with(message), "{text}: {error}");
        }
        let mut config = Config::load("demo", &[]).unwrap();
        config.train.seed = 1 << 63;
        let error = config.validate().unwrap_err();
        assert!(error.to_string().starts_with("train.seed = 9223372036854775808: use a number below 2^63"), "{error}");
        // Of each image two keys enter the bank.
        let both = ["method={symmetric=true, bank_keys='both', bank=100}", "train.batch_size=64"].map(str::to_owned);
        let error = Config::load("demo", &both).unwrap().validate().unwrap_err();
        let message = "method.bank = 100: the bank must hold at least both keys of one batch of 64";
        assert!(error.to_string().starts_with(message), "{error}");
        // The probe looks at test images too.
        let probe = ["knn={every=0, test_samples=0}", "probe.lr=0.1"].map(str::to_owned);
        let error = Config::load("demo", &probe).unwrap().validate().unwrap_err();
        assert!(error.to_string().starts_with("knn.test_samples = 0"), "{error}");
    }
}
