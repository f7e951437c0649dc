/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* A real hwpoisond, in a directory of its own. */
typedef struct {
    char *dir;
    char *vmm;     /* path of its VMM socket */
    char *control; /* and of its control socket */
    char *config;  /* its configuration file */
    char *log;     /* where its stderr goes */
    pid_t pid;     /* 0: not running */
    int notify;    /* its sd_notify() messages come here */
    uid_t uid;     /* run it as this user, if not 0 */
    guint nofile;  /* let it have so many descriptors, if not 0 */
    char *program; /* or NULL: as HWPOISOND says */
    int stderr_fd; /* its stderr, if not 0: then there is no log */
} TestAgent;

TestAgent *test_agent_new(const char *config);
void test_agent_free(TestAgent *agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestAgent, test_agent_free)

TestAgent *test_agent_start(const char *config);
void test_agent_run(TestAgent *agent);
void test_agent_launch(TestAgent *agent);
void test_agent_wait_notify(TestAgent *agent, const char *wanted);
void test_agent_reload(TestAgent *agent, const char *config);
int test_agent_wait_exit(TestAgent *agent);
void test_agent_stop(TestAgent *agent);
char *test_agent_read_log(TestAgent *agent);
void test_agent_expect_filtered(TestAgent *agent);
char *test_agent_ctl(TestAgent *agent, int *ret_status, ...) G_GNUC_NULL_TERMINATED;

/* A copy of a program that every user can execute; goes with the agent's directory. */
char *test_agent_publish(TestAgent *agent, const char *program);

/* Runs func in a child, which is another VMM process; returns its process id. */
pid_t test_fork(void (*func)(gpointer data), gpointer data);
int test_wait(pid_t pid);
void test_let_time_pass(time_t seconds);
