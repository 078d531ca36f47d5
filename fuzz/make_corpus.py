"""Makes corpus/: the seeds of the parsers, from the fixtures of the tests and what is made here. Needs pyarrow."""
import gzip
import hashlib
import io
import json
import pathlib
import pickletools
import shutil
import struct
import tarfile
import zipfile
import zlib

import pyarrow
import pyarrow.parquet

here = pathlib.Path(__file__).parent
data = here.parent / "clsa-data" / "tests" / "fixtures"
formats = data / "formats"
weights = here.parent / "clsa-model" / "tests" / "fixtures"
presets = here.parent / "clsa-run" / "presets"
shutil.rmtree(here / "corpus", ignore_errors=True)


def put(parser, name, content):
    folder = here / "corpus" / parser
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def kinds_of_jpeg():
    """The smallest file of each kind in the fixture of JPEGs."""
    packed = io.BytesIO((data / "jpegs.bin").read_bytes())
    found = {}
    while length := packed.read(1):
        kind = packed.read(length[0]).decode()
        file = packed.read(struct.unpack("<I", packed.read(4))[0])
        packed.read(8)
        if kind not in found or len(file) < len(found[kind]):
            found[kind] = file
    return found


for path in formats.iterdir():
    if path.suffix != ".rgb":
        put("jpeg" if path.suffix == ".jpg" and "named" not in path.name else "image", path.name, path.read_bytes())
for kind, file in kinds_of_jpeg().items():
    put("jpeg", kind.replace(" ", "_"), file)

put("annotation", "two.xml", b"<annotation><object><name>car</name><difficult>1</difficult></object>"
    b"<object><name>dog</name><difficult>0</difficult></object></annotation>")
put("annotation", "none.xml", b"<annotation/>")
put("annotation", "latin.xml", "<?xml version='1.0' encoding='latin-1'?><annotation><folder>é</folder></annotation>".encode("latin-1"))
put("annotation", "wide.xml", "\ufeff<annotation/>".encode("utf-16-le"))
for number, text in enumerate(["a-{000..012}.tar", "{x,y}/{1..3}-*.tar", "imagefolder:/a", "wds:{a,b}.tar", "procedural",
                               "procedural:classes=3,side=16", "parquet:a/*.parquet?image=i&label=l"]):
    put("pattern", str(number), text.encode())
for number, text in enumerate(["a.png,x\nb/c.png,y\n", "id,Path,label\r\n1,\"a, b.png\",x\r\n", "file_name\tnote\na.png\tn\n"]):
    put("list", str(number), text.encode())
put("idx", "images", bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 3, 2) + bytes(range(12)))
put("idx", "labels", bytes([0, 0, 8, 1]) + struct.pack(">I", 3) + bytes([1, 0, 2]))
png = (formats / "gray.png").read_bytes()


def archive(files, form=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, bufsize=512) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    # Half of the zeros at the end are enough.
    return out.getvalue().rstrip(b"\0").ljust(-(-len(out.getvalue().rstrip(b"\0")) // 512) * 512 + 1024, b"\0")


put("tar", "class.tar", archive([("1.png", png), ("1.cls", b"1"), ("2.cls", b"owl"), ("2.png", png)], tarfile.GNU_FORMAT))
put("tar", "several.tar", archive([("d/1.json", b'{"labels": [1, 0, -1]}'), ("d/1.png", png)]))
put("tar", "long.tar", archive([("n" * 150 + ".png", png), ("n" * 150 + ".json", b'{"label": 0}')], tarfile.PAX_FORMAT))
put("tar", "gnu_long.tar", archive([("n" * 150 + ".png", png), ("n" * 150 + ".txt", b"1")], tarfile.GNU_FORMAT))
record = bytes([3]) + bytes(range(256)) * 12
ten = archive([("cifar-10-batches-bin/test_batch.bin", record), ("batches.meta.txt", b"\n".join(b"abcdefghij"[i:i + 1] for i in range(10)))])
put("cifar", "ten.tar", ten)
put("cifar", "ten.tar.gz", gzip.compress(ten, mtime=0))
put("cifar", "hundred.tar.gz", gzip.compress(archive([("cifar-100-binary/test.bin", b"\1" + record)]), mtime=0))

names = b"1.png2.png"
examples = b"2.cls\n\n"
body = b"CLSAIDX3" + struct.pack("<12Q", 4096, 0, 0, 2, 1, len(names), 1, 0, 0, 0, 0, len(examples))
body += struct.pack("<QQQQ", 512, 2048, 0, 1536) + struct.pack("<8I", 100, 200, 5, 10, 2, 2, 7, 9)
body += struct.pack("<ii", 3, 0) + names + examples
put("index", "two.idx", body + struct.pack("<I", zlib.crc32(body)))

images = pyarrow.array([{"bytes": png, "path": "1.png"}, {"bytes": None, "path": None}, None],
                       pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]))
