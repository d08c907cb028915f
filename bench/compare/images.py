#!/usr/bin/env python3
"""An sMLPNet beside PyTorch and ONNX Runtime: time, memory, and the ratio of both.

Usage: images.py BENCH_IMAGES [--threads 2] [--rounds 5] [--train] [--size 224] [--batch 1] [--memory] [--sizes]
Contenders take turns, each in a process of its own, for some rounds; a row gives the best and the median of all rounds.
PyTorch runs with the allocator settings that help it most.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ORACLE = HERE.parent.parent / "tests" / "oracle"

PEER = """
import json, resource, sys, time
sys.path.insert(0, {oracle!r})
kind, batch, size, threads, repeats, path = sys.argv[1], *map(int, sys.argv[2:6]), sys.argv[6]
def measure(run):
    for _ in range(3 if kind != "train" and kind != "train_nhwc" else 1): run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter(); run(); times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps(dict(times=times, rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)))
if kind == "onnx":
    import numpy, onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = numpy.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=numpy.float32)
    measure(lambda: session.run(None, {{"x": x}}))
    sys.exit()
import torch
from smlpnet_torch import tiny
torch.set_num_threads(threads); torch.manual_seed(0)
model, x = tiny(size), torch.randn(batch, 3, size, size)
if kind.endswith("nhwc"):
    model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
if kind.startswith("train"):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    target = torch.full((batch,), 3)
    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), target).backward()
        optimizer.step()
    measure(step)
else:
    model.eval()
    with torch.inference_mode():
        measure(lambda: model(x))
"""

EXPORT = """
import sys, torch
sys.path.insert(0, {oracle!r})
from smlpnet_torch import tiny
batch, size, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
model = tiny(size).eval()
torch.onnx.export(model, torch.randn(batch, 3, size, size), path, input_names=["x"], dynamo=False)
"""


def run_peer(kind, args, path):
    environment = dict(os.environ, GLIBC_TUNABLES="glibc.malloc.hugetlb=1", MALLOC_MMAP_MAX_="0",
                       MALLOC_TRIM_THRESHOLD_="17179869184", MALLOC_TOP_PAD_="268435456",
                       OMP_NUM_THREADS=str(args.threads))
    command = [sys.executable, "-W", "ignore", "-c", PEER.format(oracle=str(ORACLE)), kind, str(args.batch),
               str(args.size), str(args.threads), str(args.repeats), path]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def run_tulle(args, extra):
    command = [args.binary, "train" if args.train else "infer", "--size", str(args.size), "--batch", str(args.batch),
               "--threads", str(args.threads), "--repeats", str(args.repeats), *extra]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"times": [found["best_ms"], found["median_ms"]], "rss": found["peak_rss_mib"],
            "share": found["share_of_peak"]}


def compare_memory(args):
    """Peak memory of a training step: what each further image takes, from two batch sizes."""
    small, large = 4, 12
    args.repeats, args.train = 1, True
    print(f"training step, {args.size} x {args.size}: peak MiB at batch {small} and {large}, and of each further image")
    for name, run in (("tulle fp32", lambda: run_tulle(args, [])),
                      ("tulle fp32, recomputing", lambda: run_tulle(args, ["--recompute"])),
                      ("PyTorch channels_last", lambda: run_peer("train_nhwc", args, ""))):
        peaks = []
        for args.batch in (small, large):
            peaks.append(run()["rss"])
        print(f"| {name} | {peaks[0]:.0f} | {peaks[1]:.0f} | {(peaks[1] - peaks[0]) / (large - small):.1f} |")


def compare_sizes(args):
    """448 x 448 pixels beside 224 x 224, one image."""
    found = {}
    for _ in range(args.rounds):
        for args.size in (224, 448):
            result = run_tulle(args, [])
            found.setdefault(args.size, []).append((min(result["times"]), result["rss"]))
    times = {size: min(t for t, _ in runs) for size, runs in found.items()}
    memory = {size: max(m for _, m in runs) for size, runs in found.items()}
    print(f"448 against 224 pixels: {times[448]:.1f} and {times[224]:.1f} ms, {times[448] / times[224]:.2f} x; "
          f"{memory[448]:.0f} and {memory[224]:.0f} MiB, {memory[448] / memory[224]:.2f} x")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--memory", action="store_true", help="memory of a training step, beside PyTorch")
    parser.add_argument("--sizes", action="store_true", help="448 beside 224 pixels")
    args = parser.parse_args()
    if args.memory:
        return compare_memory(args)
    if args.sizes:
        return compare_sizes(args)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.onnx"
        contenders = {"tulle fp32": lambda: run_tulle(args, [])}
        if args.train:
            contenders["tulle fp32, recomputing"] = lambda: run_tulle(args, ["--recompute"])
            contenders["tulle 90 % sparse"] = lambda: run_tulle(args, ["--density", "0.1"])
            contenders["PyTorch NCHW"] = lambda: run_peer("train", args, path)
            contenders["PyTorch channels_last"] = lambda: run_peer("train_nhwc", args, path)
        else:
            subprocess.run([sys.executable, "-W", "ignore", "-c", EXPORT.format(oracle=str(ORACLE)), str(args.batch),
                            str(args.size), path], check=True, capture_output=True)
            contenders["tulle bf16"] = lambda: run_tulle(args, ["--dtype", "bf16"])
            contenders["tulle 90 % sparse"] = lambda: run_tulle(args, ["--density", "0.1"])
            contenders["PyTorch NCHW"] = lambda: run_peer("infer", args, path)
            contenders["PyTorch channels_last"] = lambda: run_peer("infer_nhwc", args, path)
            contenders["ONNX Runtime"] = lambda: run_peer("onnx", args, path)
        found = {name: [] for name in contenders}
        for _ in range(args.rounds):
            for name, run in contenders.items():
                found[name].append(run())
    best = {name: min(min(r["times"]) for r in runs) for name, runs in found.items()}
    print(f"sMLPNet tiny, {args.size} x {args.size}, batch {args.batch}, {args.threads} threads, "
          f"{'training step' if args.train else 'inference'}")
    print("| | best ms | median ms | peak MiB | share of peak | ours fp32 is faster by |\n|---|---|---|---|---|---|")
    for name, runs in found.items():
        median = statistics.median(t for r in runs for t in r["times"])
        share = f"{max(r['share'] for r in runs):.0%}" if "share" in runs[0] else ""
        print(f"| {name} | {best[name]:.1f} | {median:.1f} | {max(r['rss'] for r in runs):.0f} | {share} | "
              f"{best[name] / best['tulle fp32']:.2f} |")


if __name__ == "__main__":
    main()
