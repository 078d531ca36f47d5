//! Weight files of other methods and tools: prefixes, nesting, heads, and what lies beside the weights.

use candle_core::{DType, Device, Tensor};
use clsa_model::weights::{self, Format};
use clsa_model::{Arch, Backend, Compute, Encoder, ModelConfig, head};
use std::collections::HashMap;
use std::path::Path;

type Tensors = HashMap<String, Tensor>;

fn config() -> ModelConfig {
    ModelConfig { arch: Arch::Resnet10, width: 4.0 / 64.0, dim: 8, ..ModelConfig::default() }
}

fn network() -> Tensors {
    let compute = Compute { backend: Backend::Portable, ..Compute::default() };
    Encoder::new(&config(), compute, 0, &Device::Cpu).unwrap().state_dict().unwrap()
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap()
}

fn renamed(tensors: &Tensors, name: impl Fn(&str) -> String) -> Tensors {
    tensors.iter().map(|(old, tensor)| (name(old), tensor.clone())).collect()
}

fn read(tensors: &Tensors) -> Result<weights::WeightFile, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    weights::write(&path, tensors, Format::Pth).unwrap();
    weights::read(&path).map_err(|error| error.to_string())
}

fn assert_is_network(file: &weights::WeightFile, case: &str) {
    let mut names: Vec<_> = file.tensors.keys().collect();
    let expected = network();
    let mut expected: Vec<_> = expected.keys().collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected, "{case}");
    assert_eq!(weights::check(&file.tensors).unwrap(), config(), "{case}");
}

#[test]
fn prefixes_that_say_nothing_of_the_network_are_left_out() {
    for prefix in [
        "",
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "backbone.",
        "model.",
        "encoder.",
        "module.model.encoder._orig_mod.",
        "student.backbone.",
        "anything.",
        "_fsdp_wrapped_module.",
    ] {
        let file = read(&renamed(&network(), |name| format!("{prefix}{name}"))).unwrap();
        assert_is_network(&file, prefix);
    }
    let inside = renamed(&network(), |name| name.replace("layer1.0.", "layer1._orig_mod.0.module."));
    assert_is_network(&read(&inside).unwrap(), "within names");
}

#[test]
fn checkpoints_of_two_encoders_may_have_wrappers_and_prefixes_anywhere() {
    for (base, query, key) in [
        ("module._orig_mod.", "encoder_q.", "encoder_k."),
        ("_orig_mod.module.", "encoder_q.", "encoder_k."),
        ("model.", "encoder_q._orig_mod.", "encoder_k._orig_mod."),
        ("module.", "base_encoder.", "momentum_encoder."),
    ] {
        let mut all = renamed(&network(), |name| format!("{base}{query}{name}"));
        all.extend(renamed(&network(), |name| format!("{base}{key}{name}")));
        all.insert(format!("{base}queue"), zeros(&[8, 24]));
        all.insert(format!("{base}queue_ptr"), Tensor::zeros(1, DType::I64, &Device::Cpu).unwrap());
        let file = read(&all).unwrap();
        assert_is_network(&file, base);
        assert_eq!(file.key.unwrap().len(), network().len());
        assert_eq!(file.bank.unwrap().dims(), [24, 8]);
    }
}

#[test]
fn names_that_leave_the_network_open_are_refused_with_their_prefix() {
    let network = network();
    let visual: Tensors = renamed(&network, |name| format!("visual.trunk.{}", name.replace("conv1", "stem")));
    let error = weights::infer_config(&read(&visual).unwrap().tensors).unwrap_err().to_string();
    assert!(error.contains("all names begin with visual.trunk., and what follows it is no known network"), "{error}");

    let mut two = renamed(&network, |name| format!("online.{name}"));
    two.extend(renamed(&network, |name| format!("target.{name}")));
    let error = read(&two).unwrap_err();
    assert!(error.contains("several networks, whose names begin with online., target.: save"), "{error}");

    let mut twice = network.clone();
    twice.insert("module.conv1.weight".to_owned(), zeros(&[1]));
    let error = read(&twice).unwrap_err();
    assert!(error.contains("has the tensor conv1.weight twice"), "{error}");

    let mut stranger = renamed(&network, |name| format!("backbone.{name}"));
    stranger.insert("decoder.weight".to_owned(), zeros(&[1]));
    assert!(read(&stranger).unwrap_err().contains("belong to no part of it: decoder.weight"));
}

/// Names and shapes of a head's tensors.
type Head = &'static [(&'static str, &'static [usize])];

