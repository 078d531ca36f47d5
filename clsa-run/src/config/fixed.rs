//! What a run keeps when it goes on with other settings.

use super::Config;

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
            ("train.batch_size", a.train.batch_size == b.train.batch_size),
            ("train.seed", a.train.seed == b.train.seed),
            ("init", a.init == b.init),
            ("data.shuffle_buffer", a.data.shuffle_buffer == b.data.shuffle_buffer),
        ];
        fixed.into_iter().find_map(|(key, same)| (!same).then_some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_types_and_order_are_kept_and_the_rest_may_change() {
        let demo = |change: &str| Config::load("demo", &[change.to_owned()]).unwrap();
        let before = demo("train.epochs=12");
        for change in
            ["optim.lr=0.001", "train.epochs=99", "method.temperature=0.1", "checkpoint.keep=9", "data.source=flat:x"]
        {
            assert_eq!(before.fixed_key(&demo(change)), None, "{change}");
        }
        for change in
            ["model.width=2.0", "model.zero_init_residual=true", "method.bank=64", "train.seed=9", "compute.bank=bf16"]
        {
            let key = before.fixed_key(&demo(change)).unwrap();
            assert!(change.starts_with(key), "{change}: {key}");
        }
    }
}
