# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Test results: one line a test on stdout, and the count of them.
#
#     ok SUITE/NAME (1.2 s)
#     not ok SUITE/NAME: reason
#     skip SUITE/NAME: reason

passed=0 failed=0 skipped=0

# result_line SUITE LINE: prints and counts a line in the form above but without the suite; any other
# line is passed through
result_line() {
    case $2 in
    'ok '*) passed=$((passed + 1)) && printf 'ok %s/%s\n' "$1" "${2#ok }" ;;
    'not ok '*) failed=$((failed + 1)) && printf 'not ok %s/%s\n' "$1" "${2#not ok }" ;;
    'skip '*) skipped=$((skipped + 1)) && printf 'skip %s/%s\n' "$1" "${2#skip }" ;;
    *) printf '%s\n' "$2" ;;
    esac
}

# run_suite SUITE COMMAND...: runs a command that prints such lines. A command that fails, or prints no
# result at all, is a failure itself.
run_suite() {
    local suite=$1 line status=unknown before=$((passed + failed + skipped)) failed_before=$failed
    shift
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ $line == "suite ended with "* ]]; then status=${line##* }; else result_line "$suite" "$line"; fi
    done < <(
        set +e # here, and on again for the suite: in "suite || ..." it would be off in all of it
        (set -e; "$@" </dev/null)
        echo "suite ended with $?"
    )
    if ((passed + failed + skipped == before)); then
        result_line "$suite" "not ok run: no test ran"
    elif [[ $status != 0 ]] && ((failed == failed_before)); then
        result_line "$suite" "not ok run: the suite failed outside of its tests, status $status"
    fi
}

# run_test NAME COMMAND...: one test that is a command: 0 is passed, 77 skipped (the last line it
# prints says why), anything else failed (and then its output is shown)
run_test() {
    local name=$1 start=${EPOCHREALTIME/./} output status=0 end
    shift
    output=$("$@" 2>&1 </dev/null) || status=$?
    end=${EPOCHREALTIME/./}
    case $status in
    0) printf 'ok %s (%d.%d s)\n' "$name" $(((end - start) / 1000000)) $(((end - start) / 100000 % 10)) ;;
    77) printf 'skip %s: %s\n' "$name" "${output##*$'\n'}" ;;
    *)
        printf '%s\n' "$output" | sed 's/^/    /'
        printf 'not ok %s: exit status %d\n' "$name" "$status"
        ;;
    esac
}

# tap_lines PROGRAM: TAP of a GLib test program on stdin, result lines on stdout. What a test prints
# comes before its result line; it is shown if the test failed.
tap_lines() {
    awk -v program="$1" '
        /^(ok|not ok) [0-9]+ / {
            good = /^ok/; sub(/^(not )?ok [0-9]+ (- )?/, ""); name = $0; sub(/ *# .*/, "", name); sub(/ - .*/, "", name); sub(/^[^\/]/, "/&", name)
            reason = $0
            if (/# SKIP/) { sub(/.*# SKIP */, "", reason); print "skip " program name ": " (reason ? reason : "no reason given") }
            else if (good) print "ok " program name
            else { printf "%s", output; print "not ok " program name ": see above" }
            output = ""; seen++; fflush(); next
        }
        /^1\.\.[0-9]+/ { plan = substr($1, 4) + 0; planned = 1
            if (/# SKIP/) { reason = $0; sub(/.*# SKIP */, "", reason); print "skip " program ": " reason } next }
        /^Bail out!/ { bailed = $0 }
        { output = output "    " $0 "\n" }
        END {
            if (bailed || (planned && seen < plan)) {
                printf "%s", output
                print "not ok " program ": " (bailed ? bailed : "ended after " seen + 0 " of " plan " tests")
            }
            else if (!seen && !planned) { printf "%s", output; print "not ok " program ": no test result" }
        }'
}
