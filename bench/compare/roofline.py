"""Our products beside what this machine can do, measured in the same run.

    python roofline.py BENCH_PRODUCTS [--shapes 1000x1000,...] [--densities 1,5,20] [--batch 128] [--threads 1,2]

Each row: GFLOP/s, the share of the measured peak of fused multiply-adds, and the bound of the roofline: the smaller of the
peak and of what the cache level that holds a tile's activations delivers, random lines of 512 bytes, at so many bytes a flop.
"""

import argparse
import pathlib
import tempfile

from products import Problem, Tulle

# product -> bytes of activations that one flop reads, and the peak in multiples of the float peak: products of bytes sum four
# connections in one instruction, those of bfloat16 two samples where all they do is sum.
PRODUCTS = {
    "forward-f32": (2.0, 1),
    "forward-bf16": (1.0, 1),
    "forward-int8": (0.5, 4),
    "training-f32": (2.0, 1),
    "weights-f32": (2.0, 1),
    "weights-bf16": (1.0, 2),
    "both-f32": (1.0, 1),
    "both-bf16": (0.5, 1),
}
LEVELS = [("L1", 24, "16"), ("L2", 768, "512"), ("L3", 16384, "4096"), ("DRAM", float("inf"), "262144")]  # kB


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--shapes", default="1000x1000,4000x4000,65536x4096")
    parser.add_argument("--densities", default="1,5,20", help="per cent")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each product")
    options = parser.parse_args()
    tulle = Tulle(options.program)
    for threads in map(int, options.threads.split(",")):
        tulle.ask(f"threads {threads}")
        machine = tulle.ask("machine")
        peak = machine["fma_peak"]
        print(f"\n{machine['isa']}, {threads} thread(s): FMA peak {peak:.1f} GFLOP/s, bfloat16 dot products "
              f"{machine['bf16_dot_peak']:.1f}")
        print("read, GB/s, in order / random 512 B: " + ", ".join(
            f"{name} {machine['read'][size]['in_order']:.0f} / {machine['read'][size]['random']:.0f}"
            for name, _, size in LEVELS))
        print(f"\n{'product':<14} {'layer':>11} {'density':>8} {'GFLOP/s':>9} {'of peak':>8} {'tile':>9} {'bound':>14} "
              f"{'of bound':>9}")
        with tempfile.TemporaryDirectory() as folder:
            for shape in options.shapes.split(","):
                inputs, outputs = map(int, shape.split("x"))
                for density in map(float, options.densities.split(",")):
                    problem = Problem(inputs, outputs, density / 100, options.batch, pathlib.Path(folder))
                    tulle.load(problem, threads)
                    for name, (bytes_per_flop, times_peak) in PRODUCTS.items():
                        answer = tulle.ask(f"time {name} {options.seconds}")
                        rate = problem.flop(name.split("-")[0]) / answer["seconds"] * 1e-9
                        tile = answer["tile_bytes"] / 1024
                        level, _, size = next(entry for entry in LEVELS if tile <= entry[1])
                        reads = machine["read"][size]["random"] / bytes_per_flop
                        bound, what = min((times_peak * peak, "FMA"), (reads, level))
                        print(f"{name:<14} {shape:>11} {density:>6g} % {rate:>9.1f} {100 * rate / peak:>6.1f} % "
                              f"{tile:>6.0f} kB {bound:>8.1f} ({what:<4}) {100 * rate / bound:>7.1f} %", flush=True)
        drift = abs(tulle.ask("machine")["fma_peak"] / peak - 1)
        print(f"the FMA peak moved by {100 * drift:.1f} %" + (": figures not to be quoted" if drift > 0.05 else ""))


if __name__ == "__main__":
    main()
