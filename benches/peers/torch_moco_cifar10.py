"""MoCo on CIFAR-10 as `clsa reproduce moco-cifar10` trains it, in PyTorch and torchvision: the mean loss of every ten steps and of
each epoch, to be set beside those in metrics.jsonl. Prints JSON lines.

python3 benches/peers/torch_moco_cifar10.py --data cifar-10-batches-bin --epochs 1 --seed 0
"""

import argparse
import copy
import json
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.models.resnet import BasicBlock, resnet18

# What the recipe states.
BATCH, BANK, DIM, SPLITS, MOMENTUM, TEMPERATURE = 512, 4096, 128, 8, 0.99, 0.1
LR, WEIGHT_DECAY, SCHEDULE_EPOCHS = 0.06, 5e-4, 200
VIEW = T.Compose([
    T.RandomResizedCrop(32),
    T.RandomHorizontalFlip(),
    T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
    T.RandomGrayscale(0.2),
    T.ToTensor(),
    T.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
])


class Pairs(Dataset):
    """Two views of each training image of the binary files."""

    def __init__(self, folder):
        files = [pathlib.Path(folder, f"data_batch_{i}.bin") for i in range(1, 6)]
        rows = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, 3073) for file in files])
        self.images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = Image.fromarray(self.images[i])
        return VIEW(image), VIEW(image)


class SplitNorm(nn.BatchNorm2d):
    """Batch norm of each of `SPLITS` parts by itself, as on so many GPUs. Only for training: running statistics are not kept."""

    def forward(self, x):
        parts = [F.batch_norm(part, None, None, self.weight, self.bias, True, 0, self.eps) for part in x.chunk(SPLITS)]
        return torch.cat(parts)


def encoder(stem, channels):
    """ResNet-18 with a 3x3 stem of so many channels and without pooling; `torch` draws the stem as `nn.Conv2d` does, `kaiming` as
    torchvision's network, which draws all other convolutions so."""
    net = resnet18(norm_layer=SplitNorm)
    net.conv1, net.bn1, net.maxpool = nn.Conv2d(3, channels, 3, padding=1, bias=False), SplitNorm(channels), nn.Identity()
    net.inplanes = channels
    for stage, stride in enumerate([1, 2, 2, 2]):
        setattr(net, f"layer{stage + 1}", net._make_layer(BasicBlock, channels << stage, 2, stride))
    net.fc = nn.Linear(8 * channels, DIM)
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and (stem == "kaiming" or module is not net.conv1):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net.to(memory_format=torch.channels_last).train()


def embed(net, images):
    return F.normalize(net(images.to(memory_format=torch.channels_last)), dim=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of CIFAR-10's binary files")
    parser.add_argument("--epochs", type=int, default=1, help="of the schedule of 200")
    parser.add_argument("--steps", type=int, help="to stop after, instead of epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=float, default=1.0, help="of the encoder, as model.width")
    parser.add_argument("--stem", choices=["torch", "kaiming"], default="torch", help="initial weights of the stem")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    query = encoder(a.stem, round(64 * a.width))
    key = copy.deepcopy(query).requires_grad_(False)
    bank = F.normalize(torch.randn(BANK, DIM), dim=1)
    optimizer = torch.optim.SGD(query.parameters(), LR, momentum=0.9, weight_decay=WEIGHT_DECAY)
    loader = DataLoader(Pairs(a.data), BATCH, shuffle=True, drop_last=True, num_workers=a.workers, persistent_workers=a.workers > 0)
    step = 0
    for epoch in range(1, a.epochs + 1):
        optimizer.param_groups[0]["lr"] = LR * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / SCHEDULE_EPOCHS))
        losses = []
        for first, second in loader:
            with torch.no_grad():
                for k, q in zip(key.parameters(), query.parameters()):
                    k.lerp_(q, 1 - MOMENTUM)
                order = torch.randperm(BATCH)
                keys = embed(key, second[order])[order.argsort()]
            queries = embed(query, first)
            logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ bank.T], 1) / TEMPERATURE
            loss = F.cross_entropy(logits, torch.zeros(BATCH, dtype=torch.long))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            at = step * BATCH % BANK
            bank[at : at + BATCH] = keys
            step += 1
            losses.append(loss.item())
            if len(losses) % 10 == 0:
                print(json.dumps({"step": step, "loss_of_ten": round(sum(losses[-10:]) / 10, 4)}), flush=True)
            if step == a.steps:
                return
        print(json.dumps({"epoch": epoch, "steps": len(losses), "loss": round(sum(losses) / len(losses), 4)}), flush=True)


if __name__ == "__main__":
    main()
