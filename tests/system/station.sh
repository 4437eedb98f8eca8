#!/usr/bin/env bash
# A station's life in a fresh Debian with a real systemd and no network: install, watchdog, kill, power cut, upgrade, uninstall.
# usage (root): tests/system/station.sh [BUNDLE]     default: a bundle that `make wheelhouse` makes of this checkout
#        EDGE_INSPECTOR_DEBIAN=FOLDER keeps the bare Debian there for the next run
# Prints each step with what it saw and its seconds; ends with 0 only when every step held.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly station=edge-inspector@demo file=/etc/edge-inspector/demo/station.toml
readonly not_ours='^/(dev|proc|run|sys|tmp|media|var/(log/journal|lib/(systemd|dbus)|tmp))(/|$)|^/etc/((passwd|group|shadow|gshadow)-|\.pwd\.lock|machine-id)$'
pid=0 started=$SECONDS

main() {
  [ "$(id -u)" -eq 0 ] || { echo "station.sh: needs root for debootstrap and systemd-nspawn" >&2; exit 2; }
  tools/system_packages.sh debootstrap
  command -v systemd-nspawn >/dev/null || { echo "station.sh: systemd-nspawn is missing; apt-get install systemd-container" >&2; exit 2; }
  folder=$(mktemp -d) watched=$station
  # shellcheck source=tests/system/debian.sh
  source tests/system/debian.sh
  bundles "${1:-}"
  debian

  step "boot Debian $(cat "$root/etc/debian_version")" boot
  inventory >"$folder/before"
  step "no network inside" no_network
  step "a damaged bundle is refused" damaged_bundle
  step "a JetPack that is too old is refused" old_jetpack
  step "install with no network" inside /media/bundle/install.sh install
  step "install once more does nothing" idempotent
  step "enable --now" inside systemctl enable --quiet --now "$station"
  step "it inspects" inspects
  step "it may do little" confined
  step "the web service beside it" web
  step "reload takes a new threshold, and refuses nonsense whole" reload
  step "the power helper obeys the station's user alone" power
  step "SIGSTOP: the watchdog ends it, systemd starts it" stopped
  step "kill -9" killed
  step "reboot" reboot
  step "stopped, its books balance" balanced
  step "power cut" power_cut
  step "after it, at most the part that was open is unknown" one_unknown
  step "an upgrade that cannot run is taken back" bad_upgrade
  step "upgrade" upgrade
  step "rollback" rollback
  step "uninstall keeps settings and books" uninstall
  step "uninstall --purge leaves nothing" purge
  at=""
  echo "station: all held, $((SECONDS - started)) s"
}

bundles() { # $folder/bundle: that of the argument or a new one; $folder/next: version 9.9.9 of it; $folder/bad: one that cannot run
  local name given=$1
  if [ -z "$given" ]; then
    make wheelhouse "ARCH=$(uname -m)" PY=3.11
    given=$(ls -d dist/edge-inspector-*-"$(uname -m)-py3.11"/)
  fi
  mkdir "$folder/media"
  bundle=$folder/media/bundle
  cp -al "$given" "$bundle" 2>/dev/null || cp -R "$given" "$bundle"
  release=$(sed -n 's/^release=//p' "$bundle/BUILD")
  for name in next bad; do
    cp -al "$bundle" "$folder/media/$name"
    python3 tests/system/other_release.py "$folder/media/$name" "$name"
  done
}

no_network() {
  [ "$(inside ls /sys/class/net)" = lo ]
  fails inside python3 -c 'import socket; socket.create_connection(("192.0.2.1", 443), 2)' 2>/dev/null
}

refused() { # the command must fail with a word like $1, and leave no release behind
  local said word=$1
  shift
  ! said=$(inside "$@" 2>&1) || { echo "station: was not refused: $*" >&2; return 1; }
  echo "$said" | tail -n 1
  [[ $said =~ $word ]]
  fails inside test -e /opt/edge-inspector/current
}

damaged_bundle() {
  cp -R "$folder/media/bad" "$root/root/damaged"
  printf x >>"$root/root/damaged/systemd/edge-inspector@.service"
  refused damaged /root/damaged/install.sh install
  rm -rf "$root/root/damaged"
}

old_jetpack() {
  echo '# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64' >"$root/etc/nv_tegra_release"
  refused "JetPack 6" /media/bundle/install.sh install
  rm "$root/etc/nv_tegra_release"
}

idempotent() {
  local before after
  before=$(inventory)
  inside /media/bundle/install.sh install
  after=$(inventory)
  diff <(echo "$before") <(echo "$after")
}

