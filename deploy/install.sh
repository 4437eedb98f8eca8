#!/usr/bin/env bash
# Installs edge-inspector as a systemd service, upgrades it, goes back one step, removes it. With a bundle it needs no network.
# usage (root): install.sh VERB [OPTION...]
#   install       the release of this bundle; stations that run are restarted one by one, and a release that cannot run them is
#                 not kept; with the same release already there, only mends user, folders, links and units
#   upgrade       the same
#   rollback      the release before this one, and restarts the running stations; once more: back again
#   uninstall     all but /etc, /var/lib and /var/log/edge-inspector; with --purge these, too, and the user
#   status        key=value lines: current, previous, version, and each station
#   --wheelhouse DIR   the bundle; default: the folder of this script, or, in a checkout, one that `make wheelhouse` makes
#   --python PATH      the Python for it; default: python3 of the bundle's version
#   --force            install although this release is already there
#   --no-restart       leave running stations on the old release until somebody restarts them
# exit: 0 done or nothing to do, 1 failed and nothing has changed, or all was put back, 2 wrong use
set -euo pipefail
umask 022
unset PYTHONPATH PYTHONHOME CDPATH
export PATH=$PATH:/usr/local/cuda/bin # where JetPack has nvcc

readonly base=/opt/edge-inspector units=/usr/local/lib/systemd/system link=/usr/local/bin/edge-inspector
readonly config=/etc/edge-inspector state=/var/lib/edge-inspector logs=/var/log/edge-inspector user=edge-inspector
readonly oldest_systemd=249 # JetPack 6
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bundle="" python="" force=no restart=yes purge=no unfinished=""

main() {
  [ $# -gt 0 ] || { usage; exit 2; }
  local verb=$1
  shift
  while [ $# -gt 0 ]; do
    case "$1" in
      --wheelhouse | --python) [ $# -gt 1 ] || wrong "$1 needs a value" ;;&
      --wheelhouse) bundle=$2; shift 2 ;;
      --python) python=$2; shift 2 ;;
      --force) force=yes; shift ;;
      --no-restart) restart=no; shift ;;
      --purge) purge=yes; shift ;;
      *) wrong "$1 is no option" ;;
    esac
  done
  case "$verb" in
    status) status ;;
    install | upgrade) alone; place ;;
    rollback | uninstall) alone; "$verb" ;;
    -h | --help | help) usage ;;
    *) wrong "$verb is no verb; expected install, upgrade, rollback, uninstall or status" ;;
  esac
}

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

place() { # the bundle's release becomes the current one
  find_bundle
  check_machine
  if [ "$force" = no ] && same_release; then
    say "$(current) is installed already; nothing to do (--force makes it anew)"
    settle_in
    return
  fi
  make_release
  make_user
  prove "$unfinished"
  local old older new
  old=$(current) older=$(previous) new=$(basename "$unfinished")
  unfinished="" # from here on it may be the current one: no longer removed when this script is killed
  switch_to "$new" "$old"
  settle_in
  restart_all || { step_back "$old" "$older"; exit 1; }
  remove_old
  say "installed: $(current)"
}

step_back() { # to release $1, before which was $2, from one under which a station does not start
  local bad
  bad=$(current)
  echo "install.sh: a station does not start under $bad; see: journalctl -u 'edge-inspector@*' -e" >&2
  [ -n "$1" ] || return 0
  echo "install.sh: back to $1" >&2
  switch_to "$1" "$2"
  rm -rf "${base:?}/releases/$bad"
  settle_in
  restart_all || true
}

rollback() {
  local old
  old=$(previous)
  [ -n "$old" ] || fail "there is no release before the current one"
  switch_to "$old" "$(current)"
  settle_in
  restart_all || fail "a station does not start under $(current); see: journalctl -u 'edge-inspector@*' -e"
  say "rolled back to $(current)"
}

uninstall() {
  local unit
  for unit in $(all_units); do
    ! booted || systemctl stop "$unit" || true
  done
  find /etc/systemd/system -type l \( -name 'edge-inspector@*' -o -name 'edge-inspector-web@*' -o -name 'edge-inspector-power.*' \) -delete
  rm -f "$units"/edge-inspector* "$link"
  rm -rf "$base" /run/edge-inspector /run/edge-inspector-power
  rmdir --ignore-fail-on-non-empty "$units" "$(dirname "$units")" 2>/dev/null || true
  if [ "$purge" = yes ]; then
    rm -rf "$config" "$state" "$logs" /var/lib/edge-inspector-power /etc/systemd/system/edge-inspector*.d
    ! getent passwd "$user" >/dev/null || userdel "$user"
    ! getent group "$user" >/dev/null || groupdel "$user"
  fi
  if booted; then
    systemctl daemon-reload
    systemctl reset-failed 'edge-inspector*' 2>/dev/null || true
  fi
  say "uninstalled$([ "$purge" = yes ] || echo "; kept: $config $state $logs and user $user (--purge removes them)")"
}

