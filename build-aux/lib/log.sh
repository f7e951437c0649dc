# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Messages: progress with elapsed time, and errors.
#
# Everything goes to stderr; stdout belongs to results. A step is one line: on a terminal it is
# rewritten in place while the step runs, elsewhere (a log, CI) it is repeated as a plain line
# every HWP_PROGRESS seconds, so that a reader of the log sees that something still happens.

: "${HWP_PROGRESS:=20}"
log_start=$SECONDS
log_last=0
if [[ -t 2 ]]; then log_tty=1; else log_tty=; fi

# elapsed: the time since the program started, as m:ss
elapsed() { printf '%d:%02d' $(((SECONDS - log_start) / 60)) $(((SECONDS - log_start) % 60)); }

# clear_progress: removes a line that is being rewritten
clear_progress() { [[ -z $log_tty ]] || printf '\r\033[K' >&2; }

# say TEXT...: one line with the elapsed time
say() {
    clear_progress
    printf '[%s] %s\n' "$(elapsed)" "$*" >&2
    log_last=$SECONDS
}

# progress TEXT...: what a long step is doing right now; may be called as often as you like
progress() {
    if [[ -n $log_tty ]]; then
        printf '\r\033[K[%s] %.*s' "$(elapsed)" $((${COLUMNS:-80} - 10)) "$*" >&2
    elif ((SECONDS - log_last >= HWP_PROGRESS)); then
        say "$*"
    fi
}

# warn TEXT...: something the reader should know, but that is not fatal
warn() { say "warning: $*"; }

# die TEXT...: an error; each argument after the first is a line of help below it. Exits with $die_status.
die_status=1
die() {
    clear_progress
    printf '%s: error: %s\n' "${0##*/}" "$1" >&2
    shift
    (($# == 0)) || printf '    %s\n' "$@" >&2
    exit "$die_status"
}
