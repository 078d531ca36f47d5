"""The official CLSA loss, forward and backward, in PyTorch: the peer of `clsa bench loss`. Prints one JSON line.

python3 benches/peers/torch_loss.py --batch 256 --weak 5 --strong 5 --device cuda
"""

import argparse

import torch
import torch.nn.functional as F
from torch_step import add_run_options, clsa_loss, compiled, measure, new_step, parse, peak_gpu_mb, peak_rss_mb, positive, report


def official_loss(weak, strong, key, bank, t=0.2):
    """As the original release writes it: the distributions of a strong view are made anew for every weak view."""
    labels = torch.arange(len(key), device=key.device)
    loss = 0
    for w in weak:
        logits = torch.cat([w @ key.T, w @ bank], 1) / t
        loss = loss + F.cross_entropy(logits, labels)
        p = torch.softmax(logits.detach(), 1)
        for s in strong:
            q = torch.softmax(torch.cat([s @ key.T, s @ bank], 1) / t, 1)
            loss = loss - torch.mean(torch.sum(torch.log(q) * p, 1))
    return loss


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=positive, default=32)
    parser.add_argument("--weak", type=positive, default=5, help="number of weak views")
    parser.add_argument("--strong", type=int, default=5, help="number of strong views")
    parser.add_argument("--bank", type=positive, default=65536)
    parser.add_argument("--dim", type=positive, default=128)
    parser.add_argument("--steps", type=positive, default=5, help="measured passes")
    parser.add_argument("--once", action="store_true", help="make the distribution of a strong view once, not for every weak view")
    add_run_options(parser)
    a, device = parse(parser)
    unit = lambda rows: F.normalize(torch.randn(rows, a.dim, device=device), dim=1)
    bank, key = unit(a.bank).T.contiguous(), unit(a.batch)
    weak = [unit(a.batch).requires_grad_() for _ in range(a.weak)]
    strong = [unit(a.batch).requires_grad_() for _ in range(a.strong)]
    forward = compiled(clsa_loss if a.once else official_loss, a)

    def step():
        new_step(a)
        for embeddings in weak + strong:
            embeddings.grad = None
        forward(weak, strong, key, bank).backward()

    on_gpu = device.type == "cuda"
    inputs_mb = torch.cuda.memory_allocated(device) / 2**20 if on_gpu else peak_rss_mb()
    times = measure(step, a, device)
    peak_mb = peak_gpu_mb(device) if on_gpu else peak_rss_mb()
    sizes = dict(batch=a.batch, weak=a.weak, strong=a.strong, bank=a.bank, precision="tf32" if a.tf32 else "f32")
    memory = dict(peak_gpu_mb=peak_gpu_mb(device), extra_peak_mb=peak_mb - inputs_mb)
    report(a, device, "loss", once=a.once, **sizes, steps=a.steps, **times, **memory)


if __name__ == "__main__":
    main()
