/*
 * Error numbers.
 *
 * Functions that can fail return 0 or a negative number. Two families share the space: -errno
 * from the system (below 4096), and -ERR_* from this table. A positive result is never an error.
 * Replies sent to clients are not errors in this sense.
 */
#ifndef TIERRA_ENGINE_BASE_ERR_H
#define TIERRA_ENGINE_BASE_ERR_H

/* clang-format off */
#define ERR_TABLE(X)                                                              \
    X(ERR_CORRUPT,      "damaged data: checksum or structure is wrong")           \
    X(ERR_PROTOCOL,     "protocol violation")                                     \
    X(ERR_TRUNCATED,    "data ends too early")                                    \
    X(ERR_LIMIT,        "limit exceeded")                                         \
    X(ERR_FORMAT,       "unknown format or version")                              \
    X(ERR_BUSY,         "in use")                                                 \
    X(ERR_STALE_EPOCH,  "stale membership epoch")                                 \
    X(ERR_FENCED,       "fenced: writes are refused")                             \
    X(ERR_CONFIG,       "invalid configuration")                                  \
    X(ERR_EXISTS,       "already exists")                                         \
    X(ERR_NOT_FOUND,    "not found")                                              \
    X(ERR_RANGE,        "value out of range")                                     \
    X(ERR_OVERFLOW,     "arithmetic overflow")                                    \
    X(ERR_SYNTAX,       "syntax error")                                           \
    X(ERR_TYPE,         "wrong type")                                             \
    X(ERR_UNSUPPORTED,  "not supported")                                          \
    X(ERR_CLOSED,       "closed")                                                 \
    X(ERR_CANCELLED,    "cancelled")                                              \
    X(ERR_AUTH,         "authentication failed")                                  \
    X(ERR_REFUSED,      "refused")                                                \
    X(ERR_LOST,         "acknowledged data is missing")                           \
    X(ERR_POISON,       "row was damaged and is quarantined")
/* clang-format on */

enum err {
    ERR_BASE = 4096, /* Above every errno; itself not an error. */
#define ERR_ENUM(name, text) name,
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
    ERR_END
};

/*
 * A fixed English text for an error of either family and of either sign; 0 is "ok". Never NULL,
 * static storage, any thread.
 */
const char *err_str(int err);

/* The name of the constant, "ERR_CORRUPT" or "ENOSPC"; "?" if there is none. Any thread. */
const char *err_name(int err);

#endif
