/*
 * Replies that are larger than what DRAM may hold: HGETALL, HKEYS, HVALS, SMEMBERS, LRANGE, ZRANGE
 * and relatives of a cold collection that is too large to be loaded (ks_need_whole), or of more
 * than a quarter of that (stream_worth), sent while it is read; and so are ranges of a sorted set
 * of more than some thousands of members (needs.c).
 *
 *     FLUSHING   writers of the key wait until the store has all of it      \ other clients' writes
 *     OPENING    the first slice is read: from here on the reply is fixed   / of this key
 *     FLOWING    slice by slice, each when the client has taken the one before
 *
 * The reply is what the collection was when the first slice was read, whatever is written later:
 * engine/space/collstream.h. Its head announces as many elements as the key row counts, so a row
 * that cannot be read, or a client that takes nothing for STREAM_STALL_MS, ends the connection. So
 * do FLUSHALL and a store that has to be opened again, which would have to wait for it.
 *
 * SINTER, SUNION, SDIFF, their STORE forms and SINTERCARD of sets that are too large, one or all
 * together, are read in the same way and joined (stream_sets.c tells how); one stage more is
 *
 *     COUNTING   the result is read a first time, to know how many elements are to be announced
 *
 * That is so, too, where the key row does not tell how many there are: between two scores or
 * members of a sorted set (stream_zset.c). ZCOUNT, ZLEXCOUNT and ranks end with it.
 *
 * HSCAN, SSCAN and ZSCAN of such a collection end with the first slice: it is the page that they
 * show (stream_page.c), unless ZSCAN has to look for its place first. Random elements are drawn or
 * picked from its rows (stream_random.c). SPOP draws likewise, and removes what it drew before
 * writers of the key may go on: it is one itself, and waits for nobody but those that pop, too.
 *
 * Not within MULTI, not for a key of another shard than the connection's, and not in a group, whose
 * rows are no elements until they are joined: there the refusal stands.
 *
 * Of a large collection that is in DRAM the same replies are sent in slices, too: stream_walk.c.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_SERVER_STREAM_H
#define TIERRA_SERVER_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "server/command.h"

struct coll;
struct conn;
struct dispatch_plan;
struct ks_stream;
struct ks_wait;
struct request;
struct resp_cmd;
struct shard;

/* Whether the command of this connection may be answered that way. */
bool stream_serves(const struct conn *c, const struct cmd *cmd);

/* And there is room for it now, or it has begun; else what can be loaded is loaded. */
bool stream_is_ready(const struct conn *c, const struct cmd *cmd);

/* Whether it has the type that the command reads, and is not all in DRAM. */
bool stream_fits(const struct cmd *cmd, const struct coll *coll);

/* Whether that is better than to load the collection, which is not in DRAM. */
bool stream_is_better(const struct shard *sh, const struct cmd *cmd, const struct coll *coll);

/* Whether the command names sets that are read together: then stream_need_sets asks for them. */
bool stream_is_of_sets(const struct cmd *cmd);

/* Whether it removes elements at random; and then, whether those are drawn already (popahead.h). */
bool stream_is_pop(const struct cmd *cmd);
bool stream_pops_ahead(const struct shard *sh, const struct cmd *cmd, const struct coll *coll,
                       uint32_t argc, const struct bytes *argv);

/* Whether it shows elements at random; and with these arguments asks for some at all. */
bool stream_is_of_random(const struct cmd *cmd);
bool stream_random_asks(const struct cmd *cmd, uint32_t argc, const struct bytes *argv);

/* As ks_need_whole for all of them; -ERR_LIMIT also if they are better read than loaded. */
MUST_USE int stream_need_sets(struct shard *sh, const struct cmd *cmd, uint32_t argc,
                              const struct bytes *argv, struct ks_wait *wait);

/* Elements from which on reading is better than loading. */
uint64_t stream_worth(const struct shard *sh);
/* Elements that can be loaded, if they are small. */
uint64_t stream_loadable(const struct shard *sh);

/* Whether the command of this connection is answered that way if there is room. */
bool stream_could(const struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc);

/* After -ERR_LIMIT. False: it is not served, or too many are under way. */
MUST_USE bool stream_begin(struct conn *c, const struct dispatch_plan *plan,
                           const struct resp_cmd *rc);

enum stream_result {
    STREAM_DONE,   /* The reply is complete, or an error. */
    STREAM_PARKED, /* To be called again when the connection is resumed. */
    STREAM_RUN,    /* The handler is to be run, with stream_result; then stream_drop. */
    STREAM_GONE    /* The key is not what it was: to be dispatched anew. */
};
/*
 * Goes on; c->stream is NULL afterwards unless PARKED. `*fixed`: what the reply will say stands
 * since this step, and changes from now on are not in it.
 */
enum stream_result stream_step(struct conn *c, const struct dispatch_plan *plan,
                               const struct resp_cmd *rc, bool *fixed);

/* Elements beyond which a reply is sent in slices although all of them are in DRAM. */
#define STREAM_WALK_ABOVE 4096

/* What such a reply shows: of a hash or set all. */
struct stream_walk_range {
    uint64_t n;
    uint64_t skip; /* Elements before them, from where the reading begins. */
    bool back;     /* From the end to the begin. */
    bool scores;
};

/*
 * For handlers. True: the reply will be sent in slices, and the handler is to return. False: it
 * replies at once, as the connection or the collection is not one for that.
 */
MUST_USE bool stream_walk_begin(struct request *rq, struct coll *coll,
                                const struct stream_walk_range *range);

/* Whether the reply under way is sent from DRAM. */
bool stream_of_dram(const struct conn *c);

/* What the handler is to store: the members that were read. NULL: it finds its sets in DRAM. */
struct ks_stream *stream_result(const struct conn *c);

/* Whether a write has to wait as a stream of one of its keys does not stand yet, or as MIGRATE has
 * sent it. */
bool stream_holds_back(struct conn *c, const struct dispatch_plan *plan, const struct resp_cmd *rc);

/* Replies have left. */
void stream_sent(struct conn *c);

/* The connection is closed. */
void stream_drop(struct conn *c);

/* By the shard's timer: closes those that stall, or all where the store is wanted. */
void stream_look(struct shard *sh);

#endif
