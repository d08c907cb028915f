#!/usr/bin/env python3
"""What `import tulle` costs beyond `import numpy`: PYTHONPATH=build/release/python .venv/bin/python bench/compare/python_import.py

Each in fresh processes, in turns; the smallest of many.
"""

import subprocess
import sys
import time


def seconds(program):
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - began


def main():
    pairs = [(seconds("import numpy"), seconds("import numpy, tulle")) for _ in range(40)]
    bare, both = (min(column) for column in zip(*pairs))
    print(f"import numpy {1e3 * bare:.1f} ms, with tulle {1e3 * both:.1f} ms: {1e3 * (both - bare):.1f} ms more")


if __name__ == "__main__":
    main()
