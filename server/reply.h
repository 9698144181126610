/*
 * Writer of replies, RESP2 and RESP3, and the one place of the error texts that clients see.
 *
 * A struct reply collects the replies of one connection in one growing buffer; the connection
 * sends and empties it. Every call appends one protocol element; the caller is responsible for
 * announcing as many elements as it writes. Where RESP2 lacks a type the writer falls back as
 * Redis 7.0 does (map -> array of twice the length, double -> bulk string, ...).
 *
 * When the buffer reaches its limit, or memory is exhausted, the reply is `failed`: what is there
 * ends somewhere within an element, all further calls do nothing, and the connection has to be
 * closed. So no call returns an error.
 *
 * Texts and number formats are those of Redis 7.0.15, byte by byte.
 */
#ifndef TIERRA_SERVER_REPLY_H
#define TIERRA_SERVER_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

/* Longest error text; longer ones are cut. */
#define REPLY_ERROR_BYTES_MAX 1024
/* For "%.*s" in one: a client's text, as far as there is room. */
#define REPLY_SHOWN(text) (int)size_min((text).len, REPLY_ERROR_BYTES_MAX), (const char *)(text).ptr

/* Shared by the replies of a shard. */
struct reply_env {
    /* Called for each error with its first word ("ERR"), for the statistics. May be NULL. */
    void (*on_error)(void *ctx, struct bytes code);
    void *ctx;
};

struct reply {
    struct buf out;
    const struct reply_env *env; /* May be NULL. */
    uint32_t errors_count;       /* Error replies written; wraps. Tells a command that failed. */
    uint8_t proto;               /* 2 or 3 */
    bool failed;
};

/* `limit`: hard limit of the collected output in bytes. `env` (may be NULL) must outlive it. */
void reply_init(struct reply *r, size_t limit, const struct reply_env *env);
void reply_deinit(struct reply *r);

/* --- Simple elements --- */

/* Appends bytes that are protocol already. */
void reply_raw(struct reply *r, const void *ptr, size_t len);
#define REPLY_RAW(r, literal) reply_raw((r), "" literal "", sizeof(literal) - 1)

void reply_ok(struct reply *r);
/* A simple string; CR and LF become blanks. */
void reply_status(struct reply *r, const char *text);
void reply_i64(struct reply *r, int64_t value);
void reply_u64(struct reply *r, uint64_t value);
void reply_bulk(struct reply *r, struct bytes value);
void reply_bulk_cstr(struct reply *r, const char *text); /* NULL: reply_null */
void reply_bulk_i64(struct reply *r, int64_t value);
/* Formatted text as a bulk string. */
void reply_bulk_printf(struct reply *r, const char *format, ...) PRINTF_LIKE(2, 3);
void reply_null(struct reply *r);       /* $-1 or _ */
void reply_null_array(struct reply *r); /* *-1 or _ */
void reply_double(struct reply *r, double value);
/*
 * Digits as INCRBYFLOAT has them (which itself replies a bulk string); a bulk string in RESP2, a
 * double in RESP3.
 */
void reply_ldouble(struct reply *r, long double value);
void reply_bool(struct reply *r, bool value); /* :1 or #t */
void reply_bignum(struct reply *r, struct bytes digits);
/* `kind`: three letters, "txt" or "mkd". */
void reply_verbatim(struct reply *r, struct bytes text, const char *kind);

/*
 * A bulk string of `len` bytes that the caller writes to the result before any other call; NULL if
 * the reply failed.
 */
MUST_USE uint8_t *reply_bulk_space(struct reply *r, size_t len);

/* --- Aggregates: `n` elements follow (maps and attributes: n pairs) --- */

void reply_array(struct reply *r, uint64_t n);
void reply_map(struct reply *r, uint64_t n);
void reply_set(struct reply *r, uint64_t n);
void reply_push(struct reply *r, uint64_t n);      /* An array in RESP2. */
void reply_attribute(struct reply *r, uint64_t n); /* RESP3 only. */

/* An aggregate whose length is known at its end only. They nest. */
struct reply_mark {
    size_t at;
    size_t room;
};

/* `guess`: the likely number. If it has the right number of digits nothing is moved at the end. */
MUST_USE struct reply_mark reply_deferred_begin(struct reply *r, uint64_t guess);
void reply_deferred_array(struct reply *r, struct reply_mark mark, uint64_t n);
void reply_deferred_map(struct reply *r, struct reply_mark mark, uint64_t n);
void reply_deferred_set(struct reply *r, struct reply_mark mark, uint64_t n);

/*
 * The reply to a HELP subcommand: `lines` (up to NULL) between Redis' heading and end. `container`:
 * its name in upper case.
 */
void reply_help(struct reply *r, const char *container, const char *const *lines);

/* --- Errors --- */

