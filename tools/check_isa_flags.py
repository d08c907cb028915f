#!/usr/bin/env python3
"""Refuses instruction-set flags: inline functions compiled with them would run on every processor.

Targets come from function attributes (docs/architecture.md). Usage: check_isa_flags.py BUILD/compile_commands.json
"""

import json
import re
import sys

FLAG = re.compile(r"\s(-march=\S+|-mtune=native|-m(?:avx|sse|ssse|fma|bmi|f16c|lzcnt|popcnt|amx)\S*)")

bad = [(entry["file"], flag) for entry in json.load(open(sys.argv[1])) for flag in FLAG.findall(entry["command"])]
for file, flag in bad:
    print(f"{file}: compiled with {flag}")
sys.exit(1 if bad else 0)
