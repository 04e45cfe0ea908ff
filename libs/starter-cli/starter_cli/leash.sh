#!/bin/sh
# Becomes the program that it is given, and leaves a shell behind in its process group that waits at standard input,
# a pipe that nobody writes to. When the process that started us is gone, however it went, the system closes
# the pipe, and the shell ends the group.
exec 3<&0 </dev/null
(
    trap '' INT HUP TERM
    read -r _ <&3
    kill -TERM "-$$"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "$$" 2>/dev/null || exit
        sleep 1
    done
    kill -KILL "-$$"
) &
exec "$@" 3<&-
