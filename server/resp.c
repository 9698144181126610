/*
 * The parser runs over the input with a cursor. Two ways lead through it:
 *
 * - resp_parse_fast: the command is all there and has nothing unusual. One pass without state.
 * - resp_args: all the rest. If the input ends within the command the cursor is kept in the parser
 *   as an offset, and the lengths of the arguments so far stay in argv. Since a length has one
 *   spelling only, their positions follow from the lengths, so that the slices are made anew when
 *   the last byte is there, wherever the buffer lies then. The command is not tried the first way
 *   again.
 *
 * A line that announces a length ends at its first CR; like Redis we skip the byte after it, and
 * the two bytes after a bulk string, without looking at them.
 */
#include "server/resp.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "server/words.h"

/* Arguments to make room for at first; and more than this is given back after use. */
#define RESP_ARGV_FIRST 8
#define RESP_ARGV_KEEP  1024

void resp_cmd_deinit(struct resp_cmd *cmd)
{
    mem_free(cmd->argv);
    mem_free(cmd->text);
    resp_cmd_init(cmd);
}

size_t resp_wanted(const struct resp_parser *p)
{
    if (p->in_bulk)
        return p->pos + (size_t)p->bulk_len + 2;
    return p->pos + p->scanned + 2;
}

static enum resp_result resp_fail(struct resp_cmd *out, const char *what)
{
    (void)snprintf(out->error, sizeof(out->error), "Protocol error: %s", what);
    return RESP_ERROR;
}

/* Room for one more argument, in proportion to those that have really arrived. */
static bool resp_grow(struct resp_cmd *out)
{
    const uint32_t cap = out->argv_cap == 0 ? RESP_ARGV_FIRST : out->argv_cap * 2;
    struct bytes *argv = mem_try_realloc(out->argv, (size_t)cap * sizeof(*argv));

    if (argv == NULL)
        return false;
    out->argv = argv;
    out->argv_cap = cap;
    return true;
}

/*
 * The line at p->pos, from `line` on: a sign that says what is counted, and a number. RESP_READY:
 * `*out_next` is the next line; `*out_text` the number, not checked.
 */
static enum resp_result resp_len_line(struct resp_parser *p, const uint8_t *line,
                                      const uint8_t *end, struct resp_cmd *out,
                                      struct bytes *out_text, const uint8_t **out_next)
{
    const size_t avail = (size_t)(end - line);
    const uint8_t *cr =
        avail == p->scanned ? NULL : memchr(line + p->scanned, '\r', avail - p->scanned);

    if (cr == NULL) {
        p->scanned = avail;
        if (avail > RESP_LINE_BYTES_MAX)
            return resp_fail(out, out->argc == 0 && p->args_left == 0
                                      ? "too big mbulk count string"
                                      : "too big bulk count string");
        return RESP_MORE;
    }
    p->scanned = (size_t)(cr - line);
    if (end - cr < 2)
        return RESP_MORE;
    p->scanned = 0;
    *out_text = bytes_of(line + 1, (size_t)(cr - line - 1));
    *out_next = cr + 2;
    return RESP_READY;
}

/* The line "$<len>" at `line`; sets p->bulk_len. */
static NOINLINE enum resp_result resp_bulk_line(struct resp_parser *p,
                                                const struct resp_limits *limits,
                                                const uint8_t *line, const uint8_t *end,
                                                struct resp_cmd *out, const uint8_t **out_next)
{
    struct bytes text;
    int64_t len;
    const enum resp_result result = resp_len_line(p, line, end, out, &text, out_next);

    if (result != RESP_READY)
        return result;
    if (line[0] != '$') {
        const bool blank = line[0] == '\r' || line[0] == '\n';
        (void)snprintf(out->error, sizeof(out->error), "Protocol error: expected '$', got '%c'",
                       blank ? ' ' : line[0]);
        return RESP_ERROR;
    }
    if (!num_parse_i64(text, &len) || len < 0 || (uint64_t)len > limits->bulk_bytes_max)
        return resp_fail(out, "invalid bulk length");
    if (limits->unauthenticated && len > RESP_UNAUTH_BULK_BYTES_MAX)
        return resp_fail(out, "unauthenticated bulk length");
    p->bulk_len = (uint64_t)len;
    return RESP_READY;
}

/* Makes the slices from the lengths, after a command that came in pieces. */
static void resp_locate(struct resp_cmd *out, const uint8_t *start)
{
    const uint8_t *at = start + 1 + num_digits_u64(out->argc) + 2;

    for (uint32_t i = 0; i < out->argc; i++) {
        at += 1 + num_digits_u64(out->argv[i].len) + 2;
        out->argv[i].ptr = at;
        at += out->argv[i].len + 2;
    }
}

