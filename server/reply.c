/*
 * Every element is written by the same three steps: reserve the most it can take, write, commit.
 * reply_at does the first and stands for the failed state, so that writers have one guard.
 *
 * Headers ("$3\r\n", ":1\r\n", "*2\r\n") with a number of up to two digits, nearly all of them, are
 * stored as one word from a table; the bytes behind the header are overwritten by what follows.
 */
#include "server/reply.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/num.h"

/* A sign, 20 digits, CRLF, and slack for writing whole words. */
#define HEADER_BYTES_MAX 32
/* As much of a client's arguments as an error text repeats. */
#define ECHO_BYTES_MAX 128

/* clang-format off */
#define ROW(tens) \
    tens "0\r\n", tens "1\r\n", tens "2\r\n", tens "3\r\n", tens "4\r\n", \
    tens "5\r\n", tens "6\r\n", tens "7\r\n", tens "8\r\n", tens "9\r\n"
/* The end of a header: the number and CRLF. */
static const char header_tail[100][5] = {
    ROW(""), ROW("1"), ROW("2"), ROW("3"), ROW("4"),
    ROW("5"), ROW("6"), ROW("7"), ROW("8"), ROW("9"),
};
#undef ROW
/* clang-format on */

void reply_init(struct reply *r, size_t limit, const struct reply_env *env)
{
    *r = (struct reply){.env = env, .proto = 2};
    buf_init(&r->out, limit);
}

void reply_deinit(struct reply *r)
{
    buf_deinit(&r->out);
}

/* Where `n` bytes may be written, or NULL: the reply has failed. */
static ALWAYS_INLINE uint8_t *reply_at(struct reply *r, size_t n)
{
    if (likely(buf_reserve(&r->out, n) == 0 && !r->failed))
        return buf_end(&r->out);
    r->failed = true;
    return NULL;
}

/* The bytes up to `end`, which reply_at gave room for. */
static ALWAYS_INLINE void reply_commit(struct reply *r, const uint8_t *end)
{
    r->out.len = (size_t)(end - r->out.ptr);
}

/* Writes sign, number and CRLF to `at`, which has HEADER_BYTES_MAX. Returns the end. */
static ALWAYS_INLINE uint8_t *header_write(uint8_t *at, char sign, uint64_t n)
{
    char text[NUM_I64_BYTES];

    *at++ = (uint8_t)sign;
    if (likely(n < 100)) {
        memcpy(at, header_tail[n], sizeof(header_tail[n]) - 1);
        return n < 10 ? at + 3 : at + 4;
    }
    const size_t len = num_print_u64(text, n);
    memcpy(at, text, len);
    at[len] = '\r';
    at[len + 1] = '\n';
    return at + len + 2;
}

static ALWAYS_INLINE void reply_header(struct reply *r, char sign, uint64_t n)
{
    uint8_t *at = reply_at(r, HEADER_BYTES_MAX);

    if (likely(at != NULL))
        reply_commit(r, header_write(at, sign, n));
}

void reply_raw(struct reply *r, const void *ptr, size_t len)
{
    uint8_t *at = reply_at(r, len);

    if (unlikely(at == NULL) || len == 0)
        return;
    memcpy(at, ptr, len);
    reply_commit(r, at + len);
}

void reply_ok(struct reply *r)
{
    REPLY_RAW(r, "+OK\r\n");
}

/* `sign`, the text with blanks for CR and LF, CRLF. */
static void reply_line(struct reply *r, char sign, struct bytes text)
{
    uint8_t *at = reply_at(r, text.len + 3);

    if (at == NULL)
        return;
    *at++ = (uint8_t)sign;
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t c = text.ptr[i];
        *at++ = c == '\r' || c == '\n' ? ' ' : c;
    }
    *at++ = '\r';
    *at++ = '\n';
    reply_commit(r, at);
}

void reply_status(struct reply *r, const char *text)
{
    reply_line(r, '+', bytes_cstr(text));
}

void reply_u64(struct reply *r, uint64_t value)
{
    reply_header(r, ':', value);
}

void reply_i64(struct reply *r, int64_t value)
{
    if (likely(value >= 0)) {
        reply_header(r, ':', (uint64_t)value);
        return;
    }
    uint8_t *at = reply_at(r, HEADER_BYTES_MAX);
    if (at == NULL)
        return;
    *at = ':';
    reply_commit(r, header_write(at + 1, '-', 0 - (uint64_t)value));
}

uint8_t *reply_bulk_space(struct reply *r, size_t len)
{
    uint8_t *at = len > r->out.limit ? NULL : reply_at(r, len + HEADER_BYTES_MAX);

    if (unlikely(at == NULL)) {
        r->failed = true;
        return NULL;
    }
    at = header_write(at, '$', len);
    at[len] = '\r';
    at[len + 1] = '\n';
    reply_commit(r, at + len + 2);
    return at;
}

void reply_bulk(struct reply *r, struct bytes value)
{
    uint8_t *at = reply_bulk_space(r, value.len);

    if (likely(at != NULL && value.len != 0))
        memcpy(at, value.ptr, value.len);
}

