#!/usr/bin/env python3
"""Refuses includes that go up the layers, and third-party headers outside their one place.

The order of the layers is the order of the tulle_module() lines in CMakeLists.txt; cli, bench and tests stand above.
Usage: check_layers.py [REPOSITORY]
"""

import pathlib
import re
import sys

# A third-party header, and the files or folders that may include it. fmt is allowed in every .cpp.
PLACES = {
    "omp.h": ["tulle/kernels/gemm_onednn.cpp", "bench/compare/peers.cpp"],
    "dnnl": ["tulle/kernels/gemm_onednn.cpp"],
    "mpi.h": ["tulle/comm/mpi_plugin.c"],
    "hwy/": ["tulle/kernels/", "bench/machine.cpp"],
    "Random123/": ["tulle/base/random.cpp", "tulle/base/base_test.cpp"],
    "toml++/": ["tulle/train/config_text.cpp"],
    "nlohmann/": [
        "tulle/checkpoint/", "tulle/export/", "tulle/report/", "tulle/train/recover_run", "cli/", "bench/"
    ],
    "zlib.h": ["tulle/data/gzip.cpp", "_test.cpp", "_testing.h"],
    "archive": ["tulle/data/archive.cpp", "_testing.h"],
    "stb/": ["tulle/data/images.cpp", "tulle/data/picture.cpp"],
    "xxhash.h": ["tulle/sparse/topology.cpp", "tulle/checkpoint/"],
    "CLI/": ["cli/", "bench/"],
    "httplib.h": ["cli/serve.cpp"],
    "Eigen/": ["_test.cpp", "bench/compare/peers.cpp"],
    "gtest/": ["_test.cpp", "test_", "_testing.h"],
    "gmock/": ["_test.cpp"],
    "fmt/": [".cpp"],
}


def allowed(path: str, places: list[str]) -> bool:
    name = path.rsplit("/", 1)[-1]
    return any(path.startswith(p) or path.endswith(p) or name.startswith(p) for p in places)


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    layers = re.findall(r"^tulle_module\((\w+)", (root / "CMakeLists.txt").read_text(), re.M)
    complaints = []
    for file in sorted(f for folder in ("tulle", "cli", "bench") for f in (root / folder).rglob("*.[ch]*")):
        path = file.relative_to(root).as_posix()
        part = path.split("/")
        own = layers.index(part[1]) if part[0] == "tulle" and len(part) > 2 else len(layers)
        for number, line in enumerate(file.read_text().splitlines(), 1):
            include = re.match(r'#include [<"]([^>"]+)[>"]', line)
            if not include:
                continue
            header = include[1]
            layer = re.match(r"tulle/(\w+)/", header)
            if layer and layers.index(layer[1]) > own:
                complaints.append(f"{path}:{number}: '{part[1]}' includes '{layer[1]}', which stands above it")
            for prefix, places in PLACES.items():
                if header.startswith(prefix) and not allowed(path, places):
                    complaints.append(f"{path}:{number}: {header} belongs in {', '.join(places)} alone")
    print("\n".join(complaints) or f"layers hold: {' < '.join(layers)}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
