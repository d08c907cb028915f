"""`tulle export --c-header`: the header compiled, on this machine and for a Cortex-M4, against the engine.

Compilers that are not installed are skipped (Debian: gcc, clang, gcc-arm-none-eabi, libnewlib-arm-none-eabi,
qemu-system-arm), except with CI=true.
"""

import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from conftest import REPOSITORY, assert_refused, write_network

MODEL = "out/run/model.safetensors"
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-std=c99"]
CORTEX = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-Os"]
SIZES = [784, 256, 128, 10]
DENSITIES = [0.05, 0.05, 0.2]

HOST_MAIN = """
#define NET_IMPLEMENTATION
#include "net.h"
#include <stdio.h>
int main(int argc, char **argv) {
  static float x[NET_INPUTS], y[NET_OUTPUTS], again[NET_OUTPUTS], scratch[NET_SCRATCH];
  float best;
  int i;
  if (argc > 1) return (void)argv, net_selftest();
  while (fread(x, sizeof x, 1, stdin) == 1) {
    best = (float)net_predict(x, y);
    if ((float)net_predict_r(x, again, scratch) != best) return 1;
    for (i = 0; i < NET_OUTPUTS; ++i) if (y[i] != again[i]) return 2;
    fwrite(&best, sizeof best, 1, stdout);
    fwrite(y, sizeof y, 1, stdout);
  }
  return 0;
}
"""


def needed(*programs):
    for program in programs:
        if shutil.which(program) is None:
            reason = f"{program} is not installed"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, timeout=120, **options)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout


class OnHost:
    """The header in a program of this machine."""

    def __init__(self, folder, compiler="gcc", header="net.h"):
        needed(compiler)
        (folder / "main.c").write_text(HOST_MAIN.replace("net.h", header))
        self.program = folder / f"main-{compiler}"
        run(compiler, *STRICT, "-O2", folder / "main.c", "-o", self.program)

    def __call__(self, x):
        """(arg-max, outputs) of every row."""
        out = np.frombuffer(run(self.program, input=np.asarray(x, np.float32).tobytes()), np.float32)
        out = out.reshape(len(x), -1)
        return out[:, 0].astype(int), out[:, 1:].astype(np.float64)

    def selftest(self):
        return subprocess.run([self.program, "selftest"], timeout=60).returncode


def arrays_of(header):
    """The constants of a header, read as a C compiler would."""
    found = re.findall(r"static const (\w+) net_(\w+)\[\] = \{([^}]*)\}", header)
    types = {"float": np.float32, "int8_t": np.int8, "uint8_t": np.uint8, "uint16_t": np.uint16, "uint32_t": np.uint32}
    return {name: np.array(text.replace("f", "").replace(",", " ").split(), types[kind]) for kind, name, text in found}


def in_doubles(header, x):
    """What a header's constants mean, in double precision: an implementation of its own."""
    a = {name: values.astype(np.float64) for name, values in arrays_of(header).items()}
    x = np.asarray(x, np.float64)
    if "mean" in a:
        x = x - a["mean"]
    if "code" in a:
        x = x * a["power"][a["code"].astype(int)]
    calls = re.findall(r"net_(sparse|dense)\w*\((\d+), .*?net_bias(\d+), ([-\d.e]+)f,", header, re.S)
    for form, rows, layer, slope in calls:
        rows, value, bias = int(rows), a[f"val{layer}"], a[f"bias{layer}"]
        weight = np.zeros((rows, x.shape[1]))
        if form == "dense":
            weight[:] = value.reshape(rows, -1)
        else:
            ends = a[f"rowptr{layer}"].astype(int)
            for r in range(rows):
                entries = slice(ends[r], ends[r + 1])
                columns = np.cumsum(a[f"gap{layer}"][entries]).astype(int)
                weight[r, columns] = value[entries]
        scale = a.get(f"scale{layer}", np.ones(1))
        x = x @ weight.T * scale + bias
        x = np.where(x < 0, x * float(slope), x)
    return x