/* The arguments from `cur` on, of a command that starts at `start`; p->args_left of them. */
static enum resp_result resp_args(struct resp_parser *p, const struct resp_limits *limits,
                                  const uint8_t *start, const uint8_t *cur, const uint8_t *end,
                                  struct resp_cmd *out)
{
    const uint8_t *body = cur;
    uint64_t len = p->bulk_len;
    enum resp_result result = RESP_READY;

    for (;;) {
        if (!p->in_bulk) {
            result = cur == end ? RESP_MORE : resp_bulk_line(p, limits, cur, end, out, &body);
            len = p->bulk_len;
        }
        if (unlikely(result != RESP_READY))
            break;
        if (unlikely((uint64_t)(end - body) < len + 2)) {
            p->in_bulk = true;
            p->bulk_len = len;
            cur = body;
            result = RESP_MORE;
            break;
        }
        if (unlikely(out->argc == out->argv_cap) && !resp_grow(out))
            return resp_fail(out, "out of memory");
        CHECK(out->argv != NULL);
        out->argv[out->argc++] = bytes_of(body, (size_t)len);
        cur = body + len + 2;
        p->in_bulk = false;
        if (--p->args_left == 0) {
            if (unlikely(p->pos != 0)) /* Came in pieces. */
                resp_locate(out, start);
            p->pos = 0;
            out->consumed += (size_t)(cur - start);
            return RESP_READY;
        }
    }
    p->pos = (size_t)(cur - start);
    return result;
}

/*
 * The line "*<count>" at `start`. RESP_READY: p->args_left is set, 0 for an empty array, and
 * `*out_next` is the next line.
 */
static enum resp_result resp_array_line(struct resp_parser *p, const struct resp_limits *limits,
                                        const uint8_t *start, const uint8_t *end,
                                        struct resp_cmd *out, const uint8_t **out_next)
{
    struct bytes text;
    int64_t count;
    const enum resp_result result = resp_len_line(p, start, end, out, &text, out_next);

    if (result != RESP_READY)
        return result;
    if (!num_parse_i64(text, &count) || count > limits->args_max)
        return resp_fail(out, "invalid multibulk length");
    if (unlikely(limits->unauthenticated) && count > RESP_UNAUTH_ARGS_MAX)
        return resp_fail(out, "unauthenticated multibulk length");
    p->args_left = count <= 0 ? 0 : (uint32_t)count;
    if (unlikely(out->argv_cap > RESP_ARGV_KEEP) && p->args_left <= RESP_ARGV_KEEP) {
        mem_free(out->argv);
        out->argv = NULL;
        out->argv_cap = 0;
    }
    return RESP_READY;
}

/* --- Inline commands --- */

static enum resp_result resp_split(struct resp_cmd *out, struct bytes line)
{
    uint8_t *scratch = NULL;
    size_t at = 0;

    if (words_quoted(line)) {
        out->text = mem_realloc(out->text, line.len);
        scratch = out->text;
    }
    for (;;) {
        struct bytes word;
        const int found = words_next(line, &at, &scratch, &word);

        if (found < 0)
            return resp_fail(out, "unbalanced quotes in request");
        if (found == 0)
            return RESP_READY;
        if (out->argc == out->argv_cap && !resp_grow(out))
            return resp_fail(out, "out of memory");
        out->argv[out->argc++] = word;
    }
}

static bool resp_is_http(const struct resp_cmd *cmd)
{
    if (cmd->argc == 0)
        return false;
    if (bytes_eq_nocase(cmd->argv[0], "post") || bytes_eq_nocase(cmd->argv[0], "host:"))
        return true;
    return cmd->argc == 3 && bytes_starts(cmd->argv[2], BYTES_LIT("HTTP/"));
}

/* RESP_READY with argc 0: an empty line. */
static enum resp_result resp_inline(struct resp_parser *p, const uint8_t *start, const uint8_t *end,
                                    struct resp_cmd *out)
{
    const size_t avail = (size_t)(end - start);
    const uint8_t *lf =
        avail == p->scanned ? NULL : memchr(start + p->scanned, '\n', avail - p->scanned);
    size_t len = lf == NULL ? avail : (size_t)(lf - start);

