//! Weight files that PyTorch wrote (fixtures, by make_weights.py) are read right, and what is written comes back.

mod uniform;

use candle_core::{DType, Device, Tensor};
use clsa_model::weights::{self, Container, Format, checkpoint};
use clsa_model::{Arch, Backend, Compute, Encoder, ModelConfig, ModelError, Stem, head};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use uniform::uniform;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The values that make_weights.py gives a tensor, rounded to f32 as it does.
fn made(name: &str, count: usize) -> Vec<f32> {
    let variance = name.ends_with("running_var");
    uniform(name, count).into_iter().map(|u| (if variance { u.abs() + 0.5 } else { u }) as f32).collect()
}

/// The network of the fixtures.
fn config() -> ModelConfig {
    ModelConfig { arch: Arch::Resnet10, width: 4.0 / 64.0, dim: 8, ..ModelConfig::default() }
}

fn encoder(config: &ModelConfig) -> Encoder {
    let compute = Compute { backend: Backend::Portable, ..Compute::default() };
    Encoder::new(config, compute, 0, &Device::Cpu).unwrap()
}

/// The tensors of the fixtures, by make_weights.py's rule.
fn expected(salt: &str, dtype: DType) -> HashMap<String, Tensor> {
    let values = |(name, like): (String, Tensor)| {
        let tensor = if name.ends_with("num_batches_tracked") {
            Tensor::new(7_i64, &Device::Cpu).unwrap()
        } else {
            let values = made(&format!("{salt}{name}"), like.elem_count());
            Tensor::from_vec(values, like.dims(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
        };
        (name, tensor)
    };
    encoder(&config()).state_dict().unwrap().into_iter().map(values).collect()
}

fn assert_same(ours: &HashMap<String, Tensor>, theirs: &HashMap<String, Tensor>) {
    let names = |tensors: &HashMap<String, Tensor>| {
        let mut names: Vec<_> = tensors.keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(names(ours), names(theirs));
    for (name, tensor) in ours {
        assert_equal(name, tensor, &theirs[name]);
    }
}

fn assert_equal(name: &str, ours: &Tensor, theirs: &Tensor) {
    assert_eq!((ours.dims(), ours.dtype()), (theirs.dims(), theirs.dtype()), "{name}");
    let values = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(values(ours), values(theirs), "{name}");
}

/// Reads, checks and writes, as the command `convert` does.
fn convert(input: &Path, output: &Path, to: Format) -> Result<(), ModelError> {
    let tensors = weights::read(input)?.tensors;
    weights::check(&tensors)?;
    weights::write(output, &tensors, to)
}

fn refused(name: &str) -> String {
    let error = weights::read(&fixture(name)).expect_err(name).to_string();
    assert!(error.contains(name), "the message names no file: {error}");
    error
}

#[test]
fn state_dicts_are_read_in_all_three_forms_of_torch_save() {
    let forms = [
        ("resnet10_zip.pth", Container::TorchZip),
        ("resnet10_legacy.pth", Container::TorchLegacy),
        ("resnet10_legacy_4.pth", Container::TorchLegacy),
        ("resnet10_tar.pth", Container::TorchTar),
        ("resnet10_tar_parameters.pth", Container::TorchTar),
    ];
    for (name, container) in forms {
        let file = weights::read(&fixture(name)).unwrap();
        assert_eq!(file.container, container);
        assert_same(&file.tensors, &expected("", DType::F32));
        assert!(file.key.is_none() && file.bank.is_none());
        assert_eq!(weights::infer_config(&file.tensors).unwrap(), config());
        encoder(&config()).load_state_dict(&file.tensors).unwrap();
    }
}

#[test]
fn moco_and_clsa_checkpoints_give_both_encoders_and_the_bank() {
    for (name, dtype) in [("moco_zip.pth.tar", DType::F16), ("moco_legacy.pth.tar", DType::BF16)] {
        let file = weights::read(&fixture(name)).unwrap();
        assert_same(&file.tensors, &expected("q:", dtype));
        assert_same(&file.key.unwrap(), &expected("k:", dtype));
        let queue = Tensor::from_vec(made("queue", 8 * 24), (8, 24), &Device::Cpu).unwrap();
        assert_equal("bank", &file.bank.unwrap(), &queue.t().unwrap());
        assert_eq!(weights::infer_config(&file.tensors).unwrap(), config());
    }
}

#[test]
fn views_strides_parameters_and_scalars_are_read_as_pytorch_means_them() {
    for name in ["views_zip.pth", "views_legacy.pth"] {
        let tensors = weights::read(&fixture(name)).unwrap().tensors;
        let flat = Tensor::from_vec(made("flat", 120), 120, &Device::Cpu).unwrap();
        let part = |start, len| flat.narrow(0, start, len).unwrap();
        assert_equal("part", &tensors["part"], &part(7, 12).reshape((3, 4)).unwrap());
        assert_equal("transposed", &tensors["transposed"], &part(0, 12).reshape((3, 4)).unwrap().t().unwrap());
        assert_equal("channels_last", &tensors["channels_last"], &flat.reshape((4, 3, 5, 2)).unwrap());
        let even = flat.reshape((60, 2)).unwrap().narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
        assert_equal("every_second", &tensors["every_second"], &even);
        assert_equal("parameter", &tensors["parameter"], &part(0, 4));
        assert_equal("scalar", &tensors["scalar"], &Tensor::new(2.5_f64, &Device::Cpu).unwrap());
        assert_eq!(tensors["empty"].dims(), [0, 3]);
    }
}

#[test]
fn a_pickle_that_asks_for_a_function_is_refused_and_names_it() {
    for name in ["harmful_zip.pth", "harmful_legacy.pth"] {
        let error = refused(name);
        assert!(error.contains("posix.system") && error.contains("nothing in the file was run"), "{error}");
    }
    assert!(refused("module.pth").contains("asks for torch.nn.modules.linear.Linear"));
}

#[test]
fn files_without_weights_are_refused_with_what_they_hold() {
    assert!(refused("no_weights.pth").contains("these entries are no tensors: epoch, loss"));
    assert!(refused("plain_pickle.pth").contains("not of torch.save"));
    assert!(refused("expanded.pth").contains("repeats its elements"));
    assert!(refused("uniform.py").contains("neither a PyTorch file nor safetensors"));
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let misnamed = folder.path().join("weights.safetensors");
    std::fs::copy(fixture("resnet10_zip.pth"), &misnamed).unwrap();
    let error = weights::read(&misnamed).unwrap_err().to_string();
    assert!(error.contains("weights.safetensors: is a PyTorch file"), "{error}");

    let safetensors = folder.path().join("a.safetensors");
    weights::write(&safetensors, &expected("", DType::F32), Format::Safetensors).unwrap();
    let misnamed = folder.path().join("weights.pth");
    std::fs::rename(safetensors, &misnamed).unwrap();
    let error = weights::read(&misnamed).unwrap_err().to_string();
    assert!(error.contains("is a safetensors file"), "{error}");

    std::fs::write(&misnamed, b"").unwrap();
    assert!(weights::read(&misnamed).unwrap_err().to_string().contains("is empty"));
    assert!(matches!(weights::read(&folder.path().join("none.pth")), Err(ModelError::Io { .. })));
}

/// 128, 384 and so on are, as eight bytes, how pickles of the versions 0 to 5 begin; the last one is how archives do.
#[test]
fn a_header_whose_length_looks_like_another_form_is_that_of_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    for len in [128, 384, 640, 896, 1152, 1408, u32::from_le_bytes(*b"PK\x03\x04")] {
        let header = r#"{"bn1.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let header = header.to_owned() + &" ".repeat(len as usize - header.len());
        std::fs::write(&path, [&u64::from(len).to_le_bytes(), header.as_bytes(), &[0; 4]].concat()).unwrap();
        let file = weights::read(&path).unwrap_or_else(|error| panic!("{len}: {error}"));
        assert_eq!((file.container, file.tensors.len()), (Container::Safetensors, 1), "{len}");
    }
}

/// A zip archive is believed about the length of a member only as far as the member has bytes.
#[test]
fn a_member_shorter_than_the_archive_says_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.pth");
    let mut source = zip::ZipArchive::new(std::fs::File::open(fixture("resnet10_zip.pth")).unwrap()).unwrap();
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut len = 0;
    for index in 0..source.len() {
        let mut member = source.by_index(index).unwrap();
        let (name, mut bytes) = (member.name().unwrap().into_owned(), vec![]);
        std::io::Read::read_to_end(&mut member, &mut bytes).unwrap();
        if name.ends_with("data/0") {
            len = bytes.len() as u32;
            bytes.truncate(8);
        }
        archive.start_file(name, stored).unwrap();
        std::io::Write::write_all(&mut archive, &bytes).unwrap();
    }
    archive.finish().unwrap();
    // The uncompressed size in the directory, and in the header before the member.
    let mut bytes = std::fs::read(&path).unwrap();
    for (signature, size, name) in [(b"PK\x01\x02", 24, 46), (b"PK\x03\x04", 22, 30)] {
        let at = (0..bytes.len() - 60)
            .find(|&at| {
                bytes[at..].starts_with(signature)
                    && bytes[at + name..at + name + 40].windows(6).any(|w| w == b"data/0")
            })
            .unwrap();
        assert_eq!(bytes[at + size..at + size + 4], 8_u32.to_le_bytes());
        bytes[at + size..at + size + 4].copy_from_slice(&len.to_le_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    let error = weights::read(&path).unwrap_err().to_string();
    assert!(error.contains("short.pth: is damaged"), "{error}");
}

#[test]
fn a_key_encoder_or_bank_that_does_not_fit_is_refused_with_the_differences() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let whole = || {
        let mut tensors = HashMap::new();
        for (name, tensor) in expected("q:", DType::F32) {
            tensors.insert(format!("module.encoder_q.{name}"), tensor.clone());
            tensors.insert(format!("module.encoder_k.{name}"), tensor);
        }
        tensors.insert("module.queue".to_owned(), Tensor::zeros((8, 24), DType::F32, &Device::Cpu).unwrap());
        tensors
    };
    type Change = fn(&mut HashMap<String, Tensor>);
    let cases: [(&str, Change); 4] = [
        ("", |_| {}),
        ("key encoder that differs from its query encoder: conv1.weight is missing", |t| {
            t.remove("module.encoder_k.conv1.weight");
        }),
        ("conv1.weight has shape [1] instead of", |t| {
            t.insert("module.encoder_k.conv1.weight".into(), Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap());
        }),
        ("a memory bank of keys of 3 components, but its embeddings have 8", |t| {
            t.insert("module.queue".into(), Tensor::zeros((3, 24), DType::F32, &Device::Cpu).unwrap());
        }),
    ];
    for (words, change) in cases {
        let mut tensors = whole();
        change(&mut tensors);
        weights::write(&path, &tensors, Format::Safetensors).unwrap();
        match weights::read(&path) {
            Ok(_) => assert!(words.is_empty(), "{words}"),
            Err(error) => assert!(!words.is_empty() && error.to_string().contains(words), "{error}"),
        }
    }
}

#[test]
fn batch_counts_of_several_numbers_and_weights_of_integers_that_pytorch_would_refuse_are_refused() {
    let tensors = expected("", DType::F32);
    let check = |name: &str, tensor: Tensor| {
        let mut tensors = tensors.clone();
        assert!(tensors.insert(name.to_owned(), tensor).is_some());
        weights::check(&tensors).unwrap_err().to_string()
    };
    let zeros = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, &Device::Cpu).unwrap();
    let error = check("bn1.num_batches_tracked", zeros(&[3], DType::I64));
    assert!(error.contains("bn1.num_batches_tracked has shape [3] instead of one number"), "{error}");
    let shape = tensors["conv1.weight"].dims().to_vec();
    assert!(check("conv1.weight", zeros(&shape, DType::U8)).contains("conv1.weight has the type U8"));
}

#[test]
fn a_small_stem_is_refused_for_detectron2() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = expected("", DType::F32);
    tensors.insert("conv1.weight".into(), Tensor::zeros((4, 3, 3, 3), DType::F32, &Device::Cpu).unwrap());
    let path = folder.path().join("backbone.pkl");
    let error = weights::write(&path, &tensors, Format::Detectron2).unwrap_err().to_string();
    assert!(error.contains("7x7") && !path.exists(), "{error}");
}

