"""How long torchvision's ResNet-50 takes forward in evaluation mode, channels-last, to set beside the example `forward`.

python3 clsa-model/examples/torch_forward.py [BATCH] [SIDE] [THREADS]
"""

import statistics
import sys
import time

import torch
import torchvision

batch, side, threads = (int(text) for text in (sys.argv[1:] + ["8", "224", "2"][len(sys.argv) - 1 :]))
torch.set_num_threads(threads)
model = torchvision.models.resnet50().eval().to(memory_format=torch.channels_last)
images = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
seconds = []
with torch.inference_mode():
    model(images)
    for _ in range(7):
        start = time.perf_counter()
        model(images)
        seconds.append(time.perf_counter() - start)
print(f"batch {batch}, {side}x{side}: median {statistics.median(seconds):.4f} s, shortest {min(seconds):.4f} s")
