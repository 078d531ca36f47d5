"""Makes corpus/: the seeds of the fuzz targets, from the fixtures of the tests and a few lines here."""
import io
import pathlib
import struct
import tarfile
import zlib

here = pathlib.Path(__file__).parent
formats = here.parent / "tests" / "fixtures" / "formats"


def put(target, name, data):
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


for path in formats.iterdir():
    if path.suffix != ".rgb":
        put("image", path.name, path.read_bytes())
put("annotation", "two.xml", b"<annotation><object><name>car</name><difficult>1</difficult></object>"
    b"<object><name>dog</name><difficult>0</difficult></object></annotation>")
put("annotation", "none.xml", b"<annotation/>")
put("braces", "range", b"a-{000..012}.tar")
put("braces", "list", b"{x,y}/{1..3}-*.tar")
put("idx", "images", bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 3, 2) + bytes(range(12)))
put("idx", "labels", bytes([0, 0, 8, 1]) + struct.pack(">I", 3) + bytes([1, 0, 2]))
for number, text in enumerate(["imagefolder:/a", "wds:{a,b}.tar", "procedural", "procedural:classes=3,side=16", "x"]):
    put("source", str(number), text.encode())
png = (formats / "gray.png").read_bytes()


def shard(files, form):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, bufsize=512) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


put("shard", "class.tar", shard([("1.png", png), ("1.cls", b"1"), ("2.cls", b"owl"), ("2.png", png)], tarfile.GNU_FORMAT))
put("shard", "several.tar", shard([("d/1.json", b'{"labels": [1, 0, -1]}'), ("d/1.png", png)], tarfile.USTAR_FORMAT))
put("shard", "long.tar", shard([("n" * 150 + ".png", png), ("n" * 150 + ".json", b'{"label": 0}')], tarfile.PAX_FORMAT))
names = b"1.png2.png"
examples = b"2.cls\n\n"
body = b"CLSAIDX2" + struct.pack("<10Q", 4096, 0, 0, 2, 1, len(names), 1, 0, 0, len(examples))
body += struct.pack("<QQQQ", 512, 2048, 0, 1536) + struct.pack("<8I", 100, 200, 5, 10, 2, 2, 7, 9)
body += struct.pack("<ii", 3, 0) + names + examples
put("index", "two.idx", body + struct.pack("<I", zlib.crc32(body)))
