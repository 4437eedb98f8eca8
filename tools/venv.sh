#!/bin/sh
# Makes or refreshes a virtual environment from the lock file of its Python; does nothing when neither has changed.
# usage: tools/venv.sh FOLDER PYTHON [--no-project]     --no-project: the locked packages only
set -eu
cd "$(dirname "$0")/.."

folder=$1
python=$2
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
lock="requirements/py$version.txt"

stamp="$PWD $("$python" -VV) $(sha256sum "$lock")"
if [ ! -x "$folder/bin/python" ] || [ "$stamp" != "$(cat "$folder/lock.stamp" 2>/dev/null)" ]; then
  "$python" -m venv --clear "$folder"
  "$folder/bin/python" -m pip install -qq --require-hashes --only-binary :all: -r "$lock"
  echo "$stamp" >"$folder/lock.stamp"
fi

[ "${3:-}" != --no-project ] || exit 0
stamp=$(cat pyproject.toml edge_inspector/__init__.py | sha256sum)
if [ "$stamp" != "$(cat "$folder/project.stamp" 2>/dev/null)" ]; then
  "$folder/bin/python" -m pip install -qq --no-deps --no-build-isolation -e .
  echo "$stamp" >"$folder/project.stamp"
fi
