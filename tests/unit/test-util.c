/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small things: text for terminals, the ration of log lines, checks of descriptors
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/fd-check.h"
#include "util/log.h"
#include "util/text.h"
#include "util/uffd.h"

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static const struct {
    const char *raw, *shown;
} texts[] = {
    { "", "" },
    { "plain name_1.2", "plain name_1.2" },
    { "gr\xc3\xbc\xc3\x9f \xe6\x97\xa5\xe6\x9c\xac", "gr\\u{00fc}\\u{00df} \\u{65e5}\\u{672c}" },
    { "vm1\xe3\x85\xa4", "vm1\\u{3164}" },   /* a letter that shows nothing */
    { "vm1\xe1\x85\x9f", "vm1\\u{115f}" },   /* another */
    { "vm1\xef\xb8\x8f", "vm1\\u{fe0f}" },   /* changes how the character before it looks */
    { "a\xcc\x81", "a\\u{0301}" },           /* joins it */
    { "\xd7\x90-1", "\\u{05d0}-1" },         /* reorders what is beside it */
    { "\xd0\xb0", "\\u{0430}" },             /* looks like an a */
    { "\xf0\x9f\x98\x80", "\\u{1f600}" },
    { "\033[2J", "\\x1b[2J" },
    { "a\nb\tc\r", "a\\x0ab\\x09c\\x0d" },
    { "\x7f", "\\x7f" },
    { "back\\slash", "back\\x5cslash" },
    { "\xc2\x9b", "\\u{009b}" },         /* CSI in one character */
    { "\xe2\x80\xae", "\\u{202e}" },     /* right to left override */
    { "\xe2\x80\x8b", "\\u{200b}" },     /* no width */
    { "\xe2\x80\xa8", "\\u{2028}" },     /* line separator */
    { "\xc2\xa0", "\\u{00a0}" },         /* a space that is none */
    { "\xff\xfe", "\\xff\\xfe" },        /* not UTF-8 */
    { "\xed\xa0\x80", "\\xed\\xa0\\x80" },
    { "cut\xe2\x80", "cut\\xe2\\x80" },
};

static void test_printable(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *shown = text_printable(texts[i].raw);

        g_assert_cmpstr(shown, ==, texts[i].shown);
    }
}

static void test_json_for_terminal(void)
{
    g_autofree char *text =
        text_json_for_terminal("{\n \"a\": \"\x7f\xc2\x9b\xe2\x80\xae\xf3\xa0\x80\x81 \xc3\xbc\xe3\x85\xa4\"}");

    g_assert_cmpstr(text, ==, "{\n \"a\": \"\\u007f\\u009b\\u202e\\udb40\\udc01 \\u00fc\\u3164\"}");
}

static void test_log_bucket(void)
{
    LogBucket bucket = LOG_BUCKET(3, 60);
    gint64 now = 1000 * G_USEC_PER_SEC;

    for (guint i = 0; i < 10; i++)
        g_assert_cmpint(log_bucket_take(&bucket, now), ==, i < 3);
    g_assert_cmpuint(bucket.dropped, ==, 7);
    g_assert_false(log_bucket_take(&bucket, now + G_USEC_PER_SEC / 2));
    g_assert_true(log_bucket_take(&bucket, now + G_USEC_PER_SEC + 1));
    g_assert_false(log_bucket_take(&bucket, now + G_USEC_PER_SEC + 2));
    now += 3600 * (gint64)G_USEC_PER_SEC; /* long idle fills it, and not more */
    for (guint i = 0; i < 10; i++)
        g_assert_cmpint(log_bucket_take(&bucket, now), ==, i < 3);
}

static GLogWriterOutput count_line(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer user_data)
{
    *(guint *)user_data += 1;
    return G_LOG_WRITER_HANDLED;
}

