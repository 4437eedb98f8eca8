#!/bin/sh
# Builds the wheel and tests it where the checkout cannot be imported: bare (core dependencies only), then on other Pythons.
# usage: tools/test_installed.sh VENV [ARGUMENT...]     VENV builds the wheel, and its Python runs it bare;
#        the arguments are pytest's
set -eu
cd "$(dirname "$0")/.."

root=$PWD
main=$root/$1
shift
empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT

# The other Pythons' environments are made meanwhile: that is waiting for downloads.
prepare() {
  python=$(tools/find_python.sh "$1")
  [ -n "$python" ] || return 0
  tools/venv.sh ".venv-$1" "$python" --no-project
  tools/nvidia.sh ".venv-$1"
}
prepare 3.10 &
older=$!
prepare 3.12 &
newer=$!

rm -rf "$empty/dist"
"$main/bin/python" -m build --wheel --no-isolation --outdir "$empty/dist" . >"$empty/build.log" || { cat "$empty/build.log"; exit 1; }
wheel=$(ls "$empty"/dist/*.whl)
echo "built $(basename "$wheel")"

# The bare environment: what `pip install edge-inspector` gives, at the locked versions.
version=$("$main/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
bare=$root/.venv-bare
sed -n 's/^\([a-z0-9].*==[^ ]*\).*/\1/p' "requirements/py$version.txt" >"$empty/constraints.txt"
"$main/bin/python" -m venv --clear "$bare"
"$bare/bin/python" -m pip install -qq --only-binary :all: -c "$empty/constraints.txt" "$wheel"
mkdir "$empty/work"
cd "$empty/work"
"$bare/bin/python" "$root/tools/import_all.py"
"$bare/bin/edge-inspector" --version
"$bare/bin/edge-inspector" --help >/dev/null
"$bare/bin/edge-inspector" schema | "$bare/bin/python" -c 'import json, sys; json.load(sys.stdin)'
echo "bare environment, Python $version: every module imports, the command line answers"

# Arithmetic that hangs on OpenCV and on compilers, searches, floods of hostile bytes: none hangs on the Python, and the
# main suite runs it once.
once="tests/calibration tests/cli/test_calibrate.py tests/backends/test_prepare_kernel.py tests/backends/test_tensorrt_types.py
  tests/model tests/fuzz tests/plc_sim tests/station/test_every_link.py"
ignored="--ignore-glob=$root/tests/outputs/test_machine_vision* --ignore-glob=$root/tests/outputs/test_opcua_security*"
for path in $once; do
  ignored="$ignored --ignore=$root/$path"
done

wait "$older"
wait "$newer"
tested=""
for other in 3.10 3.12; do
  python=$("$root/tools/find_python.sh" "$other")
  if [ -z "$python" ]; then
    echo "python$other not found: not tested"
    continue
  fi
  tested="$tested $other"
  # 3.12 has the main suite's libraries; 3.10 has older ones, and its engines and OPC UA are looked at again.
  [ "$other" = 3.10 ] || ignored="$ignored --ignore=$root/tests/engine --ignore=$root/tests/decoders
    --ignore-glob=$root/tests/outputs/test_opcua_*"
  venv=$root/.venv-$other
  "$venv/bin/python" -m pip install -qq --no-deps --force-reinstall "$wheel"
  "$venv/bin/python" "$root/tools/import_all.py"
  echo "installed wheel, Python $other:"
  "$venv/bin/pytest" -c "$root/pyproject.toml" --rootdir "$root" -p no:cacheprovider -q \
    -m "not system and not realdata and not heavy and not gpu" $ignored "$@" "$root/tests"
done
[ -n "$tested" ] || echo "the installed wheel was run bare only: neither Python 3.10 nor 3.12 is on this machine"
