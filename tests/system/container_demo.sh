#!/usr/bin/env bash
# `make demo` of the last commit in a fresh minimal container with only python3 and make; prints the seconds of each step.
# usage (root): tests/system/container_demo.sh [MAKE ARGUMENTS...]
# default: demo DEMO_ARGS="--parts 60 --report out.json"; for `demo` everybody must have counted the same parts
#
# The container gets the Debian release, mirror and pip configuration of this machine, read while it runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[ "$(id -u)" -eq 0 ] || { echo "container_demo.sh: needs root for debootstrap and systemd-nspawn" >&2; exit 2; }
tools/system_packages.sh debootstrap
command -v systemd-nspawn >/dev/null || { echo "container_demo.sh: systemd-nspawn is missing; apt-get install systemd-container" >&2; exit 2; }
[ $# -gt 0 ] || set -- demo "DEMO_ARGS=--parts 60 --report out.json"

folder=$(mktemp -d)
trap 'rm -rf --one-file-system "$folder"' EXIT
root=$folder/root

step() {
  local start=$SECONDS name=$1
  shift
  "$@"
  echo "container: $name took $((SECONDS - start)) s"
}

copy() { # copies a file or folder of this machine to its own place in the container, where it exists
  if [ -e "$1" ]; then
    rm -rf "$root$1"
    mkdir -p "$root$(dirname "$1")"
    cp -rLT "$1" "$root$1"
  fi
}

read -r mirror release < <(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages')
step "debootstrap of $release" debootstrap --variant=minbase --include=python3,make,ca-certificates "$release" "$root" "$mirror" >"$folder/debootstrap.log" ||
  { tail -n 20 "$folder/debootstrap.log" >&2; exit 1; }
tail -n 1 "$folder/debootstrap.log"

for path in /etc/apt /usr/share/keyrings /etc/ssl/certs/ca-certificates.crt /etc/pip.conf ~/.config/pip ~/.pip; do
  copy "$path"
done
git clone -q --no-hardlinks . "$root/root/edge-inspector"

options=()
while read -r name; do # the environment's own pip, proxy and certificate settings
  options+=("--setenv=$name=${!name}")
done < <(compgen -e | grep -iE '^(pip_|(http|https|no|all)_proxy$|ssl_cert|requests_ca|curl_ca)' || true)
while read -r path; do # local package folders that pip is configured to look in; an index links to files beside it
  [ "$(basename "$path")" != simple ] || path=$(dirname "$path")
  [ ! -d "$path" ] || options+=("--bind-ro=$path")
done < <(python3 -m pip config list | grep -E '(find.links|index.url)' | grep -oE "(file://|[' ])/[^' ]+" | sed -E "s,^(file://|[' ]),," | sort -u)

step "make $1" systemd-nspawn --quiet --register=no --keep-unit --as-pid2 --directory="$root" --chdir=/root/edge-inspector \
  --pipe "${options[@]}" make "$@" </dev/null

if [ "$1" = demo ]; then
  python3 - "$root/root/edge-inspector/out.json" <<'CHECK'
import json, sys
report = json.load(open(sys.argv[1]))
parts, plc, mqtt = report["parts"], report["plc"], report["mqtt"]
counts = {
    **{key: parts[key] for key in ("triggered", "accepted", "settled")},
    **{key: plc[key] for key in ("results_read", "acknowledged")},
    **{key: mqtt[key] for key in ("published", "received")},
}
print("container:", counts, {key: report[key] for key in ("lost", "duplicated", "balanced")})
agree = len(set(counts.values())) == 1 and parts["settled"] > 0
sys.exit(0 if report["balanced"] and agree else "container_demo.sh: the report does not balance")
CHECK
fi
