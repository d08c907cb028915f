#!/usr/bin/env bash
# wheel.sh PYTHON REPOSITORY BUILD [FOLDER]: `pip wheel`, from a build that is there, installs into a fresh environment and works
# from any folder: the package, its type stubs, the command line tool. A copy of the wheel goes to FOLDER.
set -euo pipefail
python=$(realpath -s "$1") repository=$2 build=$3 folder=${4:+$(realpath "$4")}
work=$(mktemp -d)
# The build is used by others: where a wheel has its files must not stay in it.
restore() {
  cd /
  rm -rf "$work"
  cmake -S "$repository" -B "$build" -U 'SKBUILD*' >/dev/null
}
trap restore EXIT

# The settings of the build at hand, so that nothing is compiled again.
setting() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
"$python" -m pip wheel -q "$repository" --no-deps --no-build-isolation -w "$work/dist" --config-settings=build-dir="$build" \
  --config-settings=cmake.define.TULLE_MPI="$(setting TULLE_MPI)" --config-settings=cmake.define.BUILD_TESTING="$(setting BUILD_TESTING)"
wheel=("$work"/dist/tulle-*.whl)
bytes=$(stat -c %s "${wheel[0]}")
echo "wheel: $bytes bytes"
[ "$bytes" -le 5000000 ]

"$python" -m venv --system-site-packages "$work/venv"
"$work/venv/bin/python" -m pip install -q --no-deps --no-index "${wheel[0]}"
# What the environment of the build has is enough for NumPy.
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cd "$work"
"$work/venv/bin/tulle" --version
PYTHONPATH=$site "$work/venv/bin/python" - <<'TEXT'
import pathlib
import tulle
here = pathlib.Path(tulle.__file__).parent
assert "venv" in str(here) and (here / "_core.pyi").is_file() and (here / "py.typed").is_file(), here
assert tulle.show_config()["program"].endswith("venv/bin/tulle"), tulle.show_config()
model = tulle.Model.from_csr([__import__("numpy").eye(3, dtype="f4")], loss="mse")
assert model.forward([[1, 2, 3]]).tolist() == [[1, 2, 3]]
print("wheel works")
TEXT
if [ -n "$folder" ]; then cp "${wheel[0]}" "$folder/"; fi
