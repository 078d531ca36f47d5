"""Runs the checks of a bundle on a machine with a GPU: one JSON line for each, a table at the end. See --help."""

import argparse
import contextlib
import glob
import importlib
import json
import lzma
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKS = {}

# Steps beside torch.compile, which takes minutes before its first. With `--seconds` they come last, where their limits are left.
COMPILED = ["step_resnet50_compiled", "step_resnet18_compiled"]

# Checks that are left out unless they are asked for.
LONG = [*COMPILED, "sanitizer"]

# Seconds that a training may take where `--seconds` gives it no fewer.
DAY = 86_400

# Whole trainings on CIFAR-10, by `--long`.
RECIPES = ["moco-cifar10", "moco-symmetric-cifar10", "clsa-cifar10", "naive-cifar10"]

# Checks that need data: what the bundle calls it, and the option of bundle-cuda that puts it there.
DATA = {"cifar": ("cifar", "--cifar"), "end_to_end": ("imagenet", "--photos")}

# What this project wants to reach on an H100: the most that a ratio, ours over the peer's, is to be. To miss one is no failure.
TARGETS = {
    "step_resnet50": {"ratio": 0.65, "memory_ratio": 0.8},
    "step_resnet50_compiled": {"ratio": 0.9},
    "step_resnet18_compiled": {"ratio": 0.9},
    "loss": {"ratio": 0.3, "memory_ratio": 0.05},
    "end_to_end": {"ratio": 0.5},
}


def check(seconds):
    """Registers a check; it is stopped after so many seconds."""

    def register(function):
        CHECKS[function.__name__] = (seconds, function)
        return function

    return register


class Failed(Exception):
    pass


class Bench:
    """Where the checks work, and what they share."""

    def __init__(self, args):
        self.work = tempfile.mkdtemp(prefix="clsa-check-")
        self.out = args.out
        self.quick = args.quick
        # The first that a process sees, which is what tests and peers take.
        self.device = "cuda:0"
        self.cpu_knn = args.cpu_knn
        self.cores = len(os.sched_getaffinity(0))
        self.until = 0.0
        os.makedirs(args.out, exist_ok=True)
        # What the steps' kernels take, by the step; one file has all of them, those of earlier calls too, unless it was cut off by a kill.
        self.kernels = {}
        with contextlib.suppress(OSError, ValueError), open(os.path.join(args.out, "kernels.json")) as file:
            self.kernels = json.load(file)
        # The running check, and what it has measured so far, which is kept where the rest of it fails.
        self.check, self.measured = None, []
        for packed in glob.glob(HERE + "/*.xz"):
            path = os.path.join(self.work, os.path.basename(packed)[:-3])
            with lzma.open(packed) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)
            os.chmod(path, 0o755)

    def path(self, name):
        return os.path.join(self.work, name)

    def keep(self, figures):
        """Keeps what the running check has measured, in a file too, which has it where this process is killed."""
        self.measured.append(figures)
        with open(os.path.join(self.out, "measured.jsonl"), "a") as file:
            print(json.dumps(dict(check=self.check, measured=figures)), file=file)
        return figures

    def run(self, *command, ok=(0,), log=None):
        """The output of a command; fails with its last lines where its exit code is another. `log` names a file of the results that gets
        all of it as it comes. What the command has started ends with it."""
        left = max(1.0, self.until - time.monotonic())
        name = os.path.join(self.out, log) if log else self.path("output")
        with open(name, "ab" if log else "wb") as file:
            before, code = file.tell(), None
            try:
                process = subprocess.Popen(
                    [str(c) for c in command],
                    cwd=HERE,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                )
            except OSError as error:
                raise Failed(str(error))
            try:
                code = process.wait(left)
            except subprocess.TimeoutExpired:
                pass
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        with open(name, "rb") as file:
            file.seek(before)
            output = file.read().decode(errors="replace")
        if code is None:
            raise Failed(f"not done in {left:.0f} s: {output[-600:]}")
        if code not in ok:
            raise Failed(f"exit code {code}: {output[-1500:]}")
        return output

    def clsa(self, *arguments):
        return self.run(self.path("clsa"), *arguments)

    def json_of(self, *command):
        """The last line that is a JSON object."""
        output = self.run(*command)
        for line in reversed(output.splitlines()):
            if line.startswith("{"):
                return self.keep(json.loads(line))
        raise Failed(f"no JSON in: {output[-600:]}")

    def unpacked(self, name):
        """A folder of the data that the bundle holds, or None."""
        folder = self.path("data-" + name)
        found = data_files(name)
        if not os.path.isdir(folder) and found:
            with tarfile.open(found[0]) as archive:
                # Not by `filter=`, which Python 3.11.3 and earlier do not know.
                archive.extraction_filter = getattr(tarfile, "data_filter", None)
                archive.extractall(folder)
        return folder if os.path.isdir(folder) else None