def in_bytes(header, x):
    """What a header whose layers read bytes means: the same, in NumPy's floats and whole numbers."""
    a = arrays_of(header)
    f32 = np.float32
    x = np.asarray(x, f32)
    if "mean" in a:
        x = x - a["mean"]
    if "code" in a:
        x = x * a["power"][a["code"]]
    first = re.search(r"net_byte\(.*, ([-\d.e]+)f, ([-\d.e]+)f\);", header)
    steps = [first.groups()] + re.findall(r"scratch(?: \+ \d+)?, ([-\d.e]+)f, ([-\d.e]+)f\);", header)
    calls = re.findall(r"  net_(sparse|dense)\w*\((\d+), .*?net_bias(\d+), ([-\d.e]+)f,", header, re.S)
    assert len(steps) == len(calls)
    for (form, rows, layer, slope), (per_step, offset) in zip(calls, steps):
        read = np.clip(x * f32(per_step) + f32(offset), 0, 255).astype(np.int64)
        sums = np.zeros((len(x), int(rows)), np.int64)
        ends = a.get(f"rowptr{layer}", np.arange(int(rows) + 1) * x.shape[1]).astype(int)
        for r in range(int(rows)):
            entries = slice(ends[r], ends[r + 1])
            columns = np.arange(x.shape[1]) if form == "dense" else np.cumsum(a[f"gap{layer}"][entries].astype(int))
            sums[:, r] = read[:, columns] @ a[f"val{layer}"][entries].astype(np.int64)
        assert np.abs(sums).max() < 2**31
        x = sums.astype(f32) * a[f"scale{layer}"] + a[f"bias{layer}"]
        x = np.where(x < 0, x * f32(slope), x)
    return x


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def engine(tulle, model, x, *flags):
    """Probabilities by the engine, with all their digits."""
    np.save(tulle.folder / "x.npy", np.asarray(x, np.float32))
    lines = tulle("predict", model, "--data=x.npy", "--as=jsonl", *flags, check=True).out.splitlines()
    return np.array([json.loads(line)["outputs"] for line in lines])


def export(tulle, *arguments, model="net.safetensors", header="net.h"):
    return json.loads(tulle("export", model, "--c-header", header, "--json", *arguments, check=True).out)[0]


@pytest.fixture
def network(tulle, tmp_path):
    """784-256-128-10, 5 / 5 / 20 %, ReLU, random."""
    random = np.random.default_rng(5)
    layers = []
    for inputs, outputs, density in zip(SIZES, SIZES[1:], DENSITIES):
        weight = random.normal(0, np.sqrt(2 / (density * inputs)), (outputs, inputs)).astype(np.float32)
        absent = random.permutation(weight.size)[round(density * weight.size) :]
        weight.reshape(-1)[absent] = 0
        layers.append((weight, random.normal(0, 0.1, outputs).astype(np.float32)))
    write_network(tmp_path / "dict.safetensors", layers)
    tulle("import", "dict.safetensors", "-o", "net.safetensors", "--arch=mlp:784-256-128-10:relu", check=True)
    return tmp_path


