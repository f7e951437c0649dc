/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Touches of a page by others than a program's own loads; guest-touch.c says which. */
#ifndef HWP_GUEST_TOUCH_H
#define HWP_GUEST_TOUCH_H

#include <stdbool.h>

/* Does the command of this line and answers; returns false if it is none of those here. */
bool touch_command(const char *line);

#endif
