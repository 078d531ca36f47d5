"""JPEG files to CLSA views to training steps with torchvision and a DataLoader. Prints one JSON line.

python3 benches/peers/torch_loader.py --files FOLDER --workers 16 --batch 256 --device cuda

With --no-step the loader alone, the peer of `clsa bench loader`. The device is the GPU where there is one, in bf16.
"""

import argparse
import glob
import io
import pathlib
import random
import shutil
import time

import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch.utils.data import DataLoader, Dataset
from torch_step import CHANNELS_LAST, Clsa, add_run_options, add_step_options, parse, peak_gpu_mb, positive, precision
from torch_step import random_views, report, synchronize
from torchvision import transforms as T

# The range of scales that the presets crop a view of this side from.
SCALES = {224: (0.2, 1.0), 192: (0.172, 0.86), 160: (0.143, 0.715), 128: (0.114, 0.571), 96: (0.086, 0.429)}

signed = lambda v: -v if random.random() < 0.5 else v
enhance = lambda kind: lambda im, v: kind(im).enhance(v * 0.09 + 0.05)
affine = lambda matrix: lambda im, v: im.transform(im.size, Image.AFFINE, matrix(im, signed(v * 0.03)))
POOL = [
    lambda im, v: ImageOps.autocontrast(im),
    enhance(ImageEnhance.Brightness),
    enhance(ImageEnhance.Color),
    enhance(ImageEnhance.Contrast),
    lambda im, v: ImageOps.equalize(im),
    lambda im, v: im,
    lambda im, v: ImageOps.posterize(im, int(v * 0.4) + 4),
    lambda im, v: im.rotate(signed(int(v * 3))),
    enhance(ImageEnhance.Sharpness),
    affine(lambda im, v: (1, v, 0, 0, 1, 0)),
    affine(lambda im, v: (1, 0, 0, v, 1, 0)),
    lambda im, v: ImageOps.solarize(im, 256 - int(v * 25.6)),
    affine(lambda im, v: (1, 0, int(v * im.size[0]), 0, 1, 0)),
    affine(lambda im, v: (1, 0, 0, 0, 1, int(v * im.size[1]))),
]


def five_of_the_pool(im):
    for operation in random.choices(POOL, k=5):
        v = random.randint(1, 9)
        if random.random() < 0.5:
            im = operation(im, v)
    return im


def view(side, strong=False):
    blur = T.Lambda(lambda im: im.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0))))
    return T.Compose([
        T.RandomResizedCrop(side, scale=SCALES.get(side, (0.2, 1.0))),
        T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        T.RandomGrayscale(p=0.2),
        T.RandomApply([blur], p=0.5),
        T.RandomHorizontalFlip(),
        *([T.Lambda(five_of_the_pool)] if strong else []),
        T.ToTensor(),
        T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])  # fmt: skip


class Views(Dataset):
    """Key, weak and strong views of `images` images, the files in turn."""

    def __init__(self, a, files, images):
        self.files, self.images = files, images
        self.views = [view(a.key), *[view(side) for side in a.weak], *[view(side, strong=True) for side in a.strong]]

    def __len__(self):
        return self.images

    def __getitem__(self, index):
        im = Image.open(io.BytesIO(self.files[index % len(self.files)])).convert("RGB")
        return [make(im) for make in self.views]


def read_files(parser, patterns):
    """The bytes of the JPEG files of folders and globs."""
    paths = []
    for pattern in patterns:
        folder = pathlib.Path(pattern)
        found = sorted(folder.rglob("*")) if folder.is_dir() else [pathlib.Path(p) for p in sorted(glob.glob(pattern))]
        paths += [path for path in found if path.suffix.lower() in (".jpg", ".jpeg") and path.is_file()]
    if not paths:
        parser.error(f"--files {' '.join(patterns)}: no JPEG files")
    return [path.read_bytes() for path in paths]


def prefetch_factor(parser, a):
    """2 batches for each worker, which is DataLoader's default, or 1 where shared memory has no room for them."""
    batch_mb = a.batch * 3 * 4 * sum(side**2 for side in [a.key, *a.weak, *a.strong]) / 2**20
    free_mb = shutil.disk_usage("/dev/shm").free / 2**20
    for factor in (2, 1):
        if (factor * a.workers + 1) * batch_mb < free_mb:
            return factor
    parser.error(f"--workers {a.workers}: /dev/shm has {free_mb:.0f} MB free for batches of {batch_mb:.0f} MB: "
                 "enlarge it, or use fewer workers or smaller batches")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", nargs="+", required=True, metavar="FOLDER_OR_GLOB", help="of JPEG files, used in turn")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", type=positive, default=64, help="to measure, rounded up to a multiple of --workers")
    parser.add_argument("--no-step", action="store_true", help="the loader alone")
    add_run_options(parser)
    add_step_options(parser)
    parser.set_defaults(bf16=True, device="cuda" if torch.cuda.is_available() else "cpu")
    a, device = parse(parser)

    # Workers start together and deliver together, so the clock runs over whole rounds of them, after at least two batches.
    every = max(a.workers, 1)
    skip = every * -(-2 // every)
    batches = every * -(-a.batches // every)
    dataset = Views(a, read_files(parser, a.files), (skip + batches) * a.batch)
    workers = {}
    if a.workers > 0:
        factor = prefetch_factor(parser, a)
        workers = dict(persistent_workers=True, prefetch_factor=factor, multiprocessing_context="fork")
    loader = DataLoader(dataset, a.batch, num_workers=a.workers, pin_memory=device.type == "cuda", **workers)

    if not a.no_step:
        clsa, views = Clsa(a, device), random_views(a, device)
        for _ in range(a.warmup):
            clsa(*views)
        del views
        synchronize(device)
    # From the GPU's side a copy of contiguous pinned memory, then a change of layout.
    upload = lambda x: x.to(device, non_blocking=True).contiguous(memory_format=CHANNELS_LAST)
    for count, views in enumerate(loader, 1):
        if not a.no_step:
            key, *queries = map(upload, views)
            loss = clsa(key, queries[: len(a.weak)], queries[len(a.weak) :])
        if count == skip:
            start = time.perf_counter()
    seconds = time.perf_counter() - start

    what = dict(step=not a.no_step, workers=a.workers, batch=a.batch, batches=batches, skipped=skip)
    sizes = dict(files=len(dataset.files), key=a.key, weak=a.weak, strong=a.strong)
    rate = dict(images_per_s=batches * a.batch / seconds, batch_s=seconds / batches)
    if not a.no_step:
        rate |= dict(arch=a.arch, stem=a.stem, precision=precision(a), peak_gpu_mb=peak_gpu_mb(device), loss=loss)
    report(a, device, "loader", **what, **sizes, **rate)


if __name__ == "__main__":
    main()
