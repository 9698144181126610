/*
 * HSCAN, SSCAN and ZSCAN: their options and the walk over a collection.
 *
 * The cursor is a prefix of the hashes that order the element table, so that an element which is
 * there all the time is shown, whatever comes and goes between two calls. A small collection is
 * shown at once, as Redis shows its compact encodings.
 *
 * A hash or set that is too large to be loaded is shown from flash, page by page (stream.h), in the
 * order of its rows there, which is another: COLLSCAN_ON_FLASH tells the cursors apart. A walk that
 * finds the collection on the other tier than its last step begins anew: elements may be shown
 * twice, none is left out.
 */
#ifndef TIERRA_SERVER_COLLSCAN_H
#define TIERRA_SERVER_COLLSCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct elem;
struct reply;
struct request;

/* In cursors of a walk over rows; below it are 48 bits of a hash. */
#define COLLSCAN_ON_FLASH (UINT64_C(1) << 48)

struct collscan_options {
    struct bytes pattern;
    bool filtered; /* By the pattern. */
    uint32_t count;
};

/* As strtoul takes it: a sign may stand before it, nothing at all is 0, no blanks, no rest. */
MUST_USE bool collscan_parse_cursor(struct bytes text, uint64_t *out);

/* The same; false after an error reply. */
MUST_USE bool collscan_cursor(struct reply *out, struct bytes text, uint64_t *cursor);

/* Arguments from 3 on; false after an error reply. */
MUST_USE bool collscan_options(struct reply *out, uint32_t argc, const struct bytes *argv,
                               struct collscan_options *options);

/* Whether the pattern lets it through. */
bool collscan_matches(const struct collscan_options *options, struct bytes sub);

/* The reply up to its elements. */
void collscan_reply_head(struct reply *out, uint64_t cursor);

/* Writes what the command shows of one element: `per_elem` replies. */
typedef void collscan_emit_fn(struct request *rq, const struct elem *elem);

/* All of the command: key, cursor and options are the arguments 1, 2 and from 3 on. */
void collscan_run(struct request *rq, uint8_t type, uint32_t per_elem, collscan_emit_fn *emit);

#endif
