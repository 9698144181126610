/*
 * A connection to a node and the replies on it.
 *
 * Blocking, with a timeout on every wait. A reply is read whole and into a bounded buffer; then it
 * is a sequence of items: an array is an item that says how many follow.
 */
#ifndef TIERRA_TOOLS_CTL_CTL_LINK_H
#define TIERRA_TOOLS_CTL_CTL_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

/* More than this is refused: the client of an operator does not read values of a gigabyte. */
#define LINK_REPLY_BYTES_MAX (64u << 20)
#define LINK_DEPTH_MAX       32
#define LINK_WHY_BYTES       512

struct link_address {
    const char *host;
    const char *port;
    const char *socket; /* NULL: host and port. */
    uint32_t timeout_ms;
};

struct link {
    int fd; /* -1: closed. */
    uint32_t timeout_ms;
    struct buf in;
    size_t at; /* What is read of `in`. */
    char why[LINK_WHY_BYTES];
};

/* Of the wire: all of RESP2, where maps and sets come as arrays; of RESP3 maps and nil, too. */
enum item_kind {
    ITEM_STATUS,
    ITEM_ERROR,
    ITEM_INTEGER,
    ITEM_BULK,
    ITEM_NIL,
    ITEM_ARRAY,
    ITEM_MAP,
};

struct item {
    enum item_kind kind;
    struct bytes text; /* STATUS, ERROR, BULK; valid until the next command. */
    int64_t number;    /* INTEGER: the value; ARRAY, MAP: how many items follow, with theirs;
                       a name and a value are two. */
};

/* 0, or an error with one line in link->why. */
MUST_USE int link_open(struct link *link, const struct link_address *address);
void link_close(struct link *link);

/* Sends a command and reads its whole reply; then link_item gives its items. 0 or an error. */
MUST_USE int link_call(struct link *link, size_t argc, const struct bytes *argv);

/* The next item of the reply that was read. False: there is none. */
MUST_USE bool link_item(struct link *link, struct item *out);

#endif