state() { inside systemctl show --value --property "$1" "${2:-$station}"; }
verdicts() { # "OK NOT_OK" that the station has given since its start, asked on its control socket
  inside /opt/edge-inspector/current/bin/python - 2>/dev/null <<'ASK' || echo 0 0
from pathlib import Path
from edge_inspector.control import ControlClient
counters = ControlClient(Path("/run/edge-inspector/demo/control.sock")).ask({"command": "counters"})["counters"]
print(int(counters["results_ok"]), int(counters["results_not_ok"]))
ASK
}
judges() { read -r good bad < <(verdicts) && [ "$good" -ge 1 ] && [ "$bad" -ge 1 ]; }

inspects() { # good and bad boards are told apart
  [ "$(state ActiveState)" = active ]
  within 60 "a good and a bad part" judges
  pid=$(state MainPID)
  echo "station: $(state StatusText)"
}

started_anew() { # asked at once: between two questions systemd may act
  local now
  now=$(inside systemctl show --property ActiveState --property MainPID "$station" | sort | tr '\n' ' ')
  [[ $now =~ ^"ActiveState=active MainPID="([1-9][0-9]*)" "$ ]] && [ "${BASH_REMATCH[1]}" != "$pid" ]
}
back() { # active again under another pid, and inspecting
  within "$1" "an active station" started_anew
  inspects
}

stopped() {
  local restarts start=$SECONDS
  restarts=$(state NRestarts)
  inside systemctl kill --kill-whom=main --signal=SIGSTOP "$station"
  back 60
  echo "station: inspects again after $((SECONDS - start)) s"
  [ "$(state NRestarts)" -gt "$restarts" ]
  inside journalctl --unit "$station" --output cat >"$folder/journal"
  grep -q "Watchdog timeout" "$folder/journal" || { echo "station: no watchdog in the journal" >&2; return 1; }
  grep -q "most recent call first" "$folder/journal" || { echo "station: no stacks in the journal" >&2; return 1; }
}

killed() {
  inside systemctl kill --kill-whom=main --signal=SIGKILL "$station"
  back 60
}

reboot() {
  local code=0
  inside systemctl reboot
  within 120 "the shutdown" gone "$machine"
  wait "$machine" || code=$?
  [ "$code" -eq 133 ] # how systemd-nspawn says that it is to be started again
  pid=0
  boot
  back 90
}
power_cut() {
  kill -KILL "$leader"
  kill -KILL "$machine" 2>/dev/null || true
  wait "$machine" 2>/dev/null || true
  pid=0
  boot
  back 90
}

rest() { # stopped in good order
  inside systemctl stop "$station"
  [ "$(state Result) $(state ActiveState)" = "success inactive" ]
}

balanced() {
  rest
  inside edge-inspector ledger reconcile "$file"
  inside systemctl start "$station"
  back 60
}

one_unknown() { # the book says that it cannot vouch for the last moment; of what it knows, at most one part has no result
  local said code=0 wrong
  rest
  said=$(inside edge-inspector ledger reconcile "$file") || code=$?
  echo "$said"
  [ "$code" -eq 3 ]
  [[ $said == *"the power was cut after part"* ]]
  wrong=$(grep ' NO$' <<<"$said" || true)
  [[ $wrong =~ ^(|\ *accepted\ .*\+\ 1\ unknown\ *NO)$ ]]
  inside systemctl start "$station"
  back 60
}

