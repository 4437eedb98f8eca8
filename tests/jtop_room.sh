#!/bin/bash
# A mount namespace in which this machine is a Jetson with the real jtop service: unshare -m bash jtop_room.sh BOARD PYTHON
# BOARD: the folder of a SimulatedBoard with `board` and `tools`; PYTHON: one that has jetson-stats. Prints "up", serves until
# its input ends; "service" starts jtop's service (again), its number is in BOARD/service.pid.
set -eu
board=$1 python=$2
mkdir -p "$board/etc" "$board/bin"
cp -a /etc/. "$board/etc/"
cp "$board/board/etc/nvpmodel.conf" "$board/etc/"
getent group jtop > /dev/null || echo 'jtop:x:64000:' >> "$board/etc/group"
cp "$board/tools/"* "$board/bin/"
mount --bind "$board/board/sys" /sys
mount --bind "$board/etc" /etc
mount -t overlay overlay -o "lowerdir=$board/bin:/usr/bin" /usr/bin
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/nvpmodel
mount --bind "$board/board/var/lib/nvpmodel" /var/lib/nvpmodel
export PATH="/usr/bin:$PATH" JTOP_SERVICE=True
serve="import sys; sys.base_prefix = '$board/jtop'; from jtop.__main__ import main; sys.exit(main())"
echo up
while read -r order; do
  if [ "$order" = service ]; then
    rm -f /run/jtop.sock
    setsid "$python" -c "$serve" >> "$board/service.log" 2>&1 &
    echo $! > "$board/service.pid"
    echo "service $!"
  fi
done
