# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Where what a program needs is: made ready by build-aux/setup, and kept from being removed while the program runs.

# hold DIRECTORY: keeps drop() of lib/cache.sh away from it until this program, and all that it starts, has ended
hold() {
    local fd
    exec {fd}<"$1"
    flock -s "$fd"
}

# ready COMPONENT...: has them made, and exports where everything is as HWP_*. What is ready has just been marked as used,
# so nobody removes it before it is held.
ready() {
    local places line name
    places=$("$root/build-aux/setup" --print "$@") || return
    while read -r line; do
        eval "export HWP_$line"
    done <<<"$places"
    for name in "${!HWP_@}"; do
        [[ $name != *BUILD || ! -d ${!name} ]] || hold "${!name}"
    done
}
