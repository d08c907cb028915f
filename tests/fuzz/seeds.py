#!/usr/bin/env python3
"""Writes the first inputs of every fuzz target, FOLDER/TARGET/*: small files made here, the first kilobytes of the
real data sets where they are there, and a trained model and its config.

Usage: seeds.py FOLDER [TULLE_BINARY]
"""

import gzip
import io
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("TULLE_DATA", ROOT.parent / "shared/data"))
REAL = {
    "libsvm": ["libsvm/adult.trn.gz", "libsvm/reuters.tst.gz", "libsvm/PCMAC.trn.gz"],
    "xmc": ["multilabel/delicious_train.txt.gz"],
    "csv": ["small/iris.csv", "small/breast_cancer.csv", "microarray/ALL_pheno.csv", "higgs/HIGGS_19610.csv.gz"],
    "idx": ["mnist/t10k-labels-idx1-ubyte.gz", "imagenette/imagenette64-val-labels-idx1-ubyte.gz"],
}


def saved(array, **options):
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def archive(**arrays):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():
            file.writestr(name + ".npy", saved(array))
    return out.getvalue()


def mat_array(name, rows, cols, values):
    def element(kind, data):
        return (struct.pack("<II", kind, len(data)) + data).ljust((8 + len(data) + 7) // 8 * 8, b"\0")

    body = element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", rows, cols)) + element(1, name)
    return element(14, body + element(9, values.tobytes()))


def png(width, height, pixels):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + pixels[y * width : (y + 1) * width] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tar(members):
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return out.getvalue()


def seeds():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    i4 = np.int32
    x_mat, y_mat = mat_array(b"X", 2, 3, x.astype(float)), mat_array(b"Y", 2, 1, np.ones(2))
    packed = zlib.compress(x_mat)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    yield "npy", saved(x)
    yield "npy", saved(np.asfortranarray(x.astype(">f8")))
    yield "npy", saved(np.array([3, -1, 2]))
    yield "npz", archive(X=x, y=np.array([1, 0]))
    sparse = {"shape": np.array([2, 3]), "data": np.ones(3), "format": np.array(b"csr")}
    yield "npz", archive(indices=i4([1, 0, 2]), indptr=i4([0, 1, 3]), **sparse)
    yield "mat", head + x_mat + y_mat
    yield "mat", head + struct.pack("<II", 15, len(packed)) + packed + y_mat
    yield "images", tar({"a/1.png": png(2, 2, b"abcd"), "b/2.png": png(2, 2, b"efgh")})
    yield "cifar", b"\x03" + bytes(3072)
    yield "cifar", b"\x03\x33" + bytes(3072)
    yield "xmc", b"2 5 4\n0,3 1:0.5 4:1\n 2:1e-3\n"
    yield "libsvm", b"# c\n+1 qid:3 1:0.5 4:-1e2\r\n-1 2:3 \n"
    yield "libsvm", b"1,3 1:1\n 2:1\n"
    yield "csv", b'x,"y",label\n1.5,2,red\n-3e2,4,"bl""ue"\n'
    yield "csv", b"1 2\t3\n4 5 6\n"
    yield "idx", bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]) + b"abcd"
    yield "idx", bytes([0, 0, 13, 1, 0, 0, 0, 1]) + struct.pack(">f", 1.5)
    yield "gzip", gzip.compress(b"hello " * 50, mtime=0) + gzip.compress(b"x", mtime=0)
    for target, names in REAL.items():
        for name in names:
            if (DATA / name).exists():
                opened = gzip.open if name.endswith(".gz") else open
                with opened(DATA / name, "rb") as file:
                    yield target, file.read(4096)


def trained(binary):
    with tempfile.TemporaryDirectory() as folder:
        rows = "".join(f"{i % 7},{i % 5},{i % 2}\n" for i in range(40))
        pathlib.Path(folder, "d.csv").write_text(rows)
        flags = ["--train=d.csv", "--hidden=5,4", "--epsilon=1", "--epochs=2", "--save-every=1 step", "--quiet", "--compare-dense=none"]
        subprocess.run([os.path.abspath(binary), "train", *flags], cwd=folder, check=True)
        run = pathlib.Path(folder, "out/run")
        yield "model", (run / "model.safetensors").read_bytes()
        yield "model", sorted(run.glob("ckpt-*"))[-1].read_bytes()
        yield "config", (run / "config.toml").read_bytes()
    yield "config", (ROOT / "experiments/fashion-mnist/demo.toml").read_bytes()


def main():
    folder = pathlib.Path(sys.argv[1])
    everything = list(seeds()) + (list(trained(sys.argv[2])) if len(sys.argv) > 2 else [])
    for number, (target, data) in enumerate(everything):
        (folder / target).mkdir(parents=True, exist_ok=True)
        (folder / target / f"seed-{number:02}").write_bytes(data)


if __name__ == "__main__":
    main()
