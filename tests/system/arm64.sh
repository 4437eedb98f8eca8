#!/usr/bin/env bash
# The bundle for aarch64 on an emulated ARM machine without any network: install, import, check, devices, the demo, uninstall.
# usage (root): tests/system/arm64.sh [BUNDLE]     default: a bundle that `make wheelhouse ARCH=aarch64 PY=3.11` makes
#        EDGE_INSPECTOR_DEBIAN=FOLDER keeps the bare Debian there for the next run: its debootstrap takes ten minutes
#
# The user land is Debian 12 for arm64 (Python 3.11) under qemu-user. Emulated code is many times slower: no time is judged here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ "${2:-}" = --inside ]; then # in namespaces of its own: no network but the loopback, its own mounts and processes
  root=$1
  ip link set lo up
  mount -t proc proc "$root/proc"
  mount -t tmpfs tmpfs "$root/tmp"
  mount -t tmpfs tmpfs "$root/dev"
  mkdir "$root/dev/shm" "$root/bundle"
  mount -t tmpfs tmpfs "$root/dev/shm"
  for node in null zero full random urandom; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
  done
  mount --bind "$3" "$root/bundle"
  exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    OMP_NUM_THREADS=1 /bin/bash /root/arm64_steps.sh
fi

[ "$(id -u)" -eq 0 ] || { echo "arm64.sh: needs root for debootstrap, binfmt_misc and chroot" >&2; exit 2; }
tools/system_packages.sh debootstrap qemu-aarch64-static unshare ip
bundle=${1:-}
if [ -z "$bundle" ]; then
  make wheelhouse ARCH=aarch64 PY=3.11
  bundle=$(ls -d dist/edge-inspector-*-aarch64-py3.11/)
fi
if ! grep -qx machine=aarch64 "$bundle/BUILD" || ! grep -qx python=3.11 "$bundle/BUILD"; then
  echo "arm64.sh: $bundle is no bundle for aarch64 and Python 3.11; make one: make wheelhouse ARCH=aarch64 PY=3.11" >&2
  exit 2
fi
bundle=$(cd "$bundle" && pwd)

# The kernel starts the emulator for ARM programs; flag F opens it now, so that it need not exist in the chroot.
binfmt=/proc/sys/fs/binfmt_misc
[ -e "$binfmt/register" ] || mount -t binfmt_misc binfmt_misc "$binfmt"
[ -e "$binfmt/qemu-aarch64" ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >"$binfmt/register"

folder=$(mktemp -d)
trap 'rm -rf --one-file-system "$folder"' EXIT
root=$folder/root
tar=${EDGE_INSPECTOR_DEBIAN:-$folder}/debian12-arm64.tar
if [ ! -e "$tar" ]; then
  # shellcheck disable=SC2016 # apt's own variable
  read -r mirror < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages')
  echo "arm64: debootstrap of Debian 12; takes ten minutes"
  {
    debootstrap --arch=arm64 --variant=minbase --foreign --include=python3,util-linux,passwd bookworm "$root" "$mirror"
    chroot "$root" /debootstrap/debootstrap --second-stage
  } >"$folder/log" || { tail -n 20 "$folder/log" >&2; exit 1; }
  rm -f "$root"/var/cache/apt/archives/*.deb
  mkdir -p "$(dirname "$tar")"
  tar -C "$root" -cf "$tar.part" .
  mv "$tar.part" "$tar"
  rm -rf --one-file-system "$root"
fi
mkdir "$root"
tar -C "$root" -xf "$tar"
install -m 0644 tests/system/arm64_steps.sh tests/network*.py tools/import_all.py "$root/root/"
unshare --mount --pid --fork --net --ipc --uts --kill-child "${BASH_SOURCE[0]}" "$root" --inside "$bundle"
