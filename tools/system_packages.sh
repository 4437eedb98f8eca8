#!/bin/sh
# Installs the Debian packages that the named commands lack (as root), or fails and says which command would.
# usage: tools/system_packages.sh COMMAND...     a Python also needs its venv module, which Debian packs apart
set -eu

missing=""
for name in "$@"; do
  case "$name" in
    *python*)
      command -v "$name" >/dev/null || { echo "$name: not found; install Python 3.10 to 3.13 or pass PYTHON=..." >&2; exit 1; }
      version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
      case "$version" in
        3.10 | 3.11 | 3.12 | 3.13) ;;
        *) echo "$name is Python $version, expected 3.10 to 3.13; pass another one: make PYTHON=python3.12 ..." >&2; exit 1 ;;
      esac
      "$name" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python$version-venv"
      ;;
    *)
      case "$name" in
        cc) package="gcc libc6-dev" ;;
        c++) package=g++ ;;
        pdftoppm) package=poppler-utils ;;
        promtool) package=prometheus ;;
        chromedriver) package=chromium-driver ;;
        chrt | nsenter | taskset | unshare) package=util-linux ;;
        ip) package=iproute2 ;;
        qemu-aarch64-static) package=qemu-user-static ;;
        systemd-analyze) package=systemd ;;
        *) package=$name ;;
      esac
      PATH="$PATH:/usr/sbin" command -v "$name" >/dev/null || missing="$missing $package"
      ;;
  esac
done

[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing on this machine:$missing; install with: sudo apt-get update && sudo apt-get install -y$missing" >&2
  exit 1
fi
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
