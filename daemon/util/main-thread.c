/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a worker to the main thread
 *
 * Not g_main_context_invoke(): while the main thread is between two iterations of its context, that would run
 * the function right in the worker.
 */
#include "main-thread.h"

/**
 * main_thread_call() - have a function called by the main loop, before other events
 * @func: the function; returns G_SOURCE_REMOVE
 * @data: for @func
 *
 * Safe in any thread. Never called if the main loop does not run any more.
 */
void main_thread_call(GSourceFunc func, gpointer data)
{
    g_autoptr(GSource) source = g_idle_source_new();

    g_source_set_priority(source, G_PRIORITY_HIGH);
    g_source_set_callback(source, func, data, NULL);
    g_source_attach(source, NULL);
}
