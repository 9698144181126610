/*
 * One call of a command, as its handler sees it, and the little that all handlers share.
 *
 * The dispatcher has checked arity, permissions and memory, and has made resident what the
 * command table says the command needs. A handler reads through ks_get, changes through mut_*, and
 * writes exactly one reply. It never waits and never fails half way: it validates its arguments,
 * then acts.
 */
#ifndef TIERRA_SERVER_REQUEST_H
#define TIERRA_SERVER_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/num.h"

#include "engine/space/keyspace.h"
#include "engine/space/strval.h"

#include "replication/mutate.h"

#include "server/command.h"
#include "server/reply.h"
#include "server/stats.h"

struct conn;
struct node;
struct shard;

struct request {
    struct shard *sh;
    struct keyspace *ks; /* Of the shard; */
    struct mut *mut;     /* likewise. */
    struct conn *conn;
    struct reply *out;
    struct shard_stats *stats;
    const struct cmd *cmd;
    const struct bytes *argv; /* argv[0] is the command's name. Borrowed until the handler ends. */
    uint32_t argc;
    uint32_t key_at;   /* Argument whose key the dispatcher knows; 0: of none. */
    struct ks_key key; /* Likewise; handlers use req_key. */
    uint64_t now_ms;   /* Wall clock of this turn: what expiry is judged by. */
    bool nested;       /* Within EXEC: it must not wait. */
    bool parked;       /* Set by a handler that has started a read and wants to be called again. */
};

/* The key in argument `index`. */
static inline struct ks_key req_key(const struct request *rq, uint32_t index)
{
    if (likely(index == rq->key_at))
        return rq->key;
    return ks_key_of(rq->argv[index], ks_seed(rq->ks));
}

/* As Redis: hits and misses are those of reads; a write may read (GETDEL, COPY, BITOP). */
static inline void req_count_read(const struct request *rq, bool found)
{
    rq->stats->keyspace_hits += found;
    rq->stats->keyspace_misses += !found;
}

static inline void req_count_found(const struct request *rq, bool found)
{
    if ((rq->cmd->flags & CMD_WRITE) == 0)
        req_count_read(rq, found);
}

/* The object of a hot and living key that is read, by whatever command; else NULL. */
static inline struct obj *req_read(const struct request *rq, const struct ks_key *key)
{
    struct obj *obj = ks_get(rq->ks, key, rq->now_ms);

    req_count_read(rq, obj != NULL);
    return obj;
}

/* The same for commands that read or write it. */
static inline struct obj *req_get(const struct request *rq, const struct ks_key *key)
{
    struct obj *obj = ks_get(rq->ks, key, rq->now_ms);

    req_count_found(rq, obj != NULL);
    return obj;
}

/* The same for a command that asks about the key only: no use of it. */
static inline struct obj *req_look(const struct request *rq, const struct ks_key *key)
{
    struct obj *obj;
    const bool found = ks_look(rq->ks, key, rq->now_ms, &obj) == KS_HOT;

    req_count_found(rq, found);
    return found ? obj : NULL;
}

/*
 * The clock for a time to live: read anew, for what is set late in a long turn would else be gone
 * too early. The rest of the turn goes by it, too.
 */
int64_t req_now_for_ttl(struct request *rq);

/* True if the object is NULL or of `type`; else replies WRONGTYPE. */
MUST_USE bool req_type_ok(struct request *rq, const struct obj *obj, uint8_t type);

/* As TYPE replies. */
const char *req_type_name(uint8_t type);

/* Parse an argument; after false the standard error was replied. */
MUST_USE bool req_i64(struct request *rq, uint32_t index, int64_t *out);

/* A count that may be negative, of SRANDMEMBER and its like; after false the error was replied. */
MUST_USE bool req_count(struct request *rq, uint32_t index, int64_t *out);

/*
 * Whether the log takes `ops` element ops of `bytes` together, for commands whose effect is not
 * bounded by the length of their request; asked before the first change. After false the handler
 * returns: an error was replied, or the command will be called again.
 */
MUST_USE bool req_log_room(struct request *rq, uint64_t ops, size_t bytes);

/* The answer to a mut_* call that gave an error because the log does not take the change. */
void req_log_full(struct request *rq, int err);

/* Room for the text of a number that stands in a counter's place. */
#define REQ_TEXT_BYTES NUM_LDOUBLE_BYTES

/*
 * The value of a living string that is one row: a slice of the object, or of `text` if it is a
 * number. Valid until the object is changed. Not of one in chunks (obj_is_chunked).
 */
struct bytes req_string(const struct request *rq, const struct obj *obj, char text[REQ_TEXT_BYTES]);

/* Of any living string. */
uint64_t req_string_len(const struct request *rq, const struct obj *obj);

/*
 * After a change of the string at `key`, or what Redis takes for one: BLK_RAW or BLK_TEXT is what
 * OBJECT ENCODING says of it from now on.
 */
void req_string_form(const struct request *rq, const struct ks_key *key, uint8_t form);

/* Replies `len` bytes of any living string, from `offset` on; they are resident. */
void req_reply_string(struct request *rq, const struct obj *obj, uint64_t offset, uint64_t len);

/* An option word such as "EX", any case. */
static inline bool req_is(const struct request *rq, uint32_t index, const char *word)
{
    return bytes_eq_nocase(rq->argv[index], word);
}

/*
 * Time argument `index` of SET EX and the like to a deadline in ms since 1970. `unit_ms` 1 or 1000;
 * `absolute`: a point in time, not a distance. After false the error was replied.
 */
MUST_USE bool req_deadline(struct request *rq, uint32_t index, int64_t unit_ms, bool absolute,
                           uint64_t *out_at_ms);

#endif
