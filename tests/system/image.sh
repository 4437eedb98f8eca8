#!/usr/bin/env bash
# deploy/container/Dockerfile built from a bundle without network and run as compose.yaml runs it, on Debian 12 instead of NVIDIA's base.
# usage (root): tests/system/image.sh [BUNDLE]     default: a bundle of this machine that `make wheelhouse` makes
#        EDGE_INSPECTOR_DEBIAN=FOLDER keeps the bare Debian there for the next run
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

main() {
  [ "$(id -u)" -eq 0 ] || { echo "image.sh: needs root for debootstrap and mounts" >&2; exit 2; }
  tools/system_packages.sh debootstrap buildah podman runc unshare
  folder=$(mktemp -d)
  storage=(--root "$folder/storage" --runroot "$folder/run")
  trap clean_up EXIT
  bundle=${1:-}
  if [ -z "$bundle" ]; then
    make wheelhouse "ARCH=$(uname -m)" PY=3.11
    bundle=$(ls -d dist/edge-inspector-*-"$(uname -m)-py3.11"/)
  fi

  step "a base of Debian 12" base
  step "build with no network" build
  step "start" start
  step "it is READY" inside edge-inspector status /etc/edge-inspector/station.toml --wait 120
  step "the health check of the image" health_check
  step "it may write nothing but its folders" confined
  step "the web service beside it answers" web
  step "stop drains" stop
  step "the books balance" books
  echo "image: all held"
}

base() {
  local cache
  cache=${EDGE_INSPECTOR_DEBIAN:-$folder}/debian12-$(uname -m).tar
  if [ ! -e "$cache" ]; then
    mkdir -p "$(dirname "$cache")"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3 bookworm "$folder/bare" >"$folder/debootstrap.log" ||
      { tail -n 20 "$folder/debootstrap.log" >&2; exit 1; }
    tar -C "$folder/bare" --numeric-owner -cf "$cache.new" .
    mv "$cache.new" "$cache"
    rm -rf --one-file-system "$folder/bare"
  fi
  podman "${storage[@]}" import --quiet "$cache" localhost/base:test
}

build() {
  unshare --net buildah "${storage[@]}" build --isolation chroot --format docker --build-arg BASE=localhost/base:test \
    --tag localhost/edge-inspector:test --file deploy/container/Dockerfile "$bundle" >"$folder/build.log" 2>&1 ||
    { tail -n 30 "$folder/build.log" >&2; return 1; }
}

start() { # the demo's station in the folders of tmpfiles.conf; Docker itself runs the health check, which needs no systemd there
  mkdir -p "$folder/state" "$folder/runtime"
  cp -R deploy/examples/demo "$folder/station"
  sed -i '/^\(state\|runtime\)_dir = /d' "$folder/station/station.toml"
  chown 10001:10001 "$folder/state" "$folder/runtime"
  chmod -R a+rX "$folder/station"
  chmod a+x "$folder"
  container station run /etc/edge-inspector/station.toml
}

container() { # of name $1 with these arguments; the options are those of compose.yaml
  local name=$1
  shift
  podman "${storage[@]}" --runtime runc run --detach --name "$name" --no-healthcheck --network "${network:-none}" --read-only --cap-drop ALL \
    --security-opt no-new-privileges --tmpfs /tmp:size=64m,mode=1777 --ulimit nofile=8192:8192 --ulimit nproc=4096:4096 --ulimit core=0:0 \
    --volume "$folder/station:/etc/edge-inspector:ro" --volume "$folder/state:/var/lib/edge-inspector" \
    --volume "$folder/runtime:/run/edge-inspector" localhost/edge-inspector:test "$@" >/dev/null
}

inside() { podman "${storage[@]}" --runtime runc exec station "$@"; }

health_check() {
  local command
  command=$(podman "${storage[@]}" inspect --type image localhost/edge-inspector:test --format '{{json .Config.Healthcheck.Test}}')
  mapfile -t command < <(python3 -c 'import json, sys; print("\n".join(json.loads(sys.argv[1])[1:]))' "$command")
  inside "${command[@]}"
}

confined() {
  inside sh -c '[ "$(id -u)" = 10001 ] && grep -q "^CapBnd:.0*$" /proc/self/status && grep -q "^NoNewPrivs:.1$" /proc/self/status'
  for path in / /opt/edge-inspector /etc/edge-inspector /usr; do
    ! inside touch "$path/x" 2>/dev/null || { echo "image: $path can be written" >&2; return 1; }
  done
}

web() {
  local network="container:station"
  container web web /etc/edge-inspector/station.toml
  for _ in $(seq 60); do
    ! inside python -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8080/health/ready", timeout=5).read().decode())' 2>/dev/null || return 0
    sleep 1
  done
  podman "${storage[@]}" logs web | tail -n 5 >&2
  return 1
}

stop() { # the exit code of a station that has drained is 0; of one that was killed 137
  podman "${storage[@]}" --runtime runc stop --time 20 web >/dev/null
  podman "${storage[@]}" --runtime runc stop --time 75 station >/dev/null
  [ "$(podman "${storage[@]}" inspect station --format '{{.State.ExitCode}}')" = 0 ]
}

books() { # by the program itself, in another container with the same folders
  container books ledger reconcile /etc/edge-inspector/station.toml
  podman "${storage[@]}" wait books | grep -qx 0 || { podman "${storage[@]}" logs books; return 1; }
  podman "${storage[@]}" logs books | tail -n 1
}

step() {
  local start=$SECONDS
  at=$1
  shift
  "$@"
  echo "image: $at: held, $((SECONDS - start)) s"
  at=""
}

clean_up() {
  [ -z "${at:-}" ] || echo "image: FAILED at: $at" >&2
  podman "${storage[@]}" --runtime runc rm --all --force --time 5 >/dev/null 2>&1 || true
  podman "${storage[@]}" unmount --all >/dev/null 2>&1 || true
  ! mountpoint -q "$folder/storage/overlay" || umount "$folder/storage/overlay"
  rm -rf --one-file-system "$folder"
}

main "$@"