void reply_bulk_cstr(struct reply *r, const char *text)
{
    if (text == NULL)
        reply_null(r);
    else
        reply_bulk(r, bytes_cstr(text));
}

void reply_bulk_i64(struct reply *r, int64_t value)
{
    char text[NUM_I64_BYTES];

    reply_bulk(r, bytes_of(text, num_print_i64(text, value)));
}

void reply_bulk_printf(struct reply *r, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    /* The terminating zero falls on the CR, which is put back. */
    char *at = (char *)reply_bulk_space(r, (size_t)len);
    if (at == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(at, (size_t)len + 1, format, args);
    va_end(args);
    at[len] = '\r';
}

void reply_null(struct reply *r)
{
    if (r->proto == 2)
        REPLY_RAW(r, "$-1\r\n");
    else
        REPLY_RAW(r, "_\r\n");
}

void reply_null_array(struct reply *r)
{
    if (r->proto == 2)
        REPLY_RAW(r, "*-1\r\n");
    else
        REPLY_RAW(r, "_\r\n");
}

/* A number as text: a bulk string in RESP2, a double in RESP3. */
static void reply_float(struct reply *r, struct bytes text)
{
    if (r->proto == 2)
        reply_bulk(r, text);
    else
        reply_line(r, ',', text);
}

void reply_double(struct reply *r, double value)
{
    char text[NUM_DOUBLE_BYTES];

    reply_float(r, bytes_of(text, num_print_double(text, value)));
}

void reply_ldouble(struct reply *r, long double value)
{
    char text[NUM_LDOUBLE_BYTES];

    reply_float(r, bytes_of(text, num_print_ldouble(text, value)));
}

void reply_bool(struct reply *r, bool value)
{
    if (r->proto == 2)
        reply_u64(r, value ? 1 : 0);
    else if (value)
        REPLY_RAW(r, "#t\r\n");
    else
        REPLY_RAW(r, "#f\r\n");
}

void reply_bignum(struct reply *r, struct bytes digits)
{
    if (r->proto == 2)
        reply_bulk(r, digits);
    else
        reply_line(r, '(', digits);
}

void reply_verbatim(struct reply *r, struct bytes text, const char *kind)
{
    CHECK(strlen(kind) == 3);
    if (r->proto == 2) {
        reply_bulk(r, text);
        return;
    }
    reply_header(r, '=', text.len + 4);
    reply_raw(r, kind, 3);
    REPLY_RAW(r, ":");
    reply_raw(r, text.ptr, text.len);
    REPLY_RAW(r, "\r\n");
}

void reply_array(struct reply *r, uint64_t n)
{
    reply_header(r, '*', n);
}

void reply_map(struct reply *r, uint64_t n)
{
    if (r->proto == 2)
        reply_header(r, '*', 2 * n);
    else
        reply_header(r, '%', n);
}

void reply_set(struct reply *r, uint64_t n)
{
    reply_header(r, r->proto == 2 ? '*' : '~', n);
}

void reply_push(struct reply *r, uint64_t n)
{
    reply_header(r, r->proto == 2 ? '*' : '>', n);
}

void reply_attribute(struct reply *r, uint64_t n)
{
    CHECK(r->proto == 3);
    reply_header(r, '|', n);
}

struct reply_mark reply_deferred_begin(struct reply *r, uint64_t guess)
{
    const size_t at = r->out.len;

    reply_header(r, '*', guess);
    return (struct reply_mark){.at = at, .room = r->out.len - at};
}

/* Puts the header in its place and closes or opens the gap. */
static void reply_deferred_end(struct reply *r, struct reply_mark mark, char sign, uint64_t n)
{
    uint8_t header[HEADER_BYTES_MAX];

    if (r->failed)
        return;
    const size_t len = (size_t)(header_write(header, sign, n) - header);
    const size_t tail = r->out.len - mark.at - mark.room;
    if (len > mark.room && reply_at(r, len - mark.room) == NULL)
        return;
    uint8_t *at = r->out.ptr + mark.at;
    if (len != mark.room)
        memmove(at + len, at + mark.room, tail);
    memcpy(at, header, len);
    r->out.len = mark.at + len + tail;
}

void reply_deferred_array(struct reply *r, struct reply_mark mark, uint64_t n)
{
    reply_deferred_end(r, mark, '*', n);
}

void reply_deferred_map(struct reply *r, struct reply_mark mark, uint64_t n)
{
    if (r->proto == 2)
        reply_deferred_end(r, mark, '*', 2 * n);
    else
        reply_deferred_end(r, mark, '%', n);
}

void reply_deferred_set(struct reply *r, struct reply_mark mark, uint64_t n)
{
    reply_deferred_end(r, mark, r->proto == 2 ? '*' : '~', n);
}

void reply_help(struct reply *r, const char *container, const char *const *lines)
{
    uint64_t count = 0;
    char head[128];

    while (lines[count] != NULL)
        count++;
    reply_array(r, count + 3);
    (void)snprintf(head, sizeof(head),
                   "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", container);
    reply_status(r, head);
    for (uint64_t i = 0; i < count; i++)
        reply_status(r, lines[i]);
    reply_status(r, "HELP");
    reply_status(r, "    Prints this help.");
}

/* --- Errors --- */

void reply_error_bytes(struct reply *r, struct bytes text)
{
    r->errors_count++;
    if (r->env != NULL && r->env->on_error != NULL)
        r->env->on_error(r->env->ctx, bytes_of(text.ptr, bytes_find_u8(text, ' ')));
    reply_line(r, '-', text);
}

void reply_execabort_because(struct reply *r)
{
    char text[REPLY_ERROR_BYTES_MAX];
    struct buf *out = &r->out;

    if (r->failed || out->len < 3)
        return;
    size_t at = out->len - 2;
    while (at > 0 && out->ptr[at - 1] != '\n')
        at--;
    CHECK(out->ptr[at] == '-');
    const bool err = out->len - at > 5 && memcmp(out->ptr + at + 1, "ERR ", 4) == 0;
    const size_t why = at + 1 + (err ? 4 : 0);
    const int len = snprintf(text, sizeof(text), "EXECABORT Transaction discarded because of: %.*s",
                             (int)(out->len - 2 - why), (const char *)out->ptr + why);
    CHECK(len >= 0);
    buf_truncate(out, at);
    reply_line(r, '-', bytes_of(text, size_min((size_t)len, sizeof(text) - 1)));
}

void reply_error(struct reply *r, const char *format, ...)
{
    char text[REPLY_ERROR_BYTES_MAX];
    va_list args;

    va_start(args, format);
    const int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    CHECK(len >= 0);
    size_t shown = size_min((size_t)len, sizeof(text) - 1);
    while (shown > 0 && (text[shown - 1] == '\r' || text[shown - 1] == '\n'))
        shown--;
    reply_error_bytes(r, bytes_of(text, shown));
}

#define REPLY_ERROR_DEFINE(name, text)            \
    void reply_err_##name(struct reply *r)        \
    {                                             \
        reply_error_bytes(r, BYTES_LIT("" text)); \
    }
REPLY_ERRORS(REPLY_ERROR_DEFINE)
#undef REPLY_ERROR_DEFINE

void reply_err_arity(struct reply *r, const char *fullname)
{
    reply_error(r, "ERR wrong number of arguments for '%s' command", fullname);
}

void reply_err_expire_time(struct reply *r, const char *fullname)
{
    reply_error(r, "ERR invalid expire time in '%s' command", fullname);
}

void reply_err_noperm_cmd(struct reply *r, const char *fullname)
{
    reply_error(r, "NOPERM this user has no permissions to run the '%s' command", fullname);
}

/* The length that "%.<max>s" would print: up to a zero byte. */
static int echo_len(struct bytes text, size_t max)
{
    return (int)size_min(bytes_find_u8(text, '\0'), max);
}

void reply_err_unknown_command(struct reply *r, uint32_t argc, const struct bytes *argv)
{
    /* Each argument adds two quotes and a blank to what it may take. */
    char args[ECHO_BYTES_MAX + 4];
    size_t len = 0;

    args[0] = '\0';
    for (uint32_t i = 1; i < argc && len < ECHO_BYTES_MAX; i++) {
        const int shown = echo_len(argv[i], ECHO_BYTES_MAX - len);
        len += (size_t)snprintf(args + len, sizeof(args) - len, "'%.*s' ", shown,
                                (const char *)argv[i].ptr);
    }
    reply_error(r, "ERR unknown command '%.*s', with args beginning with: %s",
                echo_len(argv[0], ECHO_BYTES_MAX), (const char *)argv[0].ptr, args);
}

/* The name of a container in upper case, for "Try X HELP". */
static void upper_name(char out[ECHO_BYTES_MAX], struct bytes name)
{
    size_t len = 0;

    for (; len < name.len && len < ECHO_BYTES_MAX - 1; len++) {
        const uint8_t c = ascii_lower(name.ptr[len]);
        out[len] = (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    out[len] = '\0';
}

void reply_err_unknown_subcommand(struct reply *r, const struct bytes *argv)
{
    char name[ECHO_BYTES_MAX];

    upper_name(name, argv[0]);
    reply_error(r, "ERR unknown subcommand '%.*s'. Try %s HELP.", echo_len(argv[1], ECHO_BYTES_MAX),
                (const char *)argv[1].ptr, name);
}

void reply_err_subcommand_syntax(struct reply *r, const struct bytes *argv)
{
    char name[ECHO_BYTES_MAX];

    upper_name(name, argv[0]);
    reply_error(r, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
                echo_len(argv[1], ECHO_BYTES_MAX), (const char *)argv[1].ptr, name);
}

void reply_err_oom(struct reply *r, const char *reason)
{
    reply_error(r, "OOM command not allowed when used memory > 'maxmemory'.%s%s",
                reason == NULL ? "" : " ", reason == NULL ? "" : reason);
}
