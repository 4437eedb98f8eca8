#!/bin/sh
# Builds the bundle that installs a station with no network: wheels of one machine and Python, install.sh, units, examples.
# usage: tools/wheelhouse.sh VENV MACHINE VERSION     e.g. .venv aarch64 3.10; needs no machine of that kind
#        in the environment: EXTRAS, other ones than a station's; OUT, another folder than dist
set -eu
cd "$(dirname "$0")/.."

python=$1/bin/python
machine=$2
version=$3
extras=${EXTRAS:-demo,calibrate,engine,gpio,notify,thresholds,web}
out=${OUT:-dist}
lock=requirements/py$version.txt
case "$machine" in
  aarch64 | x86_64) ;;
  *) echo "ARCH=$machine: expected aarch64 (a Jetson, an ARM board) or x86_64" >&2; exit 2 ;;
esac
[ -e "$lock" ] || { echo "PY=$version: there is no $lock; expected 3.10 (JetPack 6), 3.11, 3.12 (JetPack 7) or 3.13" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y pyproject.toml)}
export SOURCE_DATE_EPOCH

"$python" -m build --wheel --no-isolation --outdir "$work" . >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
wheel=$(ls "$work"/*.whl)
release=$(basename "$wheel" | cut -d- -f2)
name=edge-inspector-$release-$machine-py$version
bundle=$work/$name
mkdir -p "$bundle/wheels"
cp "$wheel" "$bundle/wheels"

# The oldest glibc that we serve is JetPack 6's 2.35: an older manylinux is welcome, a newer one is not.
download() { # into folder $1 what file $2 pins; further arguments are pip's
  folder=$1 file=$2
  shift 2
  platforms=""
  for minor in $(seq 35 -1 5); do
    platforms="$platforms --platform manylinux_2_${minor}_$machine"
  done
  # shellcheck disable=SC2086 # one word each
  "$python" -m pip download -qq --no-deps --require-hashes --only-binary :all: "$@" --implementation cp \
    --python-version "$version" $platforms --platform "manylinux2014_$machine" --dest "$folder" -r "$file"
}

# Which of the locked packages a station needs, says uv; their versions and hashes are the lock's.
"$python" -m venv "$work/uv"
"$work/uv/bin/python" -m pip install -qq uv
sed -n 's/^\([a-z0-9].*==[^ ]*\).*/\1/p' "$lock" >"$work/locked.txt"
# shellcheck disable=SC2046 # one word each
"$work/uv/bin/uv" pip compile pyproject.toml -q $(echo ",$extras" | sed 's/,/ --extra /g') --only-binary :all: \
  -c "$work/locked.txt" --python-version "$version" --python-platform "$machine-manylinux_2_35" --no-python-downloads \
  --no-annotate --no-header --no-emit-index-url -o "$work/needed.txt" >/dev/null
awk 'FNR == NR { needed[$1]; next } /^[a-z0-9]/ { taken = $1 in needed; count += taken } taken && !/^ *#/
  END { if (count != length(needed)) { print "the lock lacks a package that a station needs: make lock" >"/dev/stderr"; exit 1 } }' \
  "$work/needed.txt" "$lock" >"$bundle/requirements.txt"
grep -v '^ *#' requirements/wheelhouse.txt >>"$bundle/requirements.txt"
download "$bundle/wheels" "$bundle/requirements.txt"
printf '%s \\\n    --hash=sha256:%s\n' "edge-inspector==$release" "$(sha256sum "$wheel" | cut -d' ' -f1)" >>"$bundle/requirements.txt"

# A Jetson builds PyCUDA against its own CUDA, with TensorRT from JetPack.
jetson=requirements/jetson-py$version.txt
if [ "$machine" = aarch64 ] && [ -e "$jetson" ]; then
  mkdir "$bundle/jetson"
  cp "$jetson" "$bundle/jetson/requirements.txt"
  awk '/^[a-z0-9]/ { taken = /^pycuda=/ } taken' "$jetson" >"$work/pycuda.txt"
  "$python" -m pip download -qq --no-deps --require-hashes --no-binary pycuda --dest "$bundle/jetson" -r "$work/pycuda.txt"
  awk '/^[a-z0-9]/ { taken = !/^pycuda=/ } taken' "$jetson" >"$work/jetson.txt"
  download "$bundle/jetson" "$work/jetson.txt"
fi

cp -R deploy/install.sh systemd deploy/examples LICENSE NOTICE "$bundle"
cat >"$bundle/BUILD" <<END
release=$release
machine=$machine
python=$version
glibc=2.35
extras=$extras
commit=$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
END
(cd "$bundle" && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum >"$work/sums")
mv "$work/sums" "$bundle/SHA256SUMS"
chmod -R go=u-w "$bundle"

mkdir -p "$out"
rm -rf "${out:?}/$name" "$out/$name.tar.gz" "$out/$name.tar.gz.sha256"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" | gzip -n >"$work/$name.tar.gz"
mv "$bundle" "$work/$name.tar.gz" "$out/"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name: $(find "$out/$name/wheels" -name '*.whl' | wc -l) wheels, $(du -h "$out/$name.tar.gz" | cut -f1) packed"