#[test]
fn truncated_files_are_refused_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["views_zip.pth", "views_legacy.pth", "resnet10_tar.pth", "resnet10_legacy.pth", "moco_zip.pth.tar"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let path = folder.path().join(name);
        // The tar ends in padding that holds nothing.
        let end = if name == "resnet10_tar.pth" { bytes.len() - 11_000 } else { bytes.len() };
        for len in (0..end).step_by((end / 97).max(1)) {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let error = weights::read(&path).expect_err(&format!("{name} cut to {len} bytes")).to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}

#[test]
fn checkpoints_of_a_run_give_both_encoders_and_the_bank() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step-00000010.safetensors");
    let (query, key) = (expected("q:", DType::F32), expected("k:", DType::F32));
    let bank = Tensor::from_vec(made("bank", 80), (10, 8), &Device::Cpu).unwrap();
    let mut all = HashMap::from([("bank.rows".to_owned(), bank.clone())]);
    all.extend(query.iter().map(|(n, t)| (format!("query.{n}"), t.clone())));
    all.extend(key.iter().map(|(n, t)| (format!("key.{n}"), t.clone())));
    all.extend(query.iter().map(|(n, t)| (format!("optimizer.{n}"), t.clone())));
    all.insert("ranks.statistics".to_owned(), bank.clone());
    let save = |all: &HashMap<String, Tensor>, format: &str| {
        let metadata = HashMap::from([("format".to_owned(), format.to_owned())]);
        safetensors::serialize_to_file(all, Some(metadata), &path).unwrap();
    };
    save(&all, checkpoint::FORMAT);
    let file = weights::read(&path).unwrap();
    assert_same(&file.tensors, &query);
    assert_same(&file.key.unwrap(), &key);
    assert_equal("bank", &file.bank.unwrap(), &bank);

    save(&all, "clsa-checkpoint-2");
    assert!(weights::read(&path).unwrap_err().to_string().contains("version 2"));

    all.insert("other.weight".to_owned(), bank);
    save(&all, checkpoint::FORMAT);
    assert!(weights::read(&path).unwrap_err().to_string().contains("belong to no part of it: other.weight"));
}

