/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

int daemon_run(const char *config_file, const char *vmm_socket, const char *control_socket);
