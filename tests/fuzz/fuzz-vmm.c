/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz entry: bytes from a VMM
 *
 * The input is what a VMM sends on its socket. It goes through a real socket pair into the frame reader,
 * and each message through the parsers of the protocol, as in the agent; errors are turned into answers,
 * which must parse again. A parser that accepts something must have kept its promises: those are asserted.
 *
 * Built as a plain program, it replays the files and directories named on the command line: the corpus is
 * a regression test. Compiled with -DFUZZING by clang it is a libFuzzer target:
 *
 *     clang -g -fsanitize=fuzzer,address,undefined -DFUZZING … fuzz-vmm.c libhwpoisond.a
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ranges.h"
#include "util/frame.h"
#include "util/json-strict.h"
#include "util/proto-error.h"
#include "vmm-protocol.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void check_layout(const Layout *layout)
{
    g_assert_cmpuint(layout_count(layout), <=, LAYOUT_MAX_BLOCKS);
    for (guint i = 0; i < layout_count(layout); i++) {
        const RamBlock *block = layout_block(layout, i);

        g_assert_cmpuint(block->size, >, 0);
        g_assert_cmpuint(block->size % block->page_size, ==, 0);
        g_assert_cmpuint(block->address + block->size, <=, G_MAXINT64);
        g_assert_cmpint(layout_find(layout, block->name), ==, (int)i);
    }
}

static void check_set(GArray *ranges, const Layout *layout)
{
    g_autoptr(GArray) set = poison_set_new();

    for (guint i = 0; i < ranges->len; i++) {
        const PoisonRange *range = poison_set_range(ranges, i);
        const RamBlock *block = layout_block(layout, range->block);

        g_assert_cmpuint(range->length, >, 0);
        g_assert_cmpuint(range->offset + range->length, <=, block->size);
        g_assert_cmpint(range->origin, <, ORIGIN_COUNT_);
    }
    g_assert_cmpint(poison_set_add(set, ranges), ==, 0);
    g_assert_cmpuint(set->len, <=, ranges->len);
}

static void parse_request(const VmmRequest *request, Layout **layout, GError **error)
{
    g_autoptr(GArray) set = NULL;
    Layout *parsed;
    VmmHello hello;
    VmmPoison poison;
    guint64 pages;
    gboolean replace;

    switch (request->type) {
    case VMM_HELLO:
        vmm_parse_hello(request, &hello, error);
        break;
    case VMM_LAYOUT:
        parsed = vmm_parse_layout(request, error);
        if (!parsed)
            break;
        check_layout(parsed);
        layout_free(*layout);
        *layout = parsed;
        break;
    case VMM_POISON_BEGIN:
        vmm_parse_begin(request, &pages, error);
        break;
    case VMM_POISON:
        if (vmm_parse_poison(request, &poison, error))
            g_assert_cmpuint(poison.count - 1, <, RANGES_MAX);
        break;
    case VMM_POISON_SET:
        set = *layout ? vmm_parse_set(request, *layout, &replace, error) : NULL;
        if (set)
            check_set(set, *layout);
        break;
    default:
        break;
    }
}

/* One message; FALSE if the connection would end. */
static gboolean one_message(const char *body, gsize size, Layout **layout)
{
    g_auto(VmmRequest) request = { NULL };
    g_autoptr(GError) error = NULL;
    g_autofree char *answer = NULL;
    g_autoptr(JsonNode) node = NULL;

    if (vmm_request_parse(&request, body, size, JSON_STRICT_MAX_WORDS, &error))
        parse_request(&request, layout, &error);
    if (!error)
        return TRUE;
    g_assert_true(error->domain == PROTO_ERROR);
    answer = vmm_answer_error(request.id, error);
    node = json_strict_parse(answer, strlen(answer), JSON_STRICT_MAX_WORDS, NULL);
    g_assert_nonnull(node);
    return !proto_error_is_fatal(proto_error_of(error));
}

/* Reads all messages that are there; FALSE if the connection would end. */
static gboolean read_all(FrameReader *reader, int sock, Layout **layout)
{
    int r;

    while ((r = frame_reader_read(reader, sock)) == FRAME_E_MESSAGE) {
        gboolean go_on = one_message(reader->body, reader->size, layout);

        frame_reader_reset(reader);
        if (!go_on)
            return FALSE;
    }
    return r == FRAME_E_MORE;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    Layout *layout = NULL;
    gboolean go_on = TRUE;
    FrameReader reader;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return 0;
    frame_reader_init(&reader);
    while (go_on && size > 0) {
        ssize_t n = send(pair[1], data, MIN(size, 65536), MSG_NOSIGNAL);

        g_assert_no_errno(n);
        data += n;
        size -= (gsize)n;
        go_on = read_all(&reader, pair[0], &layout);
    }
    frame_reader_deinit(&reader);
    layout_free(layout);
    close(pair[0]);
    close(pair[1]);
    return 0;
}

#ifndef FUZZING
static guint replay_file(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *data = NULL;
    gsize size;

    g_file_get_contents(path, &data, &size, &error);
    g_assert_no_error(error);
    LLVMFuzzerTestOneInput((const guint8 *)data, size);
    return 1;
}

static guint replay(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    guint n = 0;

    if (!dir)
        return replay_file(path);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        n += replay(file);
    }
    return n;
}

int main(int argc, char **argv)
{
    guint n = 0;

    for (int i = 1; i < argc; i++)
        n += replay(argv[i]);
    g_print("replayed %u inputs\n", n);
    return n > 0 ? 0 : 1;
}
#endif
