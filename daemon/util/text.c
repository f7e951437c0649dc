/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text from strangers
 *
 * Names of guests and RAM blocks come from a VMM, which may have been taken over by its guest. Such
 * text is kept as it came (it is an identity), but never reaches a terminal or a log line as it
 * came: an escape sequence could rewrite what the operator sees.
 *
 * Everything outside ASCII is escaped. No list of the harmless rest of Unicode would be right for long:
 * fillers and variation selectors count as letters and show nothing, a combining mark changes the letter
 * before it, right-to-left letters reorder the columns beside them, and many letters have a twin. The
 * escapes are unambiguous (a backslash is escaped too), so two different names never print alike.
 */
#include "text.h"

static gboolean prints_plainly(gunichar c)
{
    return c >= ' ' && c < 0x7f && c != '\\';
}

/**
 * text_printable() - one line of text that is safe on a terminal
 * @text: anything, NUL-terminated, perhaps not UTF-8
 *
 * Return: a new string in ASCII; what does not print plainly is written as \xNN or \u{NNNN}.
 */
char *text_printable(const char *text)
{
    GString *out = g_string_new(NULL);

    for (const char *p = text; *p;) {
        gunichar c = g_utf8_get_char_validated(p, -1);

        if (c == (gunichar)-1 || c == (gunichar)-2) {
            g_string_append_printf(out, "\\x%02x", (guint8)*p++);
            continue;
        }
        if (prints_plainly(c))
            g_string_append_unichar(out, c);
        else
            g_string_append_printf(out, c < 0x80 ? "\\x%02x" : "\\u{%04x}", c);
        p = g_utf8_next_char(p);
    }
    return g_string_free(out, FALSE);
}

/**
 * text_json_for_terminal() - JSON text with nothing in it that a terminal would obey or not show
 * @json: valid JSON, UTF-8
 *
 * A JSON generator escapes the controls below U+0020 only. What is not ASCII can occur inside strings only,
 * so each character can be replaced by its JSON escape, and the meaning stays the same.
 *
 * Return: a new string.
 */
char *text_json_for_terminal(const char *json)
{
    GString *out = g_string_new(NULL);

    for (const char *p = json; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        if (c < 0x7f)
            g_string_append_unichar(out, c);
        else if (c <= 0xffff)
            g_string_append_printf(out, "\\u%04x", c);
        else
            g_string_append_printf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                                   0xdc00 + (c & 0x3ff));
    }
    return g_string_free(out, FALSE);
}
