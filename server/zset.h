/*
 * What the handlers of sorted sets share: replies, and results that are collected before they are
 * sent or stored, because the destination may be one of the sources.
 */
#ifndef TIERRA_SERVER_ZSET_H
#define TIERRA_SERVER_ZSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/request.h"

struct ks_stream;

/*
 * The sorted set at the key, or NULL if it is absent or, with *ok false and the error replied,
 * something else.
 */
struct coll *zset_get(struct request *rq, const struct ks_key *key, bool *ok);

/* The same of a command that only reads it, even if it stores something elsewhere. */
struct coll *zset_read(struct request *rq, const struct ks_key *key, bool *ok);

/* Member, and score if `scores`: one after the other, with `nested` as a pair. */
void zset_reply(struct reply *r, struct bytes member, double score, bool scores, bool nested);

/* Announces `n` members; in RESP2 scores are elements of the same array. */
void zset_reply_head(struct reply *r, uint64_t n, bool scores);

/*
 * Whether the log has room for the removal of `n` members from rank `start` on; else the error was
 * replied, or the command will be called again.
 */
MUST_USE bool zset_can_remove(struct request *rq, const struct ks_key *key, const struct coll *coll,
                              uint64_t start, uint64_t n);

/* Removes them. If that is all, the key goes. */
void zset_remove_ranks(struct request *rq, const struct ks_key *key, struct coll *coll,
                       uint64_t start, uint64_t n);

/*
 * Replies the `n` first or last members, of which there are as many, and removes them. The array is
 * announced here; asked zset_can_remove before.
 */
void zset_pop(struct request *rq, const struct ks_key *key, struct coll *coll, uint64_t n, bool max,
              bool nested);

/* What ZMPOP and BZMPOP reply of the first key that has any, at most `count` members. */
void zset_mpop(struct request *rq, const struct ks_key *key, struct coll *coll, uint64_t count,
               bool max);

/* COUNT behind MIN or MAX; false after an error reply. */
MUST_USE bool zset_pop_count(struct request *rq, uint32_t at, int64_t *out);

/* A result. Members are borrowed from the sources. */
struct zset_item {
    struct bytes member;
    double score;
};

struct zset_items {
    struct zset_item *at;
    size_t count;
    size_t cap;
};

/* -ENOMEM: not added. */
MUST_USE int zset_items_add(struct zset_items *items, struct bytes member, double score);
void zset_items_free(struct zset_items *items);

/*
 * Replaces whatever is at `key` by a sorted set of the items, or by nothing if there are none, and
 * replies their number.
 */
void zset_items_store(struct request *rq, const struct ks_key *key, const struct zset_items *items);

/* The same of what was read and kept (stream.h). */
void zset_read_store(struct request *rq, const struct ks_key *key, struct ks_stream *read);

#endif
