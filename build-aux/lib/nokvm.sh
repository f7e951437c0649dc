# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Running a command where there is no /dev/kvm. QEMU's own tests take KVM where they find it, and then
# say something about the machine they run on; ours are always about software emulation.

# without_kvm COMMAND...: runs it with a /dev that has the usual nodes but not kvm
without_kvm() {
    [[ -e /dev/kvm ]] || { "$@"; return; }
    local user=()
    ((EUID == 0)) || user=(--user --map-root-user)
    # shellcheck disable=SC2016  # expands in the inner shell
    unshare "${user[@]}" --mount --propagation unchanged bash -c '
        set -e
        # What is mounted here must not show elsewhere; in a chroot, / need not be a mount
        mount --make-rprivate / 2>/dev/null || mount --make-rprivate /dev
        old=$(mktemp -d)
        mount --rbind /dev "$old"
        mount -t tmpfs -o mode=755,size=1m tmpfs /dev
        for node in null zero full random urandom tty; do
            : >"/dev/$node"
            mount --bind "$old/$node" "/dev/$node"
        done
        for directory in shm pts; do
            mkdir "/dev/$directory"
            mount --rbind "$old/$directory" "/dev/$directory"
        done
        ln -s /proc/self/fd /dev/fd
        ln -s pts/ptmx /dev/ptmx
        umount -l "$old"
        rmdir "$old"
        exec "$@"' without-kvm "$@"
}