#[test]
fn heads_of_other_methods_are_left_out_and_named() {
    let mut backbone = network();
    backbone.retain(|name, _| !head::owns(name));
    let cases: [(&str, Head); 7] = [
        ("module.backbone.", &[("module.head.mlp.0.weight", &[9, 32]), ("module.head.last_layer.weight_g", &[5, 1])]),
        ("backbone.", &[("projector.0.weight", &[9, 32]), ("classifier.bias", &[5])]),
        ("module.", &[("module.projection_head.0.weight", &[9, 32]), ("module.prototypes.weight", &[5, 9])]),
        // SimSiam's, and some of MoCo's form that do not fit together.
        ("module.encoder.", &[("module.encoder.fc.0.weight", &[32, 32]), ("module.encoder.fc.1.bias", &[32])]),
        ("", &[("fc.0.weight", &[64, 32]), ("fc.0.bias", &[64]), ("fc.2.weight", &[8, 60]), ("fc.2.bias", &[8])]),
        ("", &[("fc.0.weight", &[32, 32]), ("fc.2.weight", &[8, 32])]),
        ("", &[("fc.weight", &[5, 31]), ("fc.bias", &[5])]),
    ];
    for (prefix, head) in cases {
        let mut all = renamed(&backbone, |name| format!("{prefix}{name}"));
        all.extend(head.iter().map(|&(name, dims)| (name.to_owned(), zeros(dims))));
        let file = read(&all).unwrap();
        let mut names: Vec<_> = head.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert_eq!(file.left_out, names);
        assert_eq!(file.tensors.len(), backbone.len());
        weights::check(&file.tensors).unwrap();
    }
    // Those of this project, of MoCo v1 and of classifiers stay.
    assert_eq!(read(&network()).unwrap().left_out, [""; 0]);
    backbone.insert("fc.weight".to_owned(), zeros(&[5, 32]));
    backbone.insert("fc.bias".to_owned(), zeros(&[5]));
    assert_eq!(read(&backbone).unwrap().tensors.len(), backbone.len());
}

/// MoCo v2+ has two queues, ReSSL one of rows, and NNCLR one beside a single network.
#[test]
fn queues_of_solo_learn_are_no_banks_and_are_left_out() {
    let mut backbone = network();
    backbone.retain(|name, _| !head::owns(name));
    let cases: [(bool, Head); 3] = [
        (true, &[("projector.0.weight", &[9, 32]), ("queue", &[2, 8, 24]), ("queue_ptr", &[1])]),
        (true, &[("projector.0.weight", &[9, 32]), ("queue", &[24, 8]), ("queue_ptr", &[1])]),
        (false, &[("classifier.bias", &[5]), ("queue", &[24, 8]), ("queue_ptr", &[1]), ("queue_y", &[24])]),
    ];
    for (has_key, beside) in cases {
        let mut all = renamed(&backbone, |name| format!("backbone.{name}"));
        if has_key {
            all.extend(renamed(&backbone, |name| format!("momentum_backbone.{name}")));
        }
        all.extend(beside.iter().map(|&(name, dims)| (name.to_owned(), zeros(dims))));
        let file = read(&all).unwrap();
        assert_eq!(file.left_out, beside.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        assert!(file.bank.is_none() && file.key.is_some() == has_key, "{beside:?}");
        weights::check(&file.tensors).unwrap();
    }
}

#[test]
fn batch_counts_of_any_number_type_are_taken() {
    for dtype in [DType::U8, DType::I16, DType::I32, DType::I64, DType::F16, DType::BF16, DType::F32, DType::F64] {
        let mut tensors = network();
        for (name, tensor) in tensors.iter_mut() {
            if name.ends_with("num_batches_tracked") {
                *tensor = Tensor::new(7_f64, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            }
        }
        let file = read(&tensors).unwrap();
        weights::check(&file.tensors).unwrap();
        let compute = Compute { backend: Backend::Portable, ..Compute::default() };
        let encoder = Encoder::new(&config(), compute, 0, &Device::Cpu).unwrap();
        encoder.load_state_dict(&file.tensors).unwrap();
        let count = encoder.state_dict().unwrap()["bn1.num_batches_tracked"].to_vec0::<i64>().unwrap();
        assert_eq!(count, 7, "{dtype:?}");
    }
}

fn fixture(name: &str) -> Result<weights::WeightFile, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    weights::read(&path).map_err(|error| error.to_string())
}

#[test]
fn whatever_pytorch_reads_beside_the_weights_is_no_obstacle() {
    for name in ["plain_data_zip.pth", "plain_data_legacy.pth"] {
        let tensors = fixture(name).unwrap().tensors;
        assert_eq!(tensors.len(), 5, "{name}");
        assert_eq!((tensors["parameter"].dims(), tensors["attributed"].dims()), (&[4][..], &[4][..]));
        for bn in ["bn1", "bn2", "bn3"] {
            let count = tensors[&format!("{bn}.num_batches_tracked")].to_dtype(DType::I64).unwrap();
            assert_eq!(count.to_vec0::<i64>().unwrap(), 7, "{name} {bn}");
        }
    }
}

#[test]
fn a_state_dictionary_may_be_under_any_key_if_there_is_only_one() {
    let tensors = fixture("other_key.pth").unwrap().tensors;
    assert_eq!(tensors.keys().collect::<Vec<_>>(), ["conv1.weight"]);
    let error = fixture("two_keys.pth").err().unwrap();
    assert!(error.contains("these entries are no tensors: epoch, encoder, decoder"), "{error}");
}

#[test]
fn a_weight_of_an_unusual_kind_is_refused_by_name() {
    let error = fixture("sparse_weight.pth").unwrap_err();
    assert!(error.contains("has conv1.weight as a sparse tensor, not as an ordinary tensor"), "{error}");
    let error = fixture("float8_weight.pth").unwrap_err();
    assert!(error.contains("a tensor conv1.weight of type float8_e4m3fn, which no weight has"), "{error}");
}