#[test]
fn written_state_dicts_come_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        let tensors = expected("", dtype);
        for format in [Format::Safetensors, Format::Pth] {
            let path = folder.path().join(format!("weights.{}", format.extension()));
            weights::write(&path, &tensors, format).unwrap();
            assert_same(&weights::read(&path).unwrap().tensors, &tensors);
            let first = std::fs::read(&path).unwrap();
            weights::write(&path, &tensors, format).unwrap();
            assert!(first == std::fs::read(&path).unwrap(), "{format:?} differs between two writes");
        }
    }
    // Nothing but the files is left.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// So `torch.load(mmap=True)` takes them.
#[test]
fn storages_of_a_pth_file_lie_in_it_as_they_are_and_aligned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    weights::write(&path, &expected("", DType::F32), Format::Pth).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).unwrap();
        let mut content = vec![];
        std::io::Read::read_to_end(&mut member, &mut content).unwrap();
        let start = member.data_start().unwrap() as usize;
        assert!(start.is_multiple_of(64) && bytes[start..].starts_with(&content), "{}", member.name().unwrap());
    }
}

#[test]
fn conversion_keeps_the_features_of_every_known_network() {
    let folder = tempfile::tempdir().unwrap();
    for (arch, stem) in
        [(Arch::Resnet18, Stem::Cifar), (Arch::Resnet50, Stem::Imagenet), (Arch::WideResnet50x2, Stem::Imagenet)]
    {
        let config = ModelConfig { arch, stem, width: 0.25, dim: 20, ..ModelConfig::default() };
        let original = encoder(&config);
        let first = folder.path().join("first.safetensors");
        let second = folder.path().join("second.pth");
        weights::write(&first, &original.state_dict().unwrap(), Format::Safetensors).unwrap();
        convert(&first, &second, Format::Pth).unwrap();
        let tensors = weights::read(&second).unwrap().tensors;
        assert_eq!(weights::infer_config(&tensors).unwrap(), config);
        let converted = encoder(&config);
        converted.load_state_dict(&tensors).unwrap();
        let images = Tensor::from_vec(made("images", 3 * 33 * 30), (1, 3, 33, 30), &Device::Cpu).unwrap();
        let features = |e: &Encoder| e.features(&images).unwrap();
        assert_equal("features", &features(&converted), &features(&original));
    }
}