/* Each connection has a full bucket, and all of them together one more. */
static void test_log_parent(void)
{
    LogBucket parent = LOG_BUCKET(5, 1), other = LOG_BUCKET(3, 1);
    static guint lines;

    g_log_set_writer_func(count_line, &lines, NULL);
    for (guint i = 0; i < 10; i++) {
        LogBucket conn = LOG_BUCKET(3, 1);

        conn.parent = &parent;
        log_guest(&conn, G_LOG_LEVEL_INFO, "a", 1, "one");
        log_guest(&conn, G_LOG_LEVEL_INFO, "a", 1, "two");
    }
    g_assert_cmpuint(lines, ==, 5);
    log_guest(&other, G_LOG_LEVEL_INFO, "b", 2, "three");
    g_assert_cmpuint(lines, ==, 6);
}

static int memfd(gsize size, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    g_assert_no_errno(fd);
    g_assert_no_errno(ftruncate(fd, (off_t)size));
    if (seals)
        g_assert_no_errno(fcntl(fd, F_ADD_SEALS, seals));
    return fd;
}

static void test_sealed_memfd(void)
{
    static const struct {
        gsize size;
        int seals, result;
    } cases[] = {
        { 16, ALL_SEALS, 0 },
        { 16, ALL_SEALS | F_SEAL_SEAL, 0 },
        { 15, ALL_SEALS, -EMSGSIZE },
        { 17, ALL_SEALS, -EMSGSIZE },
        { 0, ALL_SEALS, -EMSGSIZE },
        { 16, 0, -EBADF },
        { 16, F_SEAL_SHRINK | F_SEAL_GROW, -EBADF },
        { 16, F_SEAL_WRITE | F_SEAL_GROW, -EBADF },
        { 16, F_SEAL_WRITE | F_SEAL_SHRINK, -EBADF },
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        int fd = memfd(cases[i].size, cases[i].seals);

        g_assert_cmpint(fd_check_sealed_memfd(fd, 16), ==, cases[i].result);
        close(fd);
    }
}

static void test_userfaultfd(void)
{
    g_autofree char *path = NULL;
    int fds[] = { memfd(1, 0), open("/dev/null", O_RDONLY | O_CLOEXEC), g_file_open_tmp(NULL, &path, NULL) };
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

    for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
        g_assert_no_errno(fds[i]);
        g_assert_false(fd_is_userfaultfd(fds[i]));
        g_assert_cmpint(fd_check_sealed_memfd(fds[i], 0), ==, -EBADF);
        close(fds[i]);
    }
    unlink(path);
    g_assert_false(fd_is_userfaultfd(-1));
    g_assert_false(fd_is_userfaultfd(fds[0])); /* closed */
    if (uffd >= 0) {
        g_assert_true(fd_is_userfaultfd(uffd));
        g_assert_cmpint(fd_check_sealed_memfd(uffd, 0), ==, -EBADF);
        close(uffd);
    }
}

/* A file may have any name, also this one. */
static void test_userfaultfd_by_name(void)
{
    g_autofree char *dir = g_dir_make_tmp("hwpoisond-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "anon_inode:[userfaultfd]", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int named = memfd_create("anon_inode:[userfaultfd]", MFD_CLOEXEC);

    g_assert_no_errno(fd);
    g_assert_false(fd_is_userfaultfd(fd));
    g_assert_false(fd_is_userfaultfd(named));
    close(fd);
    close(named);
    unlink(path);
    rmdir(dir);
}

static void test_pread_all(void)
{
    int fd = memfd(10, 0);
    char buffer[11];

    g_assert_cmpint(fd_pread_all(fd, buffer, 10), ==, 0);
    g_assert_cmpint(fd_pread_all(fd, buffer, 11), ==, -ENODATA);
    close(fd);
    g_assert_cmpint(fd_pread_all(fd, buffer, 1), ==, -EBADF);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/text/printable", test_printable);
    g_test_add_func("/text/json-for-terminal", test_json_for_terminal);
    g_test_add_func("/log/bucket", test_log_bucket);
    g_test_add_func("/log/parent", test_log_parent);
    g_test_add_func("/fd/sealed-memfd", test_sealed_memfd);
    g_test_add_func("/fd/userfaultfd", test_userfaultfd);
    g_test_add_func("/fd/userfaultfd-by-name", test_userfaultfd_by_name);
    g_test_add_func("/fd/pread-all", test_pread_all);
    return g_test_run();
}
