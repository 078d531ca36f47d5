//! `eval`: evaluates the encoder of a run or of a weight file.

pub(super) mod progress;
mod protocols;
mod subject;

use crate::{Failure, request};
use anyhow::{Context, anyhow};
use candle_core::Device;
use clap::ValueEnum;
use clsa_data::{DataError, Source, Split};
use clsa_eval::{
    Chance, EvalError, Evaluation, LabelSubset, check_labels, check_presences, data_hash, encoder_hash, joined_hash,
    labels, presences, write_whole,
};
use progress::Progress;
use protocols::{Bench, Images, NamedEncoder};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use subject::Subject;

/// Evaluate a run or a weight file; without options the newest run in ./runs.
///
/// The trained encoder stands beside the untrained one, raw pixels and chance. The figures are printed and written to
/// eval.json in the run (eval-NAME.json for other images than the run's), or to WEIGHTS.eval.json in the current folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask eval
  cargo xtask eval --run runs/demo --protocol knn --k 200
  cargo xtask eval --run runs/demo --protocol linear --lr 1,3,10,30
  cargo xtask eval --run runs/demo --protocol finetune --labels 10%
  cargo xtask eval --run runs/demo --protocol voc07 --data voc2007:/data/VOCdevkit
  cargo xtask eval --run runs/demo --protocol retrieval --data flat:/data/photographs
  cargo xtask eval --weights resnet50.pth --data imagefolder:/data/imagenet --protocol knn,linear --epochs 10")]