@pytest.fixture
def inputs():
    return np.random.default_rng(6).normal(0, 1, (1000, 784)).astype(np.float32)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_floats_compute_what_the_engine_does(network, tulle, inputs, compiler):
    export(tulle)
    best, outputs = OnHost(network, compiler)(inputs)
    expected = engine(tulle, "net.safetensors", inputs)
    np.testing.assert_allclose(softmax(outputs), expected, rtol=1e-5, atol=1e-8)
    assert (best == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("scale", ["row", "layer"])
def test_bytes_compute_what_the_constants_mean(network, tulle, inputs, compiler, scale):
    export(tulle, "--int8", f"--scale={scale}")
    best, outputs = OnHost(network, compiler)(inputs)
    expected = in_doubles((network / "net.h").read_text(), inputs)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert (best == expected.argmax(axis=1)).all()


def test_bytes_stay_near_the_engine(network, tulle, inputs):
    export(tulle, "--int8")
    best, outputs = OnHost(network)(inputs)
    expected = engine(tulle, "net.safetensors", inputs)
    assert np.abs(softmax(outputs) - expected).max() < 0.05
    assert (best == expected.argmax(axis=1)).mean() > 0.97


def test_the_reported_difference_is_that_of_the_compiled_code(network, tulle, inputs):
    np.save(network / "calibration.npy", inputs)
    told = export(tulle, "--int8", "--data=calibration.npy", "--label-column=none")
    export(tulle, header="floats.h")
    best, outputs = OnHost(network)(inputs[:256])
    float_best, float_outputs = OnHost(network, header="floats.h")(inputs[:256])
    assert told["rows"] == 256
    assert told["max_difference"] == pytest.approx(np.abs(outputs - float_outputs).max(), rel=1e-3)
    assert told["same_arg_max"] == (best == float_best).sum()
    assert "accuracy_change" not in told


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("scale", ["row", "layer"])
def test_layers_that_read_bytes_compute_what_the_constants_mean(network, tulle, inputs, compiler, scale):
    np.save(network / "calibration.npy", inputs)
    told = export(tulle, "--int8-activations", f"--scale={scale}", "--data=calibration.npy", "--label-column=none")
    best, outputs = OnHost(network, compiler)(inputs)
    expected = in_bytes((network / "net.h").read_text(), inputs)
    assert (outputs.astype(np.float32) == expected).all()
    assert (best == expected.argmax(axis=1)).all()
    assert 0 < told["max_difference"] < 0.2 * np.abs(expected).max()


def test_layers_that_read_bytes_answer_as_the_engine_does_in_bytes(network, tulle, inputs):
    np.save(network / "calibration.npy", inputs)
    export(tulle, "--int8-activations", "--data=calibration.npy", "--label-column=none")
    best, outputs = OnHost(network)(inputs)
    expected = engine(tulle, "net.safetensors", inputs, "--dtype=int8")
    assert np.abs(softmax(outputs) - expected).max() < 0.03
    assert (best == expected.argmax(axis=1)).mean() > 0.99


@pytest.mark.parametrize("activation", ["leaky-relu", "all-relu"])
def test_bytes_hold_activations_of_either_sign(tulle, tmp_path, activation):
    random = np.random.default_rng(3)
    sizes = [20, 30, 25, 4]
    shapes = list(zip(sizes[1:], sizes))
    layers = [(random.normal(0, 0.3, s).astype(np.float32), random.normal(0, 1, s[0]).astype(np.float32)) for s in shapes]
    write_network(tmp_path / "dict.safetensors", layers)
    tulle("import", "dict.safetensors", "-o", "net.safetensors", f"--activation={activation}", "--alpha=0.7", check=True)
    x = random.normal(1, 2, (400, 20)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    export(tulle, "--int8-activations", "--data=x.npy", "--label-column=none")
    outputs = OnHost(tmp_path)(x)[1]
    assert (outputs.astype(np.float32) == in_bytes((tmp_path / "net.h").read_text(), x)).all()
    export(tulle, header="floats.h")
    floats = OnHost(tmp_path, header="floats.h")(x)[1]
    assert np.abs(outputs - floats).max() < 0.1 * np.abs(floats).max()


def test_bytes_need_samples_to_measure_activations_on(network, tulle):
    refused = tulle("export", "net.safetensors", "--c-header=net.h", "--int8-activations")
    assert_refused(refused, 78, "--int8-activations, found no samples, expected --data")
    assert not (network / "net.h").exists()


def test_gaps_of_16_bits_and_dense_layers_compute_alike(tulle, tmp_path):
    random = np.random.default_rng(7)
    wide = np.where(random.random((20, 5000)) < 0.002, random.normal(0, 1, (20, 5000)), 0).astype(np.float32)
    dense = random.normal(0, 1, (4, 20)).astype(np.float32)
    write_network(tmp_path / "dict.safetensors", [(wide, np.ones(20, np.float32)), (dense, np.ones(4, np.float32))])
    tulle("import", "dict.safetensors", "-o", "net.safetensors", "--activation=leaky-relu", "--alpha=0.1", check=True)
    x = random.normal(0, 1, (200, 5000))
    expected = engine(tulle, "net.safetensors", x)
    for gap, kind in [("auto", "uint16_t net_gap0"), ("16", "uint16_t net_gap0"), ("8", "uint8_t net_gap0")]:
        for more in [[], ["--int8"]]:
            export(tulle, f"--gap={gap}", *more)
            header = (tmp_path / "net.h").read_text()
            assert kind in header and "net_dense(" in header
            best, outputs = OnHost(tmp_path)(x)
            doubles = in_doubles(header, x)
            np.testing.assert_allclose(outputs, doubles, rtol=1e-5, atol=1e-5 * np.abs(doubles).max())
            if not more:
                np.testing.assert_allclose(softmax(outputs), expected, rtol=1e-4, atol=1e-7)


def test_raw_features_go_in(trained, tulle):
    x = np.loadtxt(trained / "test.csv", delimiter=",")[:, :6]
    expected = engine(tulle, MODEL, x)
    export(tulle, model=MODEL)
    np.testing.assert_allclose(softmax(OnHost(trained)(x)[1]), expected, rtol=2e-5, atol=1e-7)
    for flag in ["--int8", "--int8-activations"]:
        told = export(tulle, flag, "--data=test.csv", "--label-column=last", model=MODEL)
        assert "net_power" in (trained / "net.h").read_text()  # features of different deviations
        best, outputs = OnHost(trained)(x)
        assert np.abs(softmax(outputs) - expected).max() < 0.05
        assert abs(told["accuracy_change"]) < 0.05


def test_scaled_features_go_in_if_asked_for(trained, tulle):
    export(tulle, "--no-preprocess", model=MODEL)
    x = np.loadtxt(trained / "test.csv", delimiter=",")[:, :6]
    train = np.loadtxt(trained / "train.csv", delimiter=",")[:, :6]
    outputs = OnHost(trained)((x - train.mean(axis=0)) / train.std(axis=0))[1]
    np.testing.assert_allclose(softmax(outputs), engine(tulle, MODEL, x), rtol=1e-4, atol=1e-6)


def test_the_self_test_finds_a_wrong_constant(network, tulle, inputs):
    np.save(network / "calibration.npy", inputs)
    samples = ["--data=calibration.npy", "--label-column=none"]
    for more in [[], ["--int8"], samples, ["--int8-activations", *samples]]:
        export(tulle, *more)
        assert OnHost(network).selftest() == 0
        header = (network / "net.h").read_text()
        bias = re.search(r"net_bias2\[\] = \{\s*([-\d.e]+)f,", header)
        wrong = header[: bias.start(1)] + f"{float(bias[1]) + 0.01}" + header[bias.end(1) :]
        (network / "net.h").write_text(wrong)
        assert OnHost(network).selftest() == 1


def test_the_header_is_cpp_too_and_may_be_included_twice(network, tulle):
    needed("g++", "gcc")
    export(tulle)
    (network / "user.cpp").write_text('#include "net.h"\n#include "net.h"\nint main() { return net_selftest(); }\n')
    (network / "net.c").write_text('#include "net.h"\n#define NET_IMPLEMENTATION\n#include "net.h"\n#include "net.h"\n')
    run("gcc", *STRICT, "-c", network / "net.c", "-o", network / "net.o")
    run("g++", "-Wall", "-Wextra", "-Werror", "-pedantic", network / "user.cpp", network / "net.o", "-o", network / "user")
    run(network / "user")


def test_the_header_needs_no_library(network, tulle):
    needed("gcc", "nm")
    (network / "net.c").write_text('#define DIGITS_2_IMPLEMENTATION\n#include "net.h"\n')
    export(tulle, "--int8", "--name=digits_2")
    run("gcc", *STRICT, "-Os", "-fno-stack-protector", "-c", network / "net.c", "-o", network / "net.o")
    assert run("nm", "-u", network / "net.o").decode().replace("_GLOBAL_OFFSET_TABLE_", "").split() in ([], ["U"])
    defined = run("nm", "-g", "--defined-only", network / "net.o").decode().split()[2::3]
    assert defined == ["digits_2_predict", "digits_2_predict_r", "digits_2_selftest"]


def on_cortex(folder, *flags):
    """(text, data, bss) of the header alone."""
    needed("arm-none-eabi-gcc", "arm-none-eabi-size")
    (folder / "net.c").write_text('#define NET_IMPLEMENTATION\n#include "net.h"\n')
    run("arm-none-eabi-gcc", *CORTEX, *STRICT, *flags, "-c", folder / "net.c", "-o", folder / "net.o")
    return [int(word) for word in run("arm-none-eabi-size", folder / "net.o").decode().split()[6:9]]


@pytest.fixture
def calibration(network, inputs):
    np.save(network / "calibration.npy", inputs)
    return ["--int8-activations", "--data=calibration.npy", "--label-column=none"]


@pytest.mark.parametrize("options, ram", [(["--int8"], 1536), (["--int8", "--scale=layer"], 1536), ([], 1536), (None, 384)])
def test_a_cortex_m4_takes_what_was_forecast(network, tulle, calibration, options, ram):
    told = export(tulle, *(calibration if options is None else options))
    text, data, bss = on_cortex(network, "-DNET_NO_SELFTEST")
    assert data == 0 and bss == told["ram"] == ram
    assert told["constants"] < text  # to the byte, up to alignment; the rest is code
    assert abs(text - told["flash"]) < 60
    assert abs(on_cortex(network)[0] - text - told["self_test_flash"]) < 60


def test_bytes_of_784_256_128_10_fit_into_29_kB_and_2_kB(network, tulle):
    export(tulle, "--int8")
    text, data, bss = on_cortex(network, "-DNET_NO_SELFTEST")
    assert text <= 29_000 and data + bss <= 2_000
    export(tulle, "--int8", "--scale=layer")
    assert on_cortex(network, "-DNET_NO_SELFTEST")[0] <= 27_000


@pytest.mark.parametrize("options", [["--int8"], [], None])
def test_an_emulated_cortex_m4_passes_the_self_test(network, tulle, calibration, options):
    needed("arm-none-eabi-gcc", "qemu-system-arm")
    board = REPOSITORY / "tests" / "embedded"
    main = '#define NET_IMPLEMENTATION\n#include "net.h"\nint main(void) { return net_selftest(); }\n'

    def emulate():
        (network / "main.c").write_text(main)
        command = ["arm-none-eabi-gcc", *CORTEX, *STRICT, "-nostartfiles", "-T", board / "mps2.ld"]
        run(*command, board / "startup.c", network / "main.c", "-o", network / "net.elf")
        machine = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-semihosting", "-kernel", network / "net.elf"]
        return subprocess.run(machine, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode

    export(tulle, *(calibration if options is None else options))
    assert emulate() == 0
    header = (network / "net.h").read_text()
    third = re.search(r"net_check_output\[\] = \{\s*(?:[-\d.e]+f,){2}([-\d.e]+)f,", header)
    (network / "net.h").write_text(header[: third.start(1)] + "77.0" + header[third.end(1) :])
    assert emulate() == 3  # 1 + the first wrong output


def test_the_comment_tells_where_the_header_comes_from(network, tulle):
    export(tulle, "--int8")
    header = (network / "net.h").read_text()
    assert "tulle export net.safetensors --c-header net.h --name net --int8 --scale row --gap auto\n" in header
    if shutil.which("xxh128sum") is not None:
        assert run("xxh128sum", network / "net.safetensors").decode().split()[0] in header


def test_what_c_cannot_do_is_refused(network, tulle, trained):
    tulle("train", "config.toml", "--name=smooth", "--activation=tanh", "--epochs=1", check=True)
    refused = tulle("export", "out/smooth/model.safetensors", "--c-header=t.h")
    assert_refused(refused, 65, "activation of layer 0, found 'tanh', expected relu", "libm")
    assert_refused(tulle("export", MODEL, "--c-header=t.h", "--name=2net"), 78, "--name, found '2net'")
    assert not (trained / "t.h").exists()


def test_more_than_one_format_is_written_at_once(trained, tulle):
    told = json.loads(tulle("export", MODEL, "--c-header=t.h", "--npz=t.npz", "--json", check=True).out)
    assert sorted(row["format"] for row in told) == ["c-header", "npz"]


def test_people_read_the_figures(trained, tulle):
    out = tulle("export", MODEL, "--c-header=t.h", "--data=test.csv", check=True).out
    for words in ["flash ", "RAM 112 B static", "stack about", "dense float flash would be", "|C - engine| max over 60"]:
        assert words in out
