//! The linear classifier that protocols train by SGD, for one class or several in each image.

use crate::EvalError;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops::{log_softmax, sigmoid, softmax};
use clsa_data::{Label, Presence};
use clsa_model::SgdUpdate;
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A linear layer with its optimizer: weight (classes, dim), bias (classes).
pub(crate) struct SgdClassifier {
    weight: Var,
    bias: Var,
    weight_velocity: Var,
    bias_velocity: Var,
}

/// Momentum SGD under a cosine schedule.
#[derive(Clone, Copy)]
pub(crate) struct SgdSchedule {
    pub epochs: u64,
    pub momentum: f64,
    pub weight_decay: f64,
}

impl SgdSchedule {
    /// The update in an epoch, 0-based, of a parameter whose learning rate in the first is `lr`.
    pub fn update(&self, lr: f64, epoch: u64) -> SgdUpdate {
        let Self { epochs, momentum, weight_decay } = *self;
        SgdUpdate { lr: clsa_run::cosine(lr, epoch, epochs), momentum, weight_decay }
    }
}

/// Checks what all trainings have in common.
pub(crate) fn check_training(epochs: u64, batch_size: usize) -> Result<(), EvalError> {
    EvalError::at_least_one("epochs", epochs)?;
    EvalError::at_least_one("batch_size", batch_size as u64)
}

/// Loss of a batch, whose value stays on its device until it is asked for: a GPU goes on meanwhile.
pub(crate) struct Loss {
    /// Sum over the images, a scalar in f32.
    sum: Tensor,
    /// Gradient of the logits (N, classes).
    gradient: Tensor,
}

impl Loss {
    /// Mean over the images. Waits for a GPU.
    pub fn value(&self) -> Result<f64, EvalError> {
        Ok(f64::from(self.sum.to_scalar::<f32>()?) / self.gradient.dim(0)? as f64)
    }
}

