# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The cache: entries that are there completely or not at all, locks, room, and long commands.
#
# An entry is a directory KIND-KEY, where KEY is a hash of everything the result depends on. It is
# filled under a temporary name beside its place and renamed when it is complete, so whatever stops
# a run (a signal, a full disk, a power cut) leaves at most a directory .new-* or a work tree, which
# the next run removes or goes on from. `touch`ing the entry on each use lets pruning keep the ones
# that are used. Who works with an entry holds a shared lock on it meanwhile (lib/places.sh), and it is kept.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/hwpoisond
cache_keep=2

# cache_open: makes the cache directory, and checks that it can be used at all
cache_open() {
    [[ $cache == /* ]] ||
        die "XDG_CACHE_HOME is '$XDG_CACHE_HOME', not an absolute path"
    [[ $cache != *[[:space:]:\"\'\$]* ]] ||
        die "the cache directory '$cache' has a space, colon, quote or dollar sign in its name" \
            "the builds of QEMU and Linux cannot handle that; set XDG_CACHE_HOME to another directory"
    [[ $root != *[[:space:]:\"\'\$]* ]] ||
        die "the directory '$root' has a space, colon, quote or dollar sign in its name" \
            "its scripts cannot handle that; move it to another one"
    mkdir -p "$cache/log" 2>/dev/null || true
    [[ -d $cache/log && -w $cache && -w $cache/log ]] ||
        die "cannot write to the cache directory $cache" \
            "make it writable, or set XDG_CACHE_HOME to a directory that is"
}

# hash_of TEXT...: a short hash of the arguments
hash_of() { printf '%s\n' "$@" | sha256sum | cut -c1-16; }

# cache_has ENTRY: whether the entry is there; if so, marks it as used
cache_has() { [[ -d $cache/$1 ]] && { touch -c "$cache/$1" 2>/dev/null || true; }; }

# cache_lock NAME: holds the lock for the rest of the run. Children inherit it on purpose: should
# this process be killed hard, a compiler still running keeps a second run away from its files.
declare -A cache_locks=()
cache_lock() {
    local fd
    [[ ! ${cache_locks[$1]-} ]] || return 0
    exec {fd}>"$cache/.lock-$1"
    cache_locks[$1]=$fd
    if ! flock -n "$fd"; then
        say "another run is building; waiting for it"
        flock "$fd"
    fi
}

# cache_unlock: gives all locks back
cache_unlock() {
    local fd
    for fd in "${cache_locks[@]}"; do exec {fd}>&-; done
    cache_locks=()
}

# drop DIRECTORY: removes it, unless somebody holds a lock on it
drop() {
    local fd
    { exec {fd}<"$1"; } 2>/dev/null || return 0
    ! flock -n "$fd" || rm -rf "$1"
    exec {fd}<&-
}

# cache_begin ENTRY: a new empty directory in which to make the entry; its name is in $new. Wants the lock "build".
cache_begin() {
    rm -rf "$cache"/.new-*
    new=$cache/.new-$1
    mkdir "$new"
}

# cache_finish ENTRY KIND: the entry is complete: puts it in its place, and drops old ones
cache_finish() {
    local old
    find "$new" -type f -exec sync {} + # so that not even a power cut leaves a name without its content
    mv -T "$new" "$cache/$1"
    touch "$cache/$1"
    # newest first; names are ours and have no special characters
    # shellcheck disable=SC2012
    for old in $(ls -dt "$cache/$2"-* | tail -n +$((cache_keep + 1))); do
        drop "$old"
    done
}

# need_room MB WHAT: fails unless the cache's file system has that much left
need_room() {
    local have
    have=$(($(df --output=avail -k "$cache" | tail -n 1) / 1024))
    ((have >= $1)) ||
        die "$2 needs $1 MB in $cache, and only $have MB are left there" \
            "free some space, or set XDG_CACHE_HOME to a directory with enough room"
}

# ---- long commands ------------------------------------------------------------------------------

job='' job_pipe=''
# stop_job: on a signal, ends the command that run_job started, with all its children. A compiler that
# takes a moment to go holds the lock until then.
stop_job() {
    trap - INT TERM HUP
    [[ -z $job ]] || kill -TERM -- "-$job" 2>/dev/null || true
    [[ -z $job_pipe ]] || rm -f "$job_pipe"
    clear_progress
    printf '%s: stopped; the next run goes on from here\n' "${0##*/}" >&2
    exit 130
}

# show_log LOG: the lines that tell why a job failed
show_log() {
    { grep -E -m 8 '(^|[ :])([Ee]rror|ERROR|FAILED|fatal)[: ]' "$1" || true; echo ...; tail -n 12 "$1"; } >&2
}

# run_job LABEL LOG COMMAND...: runs a command with its output in LOG, and shows where it is: the
# [n/m] of ninja and meson, or the number of lines with the last one for make. Returns its status.
run_job() {
    local label=$1 log=$2 line count=0 status=0 job_output
    shift 2
    job_pipe=$(mktemp -u "$cache/.pipe-XXXXXX")
    mkfifo "$job_pipe"
    set -m # a process group of its own, so that stop_job gets all of it
    ("$@" 2>&1 </dev/null | tee "$log" >"$job_pipe"; exit "${PIPESTATUS[0]}") &
    job=$!
    set +m
    trap stop_job INT TERM HUP
    exec {job_output}<"$job_pipe"
    rm -f "$job_pipe"
    while IFS= read -r line || [[ -n $line ]]; do
        count=$((count + 1))
        case $line in
        \[[0-9]*/[0-9]*\]*) progress "$label: ${line%%]*}]" ;;
        '  '[A-Z]*) progress "$label: $count: ${line#  }" ;;
        esac
    done <&"$job_output"
    wait "$job" || status=$?
    exec {job_output}<&-
    job=
    trap - INT TERM HUP
    return "$status"
}

# must_run LABEL LOG COMMAND...: run_job, and the end of the program if it fails
must_run() {
    run_job "$@" && return
    clear_progress
    show_log "$2"
    die "$1 failed" "the whole output is in $2"
}
