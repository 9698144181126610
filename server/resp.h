/*
 * Incremental parser of client requests: RESP arrays of bulk strings, and inline commands.
 *
 * The input is one contiguous run of bytes that starts where the last command ended. Nothing is
 * copied: the arguments are slices of the input (only quoted inline words are rewritten, into
 * memory of the command). Work is proportional to the bytes that arrive: a command that comes in
 * pieces is resumed where it stopped, and the body of a bulk string is never looked at.
 *
 * Texts of errors, their order and the few liberties (the bytes at the place of CRLF are not
 * looked at) are those of Redis 7.0, networking.c processInlineBuffer and processMultibulkBuffer.
 */
#ifndef TIERRA_SERVER_RESP_H
#define TIERRA_SERVER_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

/* Longest inline command, and longest line that announces a length. */
#define RESP_LINE_BYTES_MAX (64u * 1024)
/* Arguments of one command. */
#define RESP_ARGS_MAX (1024u * 1024)
/* What a client may send before it has authenticated. */
#define RESP_UNAUTH_ARGS_MAX       10
#define RESP_UNAUTH_BULK_BYTES_MAX 16384
/* Room for the longest error text. */
#define RESP_ERROR_BYTES 64

enum resp_result {
    RESP_READY, /* A command with at least one argument. */
    RESP_MORE,  /* The input ends within a command. */
    RESP_ERROR, /* out->error says why; the connection is to be closed after the reply. */
    RESP_HTTP,  /* A browser or a request forged through one: to be closed without a reply. */
};

struct resp_limits {
    uint64_t bulk_bytes_max; /* proto-max-bulk-len */
    uint32_t args_max;       /* At most RESP_ARGS_MAX. */
    bool unauthenticated;    /* Apply RESP_UNAUTH_*. */
};

/* Where the parser stands within an incomplete command. All zero between commands. */
struct resp_parser {
    size_t pos;        /* Bytes of the command that need not be looked at again. */
    size_t scanned;    /* Bytes from pos on that hold no end of line. */
    uint64_t bulk_len; /* Of the argument at pos, if in_bulk. */
    uint32_t args_left;
    bool in_bulk;
};

/*
 * One command. Owned by the caller and used again for the next one; while the parser is within a
 * command, that command's struct must be passed again.
 */
struct resp_cmd {
    struct bytes
        *argv; /* Valid only after RESP_READY, and as long as the input stays where it is. */
    uint32_t argc;
    uint32_t argv_cap;
    size_t consumed;              /* Bytes to drop from the front of the input, after any result. */
    uint8_t *text;                /* Rewritten inline words. */
    char error[RESP_ERROR_BYTES]; /* "Protocol error: ...", after RESP_ERROR. */
};

static inline void resp_parser_init(struct resp_parser *p)
{
    *p = (struct resp_parser){0};
}

static inline void resp_cmd_init(struct resp_cmd *cmd)
{
    *cmd = (struct resp_cmd){0};
}

/* Frees the memory; the command can be used again. */
void resp_cmd_deinit(struct resp_cmd *cmd);

/* A list of arguments that is longer is not kept when its command has run. */
#define RESP_ARGV_IDLE 16384u

/* The command has run: gives a long list of arguments back, for its client may send no other. */
static inline void resp_cmd_ran(struct resp_cmd *cmd)
{
    if (unlikely(cmd->argv_cap > RESP_ARGV_IDLE))
        resp_cmd_deinit(cmd);
}

/*
 * Parses the next command of `in`. Empty lines and empty arrays are skipped. After RESP_READY the
 * next call takes the input behind out->consumed. After RESP_MORE the caller drops out->consumed
 * bytes (empty commands; usually 0) and calls again with the rest and what has arrived since.
 * After RESP_ERROR and RESP_HTTP the parser must not be used again without resp_parser_init.
 * Cost: O(arguments) for a command that is all there.
 */
MUST_USE enum resp_result resp_parse(struct resp_parser *p, const struct resp_limits *limits,
                                     struct bytes in, struct resp_cmd *out);

/*
 * The same for the usual case alone: a command of up to `out->argv_cap` arguments that is all
 * there. False, with nothing consumed: it is not that simple, or wrong, or the parser stands within
 * a command; resp_parse finds out.
 */
MUST_USE bool resp_parse_whole(struct resp_parser *p, const struct resp_limits *limits,
                               struct bytes in, struct resp_cmd *out);

/* Makes room for `args` arguments. */
void resp_cmd_reserve(struct resp_cmd *cmd, uint32_t args);

/*
 * After RESP_MORE: how long the input has to get, as far as is known, before a call can get
 * further. A hint for sizing the read buffer, not a promise.
 */
size_t resp_wanted(const struct resp_parser *p);

#endif
