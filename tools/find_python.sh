#!/bin/sh
# Prints the path of a Python of one version, on PATH or in pyenv; prints nothing when there is none.
# usage: tools/find_python.sh 3.12
set -eu

pyenv=${PYENV_ROOT:-$(pyenv root 2>/dev/null || true)}
for python in $(command -v "python$1" || true) "${pyenv:-/nowhere}/versions/$1".*/bin/python; do
  if [ "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
    "$python" -c 'import sys; print(sys.executable)'
    exit 0
  fi
done
