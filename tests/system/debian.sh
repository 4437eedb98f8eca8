# A fresh Debian 12 with a real systemd and no network, in systemd-nspawn; to be sourced by scripts that try things in it.
# They set `folder` (a new one, removed at the end), put into $folder/media what shall be seen as /media, and set `watched`, a unit.
# shellcheck shell=bash
: "${folder:?}" "${watched:?}"
root=$folder/root
leader="" machine="" at="set-up"
trap clean_up EXIT

debian() { # the bare Debian, from the cache if there is one
  local cache mirror
  cache=${EDGE_INSPECTOR_DEBIAN:-$folder}/debian12-$(uname -m).tar
  mkdir -p "$(dirname "$cache")" "$root"
  if [ ! -e "$cache" ]; then
    # shellcheck disable=SC2016
    read -r mirror < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages')
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3 bookworm "$folder/bare" "$mirror" >"$folder/debootstrap.log" ||
      { tail -n 20 "$folder/debootstrap.log" >&2; exit 1; }
    tar -C "$folder/bare" --numeric-owner -cf "$cache.new" .
    mv "$cache.new" "$cache"
    rm -rf --one-file-system "$folder/bare"
  fi
  tar -C "$root" --numeric-owner -xf "$cache"
}

step() { # a plain call: set -e holds inside, so that the first line that fails ends the script
  local start=$SECONDS
  at=$1
  shift
  "$@"
  echo "station: $at: held, $((SECONDS - start)) s"
}

fails() { ! "$@"; } # unlike `! command`, this ends the script when the command does not fail

boot() {
  systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --bind-ro="$folder/media:/media" --directory="$root" \
    </dev/null >>"$folder/console.log" 2>&1 &
  machine=$!
  within 90 "a running systemd" is_up
}

is_up() {
  leader=$(ps -o pid= --ppid "$machine" | tr -d ' ' | head -n 1)
  [ -n "$leader" ] && [[ $(inside systemctl is-system-running 2>/dev/null) =~ ^(running|degraded)$ ]]
}

inside() {
  nsenter --target "$leader" --mount --uts --ipc --net --pid --wdns=/ -- \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"
}

within() { # $1 seconds for $2 = what is waited for; the rest is asked again and again
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || { echo "station: not in time: $what" >&2; return 1; }
    sleep 0.2
  done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

clean_up() {
  if [ -n "$at" ]; then
    echo "station: FAILED: $at" >&2
    [ -z "$leader" ] || inside systemctl status --no-pager --lines 40 "$watched" >&2 || true
  fi
  [ -z "$machine" ] || kill -KILL "$leader" "$machine" 2>/dev/null || true
  { wait; } 2>/dev/null
  rm -rf --one-file-system "$folder"
}
