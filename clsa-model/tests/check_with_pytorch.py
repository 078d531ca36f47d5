"""Checks weight files against PyTorch, both ways; run by hand where torch, torchvision and safetensors are installed:

    python clsa-model/tests/check_with_pytorch.py

torchvision ResNets with random weights go through every form that is read and every format that is written. Each time
the features that this crate computes from the file, and those that torchvision computes from what was written, are
compared with the original's.
"""

import collections
import hashlib
import os
import pickle
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file

CRATE = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4


def build():
    """Builds the example that the checks run."""
    command = ["cargo", "build", "--release", "-p", "clsa-model", "--example", "features"]
    subprocess.run(command, cwd=CRATE.parent, check=True)


def read_features(file, output):
    target = Path(os.environ.get("CARGO_TARGET_DIR", CRATE.parent / "target"))
    command = [target / "release/examples/features", file, output]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return load_file(output)["features"]


def convert(file, output, *options):
    command = ["cargo", "xtask", "convert", file, output, "--force", *options]
    subprocess.run(command, cwd=CRATE.parent, check=True, stdout=subprocess.DEVNULL)


def images():
    """As examples/features.rs."""
    i = np.arange(2 * 3 * 80 * 96)
    return torch.from_numpy((i * 7919 % 1000).astype(np.float32) / np.float32(500) - 1).reshape(2, 3, 80, 96)


def randomize(model):
    """Statistics and norms as after some training."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.4, 0.8)
            module.bias.data.uniform_(-0.2, 0.2)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.7, 1.4)
            module.num_batches_tracked.fill_(1234)


def features(model):
    model = model.eval()
    head, model.fc = model.fc, torch.nn.Identity()
    with torch.no_grad():
        result = model(images())
    model.fc = head
    return result


def compare(what, ours, theirs):
    error = (ours - theirs).abs().max().item()
    print(f"{what}: largest difference {error:.1e} of features up to {theirs.abs().max().item():.2f}")
    assert error <= TOLERANCE, what


def from_detectron2(file, state):
    """The state dictionary of a Detectron2 file, by the rule of its own converters the other way round."""
    with open(file, "rb") as stream:
        content = pickle.load(stream, encoding="latin1")
    assert content["matching_heuristics"] is True and isinstance(content["__author__"], str)
    back = collections.OrderedDict()
    for name, value in content["model"].items():
        assert isinstance(value, np.ndarray) and value.dtype == np.float32
        name = name.removeprefix("stem.").replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
        for n in range(1, 5):
            name = name.replace(f"res{n + 1}.", f"layer{n}.").replace(f"conv{n}.norm", f"bn{n}")
        back[name] = torch.from_numpy(value.copy())
    backbone = {n for n in state if not n.startswith("fc.") and not n.endswith("num_batches_tracked")}
    assert set(back) == backbone, set(back) ^ backbone
    return back


def moco(model):
    state = collections.OrderedDict()
    for encoder in ["q", "k"]:
        for name, value in model.state_dict().items():
            state[f"module.encoder_{encoder}.{name}"] = value if encoder == "q" else torch.zeros_like(value)
    state["module.queue"] = torch.randn(128, 64)
    state["module.queue_ptr"] = torch.zeros(1, dtype=torch.long)
    return {"epoch": 1, "arch": "resnet", "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}


def check(arch, folder):
    model = getattr(torchvision.models, arch)(weights=None)
    randomize(model)
    expected = features(model)
    state = model.state_dict()
    zip_form, legacy, checkpoint = folder / "zip.pth", folder / "legacy.pth", folder / "moco.pth.tar"
    torch.save(state, zip_form)
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    torch.save(moco(model), checkpoint)
    for file in [zip_form, legacy, checkpoint]:
        compare(f"{arch}, {file.name} read", read_features(file, folder / "features.safetensors"), expected)

    outputs = {"pth": folder / "out.pth", "safetensors": folder / "out.safetensors", "detectron2": folder / "out.pkl"}
    for format, output in outputs.items():
        convert(checkpoint, output, "--to", format)
        if format == "pth":
            written = torch.load(output, weights_only=True)
            mapped = torch.load(output, weights_only=True, mmap=True)
            assert all(torch.equal(written[n], mapped[n]) for n in written)
        elif format == "safetensors":
            written = load_file(output)
        else:
            written = from_detectron2(output, state)
        if format != "detectron2":
            assert set(written) == set(state)
        assert all(written[n].dtype == state[n].dtype and torch.equal(written[n], state[n]) for n in written), format
        other = getattr(torchvision.models, arch)(weights=None)
        # Detectron2's files have neither the head nor the batch counts.
        other.load_state_dict(written, strict=format != "detectron2")
        compare(f"{arch}, {output.name} written", features(other), expected)


def record_detectron2_digest(folder):
    """tests/weights.rs compares with the digest of a file that was read right here."""
    source, output = CRATE / "tests/fixtures/resnet10_zip.pth", folder / "resnet10.pkl"
    convert(source, output)
    state = torch.load(source, weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in from_detectron2(output, state).items())
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    (CRATE / "tests/fixtures/resnet10_detectron2.sha256").write_text(digest + "\n")


def main():
    build()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        for arch in ["resnet18", "resnet50", "wide_resnet50_2"]:
            check(arch, Path(folder))
        record_detectron2_digest(Path(folder))


if __name__ == "__main__":
    main()
