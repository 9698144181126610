/*
 * What a string in chunks must be, from all of its changes and their contexts, by definition.
 *
 * The oracle knows nothing of rows. A change of the key is alive if none that has seen it replaced
 * it, and nothing that replaces the whole key has seen its generation. The living one with the
 * greatest tag names the generation. Of this, the string has the greatest length that a living
 * change gave, and the content that all changes of the generation leave, made one after the other
 * in the order of their tags: an image is all of its chunk. There may be content behind the length:
 * of a change that one of another generation has seen, which lost against this one later.
 */
#ifndef TIERRA_TESTS_PROP_PROP_VALUE_CHUNKS_ORACLE_H
#define TIERRA_TESTS_PROP_PROP_VALUE_CHUNKS_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/value/tag.h"
#include "engine/value/vv.h"

enum chunks_kind {
    CHUNKS_DEL,    /* Or another type takes the place of the string. */
    CHUNKS_WHOLE,  /* A value that is one row. */
    CHUNKS_STRING, /* `len` bytes of `generation`; a new one, if that is the tag. */
    CHUNKS_IMAGE,
    CHUNKS_BITS,
    CHUNKS_TIME /* EXPIRE and PERSIST of a generation. */
};

/* Of one tag, the later ones of the list are the later ones of their batch. */
struct chunks_event {
    enum chunks_kind kind;
    struct tag tag;
    const struct vv *ctx;  /* All but IMAGE and BITS, which come with a STRING. */
    struct tag generation; /* STRING, IMAGE, BITS, TIME. */
    uint64_t at_ms;        /* TIME, 0: PERSIST; STRING that is new: 0: none. */
    uint64_t len;          /* STRING */
    uint64_t at;           /* IMAGE: the chunk; BITS: the first bit of the string. */
    uint32_t bits_count;   /* BITS: up to 64, */
    uint64_t bits;         /* the first is the most significant of them. */
    struct bytes bytes;    /* WHOLE, IMAGE */
};

/*
 * Appends what shows. False: nothing does. `*out_generation` is none where a value that is one row
 * shows.
 */
bool chunks_oracle(const struct chunks_event *events, size_t n, struct tag *out_generation,
                   struct buf *out);

/*
 * The time of a generation, 0: none: the longest of those that none which has seen it changed.
 * Changes of parts change none.
 */
uint64_t chunks_oracle_time(const struct chunks_event *events, size_t n, struct tag generation);

#endif
