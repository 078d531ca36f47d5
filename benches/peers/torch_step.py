"""One CLSA training step in PyTorch on random views: the peer of `clsa bench step`. Prints one JSON line.

python3 benches/peers/torch_step.py --arch resnet50 --batch 256 --device cuda --bf16
"""

import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

CHANNELS_LAST = torch.channels_last


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: use at least 1")
    return value


def add_run_options(parser):
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=positive, default=2, help="of PyTorch on the CPU")
    parser.add_argument("--warmup", type=positive, default=3, help="steps before those that are measured")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--mode", help="of torch.compile, such as reduce-overhead or max-autotune; implies --compile")
    parser.add_argument("--tf32", action="store_true", help="TF32 in f32 convolutions and products on a GPU")


def add_step_options(parser):
    parser.add_argument("--arch", default="resnet50", help="one of torchvision's ResNets")
    parser.add_argument("--batch", type=positive, default=8)
    parser.add_argument("--key", type=positive, default=224, help="side of the key view")
    parser.add_argument("--weak", type=positive, nargs="+", default=[224], help="sides of the weak views")
    parser.add_argument("--strong", type=positive, nargs="*", default=[96], help="sides of the strong views")
    parser.add_argument("--bank", type=positive, default=65536)
    parser.add_argument("--stem", choices=["imagenet", "cifar"], default="imagenet")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=False, help="autocast to bf16")


def parse(parser):
    """The arguments, and the device made ready for them."""
    a = parser.parse_args()
    if a.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no GPU")
    a.compile = a.compile or a.mode is not None
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = a.tf32
    torch.backends.cudnn.allow_tf32 = a.tf32
    return a, torch.device(a.device)


def compiled(function, a):
    """`function` compiled for each of its shapes, as `--compile` and `--mode` ask for it."""
    if not a.compile:
        return function
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(function, dynamic=False, mode=a.mode)


def new_step(a):
    """Lets CUDA graphs of `--mode reduce-overhead` overwrite what the step before has left."""
    if a.compile:
        torch.compiler.cudagraph_mark_step_begin()


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(call, a, device):
    """Times of `a.steps` calls, each until the device has finished, after `a.warmup` that only count as such."""
    start = time.perf_counter()
    for _ in range(a.warmup):
        call()
    synchronize(device)
    warmup = time.perf_counter() - start
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(a.steps):
        start = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return dict(median_s=statistics.median(times), min_s=min(times), max_s=max(times), warmup_s=warmup)


def peak_rss_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak_gpu_mb(device):
    """Highest memory of tensors on the GPU since the warm-up, MB (2^20 bytes)."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None


def report(a, device, work, **fields):
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    peer = "torch compile" if a.compile else "torch eager"
    line = dict(work=work, peer=peer, mode=a.mode, **fields, device=a.device, torch=torch.__version__, gpu=gpu)
    print(json.dumps(line), flush=True)


def precision(a):
    return "bf16" if a.bf16 else "tf32" if a.tf32 else "f32"


def encoder(arch, stem, dim=128):
    """A ResNet with the projection head of MoCo v2."""
    model = getattr(torchvision.models, arch)(num_classes=dim)
    width = model.fc.in_features
    model.fc = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), model.fc)
    if stem == "cifar":
        model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        model.maxpool = nn.Identity()
    return model


def clsa_loss(weak, strong, key, bank, t=0.2):
    """InfoNCE of each weak view and the DDM term of each pair of a weak and a strong view; `bank` is (dim, K)."""
    z = torch.cat([*weak, *strong])
    logits = (torch.cat([z @ key.T, z @ bank], 1) / t).split(len(key))
    labels = torch.arange(len(key), device=key.device)
    log_q = [F.log_softmax(s, 1) for s in logits[len(weak) :]]
    loss = 0
    for w in logits[: len(weak)]:
        loss = loss + F.cross_entropy(w, labels)
        p = F.softmax(w.detach(), 1)
        for q in log_q:
            loss = loss - (q * p).sum(1).mean()
    return loss


class Clsa:
    """Query encoder, key encoder, bank and optimizer; called with the views of a batch it trains one step."""

    def __init__(self, a, device, momentum=0.999, lr=0.03):
        self.a, self.device, self.momentum = a, device, momentum
        self.query = encoder(a.arch, a.stem).to(device, memory_format=CHANNELS_LAST)
        self.key = encoder(a.arch, a.stem).to(device, memory_format=CHANNELS_LAST)
        self.key.load_state_dict(self.query.state_dict())
        self.key.requires_grad_(False)
        self.parameters = list(self.query.parameters()), list(self.key.parameters())
        self.embed_query, self.embed_key = compiled(self.query, a), compiled(self.key, a)
        self.bank = F.normalize(torch.randn(128, a.bank, device=device), dim=0)
        self.oldest = 0
        how = dict(fused=True) if device.type == "cuda" else dict(foreach=True)
        self.optimizer = torch.optim.SGD(self.parameters[0], lr, momentum=0.9, weight_decay=1e-4, **how)

    @torch.no_grad()
    def move_key_encoder(self):
        query, key = self.parameters
        torch._foreach_lerp_(key, query, 1 - self.momentum)

    @torch.no_grad()
    def push(self, keys):
        count = min(len(keys), self.bank.shape[1] - self.oldest)
        self.bank[:, self.oldest : self.oldest + count] = keys[:count].T
        self.oldest = (self.oldest + count) % self.bank.shape[1]

    def __call__(self, key, weak, strong):
        new_step(self.a)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.a.bf16):
            weak = [F.normalize(self.embed_query(x).float(), dim=1) for x in weak]
            strong = [F.normalize(self.embed_query(x).float(), dim=1) for x in strong]
            with torch.no_grad():
                self.move_key_encoder()
                key = F.normalize(self.embed_key(key).float(), dim=1)
        loss = clsa_loss(weak, strong, key, self.bank)
        loss.backward()
        self.optimizer.step()
        self.push(key)
        return loss.item()


def random_views(a, device):
    view = lambda side: torch.randn(a.batch, 3, side, side, device=device).to(memory_format=CHANNELS_LAST)
    return view(a.key), [view(side) for side in a.weak], [view(side) for side in a.strong]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=positive, default=5, help="measured steps")
    add_run_options(parser)
    add_step_options(parser)
    a, device = parse(parser)
    clsa, views, losses = Clsa(a, device), random_views(a, device), []
    times = measure(lambda: losses.append(clsa(*views)), a, device)
    what = dict(arch=a.arch, batch=a.batch, precision=precision(a), stem=a.stem)
    sizes = dict(key=a.key, weak=a.weak, strong=a.strong, bank=a.bank, steps=a.steps)
    memory = dict(peak_gpu_mb=peak_gpu_mb(device), peak_rss_mb=peak_rss_mb())
    report(a, device, "step", **what, **sizes, **times, **memory, loss=losses[-1])


if __name__ == "__main__":
    main()