pub struct Args {
    /// The run: its folder.
    #[arg(long, value_name = "RUN", conflicts_with = "weights")]
    run: Option<PathBuf>,
    /// A weight file: PyTorch (.pth, .pth.tar), safetensors, or a checkpoint.
    #[arg(long, value_name = "FILE", requires = "data")]
    weights: Option<PathBuf>,
    /// The protocols, separated by commas.
    #[arg(long, value_delimiter = ',', value_enum, default_values = ["knn", "linear-features"])]
    protocol: Vec<Protocol>,
    /// The images: imagefolder:PATH, cifar-bin:PATH, voc2007:PATH, procedural and others; default: those of the run.
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Short side of test images after resizing, pixels; default: the run's, else 256, or 32 for a CIFAR stem; voc07: 343.
    #[arg(long, value_name = "PIXELS")]
    resize: Option<u32>,
    /// Side of crops, pixels; default: the run's, else 224, or 32 for a CIFAR stem; voc07: 300.
    #[arg(long, value_name = "PIXELS")]
    crop: Option<u32>,
    /// knn: neighbours; default: the run's, else 200, and never more than there are training images.
    #[arg(long, value_parser = at_least_one::<usize>)]
    k: Option<usize>,
    /// knn: temperature of the votes; default: the run's, else 0.07.
    #[arg(long, value_parser = positive, allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// linear, voc07 (100) and finetune (20): epochs.
    #[arg(long, value_parser = at_least_one::<u64>)]
    epochs: Option<u64>,
    /// linear, voc07: learning rate, or several, of which the best on held-out training images is taken (linear: 10;
    /// voc07: 0.03,0.1,0.3,1,3,10); finetune: that of the backbone (0.01).
    #[arg(long, value_delimiter = ',', value_parser = positive, allow_negative_numbers = true)]
    lr: Vec<f64>,
    /// finetune: learning rate of the classifier (0.2).
    #[arg(long, value_name = "LR", value_parser = positive, allow_negative_numbers = true)]
    head_lr: Option<f64>,
    /// linear, finetune, voc07: images per step.
    #[arg(long, value_name = "IMAGES", default_value_t = 256, value_parser = at_least_one::<usize>)]
    batch_size: usize,
    /// finetune: share of each class's training images whose labels are used, such as 1% or 10%.
    #[arg(long, value_name = "SHARE", default_value = "100%")]
    labels: String,
    /// finetune: the training images whose labels are used: a file with one image name a line (the form of SimCLR's
    /// ImageNet subsets).
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    label_list: Option<PathBuf>,
    /// retrieval: random images whose neighbours are shown.
    #[arg(long, value_name = "IMAGES", default_value_t = 10, value_parser = at_least_one::<usize>)]
    queries: usize,
    /// retrieval: neighbours of each.
    #[arg(long, value_name = "IMAGES", default_value_t = 10, value_parser = at_least_one::<usize>)]
    neighbours: usize,
    /// Print the figures of each class too; eval.json has them always.
    #[arg(long)]
    per_class: bool,
    /// Seed of confidence intervals, held-out images, labelled images, random crops and queries.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads that compute; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Where the figures are written.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where features and interrupted trainings are kept; default: the run, or WEIGHTS.eval in the current folder.
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// cpu or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// A protocol on the command line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// Weighted k-nearest neighbours.
    Knn,
    /// The paper's linear classifier: frozen backbone, random crops, SGD.
    Linear,
    /// Logistic regression on features of centre crops: fast.
    LinearFeatures,
    /// All layers trained, with all labels or some.
    Finetune,
    /// Multi-label linear classification, for voc2007:PATH.
    Voc07,
    /// The nearest neighbours of random images, as a picture; needs no labels.
    Retrieval,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Linear => "linear",
            Self::LinearFeatures => "linear-features",
            Self::Finetune => "finetune",
            Self::Voc07 => "voc07",
            Self::Retrieval => "retrieval",
        }
    }

    /// Whether it works on features of centre crops.
    fn wants_features(self) -> bool {
        matches!(self, Self::Knn | Self::LinearFeatures | Self::Retrieval)
    }

    /// Whether every image must have one class.
    fn wants_classes(self) -> bool {
        !matches!(self, Self::Voc07 | Self::Retrieval)
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let device = device(&args.device)?;
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global().context("--threads")?;
    let mut asked: Vec<Protocol> = Vec::new();
    args.protocol.iter().for_each(|&protocol| {
        if !asked.contains(&protocol) {
            asked.push(protocol)
        }
    });
    let asks = |protocol: Protocol| asked.contains(&protocol);
    if asks(Protocol::Finetune) && args.lr.len() > 1 {
        return Err(request(anyhow!("--lr: finetune takes one learning rate; name several for linear or voc07 alone")));
    }
    let subset = match &args.label_list {
        Some(list) => LabelSubset::List(list.clone()),
        None => args.labels.parse().map_err(|e| request(anyhow!("--labels {}: {e}", args.labels)))?,
    };
    let mut subject = Subject::of(&args)?;
    let trained = subject.trained(&device)?;
    let source: Source = subject.data.parse().map_err(|e| request(anyhow!("--data: {e}")))?;
    let train = source.open(Split::Train).map_err(request)?;
    let test = match source.open(Split::Test) {
        Ok(test) => Some(test),
        Err(error @ DataError::NoSplit { .. }) if asked == [Protocol::Retrieval] => {
            eprintln!("note: {error}; the queries are training images");
            None
        }
        Err(error) => {
            let hint = match error {
                DataError::NoSplit { .. } => ": only retrieval, of the protocols, needs no test images",
                _ => "",
            };
            return Err(request(anyhow!("{error}{hint}")));
        }
    };
    let (mut classes, mut one_class_each, mut present, mut labelled) = (0, None, None, None);
    if let Some(test) = &test {
        let all = |data: &dyn clsa_data::Dataset| labels(data, &(0..data.len()).collect::<Vec<_>>());
        if asked.iter().any(|protocol| protocol.wants_classes()) {
            check_labels(train.as_ref(), test.as_ref())?;
        }
        if let (Ok(train_labels), Ok(test_labels)) = (all(train.as_ref()), all(test.as_ref())) {
            let most = train_labels.iter().chain(&test_labels).max().map_or(0, |&class| class as usize + 1);
            classes = most.max(train.class_names().len());
            one_class_each = Some([train_labels, test_labels]);
        }
        if asks(Protocol::Voc07) {
            let both = [presences(train.as_ref())?, presences(test.as_ref())?];
            check_presences(&both[0], &both[1], train.class_names())?;
            present = Some(both);
        }
        if asks(Protocol::Finetune) {
            labelled = Some(subset.of(&train, test.as_ref(), args.seed)?);
        }
    }
    if let Some(k) = args.k.filter(|&k| asks(Protocol::Knn) && k > train.len()) {
        return Err(request(anyhow!("--k {k}: there are only {} training images; use at most as many", train.len())));
    }
    let untrained = subject.untrained(&device)?;
    let images = |split: &'static str, dataset: Arc<dyn clsa_data::Dataset>| -> Result<Images, EvalError> {
        let progress = Progress::new(&format!("{split} images, content"), "images");
        let sha256 = data_hash(dataset.as_ref(), &|done| progress.at(done as u64, dataset.len() as u64))?;
        Ok(Images { split, sha256, dataset })
    };
    let train = images("training", train)?;
    let test = test.map(|test| images("test", test)).transpose()?;
    let mut evaluation = Evaluation {
        weights: subject.weights.display().to_string(),
        encoder_sha256: encoder_hash(&trained)?,
        data: source.to_string(),
        data_sha256: joined_hash([Some(&train), test.as_ref()].into_iter().flatten().map(|split| &split.sha256)),
        classes: train.dataset.class_names().to_vec(),
        train_samples: train.dataset.len(),
        test_samples: test.as_ref().map_or(0, |test| test.dataset.len()),
        transform: subject.transform,
        chance: one_class_each.as_ref().map(|_| Chance::of(classes)),
        protocols: Vec::new(),
    };
    if args.out.is_none()
        && Evaluation::read(&subject.out).is_ok_and(|earlier| subject.is_of_others(&earlier, &evaluation))
    {
        subject.out = subject.apart(&evaluation);
    }
    eprintln!(
        "{}: {} x {}; {}: {} training and {} test images of {} classes",
        evaluation.weights,
        subject.model.arch.name(),
        subject.model.width,
        evaluation.data,
        evaluation.train_samples,
        evaluation.test_samples,
        evaluation.classes.len(),
    );
    let mut bench = Bench {
        args: &args,
        subject: &subject,
        encoders: [
            NamedEncoder { name: "trained", encoder: &trained, sha256: evaluation.encoder_sha256.clone() },
            NamedEncoder { name: "untrained", encoder: &untrained, sha256: encoder_hash(&untrained)? },
        ],
        train,
        test,
        classes,
        labels: one_class_each,
        presences: present,
        labelled,
        features: Vec::new(),
        pictures: Vec::new(),
        earlier_s: 0.0,
    };
    for protocol in asked {
        evaluation.protocols.push(bench.run(protocol)?);
    }
    let per_class = if args.per_class { evaluation.per_class_table() } else { String::new() };
    let tables = evaluation.table() + &per_class;
    if subject.out.exists() {
        match Evaluation::read(&subject.out) {
            Ok(earlier) => evaluation.keep_others(earlier),
            Err(error) => eprintln!("warning: {error}; it is replaced"),
        }
    }
    for (path, png) in bench.pictures {
        write_whole(&path, &png)?;
        eprintln!("written: {}", path.display());
    }
    evaluation.write(&subject.out)?;
    // Last, because a reader that has gone ends the command here.
    print!("{tables}");
    eprintln!("written: {}", subject.out.display());
    Ok(())
}

/// Parses a whole number from 1 on.
fn at_least_one<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    text.parse().ok().filter(|number| *number >= T::from(1)).ok_or_else(|| "use a whole number, at least 1".to_owned())
}

/// Parses a number above 0.
fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "use a positive number".to_owned())
}

/// Parses `cpu` or `cuda:N` and opens the device.
fn device(name: &str) -> Result<Device, Failure> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let wrong = || request(anyhow!("--device {name}: use cpu or cuda:N, such as cuda:0"));
    let ordinal = name.strip_prefix("cuda:").ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    if !cfg!(feature = "cuda") {
        return Err(request(anyhow!(
            "--device {name}: this program was built without CUDA; `cargo xtask` builds it in where a CUDA toolkit \
             (nvcc) is found, see `cargo xtask doctor`"
        )));
    }
    Ok(Device::new_cuda(ordinal).with_context(|| format!("--device {name}"))?)
}
