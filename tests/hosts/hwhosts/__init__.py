# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual hosts: software-emulated machines that run our kernel with KVM inside.

From the bottom up, each module uses only those above it in this list:

  base       errors, deadlines, settings from the environment
  cpio       the initramfs of a machine
  channel    commands and sockets in a host, over one virtio-serial port
  logrules   which lines in a kernel log make a test fail
  ktap       what the kernel's selftests say
  host       virtual hosts: boot, run a command, stop, logs; two joined by a network
  pfnmap     a device in a host whose memory is mapped in huge leaves
  qmp        QEMU's monitor
  guest      the guest nested in a host, and the pattern that it checks
  poison     real poison into a guest's page; the poison set that QEMU reports
  agent      hwpoisond in a host
  migrate    a guest from one host to the other
  tls        keys for that
  moves      all the ways to do that
  modes      the same, by name
  memory     the kinds of memory of a guest, by name
  runner     the tests of ../cases
  matrix     the table of ways and kinds, and docs/modes.md
  selftests  the kernel's selftests, in a host or on a kernel alone
  story      the demo
  keep       looking around in the demo's hosts
"""
