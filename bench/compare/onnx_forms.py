#!/usr/bin/env python3
"""The ONNX forms of a sparse layer beside the dense layer of its shape, in ONNX Runtime: file, memory, time.

Usage: onnx_forms.py TULLE [--threads 2] [--batches 1,4,64] [--rounds 5] [--even]
Needs numpy, onnx and onnxruntime. Every figure comes from a process of its own; forms take turns for some rounds and a
row gives the best time. Memory is what the process grows by beyond what a model of one Identity takes: when the model
is loaded, and at the most until it has run. --even gives every neuron the same in-degree, otherwise connections are drawn at random.
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS = [(2048, 4096, 0.01), (1000, 1000, 0.05), (4096, 4096, 0.05)]  # inputs, outputs, density
FORMS = ["dense", "sparse-init", "ell", "coo"]
NOTHING = "nothing"  # a model that gives back its inputs: what the runtime takes by itself
TOLERANCE = 1e-5
MUST_FILE = 2.5  # x 8 bytes x connections x padding
MUST_RSS = 1 / 3  # of the dense form's, for batches up to a tenth of that from which sparse-init takes less

CHILD = """
import json, sys, time
import numpy, onnxruntime
path, inputs, batch, threads, seconds = sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5])
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) / 1024
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
x = numpy.random.default_rng(0).standard_normal((batch, inputs), dtype=numpy.float32)
open("/proc/self/clear_refs", "w").write("5")  # the peak starts here
before = status("VmRSS")
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
loaded = status("VmRSS")
y = session.run(None, {"input": x})[0]
peak = status("VmHWM")
best, start = float("inf"), time.perf_counter()
while time.perf_counter() - start < seconds:
    begin = time.perf_counter()
    session.run(None, {"input": x})
    best = min(best, time.perf_counter() - begin)
y.tofile(path + ".y")
print(json.dumps(dict(load=loaded - before, peak=peak - before, seconds=best)))
"""


def layer(inputs, outputs, density, even):
    """A weight matrix with `density` of its cells, and a bias."""
    random = np.random.default_rng(1)
    weight = np.zeros((outputs, inputs), np.float32)
    if even:
        for row in weight:
            row[random.choice(inputs, round(density * inputs), replace=False)] = 1
    else:
        weight.ravel()[random.choice(weight.size, round(density * weight.size), replace=False)] = 1
    weight *= random.uniform(0.1, 1, weight.shape) * random.choice([-1, 1], weight.shape)
    return weight, random.standard_normal(outputs, dtype=np.float32)


def write_state_dict(path, weight, bias):
    header, body = {}, b""
    for name, array in {"0.weight": weight, "0.bias": bias}.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(body), len(body) + array.nbytes]}
        body += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def write_dense(path, weight, bias):
    matrix = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", side])
              for name, side in [("input", weight.shape[1]), ("values", weight.shape[0])]]
    node = helper.make_node("Gemm", ["input", "weight", "bias"], ["values"], transB=1)
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    save(path, helper.make_graph([node], "dense", matrix[:1], matrix[1:], constants))


def write_nothing(path, inputs):
    matrix = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", inputs]) for name in ["input", "values"]]
    save(path, helper.make_graph([helper.make_node("Identity", ["input"], ["values"])], NOTHING, matrix[:1], matrix[1:]))


def save(path, graph):
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)]), path)


def export(tulle, folder, weight, bias):
    """Form -> file, and what the export said."""
    write_state_dict(folder / "net.safetensors", weight, bias)
    subprocess.run([tulle, "import", "net.safetensors", "-o", "m.safetensors", "--loss=mse"], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)
    files, facts = {form: folder / f"{form}.onnx" for form in [NOTHING, *FORMS]}, {}
    write_dense(files["dense"], weight, bias)
    write_nothing(files[NOTHING], weight.shape[1])
    for form in FORMS[1:]:
        said = subprocess.run([tulle, "export", "m.safetensors", f"--onnx={files[form]}", f"--onnx-form={form}", "--json"],
                              cwd=folder, check=True, capture_output=True)
        facts[form] = json.loads(said.stdout)[0]
    return files, facts


def measure(path, inputs, batch, options):
    done = subprocess.run([sys.executable, "-c", CHILD, path, str(inputs), str(batch), str(options.threads),
                           str(options.seconds)], check=True, capture_output=True)
    return json.loads(done.stdout) | {"y": np.fromfile(f"{path}.y", np.float32)}


def compare(folder, inputs, outputs, density, options):
    weight, bias = layer(inputs, outputs, density, options.even)
    nnz = np.count_nonzero(weight)
    files, facts = export(options.tulle.resolve(), folder, weight, bias)
    padding = facts["ell"]["pad_factor"]
    print(f"\n{inputs} -> {outputs}, {nnz} connections ({100 * nnz / weight.size:.1f} %), padding of ell {padding:.2f}, "
          f"batch* {facts['ell']['break_even_batch']} of ell, {facts['coo']['break_even_batch']} of coo\n")
    print("| form | batch | file | RSS at load | RSS at most | time | dense / form |\n|---|---|---|---|---|---|---|")
    broken = []
    for batch in map(int, options.batches.split(",")):
        rows = {form: [] for form in files}
        for _ in range(options.rounds):
            for form, file in files.items():
                rows[form].append(measure(file, inputs, batch, options))
        best = {form: {key: min(row[key] for row in rows[form]) for key in ["load", "peak", "seconds"]} for form in files}
        dense = best["dense"]
        truth = rows["dense"][0]["y"]
        for form in FORMS:
            for key in ["load", "peak"]:
                best[form][key] = max(best[form][key] - best[NOTHING][key], 0.0)
            size, mine = files[form].stat().st_size, best[form]
            print(f"| {form} | {batch} | {size / 1e6:.2f} MB | {mine['load']:.1f} MiB | {mine['peak']:.1f} MiB | "
                  f"{1e3 * mine['seconds']:.3f} ms | {dense['seconds'] / mine['seconds']:.2f} |", flush=True)
            error = np.abs(rows[form][0]["y"] - truth).max() / np.abs(truth).max()
            if error > TOLERANCE:
                broken.append(f"{form}, batch {batch}: differs from the dense form by {error:.1e}")
            if form in ("ell", "coo"):
                allowed = MUST_FILE * 8 * nnz * (padding if form == "ell" else 1.0)
                if size > allowed:
                    broken.append(f"{form}: {size} bytes, must be at most {allowed:.0f}")
                if batch <= max(1, 0.1 * facts[form]["break_even_batch"]) and mine["peak"] > MUST_RSS * dense["peak"]:
                    broken.append(f"{form}, batch {batch}: grows by {mine['peak']:.1f} MiB, must be at most a third of "
                                  f"the dense form's {dense['peak']:.1f}")
    return broken


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tulle", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", default="1,4,64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each form in each round")
    parser.add_argument("--even", action="store_true", help="the same in-degree for every neuron")
    options = parser.parse_args()
    broken = []
    for inputs, outputs, density in LAYERS:
        with tempfile.TemporaryDirectory() as folder:
            broken += compare(pathlib.Path(folder), inputs, outputs, density, options)
    print("\n" + ("\n".join(broken) or "every target holds"))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