status() {
  local name now
  now=$(current) name=$(previous)
  echo "current=${now:-none}"
  echo "previous=${name:-none}"
  echo "version=$(value release "$base/current/BUILD")"
  echo "commit=$(value commit "$base/current/BUILD")"
  for name in $(stations); do
    echo "station.$name=$(systemctl is-active "edge-inspector@$name" 2>/dev/null || true) $(systemctl is-enabled "edge-inspector@$name" 2>/dev/null || true)"
  done
}

find_bundle() {
  local version
  if [ -z "$bundle" ] && [ ! -e "$here/BUILD" ] && [ -e "$here/../pyproject.toml" ]; then
    version=$("${python:-python3}" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    say "a checkout: making the bundle of Python $version for $(uname -m)"
    make -C "$here/.." wheelhouse "ARCH=$(uname -m)" "PY=$version"
    bundle=$(echo "$here"/../dist/edge-inspector-*-"$(uname -m)-py$version"/)
  fi
  bundle=${bundle:-$here}
  { [ -e "$bundle/BUILD" ] && [ -d "$bundle/wheels" ] && [ -e "$bundle/SHA256SUMS" ]; } ||
    fail "$bundle is no bundle: expected BUILD, SHA256SUMS and wheels/ in it; unpack edge-inspector-*.tar.gz and give its folder"
  bundle=$(cd "$bundle" && pwd)
  cd / # the folder in which it was started may be gone or unreadable
  (cd "$bundle" && sha256sum --check --quiet --strict SHA256SUMS) || fail "$bundle is damaged: copy it once more"
}

check_machine() {
  local wanted machine glibc own space
  wanted=$(value python "$bundle/BUILD") machine=$(value machine "$bundle/BUILD") glibc=$(value glibc "$bundle/BUILD")
  [ "$(uname -m)" = "$machine" ] || fail "this bundle is for $machine, this machine is $(uname -m): take edge-inspector-*-$(uname -m)-py*"
  jetpack
  python=${python:-$(command -v "python$wanted" || command -v python3 || echo python3)}
  own=$("$python" -c 'import sys, venv; print("%d.%d" % sys.version_info[:2])') || fail "$python does not run: install Python $wanted or give --python"
  case "$(readlink -f "$(command -v "$python")")" in
    /root/* | /home/*) fail "$python lies in a home folder, which services do not see: give --python one of /usr" ;;
  esac
  [ "$own" = "$wanted" ] || fail "this bundle is for Python $wanted, $python is $own: take edge-inspector-*-py$own, or give --python"
  own=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
  [ "$(printf '%s\n' "$glibc" "$own" | sort -V | head -n 1)" = "$glibc" ] || fail "glibc is $own, expected $glibc or newer: take JetPack 6, Ubuntu 22.04, Debian 12 or newer"
  if command -v systemctl >/dev/null; then
    own=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    [ "${own:-0}" -ge "$oldest_systemd" ] || fail "systemd is $own, expected $oldest_systemd or newer"
  fi
  mkdir -p "$base/releases"
  space=$(($(du -sk "$bundle/wheels" | cut -f1) * 5)) # unpacked and compiled: 3.5 times, measured
  [ "$(df --output=avail -k "$base" | tail -n 1)" -gt "$space" ] || fail "$base has less than $((space / 1024)) MB free: make room, or remove old releases"
}

jetpack() { # which JetPack this is, and whether it has what an engine needs
  local release
  [ -e /etc/nv_tegra_release ] || return 0
  release=$(sed -n '1s/^# R\([0-9]*\).*REVISION: \([0-9.]*\).*/\1.\2/p' /etc/nv_tegra_release)
  case "${release%%.*}" in
    36) say "JetPack 6 (L4T $release)" ;;
    38 | 39) say "JetPack 7 (L4T $release)" ;;
    *) fail "/etc/nv_tegra_release says L4T ${release:-nothing known}; expected 36 (JetPack 6) or 38 (JetPack 7): flash this board anew" ;;
  esac
  has_tensorrt || say "warning: python3 finds no tensorrt: only backend onnxruntime will run; for engines: apt-get install nvidia-jetpack"
}

has_tensorrt() { [ -e /etc/nv_tegra_release ] && "${python:-python3}" -c 'import tensorrt' 2>/dev/null; }