/*
 * "-<text>\r\n": the text starts with the code, as "ERR syntax error". CR and LF become blanks;
 * at the end of what is formatted they are left out.
 */
void reply_error(struct reply *r, const char *format, ...) PRINTF_LIKE(2, 3);
void reply_error_bytes(struct reply *r, struct bytes text);
/* The error that was replied last, and nothing after it, becomes the end of "EXECABORT ...",
 * without an "ERR ". */
void reply_execabort_because(struct reply *r);

/* Errors with a fixed text: a function for each, reply_err_<name>(r). */
/* clang-format off */
#define REPLY_ERRORS(X)                                                                           \
    X(wrongtype,     "WRONGTYPE Operation against a key holding the wrong kind of value")         \
    X(syntax,        "ERR syntax error")                                                          \
    X(not_integer,   "ERR value is not an integer or out of range")                               \
    X(not_float,     "ERR value is not a valid float")                                            \
    X(not_positive,  "ERR value is out of range, must be positive")                               \
    X(out_of_range,  "ERR value is out of range")                                                 \
    X(index_range,   "ERR index out of range")                                                    \
    X(offset_range,  "ERR offset is out of range")                                                \
    X(string_limit,  "ERR string exceeds maximum allowed size (proto-max-bulk-len)")              \
    X(overflow,      "ERR increment or decrement would overflow")                                 \
    X(nan_inf,       "ERR increment would produce NaN or Infinity")                               \
    X(score_nan,     "ERR resulting score is not a number (NaN)")                                 \
    X(hash_integer,  "ERR hash value is not an integer")                                          \
    X(hash_float,    "ERR hash value is not a float")                                             \
    X(min_max_float, "ERR min or max is not a float")                                             \
    X(min_max_lex,   "ERR min or max not valid string range item")                                \
    X(no_such_key,   "ERR no such key")                                                           \
    X(same_object,   "ERR source and destination objects are the same")                           \
    X(cursor,        "ERR invalid cursor")                                                        \
    X(db_index,      "ERR DB index is out of range")                                              \
    X(timeout,       "ERR timeout is not a float or out of range")                                \
    X(timeout_neg,   "ERR timeout is negative")                                                   \
    X(noauth,        "NOAUTH Authentication required.")                                           \
    X(wrongpass,     "WRONGPASS invalid username-password pair or user is disabled.")             \
    X(noproto,       "NOPROTO unsupported protocol version")                                      \
    X(noperm_key,    "NOPERM this user has no permissions to access one of the keys used as "     \
                     "arguments")                                                                 \
    X(noperm_channel, "NOPERM this user has no permissions to access one of the channels used as " \
                     "arguments")                                                                 \
    X(noscript,      "NOSCRIPT No matching script. Please use EVAL.")                             \
    X(loading,       "LOADING Redis is loading the dataset in memory")                            \
    X(busykey,       "BUSYKEY Target key name already exists.")                                   \
    X(execabort,     "EXECABORT Transaction discarded because of previous errors.")               \
    X(exec_no_multi, "ERR EXEC without MULTI")                                                    \
    X(discard_no_multi, "ERR DISCARD without MULTI")                                              \
    X(multi_nested,  "ERR MULTI calls can not be nested")                                         \
    X(watch_multi,   "ERR WATCH inside MULTI is not allowed")                                     \
    X(no_multi,      "ERR Command not allowed inside a transaction")                              \
    X(crossslot,     "CROSSSLOT Keys in request don't hash to the same slot")                     \
    X(key_too_long,  "ERR key or element name is longer than 65535 bytes")                        \
    X(maxclients,    "ERR max number of clients reached")                                         \
    X(no_group,      "ERR this node is in no replication group: set group-nickname, member-name, " \
                     "linked-databases and group-secret-file")
/* clang-format on */

#define REPLY_ERROR_DECLARE(name, text) void reply_err_##name(struct reply *r);
REPLY_ERRORS(REPLY_ERROR_DECLARE)
#undef REPLY_ERROR_DECLARE

/* `fullname`: as in struct cmd, lower case, "config|get" for a subcommand. */
void reply_err_arity(struct reply *r, const char *fullname);
void reply_err_expire_time(struct reply *r, const char *fullname);
void reply_err_noperm_cmd(struct reply *r, const char *fullname);
/* The command as the client spelled it, with its first arguments. */
void reply_err_unknown_command(struct reply *r, uint32_t argc, const struct bytes *argv);
/* argv[0] is a container that has no subcommand argv[1]. */
void reply_err_unknown_subcommand(struct reply *r, const struct bytes *argv);
/* The same from a handler that looks at its subcommands by itself, as DEBUG. */
void reply_err_subcommand_syntax(struct reply *r, const struct bytes *argv);
/* Redis' first words, then the budget that is exhausted. `reason` may be NULL. */
void reply_err_oom(struct reply *r, const char *reason);

#endif