    if (len > RESP_LINE_BYTES_MAX)
        return resp_fail(out, "too big inline request");
    if (lf == NULL) {
        p->scanned = avail;
        return RESP_MORE;
    }
    p->scanned = 0;
    out->consumed += len + 1;
    if (len != 0 && start[len - 1] == '\r')
        len--;

    const enum resp_result result = resp_split(out, bytes_of(start, len));
    return result == RESP_READY && resp_is_http(out) ? RESP_HTTP : result;
}

/*
 * The usual case on its own, with all state in registers: an array of fewer than 100 arguments,
 * complete, for which there is room, each shorter than 10^7 bytes. False, with nothing changed but
 * the contents of argv: not that simple, or not all there, or wrong.
 */
static ALWAYS_INLINE bool resp_parse_fast(const struct resp_limits *limits, struct bytes in,
                                          struct resp_cmd *out)
{
    const uint64_t len_max =
        limits->unauthenticated ? RESP_UNAUTH_BULK_BYTES_MAX : limits->bulk_bytes_max;
    const uint8_t *const end = in.ptr + in.len;
    const uint8_t *cur = in.ptr;

    if (unlikely(in.len < 4 || cur[0] != '*'))
        return false;
    unsigned count = (unsigned)cur[1] - '0';
    if (unlikely(count - 1 > 8))
        return false;
    cur += 4;
    if (cur[-2] != '\r') {
        const unsigned digit = (unsigned)cur[-2] - '0';
        if (digit > 9 || cur[-1] != '\r')
            return false;
        count = count * 10 + digit;
        cur++;
    }
    if (unlikely(count > out->argv_cap || count > limits->args_max ||
                 (limits->unauthenticated && count > RESP_UNAUTH_ARGS_MAX)))
        return false;

    struct bytes *arg = out->argv;
    for (struct bytes *const last = arg + count; arg != last; arg++) {
        /* The shortest argument takes six bytes, one with a length of three digits over a hundred.
         */
        if (unlikely(end - cur < 6 || cur[0] != '$'))
            return false;
        uint64_t len = (uint64_t)cur[1] - '0';
        if (unlikely(len > 9))
            return false;
        cur += 2;
        if (*cur != '\r') {
            if (unlikely(len == 0 || end - cur < 8))
                return false;
            const uint8_t *const first = cur;
            do {
                const unsigned digit = (unsigned)*cur++ - '0';
                if (unlikely(digit > 9 || cur - first > 6))
                    return false;
                len = len * 10 + digit;
            } while (*cur != '\r');
        }
        cur += 2;
        if (unlikely((uint64_t)(end - cur) < len + 2 || len > len_max))
            return false;
        *arg = bytes_of(cur, (size_t)len);
        cur += len + 2;
    }
    out->argc = count;
    out->consumed = (size_t)(cur - in.ptr);
    return true;
}

bool resp_parse_whole(struct resp_parser *p, const struct resp_limits *limits, struct bytes in,
                      struct resp_cmd *out)
{
    if (unlikely(p->args_left != 0) || !resp_parse_fast(limits, in, out))
        return false;
    p->scanned = 0;
    return true;
}

void resp_cmd_reserve(struct resp_cmd *cmd, uint32_t args)
{
    if (args <= cmd->argv_cap)
        return;
    cmd->argv = mem_realloc(cmd->argv, args * sizeof(*cmd->argv));
    cmd->argv_cap = args;
}

enum resp_result resp_parse(struct resp_parser *p, const struct resp_limits *limits,
                            struct bytes in, struct resp_cmd *out)
{
    enum resp_result result;

    if (likely(resp_parse_whole(p, limits, in, out)))
        return RESP_READY;
    out->consumed = 0;
    if (in.len == 0)
        return RESP_MORE;
    const uint8_t *const end = in.ptr + in.len;
    const uint8_t *start = in.ptr;
    if (unlikely(p->args_left != 0)) {
        CHECK(p->pos <= in.len);
        return resp_args(p, limits, start, start + p->pos, end, out);
    }
    do {
        out->argc = 0;
        start = in.ptr + out->consumed;
        if (start == end)
            return RESP_MORE;
        if (unlikely(*start != '*')) {
            result = resp_inline(p, start, end, out);
            continue;
        }
        const uint8_t *next = NULL;
        result = resp_array_line(p, limits, start, end, out, &next);
        if (result == RESP_READY && likely(p->args_left != 0))
            return resp_args(p, limits, start, next, end, out);
        if (result == RESP_READY) /* An empty array. */
            out->consumed += (size_t)(next - start);
    } while (result == RESP_READY && out->argc == 0);
    return result;
}
