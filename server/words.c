/*
 * See the header.
 */
#include "server/words.h"

#include "engine/base/err.h"

bool words_quoted(struct bytes line)
{
    return bytes_find_u8(line, '"') != line.len || bytes_find_u8(line, '\'') != line.len;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Ends a word outside of quotes: fewer than there are blanks between words, as in Redis. */
static bool ends_word(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\0';
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that stands behind a backslash at line.ptr[*at]; advances `*at` past it. */
static uint8_t escaped(struct bytes line, size_t *at)
{
    const uint8_t c = line.ptr[*at];

    if (c == 'x' && *at + 2 < line.len && hex_digit(line.ptr[*at + 1]) >= 0 &&
        hex_digit(line.ptr[*at + 2]) >= 0) {
        const int value = hex_digit(line.ptr[*at + 1]) * 16 + hex_digit(line.ptr[*at + 2]);
        *at += 3;
        return (uint8_t)value;
    }
    *at += 1;
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/*
 * The quoted part that starts at `*at`, written to `to`; advances `*at` past the closing quote.
 * Returns the end of what was written, or NULL: not closed, or not followed by a blank.
 */
static uint8_t *take_quoted(struct bytes line, size_t *at, uint8_t *to)
{
    const uint8_t quote = line.ptr[*at];
    size_t i = *at + 1;

    while (i < line.len) {
        const uint8_t c = line.ptr[i];

        if (c == quote) {
            *at = i + 1;
            return *at == line.len || is_blank(line.ptr[*at]) ? to : NULL;
        }
        if (c == '\\' && i + 1 < line.len && quote == '"') {
            i++;
            *to++ = escaped(line, &i);
        } else if (c == '\\' && i + 1 < line.len && line.ptr[i + 1] == '\'') {
            *to++ = '\'';
            i += 2;
        } else {
            *to++ = c;
            i++;
        }
    }
    return NULL;
}

/* One word, copied to `to`: quotes may start within it, and end it. Returns its end, or NULL. */
static uint8_t *take_copied(struct bytes line, size_t *at, uint8_t *to)
{
    while (*at < line.len && !ends_word(line.ptr[*at])) {
        const uint8_t c = line.ptr[*at];

        if (c == '"' || c == '\'')
            return take_quoted(line, at, to);
        *to++ = c;
        *at += 1;
    }
    return to;
}

int words_next(struct bytes line, size_t *at, uint8_t **scratch, struct bytes *out)
{
    while (*at < line.len && (is_blank(line.ptr[*at]) || line.ptr[*at] == '\0'))
        *at += 1;
    if (*at == line.len)
        return 0;
    if (*scratch == NULL) {
        const size_t from = *at;
        while (*at < line.len && !ends_word(line.ptr[*at]))
            *at += 1;
        *out = bytes_of(line.ptr + from, *at - from);
        return 1;
    }
    uint8_t *end = take_copied(line, at, *scratch);
    if (end == NULL)
        return -ERR_SYNTAX;
    *out = bytes_of(*scratch, (size_t)(end - *scratch));
    *scratch = end;
    return 1;
}

int words_quote(struct buf *out, struct bytes value)
{
    static const char specials[] = "\n\r\t\a\b\\\"";
    static const char letters[] = "nrtab\\\"";
    int err = buf_append_u8(out, '"');

    for (size_t i = 0; i < value.len && err == 0; i++) {
        const uint8_t c = value.ptr[i];
        const char *special = c == '\0' ? NULL : strchr(specials, c);

        if (special != NULL)
            err = buf_printf(out, "\\%c", letters[special - specials]);
        else if (c >= ' ' && c < 0x7f)
            err = buf_append_u8(out, c);
        else
            err = buf_printf(out, "\\x%02x", c);
    }
    return err != 0 ? err : buf_append_u8(out, '"');
}
