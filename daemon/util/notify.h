/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

void notify_open(void);
void notify_send(const char *state);
