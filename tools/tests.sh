#!/bin/sh
# Runs pytest; up to three tests that failed beside the others are run once more, alone, and told (docs/decisions/0039).
# usage: tools/tests.sh PYTHON [ARGUMENT...]     the arguments are pytest's
set -u

python=$1
shift
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
"$python" -m pytest -o cache_dir="$cache" "$@" && exit 0
code=$?
[ "$code" -eq 1 ] || exit "$code"  # interrupted, or pytest itself failed

failed=$("$python" -c 'import json, sys; print(len(json.load(open(sys.argv[1]))))' "$cache/v/cache/lastfailed") || exit 1
[ "$failed" -le 3 ] || exit 1
echo "=== $failed failed beside the others; once more, alone ==="
"$python" -m pytest -o cache_dir="$cache" "$@" --last-failed --last-failed-no-failures none -n 0 --dist no || exit 1
echo "=== passed alone: $failed unsteady, which is a defect to mend; the first failure is printed above ==="
