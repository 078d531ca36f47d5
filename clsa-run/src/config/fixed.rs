//! What a run keeps when it goes on with other settings.

use super::{Config, ConfigError};

impl Config {
    /// The first key, if any, whose value a run of this configuration must keep when it goes on as `other`: weights and bank have
    /// shapes and types of it, or the order of the images, in the middle of which the run may stand.
    pub fn fixed_key(&self, other: &Self) -> Option<&'static str> {
        let (a, b) = (self, other);
        let fixed = [
            ("model.arch", a.model.arch == b.model.arch),
            ("model.stem", a.model.stem == b.model.stem),
            ("model.width", a.model.width == b.model.width),
            ("model.dim", a.model.dim == b.model.dim),
            ("model", a.model == b.model),
            ("method.bank", a.method.bank == b.method.bank),
            ("compute.bank", a.compute.bank == b.compute.bank),
            ("compute.precision", a.compute.bank_dtype() == b.compute.bank_dtype()),
            ("optim.kind", a.optim.kind == b.optim.kind),
            ("train.batch_size", a.train.global_batch() == b.train.global_batch()),
            ("train.seed", a.train.seed == b.train.seed),
            ("init", a.init == b.init),
            ("data.shuffle_buffer", a.data.shuffle_buffer == b.data.shuffle_buffer),
        ];
        fixed.into_iter().find_map(|(key, same)| (!same).then_some(key))
    }
}

/// What a step has on each rank, where that is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfEachRank {
    /// `train.batch_size`.
    pub batch_size: Option<usize>,
    /// `compute.bn_splits`.
    pub bn_splits: Option<usize>,
    /// `train.accumulate`.
    pub accumulate: Option<usize>,
}

