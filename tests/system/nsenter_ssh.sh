#!/bin/sh
# Stands in for ssh in tests/system/fleet.sh: the "host" is the process id of a container's init, and nothing is encrypted.
# usage: nsenter_ssh.sh [SSH OPTIONS...] PID COMMAND
set -eu

while [ $# -gt 0 ]; do
  case "$1" in
    -[bcDEeFIiJLlmOopQRSWw]) shift 2 ;;
    -*) shift ;;
    *) break ;;
  esac
done
pid=$1
shift
exec nsenter --target "$pid" --all --wdns=/ -- env -i HOME=/root LANG=C.UTF-8 \
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -c "$*"
