"""How fast bytes are copied to the GPU, from page-locked and from other memory, and within it. Prints one JSON line.

python3 benches/peers/torch_pcie.py
"""

import argparse
import json
import statistics
import time

import torch


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rates = {}
    size = 256 << 20
    on_device = torch.empty(size, dtype=torch.uint8, device="cuda")
    for name, pin in (("pinned", True), ("pageable", False)):
        on_host = torch.ones(size, dtype=torch.uint8, pin_memory=pin)
        times = []
        for _ in range(6):
            torch.cuda.synchronize()
            start = time.perf_counter()
            on_device.copy_(on_host, non_blocking=pin)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        rates[name + "_gb_s"] = round(size / statistics.median(times[1:]) / 1e9, 2)
    other = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    again = torch.empty_like(other)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        again.copy_(other)
    torch.cuda.synchronize()
    rates["device_copy_tb_s"] = round(20 * (1 << 30) / (time.perf_counter() - start) / 1e12, 2)
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