impl Config {
    /// Spreads the steps over another number of ranks. What is not given follows: the images of a step and the groups of batch norm stay
    /// as many, so that the run goes on as it would have, and a batch has fewer parts where their number does not divide the groups of a
    /// rank. Says what is otherwise; nothing where the number of ranks is the same.
    ///
    /// # Errors
    /// The images of a step, or the groups, are not given and cannot be divided among so many ranks; the number so far is 0.
    pub fn spread_over(&mut self, ranks: usize, given: OfEachRank) -> Result<Option<String>, ConfigError> {
        if ranks == self.train.ranks {
            return Ok(None);
        }
        let before = self.train.ranks;
        if before == 0 {
            return Err(ConfigError::Value {
                key: "train.ranks",
                value: "0".to_owned(),
                expected: "use 1 or more".into(),
            });
        }
        let share = |key: &'static str, of_rank: usize| {
            // TOML has no numbers beyond those of i64.
            let all = of_rank.checked_mul(before).filter(|all| i64::try_from(*all).is_ok());
            match all.and_then(|all| all.checked_div(ranks).filter(|share| share * ranks == all)) {
                Some(share) => Ok(share),
                None => Err(ConfigError::Value {
                    key,
                    value: of_rank.to_string(),
                    expected: format!(
                        "{before} x {of_rank} cannot be divided among {ranks} ranks; use a number of ranks that divides it"
                    ),
                }),
            }
        };
        let (batch, splits, parts) = (self.train.batch_size, self.compute.bn_splits, self.train.accumulate);
        self.train.batch_size = given.batch_size.map_or_else(|| share("train.batch_size", batch), Ok)?;
        self.compute.bn_splits = given.bn_splits.map_or_else(|| share("compute.bn_splits", splits), Ok)?;
        self.train.ranks = ranks;
        // A part of a batch has groups of its own.
        let fitting = greatest_common_divisor(parts, self.compute.bn_splits);
        self.train.accumulate = given.accumulate.unwrap_or(fitting);
        let as_before = "; a step is of as many images as before, and batch norm of as many groups";
        let what = if (given.batch_size, given.bn_splits) == (None, None) { as_before } else { "" };
        let in_parts = match self.train.accumulate == parts {
            true => String::new(),
            false => format!(", train.accumulate {}", self.train.accumulate),
        };
        Ok(Some(format!(
            "{} in place of {}{what} (train.batch_size {}, compute.bn_splits {}{in_parts} on each)",
            counted(ranks),
            counted(before),
            self.train.batch_size,
            self.compute.bn_splits
        )))
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn counted(ranks: usize) -> String {
    if ranks == 1 { "1 rank".to_owned() } else { format!("{ranks} ranks") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_spread_over_other_ranks_where_they_divide() {
        let changes =
            ["train.batch_size=16", "train.ranks=2", "compute.bn_splits=4", "train.accumulate=4", "method.bank=64"];
        let before = Config::load("demo", &changes.map(str::to_owned)).unwrap();
        let spread = |ranks| {
            let mut config = before.clone();
            let said = config.spread_over(ranks, OfEachRank::default())?;
            assert_eq!(before.fixed_key(&config), None);
            config.validate().unwrap();
            Ok((config.train.batch_size, config.compute.bn_splits, config.train.accumulate, said))
        };
        assert_eq!(spread(2).unwrap(), (16, 4, 4, None));
        let (batch, splits, accumulate, said) = spread(1).unwrap();
        assert_eq!((batch, splits, accumulate), (32, 8, 4));
        let said = said.unwrap();
        assert!(said.starts_with("1 rank in place of 2 ranks") && !said.contains("accumulate"), "{said}");
        let (batch, splits, accumulate, said) = spread(4).unwrap();
        assert_eq!((batch, splits, accumulate), (8, 2, 2));
        let said = said.unwrap();
        assert!(said.ends_with("(train.batch_size 8, compute.bn_splits 2, train.accumulate 2 on each)"), "{said}");
        let error: ConfigError = spread(5).unwrap_err();
        assert!(error.to_string().contains("2 x 16 cannot be divided among 5 ranks"), "{error}");
        assert!(spread(16).is_err(), "there are 8 groups");
        let given = |batch_size, bn_splits| {
            let mut config = before.clone();
            let said = config.spread_over(5, OfEachRank { batch_size, bn_splits, ..OfEachRank::default() });
            said.map(|said| (config.train.batch_size, config.compute.bn_splits, config.train.accumulate, said.unwrap()))
        };
        assert!(given(Some(8), None).is_err() && given(None, Some(2)).is_err());
        let said = "5 ranks in place of 2 ranks (train.batch_size 8, compute.bn_splits 2, train.accumulate 2 on each)"
            .to_owned();
        assert_eq!(given(Some(8), Some(2)).unwrap(), (8, 2, 2, said));
        // Parts that are given stay, and are refused where they do not fit.
        let mut config = before.clone();
        config.train.accumulate = 3;
        config.spread_over(1, OfEachRank { accumulate: Some(3), ..OfEachRank::default() }).unwrap();
        assert_eq!((config.train.accumulate, config.compute.bn_splits), (3, 8));
        let error = config.validate().unwrap_err().to_string();
        assert!(error.starts_with("train.accumulate = 3: use a divisor of compute.bn_splits, which is 8"), "{error}");
        for ranks in ["0", "4611686018427387904"] {
            let mut config = Config::load("demo", &[format!("train.ranks={ranks}")]).unwrap();
            assert!(config.spread_over(1, OfEachRank::default()).is_err(), "{ranks}");
        }
    }

    #[test]
    fn shapes_types_and_order_are_kept_and_the_rest_may_change() {
        let demo = |change: &str| Config::load("demo", &[change.to_owned()]).unwrap();
        let before = demo("train.epochs=12");
        for change in
            ["optim.lr=0.001", "train.epochs=99", "method.temperature=0.1", "checkpoint.keep=9", "data.source=flat:x"]
        {
            assert_eq!(before.fixed_key(&demo(change)), None, "{change}");
        }
        for (change, key) in [
            ("model.arch=resnet34", "model.arch"),
            ("model.stem=imagenet", "model.stem"),
            ("model.width=2.0", "model.width"),
            ("model.dim=64", "model.dim"),
            ("model.zero_init_residual=true", "model"),
            ("method.bank=64", "method.bank"),
            ("compute.bank=bf16", "compute.bank"),
            ("compute.precision=f64", "compute.precision"),
            ("optim.kind=lars", "optim.kind"),
            ("train.batch_size=32", "train.batch_size"),
            ("train.seed=9", "train.seed"),
            ("init={weights='a.pth'}", "init"),
            ("data.shuffle_buffer=8", "data.shuffle_buffer"),
        ] {
            assert_eq!(before.fixed_key(&demo(change)), Some(key), "{change}");
        }
    }
}
