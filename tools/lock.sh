#!/bin/sh
# Writes requirements/py3.*.txt anew, with hashes, and proves that x86_64 and aarch64 get the same wheels.
# usage: tools/lock.sh PYTHON [--upgrade]     without --upgrade the versions locked before are kept where they fit
set -eu
cd "$(dirname "$0")/.."

python=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq uv

# manylinux_2_35 is glibc of JetPack 6 (Ubuntu 22.04), the oldest station that we serve.
for name in nvidia wheelhouse jetson-py3.10 jetson-py3.12; do
  "$folder/venv/bin/uv" pip compile "requirements/$name.in" -q --no-deps --universal --generate-hashes --no-annotate \
    --no-emit-index-url --custom-compile-command "make lock" -o "requirements/$name.txt" "$@" >/dev/null
  echo "requirements/$name.txt: $(grep -c == "requirements/$name.txt") packages"
done

"$folder/venv/bin/uv" pip compile requirements/deploy.in -q --universal --python-version 3.10 --no-python-downloads \
  --generate-hashes --no-annotate --no-emit-index-url --custom-compile-command "make lock" \
  -o requirements/deploy.txt "$@" >/dev/null
echo "requirements/deploy.txt: $(grep -c == requirements/deploy.txt) packages"

for version in 3.10 3.11 3.12 3.13; do
  lock=requirements/py$version.txt
  for machine in aarch64 x86_64; do
    rm -f "$folder/$machine.txt"
    [ ! -e "$lock" ] || cp "$lock" "$folder/$machine.txt"
    "$folder/venv/bin/uv" pip compile pyproject.toml -q --extra all --group dev --only-binary :all: \
      --python-version "$version" --python-platform "$machine-manylinux_2_35" --generate-hashes \
      --no-emit-index-url --custom-compile-command "make lock" -o "$folder/$machine.txt" "$@" >/dev/null
  done
  cmp "$folder/aarch64.txt" "$folder/x86_64.txt" || { echo "$lock: aarch64 and x86_64 resolve differently" >&2; exit 1; }
  cp "$folder/x86_64.txt" "$lock"
  echo "$lock: $(grep -c == "$lock") packages"
done