def data_files(name):
    """The archives of this data in the bundle."""
    return glob.glob(f"{HERE}/data/{name}*")


def lacks(name):
    """Why a check cannot be run with what the bundle holds, or None."""
    data, option = DATA.get(name, (None, None))
    return f"no data (the bundle was made without {option})" if data and not data_files(data) else None


def told(function):
    """What a function gives, or in words why it gives nothing."""
    try:
        return function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[-300:]


@check(60)
def versions(bench):
    """What cannot be told is told why, beside the rest."""
    import ctypes

    def cudnn():
        version = ctypes.CDLL("libcudnn.so.9").cudnnGetVersion
        version.restype = ctypes.c_size_t
        return version()

    def nccl():
        number = ctypes.c_int()
        ctypes.CDLL("libnccl.so.2").ncclGetVersion(ctypes.byref(number))
        return number.value

    card = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
    smi = ["nvidia-smi", f"--id={card}", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    commit = None
    with contextlib.suppress(OSError), open(HERE + "/commit") as file:
        commit = file.read().strip() or None
    versions = dict(
        gpu=told(lambda: bench.run(*smi).strip()),
        cores=bench.cores,
        torch=told(lambda: importlib.import_module("torch").__version__),
        cuda=told(lambda: importlib.import_module("torch").version.cuda),
        cudnn=told(cudnn),
        nccl=told(nccl),
        glibc=os.confstr("CS_GNU_LIBC_VERSION"),
        commit=commit,
    )
    bench.keep(versions)
    # Where the programs do not start, that is a failure, and the first to be seen.
    return dict(versions, clsa=bench.clsa("--version").strip())


@check(60)
def pcie(bench):
    return bench.json_of("python3", HERE + "/peers/torch_pcie.py")


def rust_tests(bench, binary, *filters, under=(), log="tests.log"):
    """Runs a test binary on one thread, or a command that runs it; what its tests print goes to the log."""
    program = [*under, bench.path(binary), "--nocapture"]
    output = bench.run(*program, "--test-threads=1", *filters, ok=(0, 101), log=log)
    counts = re.search(r"(\d+) passed; (\d+) failed", output)
    if not counts:
        raise Failed(output[-1500:])
    no_gpu = output.count("not tested:")
    if counts[2] != "0" or no_gpu:
        # The last of what is printed: the names of the tests that failed.
        failed = sorted(set(re.findall(r"^    (\S+)$", output.rpartition("failures:\n")[2], re.M)))
        found = f"{counts[2]} of {int(counts[1]) + int(counts[2])} failed, {no_gpu} found no GPU: {failed}"
        if len(failed) > 1:
            found += f"; in processes of their own: {failing_alone(bench, program, failed, log)}"
        raise Failed(found)
    if counts[1] == "0":
        raise Failed(f"no test ran: {output[-1500:]}")
    # A test of several GPUs says so and passes.
    not_tested = output.count("this machine has one GPU")
    return dict(passed=int(counts[1]) - not_tested, not_tested=not_tested, **description_in(output))


def description_in(output):
    """cuDNN's description of the GPU, where a test has printed it."""
    _, found, rest = output.partition("description {")
    with contextlib.suppress(ValueError):
        if found:
            return dict(description=json.JSONDecoder().raw_decode("{" + rest)[0])
    return {}


def failing_alone(bench, program, names, log):
    """Those of these tests that fail in processes of their own too, in words. A test that breaks the GPU's context fails all tests that
    come after it in its process."""
    failing = []
    for i, name in enumerate(names):
        if time.monotonic() > bench.until - 5:
            return f"{failing}, and no time was left for {len(names) - i} more"
        try:
            output = bench.run(*program, "--exact", name, ok=(0, 101), log=log)
        except Failed:
            output = ""
        if "1 passed; 0 failed" not in output:
            failing.append(name)
    return str(failing)


@check(90)
def kernel_tests(bench):
    return rust_tests(bench, "kernel_tests")


@check(180)
def convolution_tests(bench):
    return rust_tests(bench, "convolution_tests")


@check(240)
def training_tests(bench):
    return rust_tests(bench, "training_tests", "--skip", "nccl::")


@check(540)
def sanitizer(bench):
    """Bad accesses and races of the kernels, by NVIDIA's tool. Races are looked for where bad accesses were found too, and in half of the
    time."""
    if shutil.which("compute-sanitizer") is None:
        raise Failed("compute-sanitizer is not on the PATH")
    until, failed = bench.until, []
    for tool, share in (("memcheck", 0.5), ("racecheck", 1.0)):
        bench.until = time.monotonic() + share * (until - time.monotonic())
        # What cuDNN asks an older driver for in vain is no bad access.
        under = ["compute-sanitizer", "--tool", tool, "--report-api-errors", "no", "--error-exitcode", "9"]
        try:
            bench.keep(dict(tool=tool, **rust_tests(bench, "kernel_tests", under=under, log="sanitizer.log")))
        except Failed as error:
            failed.append(f"{tool}: {str(error)[-900:]}")
    if failed:
        raise Failed("; ".join(failed))
    return dict(tools=bench.measured)


STEPS = {
    "resnet50": ["--arch", "resnet50", "--key", "224", "--weak", "224", "--strong", "96", "--bank", "65536"],
    "resnet18": ["--arch", "resnet18", "--stem", "cifar", "--key", "32", "--weak", "32", "--strong", "32",
                 "--bank", "4096"],
}


def step(bench, arch, *more, steps=10, batch=256):
    size = [*STEPS[arch], "--batch", batch, "--device", bench.device, "--json", "--steps", steps]
    ours = [bench.path("clsa"), "bench", "step", *size, *more]
    found = bench.json_of(*ours)
    kernels = found.pop("kernels", None)
    if kernels:
        bench.kernels[arch + ("-tuned" if "--tune" in more else "")] = kernels
        with open(os.path.join(bench.out, "kernels.json"), "w") as file:
            json.dump(bench.kernels, file, indent=1)
        found["kernels_ms"] = by_kind(kernels)
    return found


def ratios(ours, tuned, peer):
    ratio, tuned = (round(time["median_s"] / peer["median_s"], 3) for time in (ours, tuned))
    return dict(ratio=ratio, tuned_ratio=tuned, memory_ratio=round(ours["peak_gpu_mb"] / peer["peak_gpu_mb"], 3))


def by_kind(kernels):
    """Milliseconds of a step by the first word of what was measured: a kernel, or a convolution's direction."""
    sums = {}
    for kernel in kernels:
        words = kernel["kind"].split()
        kind = " ".join(words[:2]) if words[0] == "convolution" else words[0]
        sums[kind] = round(sums.get(kind, 0.0) + kernel["ms"], 3)
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def torch_step(bench, arch, *more, steps=10):
    size = [*STEPS[arch], "--batch", 256, "--device", "cuda", "--bf16", "--steps", steps]
    command = ["python3", HERE + "/peers/torch_step.py", *size, *more]
    return bench.json_of(*command)


@check(150)
def step_resnet50(bench):
    ours = step(bench, "resnet50", "--precision", "bf16", "--profile")
    peer = torch_step(bench, "resnet50")
    tuned = step(bench, "resnet50", "--precision", "bf16", "--tune", "--profile")
    return dict(ours=ours, tuned=tuned, peer=peer, **ratios(ours, tuned, peer))


@check(100)
def step_resnet50_f32(bench):
    return dict(ours=step(bench, "resnet50", "--precision", "f32", steps=3, batch=64))


@check(100)
def step_resnet18(bench):
    ours = step(bench, "resnet18", "--precision", "bf16", "--profile", steps=30)
    peer = torch_step(bench, "resnet18", steps=30)
    tuned = step(bench, "resnet18", "--precision", "bf16", "--tune", "--profile", steps=30)
    return dict(ours=ours, tuned=tuned, peer=peer, **ratios(ours, tuned, peer))


@check(100)
def step_portable(bench):
    return dict(
        resnet50=step(bench, "resnet50", "--precision", "bf16", "--portable", steps=3, batch=32),
        resnet18=step(bench, "resnet18", "--precision", "f32", "--portable", steps=3),
    )


@check(100)
def loss(bench):
    sizes = ["--batch", "256", "--weak", "5", "--strong", "5", "--bank", "65536"]
    peer = ["python3", HERE + "/peers/torch_loss.py", *sizes, "--device", "cuda"]
    ours = bench.json_of(bench.path("clsa"), "bench", "loss", *sizes, "--device", bench.device, "--json")
    # As the official release writes it, and with each strong view's distribution made once.
    official, once = bench.json_of(*peer), bench.json_of(*peer, "--once")
    ratio, once_ratio = (round(ours["median_s"] / theirs["median_s"], 3) for theirs in (official, once))
    memory_ratio = round(ours["extra_peak_gpu_mb"] / official["extra_peak_mb"], 4)
    return dict(ours=ours, peer=official, peer_once=once, ratio=ratio, once_ratio=once_ratio, memory_ratio=memory_ratio)


def pretrained(bench, name, *arguments, device):
    """A run, and the last k-NN accuracy of its metrics."""
    out = bench.path(f"run-{name}-{device.replace(':', '')}")
    start = time.monotonic()
    bench.clsa("pretrain", *arguments, "--out", out, "--device", device)
    seconds = time.monotonic() - start
    records = [json.loads(line) for line in open(out + "/metrics.jsonl")]
    knn = [r["top1"] for r in records if r["kind"] == "knn"]
    steps = [r for r in records if "loss" in r]
    rates = [r["images_per_s"] for r in steps[len(steps) // 2 :]]
    return bench.keep(dict(device=device, knn=knn[-1] if knn else None, seconds=round(seconds, 1), loss=steps[-1]["loss"],
                           images_per_s=round(statistics.median(rates), 1)))


@check(200)
def end_to_end(bench):
    photos = bench.unpacked("imagenet")
    files = sorted(glob.glob(photos + "/**/*.*", recursive=True))
    many = bench.path("photos")
    os.makedirs(many, exist_ok=True)
    for i in range(256 * (10 if bench.quick else 24)):
        name = f"{many}/{i:05}.jpg"
        if not os.path.exists(name):
            os.link(files[i % len(files)], name)
    ours = pretrained(
        bench, "photos", "--preset", "imagenet-single-200", "--data", f"flat:{many}", "--epochs", "1", "--set", "knn.every=0",
        "--set", "compute.precision=bf16", "--set", "compute.bn_splits=1", "--batch-size", "256", device=bench.device,
    )
    peer = bench.json_of("python3", HERE + "/peers/torch_loader.py", "--files", many, "--workers", bench.cores, "--batch", "256",
                         "--batches", "32")
    alone = bench.json_of(bench.path("clsa"), "bench", "loader", f"flat:{many}", "--preset", "single", "--threads", bench.cores,
                          "--batch", 256, "--images", 256 * 24, "--json")
    return dict(ours=ours, peer=peer, loader=alone, ratio=round(peer["images_per_s"] / ours["images_per_s"], 3))


def beside_the_cpu(bench, name, *arguments):
    """A training on the GPU, and its k-NN accuracy beside that of the same on a CPU: `--cpu-knn` tells it, or it is made here."""
    gpu = pretrained(bench, name, *arguments, device=bench.device)
    if name in bench.cpu_knn:
        cpu = dict(knn=bench.cpu_knn[name])
    else:
        cpu = pretrained(bench, name, *arguments, device="cpu")
    # Two trainings that round differently are two trainings: with 500 or 1,000 test images they differ by 2 to 3 points often. What this
    # finds is one that does not learn.
    if abs(gpu["knn"] - cpu["knn"]) > 8.0:
        raise Failed(f"k-NN {gpu['knn']:.1f} on the GPU, {cpu['knn']:.1f} on the CPU")
    return dict(gpu=gpu, cpu=cpu)


@check(180)
def cifar(bench):
    folder = bench.unpacked("cifar")
    few = bench.path("cifar-2000")
    for split, count in (("train", 200), ("test", 50)):
        for kind in sorted(os.listdir(f"{folder}/{split}")):
            os.makedirs(f"{few}/{split}/{kind}", exist_ok=True)
            for file in sorted(os.listdir(f"{folder}/{split}/{kind}"))[:count]:
                os.link(f"{folder}/{split}/{kind}/{file}", f"{few}/{split}/{kind}/{file}")
    return beside_the_cpu(
        bench, "cifar", "--preset", "cifar10", "--data", f"imagefolder:{few}", "--epochs", "8", "--batch-size", "128",
        "--set", "knn.every=8", "--set", "knn.k=20", "--set", "method.bank=1024", "--set", "model.width=0.5",
    )


def evaluated(bench, run, device):
    """The k-NN accuracy of a run's encoder, whose features a device computes itself."""
    out = bench.path(f"eval-{device.replace(':', '')}.json")
    bench.clsa("eval", "--run", run, "--protocol", "knn", "--trained-only", "--device", device, "--out", out, "--cache", out + ".cache")
    with open(out) as file:
        knn = round(json.load(file)["protocols"][0]["results"][0]["top1"]["value"], 2)
    return bench.keep(dict(device=device, evaluated=knn))["evaluated"]


@check(180)
def demo(bench):
    both = beside_the_cpu(bench, "demo")
    run = bench.path(f"run-demo-{bench.device.replace(':', '')}")
    figures = {device: evaluated(bench, run, device) for device in (bench.device, "cpu")}
    # One encoder: other sums move a few images at most.
    if abs(figures[bench.device] - figures["cpu"]) > 0.5:
        raise Failed(f"evaluated on each device, one encoder has other figures: {figures}")
    return dict(both, evaluated=figures)


@check(60)
def nccl_tests(bench):
    """After what measures: what waits for other ranks can wait for ever."""
    return rust_tests(bench, "training_tests", "nccl::")


def beside_the_compiled(bench, arch, steps):
    ours = step(bench, arch, "--precision", "bf16", steps=steps)
    peer = torch_step(bench, arch, "--compile", steps=steps)
    return dict(ours=ours, peer=peer, ratio=round(ours["median_s"] / peer["median_s"], 3))


@check(240)
def step_resnet50_compiled(bench):
    return beside_the_compiled(bench, "resnet50", 10)


@check(180)
def step_resnet18_compiled(bench):
    return beside_the_compiled(bench, "resnet18", 30)


def in_parts(file, folder):
    """Copies a file in parts of at most 15 MiB, `NAME.0` and so on, which `cat` joins."""
    with open(file, "rb") as source:
        for number, part in enumerate(iter(lambda: source.read(15 << 20), b"")):
            with open(os.path.join(folder, f"{os.path.basename(file)}.{number}"), "wb") as target:
                target.write(part)


def epochs_of(run):
    """How many epochs a run is to have."""
    with open(f"{run}/config.toml") as file:
        return re.search(r"^epochs = (\d+)$", file.read(), re.MULTILINE).group(1)


def reproduce(recipe):
    """All epochs of a recipe; what it has measured comes back, and its weights."""

    def run(bench):
        folder = bench.unpacked("cifar")
        images = len(glob.glob(f"{folder}/train/*/*")) if folder else 0
        if images != 50_000:
            raise Failed(f"the bundle has {images} training images of CIFAR-10, not 50,000; give it all by bundle-cuda --cifar")
        out = bench.path(f"{recipe}-0")
        command = [bench.path("clsa"), "reproduce", recipe, "--data", f"imagefolder:{folder}", "--out", out,
                   "--device", bench.device, "--precision", "bf16"]
        try:
            # 1: a figure is outside its band, which is a finding.
            output = bench.run(*command, ok=(0, 1))
            lines = [line for line in output.splitlines() if line.startswith("epoch") and "published" in line]
            if not any(line.startswith(f"epoch {epochs_of(out)}:") for line in lines):
                raise Failed(f"the training did not come to its end: {output[-1500:]}")
        finally:
            kept = os.path.join(bench.out, f"{recipe}-0")
            os.makedirs(kept, exist_ok=True)
            for name in ("config.toml", "data.json", "metrics.jsonl"):
                if os.path.exists(f"{out}/{name}"):
                    shutil.copy(f"{out}/{name}", kept)
            checkpoints = sorted(glob.glob(f"{out}/checkpoints/*.safetensors"))
            if checkpoints:
                bench.until = max(bench.until, time.monotonic() + 30)
                weights = bench.path(f"{recipe}.safetensors")
                try:
                    bench.clsa("convert", checkpoints[-1], weights)
                    in_parts(weights, kept)
                except (Failed, OSError) as error:  # how the training has ended is what counts
                    print(f"{recipe}: its weights are not kept: {error}", file=sys.stderr)
        records = [json.loads(line) for line in open(out + "/metrics.jsonl")]
        rates = [r["images_per_s"] for r in records if r["kind"] == "step"]
        return dict(
            lines=lines,
            knn={r["epoch"]: r["top1"] for r in records if r["kind"] == "knn"},
            images_per_s=round(statistics.median(rates), 1),
        )

    return run


@check(DAY)
def ddm(bench):
    """The study `ddm` with 12 epochs, one seed after the other, until the time is over."""
    left = max(1, int(bench.until - time.monotonic() - 30))
    folder = bench.unpacked("cifar")
    if folder is None:
        raise Failed("the bundle has no data/cifar*; give it all of CIFAR-10 by bundle-cuda --cifar")
    output = bench.clsa("study", "ddm", "--data", f"imagefolder:{folder}", "--seeds", 10, "--set", "train.epochs=12", "--seconds", left,
                        "--device", bench.device, "--runs", bench.path("ddm"), "--table", os.path.join(bench.out, "ddm.md"))
    return dict(table=[line for line in output.splitlines() if line.startswith("|")])


for recipe in RECIPES:
    CHECKS[recipe] = (DAY, reproduce(recipe))


def knn_of_cpu(text):
    """k-NN accuracies of a CPU's trainings in percent, by the check: `demo=58.7,cifar=31.0`."""
    with contextlib.suppress(ValueError):
        figures = {name: float(knn) for name, knn in (part.split("=") for part in text.split(","))}
        if set(figures) <= {"demo", "cifar"} and all(0.0 <= knn <= 100.0 for knn in figures.values()):
            return figures
    raise argparse.ArgumentTypeError(f"{text}: write it as demo=58.7,cifar=31.0")


def beside_targets(name, figures):
    """The targets of a check, and those that its figures miss."""
    targets = TARGETS.get(name, {})
    missed = [f"{ratio} {figures[ratio]}, at most {most}" for ratio, most in targets.items() if figures[ratio] > most]
    return dict(targets=targets, missed=missed) if targets else {}


def end_once(*_):
    """Ends the checks. Another signal, which `timeout` sends at once, would cut off what the running one has still to write."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    sys.exit(128 + signal.SIGTERM)


def print_table(results):
    print()
    for line in results:
        detail = line.get("detail", {})
        names = ("passed", "not_tested", "ratio", "tuned_ratio", "once_ratio", "memory_ratio")
        figures = [f"{name} {detail[name]}" for name in names if name in detail]
        figures += [f"missed: {missed}" for missed in line.get("missed", [])]
        note = ", ".join(figures) or line.get("skipped") or line.get("error", "")[:100].replace("\n", " ")
        state = {True: "ok", False: "FAILED", None: "skipped:"}[line["ok"]]
        print(f"{line['check']:<24}{line['seconds']:>7.1f} s  {state:<10}{note}")
    for line in results:
        for kind, ms in line.get("detail", {}).get("ours", {}).get("kernels_ms", {}).items():
            print(f"{line['check']:<24}{kind:<32}{ms:>9.3f} ms")


def main():
    names = ", ".join(CHECKS)
    parser = argparse.ArgumentParser(description="Proves and measures CLSA on the first GPU, or the first of CUDA_VISIBLE_DEVICES.",
                                     epilog=f"The checks: {names}")
    parser.add_argument("--only", default="", help="checks to run, separated by commas")
    parser.add_argument("--skip", default="", help="checks to leave out, separated by commas")
    parser.add_argument("--out", default=".", type=os.path.abspath, help="folder for check.jsonl, measured.jsonl and the logs")
    parser.add_argument("--all", action="store_true", help=f"also those that take minutes: {', '.join(LONG)}")
    parser.add_argument("--long", default="", help=f"trainings on CIFAR-10 instead: {', '.join([*RECIPES, 'ddm'])}")
    parser.add_argument("--quick", action="store_true", help="fewer images from end to end")
    parser.add_argument("--cpu-knn", type=knn_of_cpu, default={}, metavar="demo=58.7,cifar=31.0",
                        help="k-NN accuracies of the CPU's trainings in percent, which are not made here then")
    parser.add_argument("--seconds", type=float, default=math.inf,
                        help="end after so many: what has no time is said to have none; torch.compile comes last where there is time")
    parser.add_argument("--dry-run", action="store_true", help="list the checks and their time limits")
    args = parser.parse_args()
    asked = [name for name in (args.long or args.only).split(",") if name]
    usual = [name for name in CHECKS if name not in [*LONG, *RECIPES, "ddm"]] + (LONG if args.all else [])
    if_time = [] if asked or args.all or args.seconds == math.inf else COMPILED
    left_out = args.skip.split(",")
    unknown = [name for name in asked + [s for s in left_out if s] if name not in CHECKS]
    if unknown:
        parser.error(f"no such check: {', '.join(unknown)}; there are {names}")
    chosen = [name for name in (asked or usual) + if_time if name not in left_out]
    if args.dry_run:
        for name in chosen:
            limit = f"at most {CHECKS[name][0]} s{', if so many are left' if name in if_time else ''}"
            print(f"{name}: {f'skipped: {lacks(name)}' if lacks(name) else limit}")
        return 0
    # The running command is ended then too.
    signal.signal(signal.SIGTERM, end_once)
    end = time.monotonic() + args.seconds
    bench = Bench(args)
    results = []
    try:
        with open(os.path.join(args.out, "check.jsonl"), "a") as log:
            for name in chosen:
                seconds, function = CHECKS[name]
                start = time.monotonic()
                bench.until = min(start + seconds, end)
                bench.check, bench.measured = name, []
                skipped = lacks(name)
                if name in if_time and start + seconds > end:
                    skipped = f"fewer than {seconds} s are left"
                line = dict(check=name, ok=None, skipped=skipped)
                try:
                    if not skipped:
                        if start > end - 5.0:
                            raise Failed(f"no time is left of {args.seconds:.0f} s")
                        detail = function(bench)
                        line = dict(check=name, ok=True, detail=detail, **beside_targets(name, detail))
                except BaseException as error:
                    line = dict(check=name, ok=False, error="ended while it ran", measured=bench.measured)
                    # A check that fails does not stop the others.
                    if not isinstance(error, Exception):
                        raise
                    line["error"] = f"{type(error).__name__}: {error}"[-2000:]
                finally:
                    line["seconds"] = round(time.monotonic() - start, 1)
                    results.append(line)
                    for stream in (log, sys.stdout):
                        print(json.dumps(line), file=stream, flush=True)
    finally:
        print_table(results)
        shutil.rmtree(bench.work, ignore_errors=True)
    return 1 if any(line["ok"] is False for line in results) else 0


if __name__ == "__main__":
    sys.exit(main())
