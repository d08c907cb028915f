#!/bin/sh
# Builds and runs the outside project: outside_project.sh find_package|FetchContent SOURCE BUILD
set -eu
use=$1 source=$2 build=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "$use" = find_package ]; then cmake --install "$build" --prefix "$work/prefix" >/dev/null; fi
cmake -S "$source/tests/package" -B "$work/build" -G Ninja -DUSE="$use" -DTULLE_SOURCE="$source" \
  -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_CXX_FLAGS=-DHWY_COMPILE_ONLY_STATIC >/dev/null  # kernels for one instruction set: quick to build
cmake --build "$work/build"
if [ "$use" = FetchContent ] && [ -e "$work/build/_deps/tulle-build/tulle" ]; then
  echo "a subproject must not build the command line" >&2
  exit 1
fi
"$work/build/outside"