#[test]
fn every_architecture_is_told_from_its_shapes() {
    for arch in Arch::ALL {
        let config = ModelConfig { arch, width: 0.0625, ..ModelConfig::default() };
        let mut tensors = encoder(&config).state_dict().unwrap();
        assert_eq!(weights::infer_config(&tensors).unwrap(), config);
        // A supervised classifier, or none, in place of the projection head.
        tensors.retain(|name, _| !head::owns(name));
        assert_eq!(weights::infer_config(&tensors).unwrap(), config);
    }
}

#[test]
fn conversion_lists_missing_unexpected_and_misshapen_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.safetensors"), folder.path().join("out.pth"));
    let mut tensors = expected("", DType::F32);
    tensors.remove("layer2.0.bn1.weight");
    tensors.insert("layer9.weight".to_owned(), tensors["bn1.bias"].clone());
    tensors.insert("bn1.bias".to_owned(), Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap());
    weights::write(&input, &tensors, Format::Safetensors).unwrap();
    let error = convert(&input, &output, Format::Pth).unwrap_err().to_string();
    for part in
        ["layer2.0.bn1.weight is missing", "layer9.weight is unexpected", "bn1.bias has shape [5] instead of [4]"]
    {
        assert!(error.contains(part), "{error}");
    }
    assert!(!output.exists());

    tensors.insert("layer3.0.conv2.weight".to_owned(), Tensor::zeros((9, 9, 3, 3), DType::F32, &Device::Cpu).unwrap());
    tensors.remove("layer4.0.conv2.weight");
    weights::write(&input, &tensors, Format::Safetensors).unwrap();
    let error = convert(&input, &output, Format::Pth).unwrap_err().to_string();
    assert!(error.contains("layer3.0.conv2.weight has shape [9, 9, 3, 3] instead of [16, 16, 3, 3]"), "{error}");
    assert!(error.contains("layer4.0.conv2.weight is missing"), "{error}");

    tensors.remove("layer4.0.conv1.weight");
    let error = weights::infer_config(&tensors).unwrap_err().to_string();
    assert!(error.contains("no known network has 1-1-1-0 basic blocks"), "{error}");
}

