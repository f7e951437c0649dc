# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMU's own test programs, as a build of ours has them: those with poison in their name, and such cases of the
# others. Wants results.sh and nokvm.sh.

# run_qtest BUILD PROGRAM ARGUMENT...: one test program, in its build directory
run_qtest() {
    (cd "$1" && QTEST_QEMU_BINARY=$1/qemu-system-x86_64 without_kvm timeout 1200 "${@:2}" --tap -k 2>&1) |
        tap_lines "${2##*/}"
}

# qtest_poison BUILD [--full]: the programs with poison in their name, and those cases of the others; those of the
# migration tests that take longer only with --full
qtest_poison() {
    local program list cases full
    for program in $(cd "$1" && find tests -type f -perm -100 | sort); do
        if [[ $program == *poison* ]]; then
            run_qtest "$1" "$program"
            continue
        fi
        full=()
        [[ $program != */migration-test ]] || full=(${2:+"$2"})
        list=$(cd "$1" && QTEST_QEMU_BINARY=$1/qemu-system-x86_64 without_kvm "$program" "${full[@]}" -l 2>&1 </dev/null) || {
            printf '%s\nnot ok %s: it does not list its cases\n' "$(tail -n 5 <<<"$list")" "${program##*/}"
            continue
        }
        # GLib 2.84 lists them as comments
        list=$(sed -n 's|^\(# \)\?/|/|p' <<<"$list")
        [[ -n $list ]] || echo "not ok ${program##*/}: it lists no case"
        cases=$(grep -i poison <<<"$list" || true)
        if [[ -n $cases ]]; then
            # shellcheck disable=SC2046  # words: one -p for each
            run_qtest "$1" "$program" "${full[@]}" $(printf -- '-p %s ' $cases)
        elif [[ $program == */migration-test ]]; then
            echo "skip ${program##*/}: no case of poison (the kernel has no UFFDIO_POISON, or does not let us use it)"
        fi
    done
}
