"""Writes moco-r18-f64.json, a trajectory of MoCo's recipe for CIFAR-10 in PyTorch, for tests/golden.rs: python make_moco.py (here).

What the recipe has and the other cases have not: no strong view, a 3x3 stem without pooling, one linear layer as head, batch norm in groups
and ShuffleBN. Weights, bank and images are those of src/replay.rs, made of the hash of a name. All numbers are f64.
"""

import copy
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

N, K, DIM, SPLITS, MOMENTUM, TEMPERATURE = 16, 64, 32, 4, 0.99, 0.1
LR, WEIGHT_DECAY, SIDE, STEPS = 0.06, 5e-4, 16, 6
# `Shuffle::new(16, 0, step).order` of src/shuffle_bn.rs; the test holds them against it.
ORDERS = [
    [12, 14, 6, 4, 15, 13, 0, 1, 9, 7, 3, 5, 2, 8, 10, 11],
    [9, 11, 10, 5, 7, 12, 14, 0, 2, 6, 3, 15, 1, 8, 4, 13],
    [10, 3, 5, 0, 4, 13, 15, 7, 11, 1, 14, 12, 8, 9, 2, 6],
    [8, 15, 13, 4, 14, 11, 9, 1, 2, 3, 0, 5, 6, 7, 12, 10],
    [8, 12, 3, 2, 6, 14, 10, 4, 1, 7, 9, 15, 11, 5, 13, 0],
    [15, 9, 7, 2, 4, 0, 14, 12, 13, 11, 8, 10, 3, 1, 6, 5],
]
GRADIENTS = ["conv1.weight", "layer1.0.conv1.weight", "layer3.0.downsample.0.weight", "layer4.1.bn2.weight", "fc.weight", "fc.bias"]
LAST = GRADIENTS + ["bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "layer2.0.downsample.1.running_var"]


def uniform(name, shape):
    """In [-1, 1): splitmix64 of the name's FNV-1a hash and the element's number."""
    mask, state = 2**64 - 1, 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & mask
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return torch.from_numpy((z >> np.uint64(11)).astype(np.float64) * 2.0**-53 * 2 - 1).reshape(shape)


def images(name):
    return 0.5 * uniform(name, (N, 3, SIDE, SIDE)) + 1.5 * uniform(f"{name}:offset", (N, 3, 1, 1))


class SplitNorm(nn.BatchNorm2d):
    """Batch norm of each of `SPLITS` parts by itself; the running statistics follow the mean of the parts'."""

    def forward(self, x):
        parts, means, variances = [], [], []
        for part in x.chunk(SPLITS):
            mean, variance = self.running_mean.clone(), self.running_var.clone()
            parts.append(F.batch_norm(part, mean, variance, self.weight, self.bias, True, self.momentum, self.eps))
            means.append(mean)
            variances.append(variance)
        self.running_mean.copy_(torch.stack(means).mean(0))
        self.running_var.copy_(torch.stack(variances).mean(0))
        return torch.cat(parts)


def encoder():
    net = resnet18(num_classes=DIM, norm_layer=SplitNorm)
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    net = net.double().train()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim == 4:
                parameter.copy_(uniform(f"init:{name}", parameter.shape) * math.sqrt(6 / parameter[0].numel()))
            elif name.startswith("fc."):
                parameter.copy_(uniform(f"init:{name}", parameter.shape) * math.sqrt(1 / net.fc.in_features))
    return net


def summary(tensor):
    values = tensor.detach().flatten()
    return {"norm": values.norm().item(), "sum": values.sum().item(), "head": values[:4].tolist()}


def main():
    query = encoder()
    key = copy.deepcopy(query).requires_grad_(False)
    bank = F.normalize(uniform("init:queue", (K, DIM)), dim=1)
    optimizer = torch.optim.SGD(query.parameters(), LR, momentum=0.9, weight_decay=WEIGHT_DECAY)
    steps, pointer = [], 0
    for step, order in enumerate(map(torch.tensor, ORDERS)):
        with torch.no_grad():
            for k, q in zip(key.parameters(), query.parameters()):
                k.copy_(k * MOMENTUM + q * (1 - MOMENTUM))
            keys = F.normalize(key(images(f"step{step}:key")[order]), dim=1)[order.argsort()]
        queries = F.normalize(query(images(f"step{step}:weak0")), dim=1)
        logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ bank.T], 1) / TEMPERATURE
        loss = F.cross_entropy(logits, torch.zeros(N, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        norms = {name: parameter.grad.norm().item() for name, parameter in query.named_parameters() if name in GRADIENTS}
        optimizer.step()
        bank[pointer : pointer + N] = keys
        pointer = (pointer + N) % K
        hits = (logits.argmax(1) == 0).double().mean().item() * 100
        steps.append({"loss": loss.item(), "contrastive": loss.item(), "ddm": 0.0, "acc1": hits, "grad_norms": norms})
    last = {}
    for prefix, net in (("encoder_q", query), ("encoder_k", key)):
        last |= {f"{prefix}.{name}": summary(value) for name, value in net.state_dict().items() if name in LAST}
    last["queue"] = summary(bank)
    config = {
        "arch": "resnet18", "stem": "cifar", "head": "linear", "bn_splits": SPLITS, "batch_negatives": False,
        "n": N, "k": K, "dim": DIM, "m": MOMENTUM, "t": TEMPERATURE, "t2": 0.2, "alpha": 1.0, "lr": LR, "wd": WEIGHT_DECAY,
        "key": SIDE, "weak": [SIDE], "strong": [], "steps": STEPS,
    }
    case = {"case": "moco-r18", "dtype": "float64", "config": config, "orders": ORDERS, "torch": torch.__version__,
            "steps": steps, "final": last, "queue_ptr": pointer}
    Path(__file__).with_name("moco-r18-f64.json").write_text(json.dumps(case, indent=1) + "\n")


if __name__ == "__main__":
    main()