#[test]
fn a_network_that_only_its_bottlenecks_width_makes_unknown_is_refused_by_that() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let mut tensors = HashMap::from([
        ("conv1.weight".to_owned(), zeros(&[4, 3, 7, 7])),
        ("layer1.0.conv3.weight".to_owned(), zeros(&[16, 8, 1, 1])),
    ]);
    // As many blocks as torchvision's wide_resnet101_2 has, and ResNet-101.
    for (stage, blocks) in [(1, 3), (2, 4), (3, 23), (4, 3)] {
        let names = (0..blocks).map(|block| format!("layer{stage}.{block}.conv1.weight"));
        tensors.extend(names.map(|name| (name, zeros(&[8, 4, 1, 1]))));
    }
    let error = weights::infer_config(&tensors).unwrap_err().to_string();
    assert!(error.contains("no known network has 3-4-23-3 bottlenecks of twice the width in its four"), "{error}");
}

#[test]
fn a_head_is_checked_too() {
    let mut tensors = expected("", DType::F32);
    weights::check(&tensors).unwrap();
    tensors.remove("fc.0.bias");
    tensors.insert("fc.4.weight".to_owned(), tensors["bn1.bias"].clone());
    let error = weights::check(&tensors).unwrap_err().to_string();
    assert!(error.contains("fc.0.bias is missing") && error.contains("fc.4.weight is unexpected"), "{error}");

    tensors.retain(|name, _| !head::owns(name));
    assert_eq!(weights::check(&tensors).unwrap(), ModelConfig { dim: 128, ..config() });
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    tensors.insert("fc.weight".to_owned(), zeros(&[10, 32]));
    assert!(weights::check(&tensors).unwrap_err().to_string().contains("fc.bias is missing"));
    tensors.insert("fc.bias".to_owned(), zeros(&[10]));
    weights::check(&tensors).unwrap();
    tensors.insert("fc.weight".to_owned(), zeros(&[10, 31]));
    assert!(weights::check(&tensors).unwrap_err().to_string().contains("fc.weight has shape [10, 31]"));
}

