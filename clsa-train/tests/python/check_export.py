"""Loads exported encoders by the lines of Python in their cards and compares their features with ours.

    python check_export.py INPUTS.safetensors PHOTO FOLDER...

INPUTS holds `images` (N, 3, H, W), their `features` (N, C) by clsa, and `photo` (1, 3, S, S), what clsa makes of PHOTO. Each FOLDER is
one that `clsa export` has written of the same encoder. Needs torch, torchvision, timm, onnx, onnxruntime, safetensors and PyYAML.
`cargo test -p clsa-train --test export` runs it where the environment variable CLSA_PYTHON names a Python that has them.
"""

import hashlib
import json
import os
import pickle
import re
import sys
from pathlib import Path

import numpy
import torch
import yaml
from safetensors.torch import load_file
from torch.nn.functional import batch_norm, conv2d, max_pool2d, relu

TOLERANCE = 1e-5


def difference(found, expected):
    """The largest difference, as a share of the largest value."""
    found, expected = torch.as_tensor(numpy.asarray(found)), torch.as_tensor(numpy.asarray(expected))
    assert found.shape == expected.shape, f"{tuple(found.shape)} in place of {tuple(expected.shape)}"
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


def blocks(card):
    """The code of a card: how images are prepared (not for Detectron2), and how features are computed."""
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def check_weights(card):
    name, digest = re.search(r"SHA-256 of `(.*?)`: `([0-9a-f]{64})`", card).groups()
    assert hashlib.sha256(Path(name).read_bytes()).hexdigest() == digest, f"{name} has another SHA-256"


def check_timm(images, features, photo, path):
    import timm

    config = json.loads(Path("config.json").read_text())
    model = timm.create_model("local-dir:.", pretrained=True, num_classes=0).eval()
    assert model.num_features == config["num_features"] == features.shape[1]
    with torch.no_grad():
        assert difference(model(images), features) < TOLERANCE
        # Without saying so, and with a new classifier.
        assert difference(timm.create_model("local-dir:.", pretrained=True).eval()(images), features) < TOLERANCE
        classifier = timm.create_model("local-dir:.", pretrained=True, num_classes=7).eval()
        assert classifier(images).shape == (len(images), 7)
        assert difference(classifier.forward_head(classifier.forward_features(images), pre_logits=True), features) < TOLERANCE
    from PIL import Image

    data = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**data, is_training=False)
    assert difference(transform(Image.open(path).convert("RGB"))[None], photo) < TOLERANCE


def check_onnx(images, features):
    import onnx
    import onnxruntime

    model = onnx.load("model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(s.domain, s.version) for s in model.opset_import] == [("", 17)]
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert session.get_outputs()[0].shape == ["batch", features.shape[1]]
    # One image at a time, and of another size.
    single = numpy.concatenate([session.run(None, {"images": image[None].numpy()})[0] for image in images])
    assert difference(single, features) < TOLERANCE
    assert session.run(None, {"images": images[:, :, :33, :40].numpy()})[0].shape == features.shape


def detectron2_features(arrays, resnets, images):
    """The features by Detectron2's names and configuration."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def unit(x, name, stride, padding):
        x = conv2d(x, tensors[f"{name}.weight"], stride=stride, padding=padding)
        norm = [tensors[f"{name}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return batch_norm(x, *norm)

    x = max_pool2d(relu(unit(images, "stem.conv1", 2, 3)), 3, 2, 1)
    assert x.shape[1] == resnets["STEM_OUT_CHANNELS"]
    counts = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
    used = 6
    for stage, count in enumerate(counts[resnets["DEPTH"]], start=2):
        for block in range(count):
            name, stride = f"res{stage}.{block}", 2 if stage > 2 and block == 0 else 1
            if f"{name}.conv3.weight" in tensors:
                assert tensors[f"{name}.conv2.weight"].shape[0] == resnets["WIDTH_PER_GROUP"] << (stage - 2)
                y = relu(unit(x, f"{name}.conv1", 1, 0))
                y = relu(unit(y, f"{name}.conv2", stride, 1))
                y = unit(y, f"{name}.conv3", 1, 0)
                used += 15
            else:
                y = unit(relu(unit(x, f"{name}.conv1", stride, 1)), f"{name}.conv2", 1, 1)
                used += 10
            if f"{name}.shortcut.weight" in tensors:
                x = unit(x, f"{name}.shortcut", stride, 0)
                used += 5
            x = relu(x + y)
        assert x.shape[1] == resnets["RES2_OUT_CHANNELS"] << (stage - 2)
    assert used - 1 == len(tensors), f"{len(tensors)} arrays in place of {used - 1}"
    return x.mean((2, 3))


def check_detectron2(images, features):
    with open("backbone.pkl", "rb") as file:
        content = pickle.load(file)
    assert content["matching_heuristics"] is True
    (config,) = [yaml.safe_load(path.read_text()) for path in Path().glob("*.yaml")]
    model = config["MODEL"]
    assert model["WEIGHTS"] == "backbone.pkl" and config["INPUT"]["FORMAT"] == "RGB"
    assert model["RESNETS"]["STRIDE_IN_1X1"] is False
    assert difference(detectron2_features(content["model"], model["RESNETS"], images), features) < TOLERANCE


def main(inputs, photo_path, *folders):
    tensors = load_file(inputs)
    images, expected, photo = tensors["images"], tensors["features"], tensors["photo"]
    photo_path, here = os.path.abspath(photo_path), os.getcwd()
    for folder in folders:
        os.chdir(os.path.join(here, folder))
        card = Path("README.md").read_text()
        check_weights(card)
        *before, use = blocks(card)
        for code in before:
            names = {}
            exec(code.replace("photo.jpg", photo_path), names)
            found = difference(names["images"], photo)
            assert found < TOLERANCE, f"{folder}: images differ by {found:.1e}"
        names = {"images": images}
        if Path("backbone.pkl").exists():
            compile(use, "README.md", "exec")
            check_detectron2(images, expected)
        else:
            exec(use, names)
            found = difference(names["features"], expected)
            print(f"{folder}: features differ by {found:.1e}")
            assert found < TOLERANCE, f"{folder}: features differ by {found:.1e}"
        if Path("config.json").exists():
            check_timm(images, expected, photo, photo_path)
        if Path("model.onnx").exists():
            check_onnx(images, expected)


if __name__ == "__main__":
    main(*sys.argv[1:])
