# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Our patch series: their identity, their application to a source tree, and the commit messages in them.

# series_patches DIRECTORY: the paths of its patches in order; nothing if there is no series yet
series_patches() {
    [[ -f $1/series ]] || return 0
    sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' -e "s|^|$1/|" "$1/series"
}

# series_hash DIRECTORY: a hash of order and content
series_hash() { series_patches "$1" | xargs -r cat | sha256sum | cut -c1-16; }

# The status of apply_series when the series was written for another version. Any other, such as for a full disk, says
# nothing of the version.
patches_unfit=3

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
            ((${#hunks[@]})) || die "${patch##*/} cannot be applied in $2" "$output"
            die_status=$patches_unfit die "${patch##*/} does not apply to $3" "${hunks[@]}" \
                "the series $1 has to be rebased onto $3: see HACKING.md, build-aux/series rebase"
        }
    done
}

# The DEP-3 fields that a commit message may carry as trailers, in the order they are written.
# Last-Update is not one of them: it is the author date.
fields='Author|Origin|Bug|Bug-[A-Za-z]+|Forwarded|Applied-Upstream|Reviewed-by'

# header_to_message: a patch on stdin, the commit message on stdout
header_to_message() {
    awk -v fields="^($fields): " '
        /^---( |$)/ || /^diff --git / { exit }
        /^Description: / { sub(/^Description: /, ""); print; in_body = 1; next }
        in_body && /^ / { if (!body) print ""; body = 1; print ($0 == " ." ? "" : substr($0, 2)); next }
        { in_body = 0 }
        $0 ~ fields { trailer[++n] = $0 }
        END { if (n) print ""; for (i = 1; i <= n; i++) print trailer[i] }'
}