make_release() {
  local version number=1 pip options=()
  version=$(value release "$bundle/BUILD")
  while [ -e "$base/releases/$version-$number" ]; do number=$((number + 1)); done
  unfinished=$base/releases/$version-$number
  trap 'rm -rf "$unfinished"' EXIT
  trap 'exit 1' HUP INT TERM
  say "making $unfinished"
  ! has_tensorrt || options+=(--system-site-packages) # TensorRT is JetPack's own
  "$python" -m venv --without-pip "${options[@]}" "$unfinished"
  pip=("$bundle"/wheels/pip-*.whl)
  PIP_CONFIG_FILE=/dev/null "$unfinished/bin/python" "${pip[0]}/pip" install --isolated --quiet --no-index --find-links "$bundle/wheels" \
    --ignore-installed --require-hashes --no-deps --only-binary :all: --no-warn-script-location -r "$bundle/requirements.txt"
  if has_tensorrt && [ -d "$bundle/jetson" ] && command -v nvcc >/dev/null && command -v g++ >/dev/null; then
    PIP_CONFIG_FILE=/dev/null "$unfinished/bin/python" -m pip install --isolated --quiet --no-index --find-links "$bundle/jetson" \
      --find-links "$bundle/wheels" --no-build-isolation --require-hashes --no-deps -r "$bundle/jetson/requirements.txt" ||
      say "warning: PyCUDA was not built: only backend onnxruntime will run"
  fi
  cp -R "$bundle/systemd" "$bundle/examples" "$bundle/BUILD" "$bundle/SHA256SUMS" "$bundle/install.sh" "$unfinished/"
  "$unfinished/bin/edge-inspector" --version >/dev/null || fail "the new release does not run"
}

make_user() { # and the groups of the devices that this machine has
  local group
  getent group "$user" >/dev/null || groupadd --system "$user"
  getent passwd "$user" >/dev/null ||
    useradd --system --gid "$user" --home-dir "$state" --no-create-home --shell /usr/sbin/nologin --comment "edge-inspector stations" "$user"
  for group in video render plugdev gpio jtop; do
    ! getent group "$group" >/dev/null || usermod --append --groups "$group" "$user"
  done
}

prove() { # the new release must take every station file that the current one takes
  local name
  for name in $(stations); do
    takes "$1" "$name" && continue
    if [ -e "$base/current" ] && takes "$base/current" "$name" 2>/dev/null; then
      fail "the new release refuses $config/$name/station.toml, which $(current) takes: see above"
    fi
    say "warning: $config/$name/station.toml must be changed, see above"
  done
}

takes() { # release $1 the file of station $2
  STATE_DIRECTORY=$state/$2 runuser -u "$user" -- "$1/bin/edge-inspector" check "$config/$2/station.toml" >/dev/null
}

switch_to() { # release $1, before which is $2 or none; a power cut leaves the old one or the new one
  point previous "$2"
  point current "$1"
  sync
}

point() { # link $1 to release $2, or to none
  [ -n "$2" ] || { rm -f "$base/$1"; return; }
  ln -sfn "releases/$2" "$base/.$1"
  mv -T "$base/.$1" "$base/$1"
}

settle_in() { # user, folders, link and units of the current release
  local unit
  make_user
  mkdir -p "$config" "$units" "$(dirname "$link")"
  chown "root:$user" "$config"
  chmod 0750 "$config"
  if [ -z "$(stations)" ]; then
    cp -R "$base/current/examples/demo" "$config/demo"
    chown -R "root:$user" "$config/demo"
    chmod -R u=rwX,g=rX,o= "$config/demo"
  fi
  ln -sfn "$base/current/bin/edge-inspector" "$link"
  rm -f "$units"/edge-inspector*
  for unit in "$base"/current/systemd/edge-inspector*.service "$base"/current/systemd/edge-inspector*.socket; do
    command install -m 0644 "$unit" "$units/"
  done
  ! booted || systemctl daemon-reload
}

restart_all() { # those that run, one after the other; each is waited for until it serves
  local unit
  [ "$restart" = yes ] && booted || return 0
  for unit in $(running); do
    say "restarting $unit"
    systemctl restart "$unit" || return 1
  done
}

remove_old() {
  local release
  for release in "$base"/releases/*; do
    case "$(basename "$release")" in
      "$(current)" | "$(previous)") ;;
      *) rm -rf "$release" ;;
    esac
  done
}

stations() { find "$config" -mindepth 2 -maxdepth 2 -name station.toml -printf '%h\n' 2>/dev/null | sed 's,.*/,,' | sort; }
running() { ! booted || all_units | grep -E '^edge-inspector(-web)?@'; }
all_units() { ! booted || systemctl list-units --plain --no-legend --state=active,activating,reloading 'edge-inspector*' | awk '{ print $1 }'; }
previous() { basename "$(readlink "$base/previous" 2>/dev/null || true)"; }
current() { basename "$(readlink "$base/current" 2>/dev/null || true)"; }
value() { sed -n "s/^$1=//p" "$2" 2>/dev/null; }
same_release() { cmp -s "$bundle/SHA256SUMS" "$base/current/SHA256SUMS" && "$base/current/bin/edge-inspector" --version >/dev/null 2>&1; }
booted() { [ -d /run/systemd/system ]; }
alone() {
  [ "$(id -u)" -eq 0 ] || { echo "install.sh: needs root: sudo $0" >&2; exit 2; }
  mkdir -p /opt
  exec 9</opt
  flock --nonblock 9 || fail "another install.sh is at work"
}
say() { echo "install.sh: $*"; }
fail() { echo "install.sh: $*" >&2; exit 1; }
wrong() { echo "install.sh: $*; see: install.sh help" >&2; exit 2; }

main "$@"
