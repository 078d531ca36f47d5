"""Images per second that Pillow decodes on one core, to set beside the example `throughput`.

python3 clsa-data/examples/pillow_throughput.py FOLDER [SECONDS]
"""

import io
import pathlib
import sys
import time

from PIL import Image

folder = pathlib.Path(sys.argv[1])
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
count, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    Image.open(io.BytesIO(files[count % len(files)])).convert("RGB")
    count += 1
print(f"{count / (time.perf_counter() - start):.0f} images/s")
