#!/bin/sh
# Adds NVIDIA's parser and builder and the types of its API to a test environment; does nothing when they are there.
# usage: tools/nvidia.sh VENV     only tests and type checks need them: a station has its own TensorRT
set -eu
cd "$(dirname "$0")/.."

stamp=$(sha256sum requirements/nvidia.txt)
if [ "$stamp" != "$(cat "$1/nvidia.stamp" 2>/dev/null)" ]; then
  "$1/bin/python" -m pip install -qq --no-deps --no-warn-conflicts --require-hashes -r requirements/nvidia.txt
  echo "$stamp" >"$1/nvidia.stamp"
fi
