"""Answers, for each image (4 bytes of length, then the bytes), what Pillow's Image.open(FILE).convert("RGB") gives: width, height
and the CRC-32 of the pixels, 4 bytes each; instead of the size zeros, and 0 for what cannot be decoded, 1 for what it does not take
for an image. Numbers are little-endian."""
import io
import struct
import sys
import warnings
import zlib

from PIL import Image

warnings.simplefilter("ignore")
while length := sys.stdin.buffer.read(4):
    data = sys.stdin.buffer.read(*struct.unpack("<I", length))
    answer = struct.pack("<3I", 0, 0, 1)
    try:
        image = Image.open(io.BytesIO(data))
        answer = bytes(12)
        image = image.convert("RGB")
        answer = struct.pack("<3I", *image.size, zlib.crc32(image.tobytes()))
    except Exception:
        pass  # the answer says how far it went
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