confined() {
  local exposure
  exposure=$(inside systemd-analyze security --no-pager "$station" | sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p')
  echo "station: exposure $exposure, user $(inside ps -o user= -p "$pid" 2>/dev/null || inside stat -c %U "/proc/$pid")"
  awk -v exposure="$exposure" 'BEGIN { exit !(exposure != "" && exposure <= 2.0) }'
  [ "$(inside stat -c %U "/proc/$pid")" = edge-inspector ]
  # shellcheck disable=SC2016
  [ "$(inside awk '/^(CapEff|NoNewPrivs|Seccomp):/ { print $2 }' "/proc/$pid/status" | tr '\n' ' ')" = "0000000000000000 1 2 " ]
  fails inside runuser -u edge-inspector -- test -w "$file"
  fails inside runuser -u nobody -- cat "$file" 2>/dev/null
}

web() {
  inside systemctl enable --quiet --now edge-inspector-web@demo
  within 60 "an answer of the web service" inside python3 -c \
    'import urllib.request; assert b"\"station_ready\":true" in urllib.request.urlopen("http://127.0.0.1:8080/health", timeout=5).read()' 2>/dev/null
}

reload() {
  local settings=$root$file
  printf '[recipes.pcb.thresholds]\nshort = 0.91\n' >>"$settings"
  inside systemctl reload "$station"
  judged_with 0.91
  sed -i 's/^short = 0.91/short = 0.3\nnonsense = "x"/' "$settings"
  fails inside systemctl reload "$station"
  inside journalctl --unit "$station" --output cat | grep nonsense | tail -n 1
  judged_with 0.91
  sed -i '/^\[recipes.pcb.thresholds\]/,$d' "$settings"
  inside systemctl reload "$station"
  judged_with 0.7
  [ "$(state MainPID)" = "$pid" ]
}

newest() { # "SEQ SHORT": the newest result in the book, and the threshold of a short circuit with which it was judged
  inside python3 -c 'import json, sqlite3
book = sqlite3.connect("file:/var/lib/edge-inspector/demo/ledger.sqlite?mode=ro", uri=True)
(seq, used), = book.execute("SELECT seq, thresholds FROM results ORDER BY seq DESC LIMIT 1")
print(seq, json.loads(used)[1])'
}
judged_with() { # the parts that come from now on, but for the one that may be open
  local before now short
  read -r before _ < <(newest)
  within 20 "two more parts" newer "$((before + 2))"
  read -r now short < <(newest)
  echo "station: part $now is judged with $short"
  [ "$short" = "$1" ]
}
newer() { read -r now _ < <(newest) && [ "$now" -ge "$1" ]; }

power() { # the tools of a Jetson, imitated; what they write lies where the helper's unit lets nvpmodel write
  PYTHONPATH=tests python3 - "$root" <<'BOARD'
import shutil, sys
from pathlib import Path
from simulated_board import SimulatedBoard
root = Path(sys.argv[1])
board = SimulatedBoard(root / "var/lib/nvpmodel")
shutil.copy(board.root / "etc/nvpmodel.conf", root / "etc")
for tool in board.tools.iterdir():
    text = tool.read_text().replace(str(root), "").replace(sys.executable, "/usr/bin/python3")
    (root / "usr/sbin" / tool.name).write_text(text)
    (root / "usr/sbin" / tool.name).chmod(0o755)
BOARD
  inside systemctl start edge-inspector-power.socket
  [[ $(ask_power nobody "mode 1" 2>&1 || true) == *PermissionError* ]]
  [ "$(ask_power edge-inspector "mode 1")" = ok ]
  [[ $(ask_power edge-inspector "mode 3") == reboot* ]]
  grep -q "pmode:0001" "$root/var/lib/nvpmodel/board/var/lib/nvpmodel/status"
  [ ! -e "$root/var/lib/nvpmodel/board/rebooted" ]
  inside systemctl stop edge-inspector-power.service edge-inspector-power.socket
  rm -rf "$root/var/lib/nvpmodel" "$root/etc/nvpmodel.conf" "$root"/usr/sbin/{nvpmodel,jetson_clocks}
}

ask_power() { # as user $1, the order $2
  inside runuser -u "$1" -- python3 -c 'import socket, sys
with socket.socket(socket.AF_UNIX) as door:
    door.connect("/run/edge-inspector-power/power.sock")
    door.sendall(sys.argv[1].encode() + b"\n")
    print(door.recv(600).decode().strip())' "$2"
}

version() { inside /media/bundle/install.sh status | sed -n 's/^version=//p'; }

bad_upgrade() {
  local before
  before=$(inside /media/bundle/install.sh status | grep -E '^(current|previous|version)=')
  fails inside /media/bad/install.sh upgrade
  [ "$(inside /media/bundle/install.sh status | grep -E '^(current|previous|version)=')" = "$before" ]
  back 60
}

upgrade() {
  inside /media/next/install.sh upgrade
  [ "$(version)" = 9.9.9 ]
  [ "$(inside edge-inspector --version)" = "edge-inspector 9.9.9" ]
  back 60
  inside readlink "/proc/$pid/exe"
}

rollback() {
  inside /opt/edge-inspector/current/install.sh rollback
  [ "$(version)" = "$release" ]
  [ "$(inside edge-inspector --version)" = "edge-inspector $release" ]
  back 60
}

inventory() { # every path of the container but those that a running system makes by itself
  find "$root" -xdev -printf '/%P %y %m %U:%G %l\n' | grep -vE "$not_ours" | LC_ALL=C sort
  cat "$root/etc/passwd" "$root/etc/group"
}

uninstall() {
  inside /opt/edge-inspector/current/install.sh uninstall
  [ "$(inventory | cut -d' ' -f1 | grep -E '^/.*edge-inspector' | grep -vE '^/(etc|var/lib|var/log)/edge-inspector(-power)?(/|$)')" = "" ]
  inside test -e "$file"
  inside test -e /var/lib/edge-inspector/demo
}

purge() {
  inside /media/bundle/install.sh uninstall --purge
  diff "$folder/before" <(inventory)
  [ -z "$(inside systemctl list-units --all --plain --no-legend 'edge-inspector*')" ]
}

main "$@"
