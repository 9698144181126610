/*
 * The elements of a collection as they were at one moment, in the order of their rows, for commands
 * that show more of it than DRAM may take: read in slices through one cursor of the store, which
 * sees nothing that is written later. Nothing becomes resident.
 *
 *     create -> read -> [slice on a reader's thread] -> next, next, .. -> read -> .. -> destroy
 *
 * The owner sees to it that the store has all of the collection (ks_flush_covered) and that no
 * client changes it until the first slice has come: by then the cursor stands. Rows of an earlier
 * collection of that name, which wait to be swept, are left out.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_COLLSTREAM_H
#define TIERRA_ENGINE_SPACE_COLLSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/row.h"

struct coll;
struct ks_key;
struct ks_stream;
struct ks_wait;
struct keyspace;

/* Streams at a time: each keeps what the store would else delete. */
#define KS_STREAMS_MAX 16

/* False: there are as many as may be. */
bool ks_stream_room(const struct keyspace *ks);

/* Of a hash, set or list; `skip` elements are left out at its begin. */
MUST_USE struct ks_stream *ks_stream_create(struct keyspace *ks, const struct ks_key *key,
                                            const struct coll *coll, uint64_t skip);

/*
 * Before the first read: not all of a hash or set, but a page of about `max` elements (at least 1)
 * from `from` on, a hash of 48 bits by which its rows are ordered. It is one slice, and ends
 * between two hashes.
 */
void ks_stream_page(struct ks_stream *s, uint64_t from, uint32_t max);

/* Where the next page begins; false: this one was the last. */
bool ks_stream_page_end(const struct ks_stream *s, uint64_t *from);

/* The next slice is asked for; `wait` is ready when it is there. */
void ks_stream_read(struct ks_stream *s, struct ks_wait *wait);
bool ks_stream_reading(const struct ks_stream *s);

/* The next element of the slice, valid until the next read; false: there is none. */
struct ks_stream_elem {
    struct bytes sub; /* Field, member or position. */
    struct row_view view;
};
MUST_USE bool ks_stream_next(struct ks_stream *s, struct ks_stream_elem *out);

/* The slice was the last. */
bool ks_stream_end(const struct ks_stream *s);

/* 0, or why the slice is incomplete: -ERR_CORRUPT, -ERR_CLOSED, -ENOMEM, -errno. */
int ks_stream_err(const struct ks_stream *s);

/* The cursor is closed in the background; until then the keyspace is busy. NULL is allowed. */
void ks_stream_destroy(struct ks_stream *s);

#endif
