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
 * What several sets have in common, or not, is read the same way, with a cursor for each
 * (collmerge.h). How many elements that are shows only at the end; who has to know before reads all
 * twice, unless it is little enough to be kept:
 *
 *     create -> count -> read, read, .. -> next, next, ..              all was kept
 *                                       -> rewind -> read -> next, ..  else
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_COLLSTREAM_H
#define TIERRA_ENGINE_SPACE_COLLSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/space/collmerge.h"
#include "engine/value/row.h"

struct coll;
struct ks_key;
struct ks_stream;
struct ks_wait;
struct keyspace;

/* Cursors at a time: each keeps what the store would else delete. */
#define KS_STREAMS_MAX 16

/* False: with `cursors` more there would be too many. */
bool ks_stream_room(const struct keyspace *ks, uint32_t cursors);

/*
 * Which elements, and in which order. Of a sorted set that is the order of its members, or with
 * `by_score` that of its scores, whose rows (the score index) show score and member; it is as exact
 * as the rows of the members, since both go to the store in one batch.
 */
struct ks_stream_span {
    struct bytes low;  /* Of a sorted set: the first place, member or score bytes | member; */
    struct bytes high; /* the first one beyond it. Empty: from the begin, to the end. Copied. */
    uint64_t skip;     /* Elements that are left out, from where the reading begins. */
    bool by_score;
    bool back; /* From the end to the begin. */
};

/* Of a hash, set, sorted set or list. */
MUST_USE struct ks_stream *ks_stream_create(struct keyspace *ks, const struct ks_key *key,
                                            const struct coll *coll,
                                            const struct ks_stream_span *span);

/* Of sets, to which `add` gives one after the other, as many as `sets`. */
MUST_USE struct ks_stream *ks_stream_merge(struct keyspace *ks, enum collmerge_op op,
                                           uint32_t sets);
void ks_stream_merge_add(struct ks_stream *s, const struct ks_key *key);

/*
 * The same with scores (collmerge.h), of sets and sorted sets.
 */
struct ks_stream_scored {
    enum collmerge_aggregate how;
    double weight;
    uint8_t type; /* VT_SET or VT_ZSET */
};
void ks_stream_merge_add_scored(struct ks_stream *s, const struct ks_key *key,
                                const struct ks_stream_scored *set);

/*
 * Before the first read: elements are counted, `max` of them at most (0: all), until the end.
 * They are kept as long as they take no more than `keep` bytes, each with `beside` bytes beside its
 * name; after that none is.
 */
void ks_stream_count(struct ks_stream *s, uint64_t max, uint64_t keep, uint32_t beside);

/*
 * The same of a join of scores, which is to be shown in the order of scores. If it is too large to
 * be kept, nothing is with `all`; else at the end of the count the least ones are the next
 * elements, and behind them it is read again for those that follow, as often as it takes
 * (collkeep.h): the slice is not the last one then.
 */
void ks_stream_count_sorted(struct ks_stream *s, uint64_t keep, uint32_t beside, bool all);

/* Between two reads: the count is complete. */
bool ks_stream_is_counted(const struct ks_stream *s);

/* Between two reads: how many there are so far, and whether all are kept. At the end they are the
 * next elements. */
uint64_t ks_stream_counted(const struct ks_stream *s);
bool ks_stream_kept(const struct ks_stream *s);
/* What is kept takes, with its heads. */
size_t ks_stream_bytes(const struct ks_stream *s);

/* At the end: all is read again, as it was. */
void ks_stream_rewind(struct ks_stream *s);

/* At the end: what was kept is shown from its first element on, again. */
void ks_stream_show_again(struct ks_stream *s);

/*
 * Before the first read: not all of a hash or set, but a page of about `max` elements (at least 1)
 * from `from` on, a hash of 48 bits by which its rows are ordered. It is one slice, and ends
 * between two hashes.
 */
void ks_stream_page(struct ks_stream *s, uint64_t from, uint32_t max);

/* Where the next page begins; false: this one was the last. */
bool ks_stream_page_end(const struct ks_stream *s, uint64_t *from);

/*
 * The same of a sorted set, in the order of its members: from the begin of the span on or, with
 * `seek`, from the member on whose ks_stream_place is `*seek`, for which all before it are looked
 * through, slice by slice.
 */
void ks_stream_page_members(struct ks_stream *s, const uint64_t *seek, uint32_t max);

/* 48 bits that stand for a member, not all 0. */
uint64_t ks_stream_place(const struct keyspace *ks, struct bytes member);

/* Between two reads: the member that is looked for was not met yet, and at the end is not there. */
bool ks_stream_page_seeks(const struct ks_stream *s);

/* The member with which the next page begins, valid as long as the stream; false: there is none. */
bool ks_stream_page_next(const struct ks_stream *s, struct bytes *member);

/*
 * Before the first read: not all, but `n` elements at random, of `count` that there are (as the key
 * row says). `pick`: different ones, n is at most count, each choice of them as likely as any
 * other; all rows are looked through. `draw`: of a hash or set, by the hashes of the rows
 * (colldraw.h); with `distinct` none comes twice, and n is at most what colldraw.h allows.
 */
void ks_stream_pick(struct ks_stream *s, uint64_t count, uint64_t n, uint64_t seed);
void ks_stream_draw(struct ks_stream *s, uint64_t count, uint64_t n, uint64_t seed, bool distinct);

/*
 * The same of a sorted set by score: `n` members, each drawn from all of them. They are kept until
 * all rows were looked through, in any order; ks_stream_kept tells whether there was room.
 */
struct ks_stream_drawn {
    uint64_t count;
    uint64_t n;
    uint64_t seed;
    uint64_t keep;   /* Bytes, with */
    uint32_t beside; /* these beside each name. */
};
void ks_stream_draw_scored(struct ks_stream *s, const struct ks_stream_drawn *drawn);

/*
 * Before the first read: what is picked or drawn is kept through all reads, as long as it takes no
 * more than `keep` bytes, each element with `beside` bytes beside its name; beyond that it ends
 * with none (ks_stream_kept). At the end all of them are the next elements.
 */
void ks_stream_gather(struct ks_stream *s, uint64_t keep, uint32_t beside);

/*
 * An element that was read becomes resident. `coll` is the collection that it was read of, from
 * which nothing but other elements was removed since.
 */
void ks_stream_install(struct keyspace *ks, struct coll *coll, struct bytes sub, struct bytes row);

/* The next slice is asked for; `wait` is ready when it is there. */
void ks_stream_read(struct ks_stream *s, struct ks_wait *wait);
bool ks_stream_reading(const struct ks_stream *s);

/* The next element of the slice, valid until the next read; false: there is none. */
struct ks_stream_elem {
    struct bytes sub; /* Field, member or position. */
    struct bytes row; /* What `view` shows. */
    struct row_view view;
    double score; /* Of a sorted set, or a join of scores. */
};
MUST_USE bool ks_stream_next(struct ks_stream *s, struct ks_stream_elem *out);

/* The slice was the last. */
bool ks_stream_end(const struct ks_stream *s);

/* 0, or why the slice is incomplete: -ERR_CORRUPT, -ERR_CLOSED, -ENOMEM, -errno. */
int ks_stream_err(const struct ks_stream *s);

/* The cursor is closed in the background; until then the keyspace is busy. NULL is allowed. */
void ks_stream_destroy(struct ks_stream *s);

#endif
