#!/usr/bin/env bash
# deploy/ansible against two machines (Debian 12 with a real systemd, no network): roll-out, upgrade, gate, and what is taken back.
# usage (root): tests/system/fleet.sh VENV [BUNDLE]     VENV has Ansible (tools/deploy_lint.sh makes it); default: a new bundle
#        EDGE_INSPECTOR_DEBIAN=FOLDER keeps the bare Debian there for the next run
# Prints each step with its seconds; ends with 0 only when every step held.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly cells=(line1-cell1 line1-cell2)
machines=() at="set-up" started=$SECONDS

main() {
  [ $# -ge 1 ] || { echo "usage: fleet.sh VENV [BUNDLE]" >&2; exit 2; }
  [ "$(id -u)" -eq 0 ] || { echo "fleet.sh: needs root for debootstrap and systemd-nspawn" >&2; exit 2; }
  tools/system_packages.sh debootstrap nsenter
  command -v systemd-nspawn >/dev/null || { echo "fleet.sh: systemd-nspawn is missing; apt-get install systemd-container" >&2; exit 2; }
  ansible=$(cd "$1/bin" && pwd)/ansible-playbook
  folder=$(mktemp -d)
  trap clean_up EXIT
  bundles "${2:-}"
  machine "${cells[0]}"
  machine "${cells[1]}"
  inventory

  step "roll-out to two bare machines" roll_out "$release"
  step "both are READY" both ready
  step "once more: nothing changes" unchanged
  step "what can change while it runs does" live
  step "an upgrade, machine by machine" roll_out 9.9.9
  step "both run it" both runs 9.9.9
  step "a release that cannot run stops at the first machine" taken_back 6.6.6
  step "both run the one before, and are READY" both runs 9.9.9
  step "a station file that is wrong is not even tried" wrong_file
  step "a station file that makes it worse is taken back" worse_file
  step "both are READY" both ready
  step "one release back, machine by machine" play rollback.yml
  step "both run the one before" both runs "$release"
  at=""
  echo "fleet: all held, $((SECONDS - started)) s"
}

bundles() { # $folder/dist: the bundle of the argument or a new one, 9.9.9 of it, and 6.6.6 that cannot run; folders and .tar.gz
  local given=${1:-} name
  if [ -z "$given" ]; then
    make wheelhouse "ARCH=$(uname -m)" PY=3.11
    given=$(ls -d dist/edge-inspector-*-"$(uname -m)-py3.11"/)
  fi
  release=$(sed -n 's/^release=//p' "$given/BUILD")
  mkdir "$folder/dist"
  cp -R "$given" "$folder/dist/$(name_of "$release")"
  cp -R "$given" "$folder/dist/$(name_of 9.9.9)"
  cp -R "$given" "$folder/dist/$(name_of 6.6.6)"
  python3 tests/system/other_release.py "$folder/dist/$(name_of 9.9.9)" next
  python3 tests/system/other_release.py "$folder/dist/$(name_of 6.6.6)" bad
  for name in "$folder"/dist/*/; do
    tar -C "$folder/dist" -czf "${name%/}.tar.gz" "$(basename "$name")"
  done
}

name_of() { echo "edge-inspector-$1-$(uname -m)-py3.11"; }

machine() { # boots $1
  local cache root=$folder/$1
  cache=${EDGE_INSPECTOR_DEBIAN:-$folder}/debian12-$(uname -m).tar
  mkdir -p "$(dirname "$cache")" "$root"
  if [ ! -e "$cache" ]; then
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3 bookworm "$folder/bare" >"$folder/debootstrap.log" ||
      { tail -n 20 "$folder/debootstrap.log" >&2; exit 1; }
    tar -C "$folder/bare" --numeric-owner -cf "$cache.new" .
    mv "$cache.new" "$cache"
    rm -rf --one-file-system "$folder/bare"
  fi
  tar -C "$root" --numeric-owner -xf "$cache"
  systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --machine="$1" --directory="$root" </dev/null >>"$folder/console.log" 2>&1 &
  machines+=($!)
  within 90 "a running systemd on $1" is_up $!
}

is_up() { [[ $(inside "$1" systemctl is-system-running 2>/dev/null) =~ ^(running|degraded)$ ]]; }
leader() { ps -o pid= --ppid "$1" | tr -d ' ' | head -n 1; }
inside() { # the machine that process $1 runs
  local init
  init=$(leader "$1")
  [ -n "$init" ] || return 1
  shift
  nsenter --target "$init" --all --wdns=/ -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"
}

inventory() { # the fleet, as the example's: only the way in and the stations are this test's
  mkdir "$folder/fleet"
  cp -R deploy/ansible/. "$folder/fleet"
  rm -rf "$folder/fleet/inventory"
  mkdir -p "$folder/fleet/inventory" "$folder/fleet/files"
  cp -R deploy/examples/demo/pictures "$folder/fleet/files/"
  sed 's/name = "demo"/name = "{{ station_one.name }}"/; s,/edge-inspector/demo",/edge-inspector/{{ station_one.name }}",' \
    deploy/examples/demo/station.toml >"$folder/fleet/station.toml.j2"
  cat >"$folder/fleet/inventory/example.yml" <<END
stations:
  hosts:
    ${cells[0]}: {ansible_host: "$(leader "${machines[0]}")"}
    ${cells[1]}: {ansible_host: "$(leader "${machines[1]}")"}
  vars:
    ansible_ssh_executable: $PWD/tests/system/nsenter_ssh.sh
    ansible_ssh_transfer_method: piped
    program_bundles: $folder/dist
    program_release: $release
    gate_ready_s: 120
    station_instances:
      - name: "{{ inventory_hostname }}"
        template: station.toml.j2
        files: files/
        secrets: {example-password: "äöü 'quoted' \$HOME"}
        web: true
END
}

play() { # playbook $1, further arguments are ansible's; what it said is in $folder/said
  (cd "$folder/fleet" && ANSIBLE_NOCOLOR=1 "$ansible" "$@") >"$folder/said" 2>&1 || { grep -E '^(fatal|failed|ERROR|TASK.*back)|msg' "$folder/said" | tail -n 12; return 1; }
}

roll_out() { # release $1
  local last=""
  play site.yml --extra-vars "program_release=$1" || { tail -n 40 "$folder/said"; return 1; }
  sed -i "s/program_release: .*/program_release: $1/" "$folder/fleet/inventory/example.yml"
  last=$(grep -n "${cells[0]}" "$folder/said" | grep -v "ok=" | tail -n 1 | cut -d: -f1)
  [ "$last" -lt "$(grep -n "\[${cells[1]}\]" "$folder/said" | head -n 1 | cut -d: -f1)" ] || { echo "fleet: not one after the other" >&2; return 1; }
}

unchanged() {
  play site.yml
  grep -E 'changed=' "$folder/said"
  [ "$(grep -cE 'changed=0 .*failed=0' "$folder/said")" -eq 2 ]
}

live() { # a deadline is taken over without a restart
  local before
  before=$(started_at)
  sed -i 's/deadline_ms = 1500.0/deadline_ms = 1400.0/' "$folder/fleet/station.toml.j2"
  play site.yml
  [ "$(started_at)" = "$before" ] || { echo "fleet: it was restarted" >&2; return 1; }
  inside "${machines[0]}" grep -q '^deadline_ms = 1400.0' "/etc/edge-inspector/${cells[0]}/station.toml"
}

both() { "$1" 0 "${@:2}" && "$1" 1 "${@:2}"; }
ready() { inside "${machines[$1]}" edge-inspector status "/etc/edge-inspector/${cells[$1]}/station.toml" --wait 60; }
runs() {
  [ "$(inside "${machines[$1]}" /opt/edge-inspector/current/install.sh status | sed -n 's/^version=//p')" = "$2" ] || { echo "fleet: ${cells[$1]} does not run $2" >&2; return 1; }
  ready "$1"
}

fails() { ! "$@"; }
untouched() { # the second machine took no part
  fails grep -q "\[${cells[1]}\]" "$folder/said"
}

taken_back() {
  fails play site.yml --extra-vars "program_release=$1"
  untouched
}

wrong_file() {
  local before
  before=$(started_at)
  cp "$folder/fleet/station.toml.j2" "$folder/right"
  sed -i 's/period_s = 2.0/period_s = -2.0/' "$folder/fleet/station.toml.j2"
  fails play site.yml
  grep -q 'period_s' "$folder/said"
  untouched
  [ "$(started_at)" = "$before" ] || { echo "fleet: it was restarted" >&2; return 1; }
  cp "$folder/right" "$folder/fleet/station.toml.j2"
}

started_at() { inside "${machines[0]}" systemctl show --value --property ExecMainStartTimestampMonotonic "edge-inspector@${cells[0]}"; }

worse_file() { # a camera that is not there: `check` cannot know, the gate does
  sed -i 's/type = "folder"/type = "basler"/; s/path = "pictures"/serial = "99999999"/' "$folder/fleet/station.toml.j2"
  fails play site.yml --extra-vars gate_ready_s=15
  grep -q 'Put the station files from before back' "$folder/said"
  untouched
  cp "$folder/right" "$folder/fleet/station.toml.j2"
}

within() { # $1 seconds for $2 = what is waited for; the rest is asked again and again
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || { echo "fleet: not in time: $what" >&2; return 1; }
    sleep 0.2
  done
}

step() {
  local start=$SECONDS
  at=$1
  shift
  "$@"
  echo "fleet: $at: held, $((SECONDS - start)) s"
}

clean_up() {
  local code=$? one init
  [ -z "$at" ] || { echo "fleet: FAILED at: $at" >&2; [ ! -e "$folder/said" ] || tail -n 30 "$folder/said" >&2; }
  for one in "${machines[@]}"; do
    init=$(leader "$one") || true
    [ -z "$init" ] || kill -KILL "$init" || true
    wait "$one" 2>/dev/null || true
  done
  rm -rf --one-file-system "$folder"
  exit "$code"
}

main "$@"
