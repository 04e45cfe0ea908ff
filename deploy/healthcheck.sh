#!/bin/bash
# healthcheck.sh PATH [PORT]: exits with 0 when GET PATH on this container's loopback is answered by 200; otherwise prints
# the answer and exits with 1. Bash alone: the images have no curl, and starting Python for each check costs a tenth of
# a core.
port=${2:-${INTERNAL_PORT:-9000}}
exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
read -r -t 4 _ status rest <&3 || exit 1
[ "$status" = 200 ] && exit
printf '%s %s\n' "$status" "$rest"
# `docker inspect` shows the body, which names what is missing.
while read -r -t 4 line <&3 || [ -n "$line" ]; do printf '%s\n' "$line"; done
exit 1
