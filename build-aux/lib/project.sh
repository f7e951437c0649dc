# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Our own programs: a meson build directory per checkout, kept up to date by ninja.

project_build=$cache/build-$(hash_of "$root")

# forget_checkouts: removes the build directories of checkouts that no longer exist, and were not built for a week: in
# another mount namespace there may be what is not seen in this one
forget_checkouts() {
    local directory
    for directory in "$cache"/build-*; do
        [[ $(find "$directory/checkout" -mtime +6 2>/dev/null) ]] || continue
        [[ -f $(<"$directory/checkout")/meson.build ]] || drop "$directory"
    done
}

# build_project: configures if need be, and compiles
build_project() {
    local log=$cache/log/build.log
    install_packages "${packages_build[@]}"
    cache_lock project
    forget_checkouts
    if [[ ! -f $project_build/build.ninja ]]; then
        need_room 100 "building hwpoisond"
        rm -rf "$project_build"
        must_run "configuring hwpoisond" "$log" meson setup "$project_build" "$root"
    fi
    echo "$root" >"$project_build/checkout"
    must_run "compiling hwpoisond" "$log" ninja -C "$project_build"
}
