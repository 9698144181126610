/*
 * The end of the log that the store does not cover, by key: what a replay would do to the elements
 * of collections, without doing it.
 *
 * The ops of the tail are absolute: an element is set or gone, whatever was there. So the elements
 * after a replay are those of the store that the tail does not name, unless it deletes their key,
 * and those that it sets.
 */
#ifndef TIERRA_TOOLS_INSPECT_INSPECT_TAIL_H
#define TIERRA_TOOLS_INSPECT_INSPECT_TAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct tail;

struct tail_key {
    bool cleared;   /* What the store has of the key is gone. */
    bool unknown;   /* It holds changes whose effect is not followed here. */
    bool has_count; /* `count` is the number of elements at the end, as the log says. */
    uint8_t type;   /* VT_NONE: not there at the end, or not known. */
    uint32_t generation;
    uint64_t count;
    uint64_t set_count; /* Elements that the tail sets. */
};

/* Beyond this much memory the rest of the tail is not taken in: tail_complete is false. */
#define TAIL_BYTES_MAX ((uint64_t)1 << 30)

/*
 * Reads the log in `dir` after `lsn`. 0, or an error of the log: then what was read before it is
 * in the tail, and `why` has the place.
 */
MUST_USE int tail_open(const char *dir, uint64_t lsn, struct tail **out, char *why, size_t why_len);
void tail_close(struct tail *tail);

uint64_t tail_records(const struct tail *tail);
/* The last LSN of the log; what tail_open was given if there is none beyond. */
uint64_t tail_last_lsn(const struct tail *tail);
bool tail_complete(const struct tail *tail);

/* NULL: the tail does not touch the key. */
const struct tail_key *tail_find(const struct tail *tail, struct bytes key);

/* Whether the tail sets or removes this element, so that the store's row does not count. */
bool tail_has_elem(const struct tail *tail, struct bytes key, const struct tail_key *tk,
                   struct bytes sub);

#endif