labels = pyarrow.array([0, 1, None], pyarrow.int64())
features = {"info": {"features": {"label": {"names": ["ant", "owl"], "_type": "ClassLabel"}}}}
labeled = pyarrow.table({"image": images, "label": labels}).replace_schema_metadata({"huggingface": json.dumps(features)})
plain = pyarrow.table({"img": pyarrow.array([png, png]), "fine_label": pyarrow.array(["1", "0"])})
element = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
one = {"bytes": png, "path": "1.png"}
lists = pyarrow.table({"images": pyarrow.array([[one, one], [], None, [None, one]], pyarrow.list_(element)),
                       "labels": pyarrow.array([[0, 1], [], [1], [0]], pyarrow.list_(pyarrow.int64()))})
for name, table, settings in [
    ("lists", lists, {"compression": "snappy", "row_group_size": 3}),
    ("lists2", lists, {"compression": "none", "data_page_version": "2.0"}),
    ("snappy", labeled, {"compression": "snappy"}),
    ("plain", labeled, {"compression": "none", "use_dictionary": False}),
    ("zstd", labeled, {"compression": "zstd", "data_page_version": "2.0"}),
    ("gzip", plain, {"compression": "gzip"}),
    ("brotli", plain, {"compression": "brotli", "row_group_size": 1}),
    ("lz4", plain, {"compression": "lz4"}),
]:
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, store_schema=False, **settings)
    put("parquet", name + ".parquet", out.getvalue())

for path in weights.iterdir():
    if path.stat().st_size < 20_000 and path.suffix == ".pth":
        content = path.read_bytes()
        if zipfile.is_zipfile(path):
            put("zip", path.name, content)
            with zipfile.ZipFile(path) as parts:
                put("pickle", path.stem, b"\1" + next(parts.read(name) for name in parts.namelist() if name.endswith("data.pkl")))
        else:
            put("weights", path.name, content)
            rest = io.BytesIO(content)
            for _ in range(3 if path.stem.endswith("legacy") else 0):
                list(pickletools.genops(rest))
            put("pickle", path.stem, b"\0" + rest.read())
header = {"conv1.weight": {"dtype": "F32", "shape": [2, 3, 1, 1], "data_offsets": [0, 24]},
          "bn1.num_batches_tracked": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]}}


def safetensors(header, content):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content


put("weights", "two.safetensors", safetensors(header, struct.pack("<6fq", *range(6), 7)))
tar = [("sys_info", b""), ("pickle", b"\x80\x02}q\0X\1\0\0\0aX\1\0\0\x001Qs."), ("storages", b"\x80\x02K\0.\x80\x02]."),
       ("tensors", b"\x80\x02K\0.")]
put("weights", "tar.pth", archive(tar))

demo = (presets / "demo.toml").read_text()
put("config", "demo", demo.encode())
put("config", "overrides", (demo + "\0optim.lr=0.1\0eval={resize=16, crop=16}\0views.weak=[{size=16}]").encode())
put("config", "multi", (presets / "imagenet-multi-200.toml").read_bytes())
position = {"epoch": 2, "batch": 0, "step": 8, "bank_pointer": 0}
metadata = {"format": "clsa-checkpoint-1", "config": demo, "position": json.dumps(position), "digest": "0" * 64}
put("checkpoint", "two", safetensors({"__metadata__": metadata, **header}, struct.pack("<6fq", *range(6), 7)))
metrics = [{"kind": "knn", "step": 0, "epoch": 0, "top1": 12.5, "top5": 68.75}]
for step in [1, 2, 3, 6, 3]:
    metrics.append({"kind": "step", "step": step, "epoch": 0, "lr": 0.06, "loss": 5.5, "contrastive": 2.5, "ddm": 3.0,
                    "acc1": 12.5, "images_per_s": 266.8, "data_wait_s": 1.9e-6})
lines = "".join(json.dumps(record) + "\n" for record in metrics)
put("metrics", "lines", lines.encode())
put("metrics", "cut", lines[:-40].encode())
put("metrics", "identity", json.dumps({"images": 3, "classes": 2, "names_sha256": "0" * 64}).encode())
result = {"encoder": "trained", "details": {}, "top1": 75.0, "top5": 100.0}
evaluation = {
    "weights": "w.pth", "encoder_sha256": "0" * 64, "data": "procedural", "data_sha256": "0" * 64, "classes": ["ant", "owl"],
    "train_samples": 4, "test_samples": 4, "chance": {"top1": 50.0, "top5": 100.0},
    "transform": {"resize": 16, "crop": 16, "normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}},
    "protocols": [{"protocol": "knn", "settings": {"k": 3}, "results": [result], "wall_time_s": 0.5}],
}
put("evaluation", "knn", json.dumps(evaluation).encode())
values = struct.pack("<6f", *range(6))
texts = {"format": "clsa-features-1", "of": "fuzz", "sha256": hashlib.sha256(values).hexdigest()}
one = {"features": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
put("features", "two", safetensors({"__metadata__": texts, **one}, values))
