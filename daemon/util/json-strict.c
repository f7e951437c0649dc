/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON from strangers
 *
 * json-glib is made for files of one's own. It recurses as deep as the text nests, until the stack ends;
 * reads octal numbers and assignments, ignores what follows the first value, wraps integers around (1.6) or
 * cuts them off (1.10), and cuts strings at an escaped NUL. So each text first goes through a scanner of the
 * words of JSON (RFC 8259): it is fast, has no recursion, allocates nothing, and lets through only
 *
 *  - UTF-8, of which the first value is an object and after which there is nothing,
 *  - nesting of at most JSON_STRICT_MAX_DEPTH, and at most as many words as the caller allows, which also
 *    bounds what the tree costs in memory (a megabyte of "[0,0,…" would cost sixty),
 *  - at most JSON_STRICT_MAX_MEMBERS members in one object: json-glib keeps them in a hash table whose hash
 *    is known to all, so names made to collide cost it a time that is square in their number,
 *  - strings without NUL, with whole surrogate pairs,
 *  - numbers and literals as the standard writes them, integers from -(2^63 - 1) to 2^63 - 1: what
 *    becomes of larger ones differs between versions of json-glib.
 *
 * The grammar on top of the words (where a comma goes) stays json-glib's business.
 */
#include "json-strict.h"

#include <string.h>

#include "proto-error.h"

typedef struct {
    const char *p;
    const char *end;
    guint depth;
    guint words;
    guint max_words;
    guint members[JSON_STRICT_MAX_DEPTH + 1]; /* seen so far, of each object that is open */
    gboolean closed; /* the outermost value has ended */
} Scan;

static gboolean scan_digits(Scan *s)
{
    const char *start = s->p;

    while (s->p < s->end && g_ascii_isdigit(*s->p))
        s->p++;
    return s->p > start;
}

static const char *scan_fraction(Scan *s)
{
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!scan_digits(s))
            return "a number without digits after its point";
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (!scan_digits(s))
            return "a number without digits in its exponent";
    }
    return NULL;
}

/* Is it more than 2^63 - 1? There is no leading zero. */
static gboolean too_large(const char *digits, gsize n)
{
    static const char max[] = "9223372036854775807";

    return n > strlen(max) || (n == strlen(max) && strncmp(digits, max, n) > 0);
}

static const char *scan_number(Scan *s)
{
    const char *digits, *end, *fault;

    s->p += *s->p == '-';
    digits = s->p;
    if (!scan_digits(s))
        return "a number without digits";
    if (*digits == '0' && s->p - digits > 1)
        return "a number with a leading zero";
    end = s->p;
    fault = scan_fraction(s);
    if (!fault && s->p == end && too_large(digits, (gsize)(end - digits)))
        return "an integer beyond 2^63 - 1";
    return fault;
}

/* The four digits after \u; -1 if they are not there. */
static int scan_hex4(Scan *s)
{
    int value = 0;

    if (s->end - s->p < 4)
        return -1;
    for (int i = 0; i < 4; i++, s->p++) {
        if (!g_ascii_isxdigit(*s->p))
            return -1;
        value = value * 16 + g_ascii_xdigit_value(*s->p);
    }
    return value;
}

static const char *scan_unicode_escape(Scan *s)
{
    int high = scan_hex4(s), low;

    if (high < 0)
        return "a \\u escape without four digits";
    if (high == 0)
        return "an escaped NUL in a string";
    if (high < 0xd800 || high > 0xdfff)
        return NULL;
    if (high > 0xdbff || s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
        return "an unpaired surrogate in a string";
    s->p += 2;
    low = scan_hex4(s);
    return low >= 0xdc00 && low <= 0xdfff ? NULL : "an unpaired surrogate in a string";
}

static const char *scan_escape(Scan *s)
{
    char c = s->p < s->end ? *s->p++ : '\0';

    if (c == 'u')
        return scan_unicode_escape(s);
    return c && strchr("\"\\/bfnrt", c) ? NULL : "an unknown escape in a string";
}

static const char *scan_string(Scan *s)
{
    s->p++;
    while (s->p < s->end) {
        guchar c = (guchar)*s->p++;
        const char *fault = NULL;

        if (c == '"')
            return NULL;
        if (c < 0x20)
            return "a control character in a string";
        if (c == '\\')
            fault = scan_escape(s);
        if (fault)
            return fault;
    }
    return "a string without end";
}

static const char *scan_literal(Scan *s)
{
    static const char *const literals[] = { "true", "false", "null" };

    for (guint i = 0; i < G_N_ELEMENTS(literals); i++) {
        gsize n = strlen(literals[i]);

        if ((gsize)(s->end - s->p) >= n && memcmp(s->p, literals[i], n) == 0) {
            s->p += n;
            return NULL;
        }
    }
    return "a character that does not belong there";
}

static const char *scan_bracket(Scan *s)
{
    char c = *s->p++;

    if (c == '{' || c == '[') {
        if (++s->depth > JSON_STRICT_MAX_DEPTH)
            return "nested too deep";
        s->members[s->depth] = 0;
        return NULL;
    }
    if (s->depth == 0)
        return "a bracket too many";
    s->closed = --s->depth == 0;
    return NULL;
}

/* Each member has one colon, and nothing else has one. */
static const char *scan_separator(Scan *s)
{
    if (*s->p++ == ':' && ++s->members[s->depth] > JSON_STRICT_MAX_MEMBERS)
        return "too many members in an object";
    return NULL;
}

static const char *scan_word(Scan *s)
{
    if (s->closed)
        return "something after the object";
    if (s->depth == 0 && *s->p != '{')
        return "not an object";
    if (++s->words > s->max_words)
        return "too many values";
    if (strchr("{}[]", *s->p))
        return scan_bracket(s);
    if (*s->p == ',' || *s->p == ':')
        return scan_separator(s);
    if (*s->p == '"')
        return scan_string(s);
    return *s->p == '-' || g_ascii_isdigit(*s->p) ? scan_number(s) : scan_literal(s);
}

static const char *scan_text(const char *text, gsize size, guint max_words)
{
    Scan s = { .p = text, .end = text + size, .max_words = max_words };

    if (!g_utf8_validate_len(text, size, NULL))
        return "not UTF-8";
    while (s.p < s.end) {
        const char *fault = strchr(" \t\r\n", *s.p) ? (s.p++, NULL) : scan_word(&s);

        if (fault)
            return fault;
    }
    return s.closed ? NULL : "the text ends too early";
}

/**
 * json_strict_parse() - parse one JSON object from an untrusted peer
 * @text: the text, NUL-terminated at @size
 * @size: its size without the NUL
 * @max_words: most words that it may have, at most JSON_STRICT_MAX_WORDS
 * @error: PROTO_ERROR_BAD_JSON
 *
 * Return: the object's node (json_node_unref()), or NULL.
 */
JsonNode *json_strict_parse(const char *text, gsize size, guint max_words, GError **error)
{
    g_autoptr(JsonParser) parser = NULL;
    g_autoptr(GError) parse_error = NULL;
    const char *fault = scan_text(text, size, max_words);

    if (fault) {
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_JSON, "not one JSON object: %s", fault);
        return NULL;
    }
    parser = json_parser_new_immutable();
    if (!json_parser_load_from_data(parser, text, (gssize)size, &parse_error)) {
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_JSON, "not one JSON object: %s",
                    parse_error->message);
        return NULL;
    }
    return json_parser_steal_root(parser);
}
