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

# What hangs on OpenCV, compilers, asyncua, brokers or a browser and not on the Python, searches and floods of hostile bytes:
# the main suite runs it once.
once="tests/calibration tests/cli/test_calibrate.py tests/backends/test_prepare_kernel.py tests/backends/test_tensorrt_types.py
  tests/model tests/fuzz tests/plc_sim tests/station/test_every_link.py tests/station/test_undisturbed.py
  tests/web tests/test_threshold_benchmark.py tests/store/test_ledger_every_statement.py
  tests/replay tests/engine/test_evaluate_agreement.py tests/engine/test_evaluate_command.py tests/engine/test_evaluate_looking.py
  tests/stages/test_camera_health.py tests/stages/test_rules_properties.py tests/stages/test_threshold_state.py
  tests/cli/test_thresholds_commands.py tests/cli/test_golden_commands.py tests/station/test_thresholds_kept.py
  tests/store/test_images_station.py tests/cli/test_ledger_live.py tests/cli/test_doctor_brokers.py tests/station/test_publisher_mqtt.py
  tests/engine/test_quantize.py tests/engine/test_compact.py tests/engine/test_verify.py tests/test_bench.py tests/store/test_power_cut_files.py
  tests/cli/test_power_tune.py tests/health/test_power_tools.py tests/health/test_power_helper.py tests/station/test_reload_rest.py
  tests/station/test_faults.py tests/station/test_cameras.py tests/test_deploy_examples.py tests/demo tests/cli/test_engine.py"
ignored=""
for name in machine_vision opcua_security opcua_client_ opcua_server_ mqtt sparkplug_p sparkplug_s sparkplug_t; do
  ignored="$ignored --ignore-glob=$root/tests/outputs/test_$name*"
done
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
  # 3.12 has the main suite's libraries, and a run of all takes too long: what is long there is looked at again on 3.10 only,
  # which has older libraries.
  [ "$other" = 3.10 ] || for path in engine decoders cameras station outputs web cli backends demo; do
    ignored="$ignored --ignore=$root/tests/$path"
  done
  venv=$root/.venv-$other
  "$venv/bin/python" -m pip install -qq --no-deps --force-reinstall "$wheel"
  "$venv/bin/python" "$root/tools/import_all.py"
  echo "installed wheel, Python $other:"
  "$root/tools/tests.sh" "$venv/bin/python" -c "$root/pyproject.toml" --rootdir "$root" -q \
    -m "not system and not realdata and not heavy and not gpu" $ignored "$@" "$root/tests"
done
[ -n "$tested" ] || echo "the installed wheel was run bare only: neither Python 3.10 nor 3.12 is on this machine"