#[test]
fn an_output_of_the_wrong_name_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.bin");
    for format in Format::ALL {
        let error = convert(&fixture("resnet10_zip.pth"), &output, format).unwrap_err().to_string();
        assert!(error.contains(&format!("let its name end in .{}", format.extension())), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let error = convert(&fixture("resnet10_zip.pth"), &folder.path().join("no/out.pth"), Format::Pth).unwrap_err();
    assert!(matches!(&error, ModelError::Write { .. }) && error.is_request(), "{error}");
}

/// check_with_pytorch.py has read a file of these bytes with Python's pickle and found every array in its place.
#[test]
fn detectron2_files_are_those_that_python_reads() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("resnet10.pkl");
    convert(&fixture("resnet10_zip.pth"), &output, Format::Detectron2).unwrap();
    let digest = base16ct::lower::encode_string(&Sha256::digest(std::fs::read(&output).unwrap()));
    assert_eq!(digest, include_str!("fixtures/resnet10_detectron2.sha256").trim());
}

#[test]
fn a_folder_of_transformers_is_read_and_its_features_are_equal() {
    let file = weights::file_in_folder(&fixture("transformers")).unwrap();
    let read = weights::read(&file).unwrap();
    assert_eq!(read.left_out, ["classifier.1.bias", "classifier.1.weight"]);
    let model = weights::check(&read.tensors).unwrap();
    assert_eq!((model.arch, model.width, model.stem), (Arch::Resnet10, 4.0 / 64.0, Stem::Imagenet));
    let encoder = encoder(&model);
    encoder.load_backbone(&read.tensors).unwrap();
    let theirs = candle_core::safetensors::load(fixture("transformers_features.safetensors"), &Device::Cpu).unwrap();
    let ours = encoder.features(&theirs["images"]).unwrap();
    assert_eq!(ours.dims(), theirs["features"].dims());
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (ours, theirs) in values(&ours).iter().zip(values(&theirs["features"])) {
        assert!((ours - theirs).abs() <= 1e-5 * theirs.abs().max(1e-2), "{ours} {theirs}");
    }
    let empty = tempfile::tempdir().unwrap();
    let error = weights::file_in_folder(empty.path()).unwrap_err();
    assert!(error.is_request() && error.to_string().contains("model.safetensors"), "{error}");
}

#[test]
fn a_value_that_is_not_finite_is_found_by_name() {
    let tensors = encoder(&config()).state_dict().unwrap();
    assert_eq!(weights::first_not_finite(&tensors).unwrap(), None);
    let mut damaged = tensors.clone();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bad = Tensor::new(&[1.0, value, 2.0, 3.0], &Device::Cpu).unwrap();
        damaged.insert("bn1.bias".to_owned(), bad);
        assert_eq!(weights::first_not_finite(&damaged).unwrap(), Some("bn1.bias"));
    }
}
