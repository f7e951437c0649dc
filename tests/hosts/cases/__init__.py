# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests on virtual hosts, by what they are about."""