impl SgdClassifier {
    /// Weights N(0, 0.01) drawn from `seed`, biases 0.
    pub fn new(classes: usize, dim: usize, seed: u64, device: &Device) -> Result<Self, EvalError> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let normal = Normal::new(0.0f32, 0.01).expect("a positive deviation");
        let weight: Vec<f32> = (0..classes * dim).map(|_| normal.sample(&mut rng)).collect();
        Ok(Self {
            weight: Var::from_vec(weight, (classes, dim), device)?,
            bias: Var::zeros(classes, DType::F32, device)?,
            weight_velocity: Var::zeros((classes, dim), DType::F32, device)?,
            bias_velocity: Var::zeros(classes, DType::F32, device)?,
        })
    }

    /// Everything that a training state keeps, by name.
    pub fn variables(&self, prefix: &str) -> Vec<(String, Var)> {
        let named = [
            ("fc.weight", &self.weight),
            ("fc.bias", &self.bias),
            ("velocity.fc.weight", &self.weight_velocity),
            ("velocity.fc.bias", &self.bias_velocity),
        ];
        named.map(|(name, var)| (format!("{prefix}{name}"), var.clone())).into()
    }

    /// Logits (N, classes) of features (N, dim), without graph.
    pub fn logits(&self, features: &Tensor) -> Result<Tensor, EvalError> {
        let weight = self.weight.as_detached_tensor();
        Ok(features.matmul(&weight.t()?)?.broadcast_add(&self.bias.as_detached_tensor())?)
    }

    /// Logits as numbers, row-major.
    pub fn scores(&self, features: &Tensor) -> Result<Vec<f64>, EvalError> {
        Ok(self.logits(features)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?)
    }

    /// Whether no weight has left the finite numbers, as the last update may make them.
    pub fn is_finite(&self) -> Result<bool, EvalError> {
        for var in [&self.weight, &self.bias] {
            if !var.flatten_all()?.to_vec1::<f32>()?.iter().all(|weight| weight.is_finite()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Cross-entropy of features (N, dim) against the one class of each image.
    pub fn cross_entropy(&self, features: &Tensor, labels: &[Label]) -> Result<Loss, EvalError> {
        let logits = self.logits(features)?;
        let (n, classes) = logits.dims2()?;
        let mut one_hot = vec![0f32; n * classes];
        for (row, class) in labels.iter().filter_map(Label::class).enumerate() {
            one_hot[row * classes + class as usize] = 1.0;
        }
        let one_hot = Tensor::from_vec(one_hot, (n, classes), logits.device())?;
        let sum = (log_softmax(&logits, D::Minus1)? * &one_hot)?.sum_all()?.neg()?;
        let gradient = ((softmax(&logits, D::Minus1)? - one_hot)? / n as f64)?;
        Ok(Loss { sum, gradient })
    }

    /// Binary cross-entropy of features (N, dim) against the presence of each class in each image, summed over the
    /// classes. Where the presence is [`Presence::Difficult`], the class adds nothing to the loss of the image.
    pub fn binary_cross_entropy(&self, features: &Tensor, labels: &[&[Presence]]) -> Result<Loss, EvalError> {
        let logits = self.logits(features)?;
        let (n, classes) = logits.dims2()?;
        let of = |value: fn(Presence) -> f32| {
            let values: Vec<f32> = labels.iter().flat_map(|label| label.iter().map(|p| value(*p))).collect();
            Tensor::from_vec(values, (n, classes), logits.device())
        };
        let present = of(|p| if p == Presence::Present { 1.0 } else { 0.0 })?;
        let counts = of(|p| if p == Presence::Difficult { 0.0 } else { 1.0 })?;
        // log(1 + exp(z)) - y·z, with the exponential of a negative number.
        let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
        let loss = (softplus - (&logits * &present)?)?;
        let sum = (loss * &counts)?.sum_all()?;
        let gradient = (((sigmoid(&logits)? - present)? * counts)? / n as f64)?;
        Ok(Loss { sum, gradient })
    }

    /// The gradient of the features (N, dim), for what lies before them.
    pub fn features_gradient(&self, loss: &Loss) -> Result<Tensor, EvalError> {
        Ok(loss.gradient.matmul(&self.weight.as_detached_tensor())?)
    }

    /// One step of SGD.
    pub fn update(&self, features: &Tensor, loss: &Loss, sgd: &SgdUpdate) -> Result<(), EvalError> {
        sgd.apply(&self.weight, &self.weight_velocity, &loss.gradient.t()?.matmul(features)?)?;
        sgd.apply(&self.bias, &self.bias_velocity, &loss.gradient.sum(0)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 5;
    const DIM: usize = 4;
    const CLASSES: usize = 3;

    fn features() -> Tensor {
        let values: Vec<f32> = (0..ROWS * DIM).map(|i| (i as f32 * 0.7).sin()).collect();
        Tensor::from_vec(values, (ROWS, DIM), &Device::Cpu).unwrap()
    }

    fn values(var: &Var) -> Vec<f32> {
        var.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Compares a step at learning rate 1 without momentum, which subtracts the gradient, with central differences.
    fn steps_follow_the_gradient(loss: impl Fn(&SgdClassifier) -> Loss) {
        let new = || SgdClassifier::new(CLASSES, DIM, 1, &Device::Cpu).unwrap();
        let stepped = new();
        let sgd = SgdUpdate { lr: 1.0, momentum: 0.0, weight_decay: 0.0 };
        stepped.update(&features(), &loss(&stepped), &sgd).unwrap();
        let vars: [fn(&SgdClassifier) -> &Var; 2] = [|c| &c.weight, |c| &c.bias];
        for var in vars {
            let (before, after) = (values(var(&new())), values(var(&stepped)));
            for at in 0..before.len() {
                let moved = |by: f32| {
                    let classifier = new();
                    let mut moved = before.clone();
                    moved[at] += by;
                    let moved = Tensor::from_vec(moved, var(&classifier).shape(), &Device::Cpu).unwrap();
                    var(&classifier).set(&moved).unwrap();
                    loss(&classifier).value().unwrap()
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let step = f64::from(before[at] - after[at]);
                assert!((slope - step).abs() < 1e-3, "{at}: {slope} and {step}");
            }
        }
    }

    #[test]
    fn the_learning_rate_falls_by_the_cosine() {
        let schedule = SgdSchedule { epochs: 10, momentum: 0.9, weight_decay: 1e-4 };
        assert_eq!(schedule.update(2.0, 0), SgdUpdate { lr: 2.0, momentum: 0.9, weight_decay: 1e-4 });
        assert!((schedule.update(2.0, 5).lr - 1.0).abs() < 1e-12);
    }

    #[test]
    fn cross_entropy_has_the_gradient_of_its_value() {
        let labels = [0, 2, 1, 1, 0].map(Label::Class);
        steps_follow_the_gradient(|c| c.cross_entropy(&features(), &labels).unwrap());
    }

    #[test]
    fn binary_cross_entropy_has_the_gradient_of_its_value_and_ignores_difficult_objects() {
        use Presence::{Absent, Difficult, Present};
        let labels: [&[Presence]; ROWS] = [
            &[Present, Absent, Difficult],
            &[Absent, Present, Present],
            &[Difficult, Difficult, Absent],
            &[Absent, Absent, Absent],
            &[Present, Present, Present],
        ];
        steps_follow_the_gradient(|c| c.binary_cross_entropy(&features(), &labels).unwrap());
        let classifier = SgdClassifier::new(CLASSES, DIM, 1, &Device::Cpu).unwrap();
        let logits = classifier.scores(&features()).unwrap();
        let expected: f64 = labels
            .iter()
            .flat_map(|l| l.iter())
            .zip(&logits)
            .map(|(p, z)| match p {
                Present => (1.0 + (-z).exp()).ln(),
                Absent => (1.0 + z.exp()).ln(),
                Difficult => 0.0,
            })
            .sum();
        let loss = classifier.binary_cross_entropy(&features(), &labels).unwrap().value().unwrap();
        assert!((loss - expected / ROWS as f64).abs() < 1e-5, "{loss}");
    }
}
