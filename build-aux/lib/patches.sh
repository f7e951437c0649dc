# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Our patch series: their identity and their application to a source tree.

# series_patches DIRECTORY: the paths of its patches in order; nothing if there is no series yet
series_patches() {
    [[ -f $1/series ]] || return 0
    sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' -e "s|^|$1/|" "$1/series"
}

# series_hash DIRECTORY: a hash of order and content
series_hash() { series_patches "$1" | xargs -r cat | sha256sum | cut -c1-16; }

# apply_series DIRECTORY TREE BASE: applies the series, exactly. A patch that would need fuzz was
# written for other code, and whoever reads the result must know; BASE names the version for that.
apply_series() {
    local patch output
    for patch in $(series_patches "$1"); do
        [[ -f $patch ]] || die "$1/series names ${patch##*/}, which is not there"
        output=$(patch -p1 -f --fuzz=0 --no-backup-if-mismatch -d "$2" <"$patch" 2>&1) || {
            mapfile -t hunks < <(awk '
                /^patching file / { file = $3 }
                /^\|(---|\+\+\+) / && $2 != "/dev/null" { file = $2 }
                /^No file to patch/ { print file ": there is no such file" }
                / FAILED at |already exists|previously applied|malformed/ { print file ": " $0 }' <<<"$output")
            die "${patch##*/} does not apply to $3" "${hunks[@]}" \
                "the series $1 has to be rebased onto $3: see HACKING.md, build-aux/series rebase"
        }
    done
}
