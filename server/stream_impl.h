/* What the sources of stream.h share: a reply under way, and its stages. */
#ifndef TIERRA_SERVER_STREAM_IMPL_H
#define TIERRA_SERVER_STREAM_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/list.h"

#include "engine/space/collwalk.h"

#include "server/stream.h"

struct coll;
struct ks_stream;
struct ks_stream_elem;

/* What may wait to be sent before the next slice is added. */
#define STREAM_OUT_BYTES_MAX (256u << 10)
/* Of a result that is kept while it is counted. */
#define STREAM_KEEP_BYTES (256u << 10)
/* Of which each element takes so many beside its name: heads and row. */
#define STREAM_KEEP_BESIDE 32u
/* What a member of a sorted set takes beside its name, roughly, kept and then stored. */
#define STREAM_SCORED_BYTES 96u
/* Between two looks whether the store has all. */
#define STREAM_FLUSH_LOOK_MS 3

enum stream_stage {
    STAGE_FLUSHING,
    STAGE_OPENING,
    STAGE_COUNTING, /* How many elements will be shown, where the key row does not tell. */
    STAGE_FLOWING,
    STAGE_WALKING /* It is in DRAM, and stays as it is (stream_walk.c). */
};

struct stream_key {
    uint64_t hash;
    uint16_t slot;
    bool there; /* When it was opened. */
};

struct stream {
    struct list_link link; /* In sh->streams. */
    struct conn *conn;
    struct ks_stream *rows;
    struct coll_walk walk; /* WALKING */
    uint64_t seq;          /* When it began, by sh->streams_seq. */
    uint64_t lsn;          /* The store is to have everything up to here. */
    uint64_t left;         /* Elements that are announced and not added yet. */
    uint64_t moved_ms;
    uint32_t tries;
    uint32_t keys_count;
    uint8_t stage; /* enum stream_stage */
    uint8_t form;  /* WALKING: what is shown of each element (stream_walk.c). */
    bool full;     /* It waits for room. */
    bool storing;  /* It keeps the whole result, to store it, */
    bool keeping;  /* or to sort and show it. */
    bool counts;   /* Of a sorted set: there is a stage COUNTING, */
    bool scores;   /* and scores are shown; of random elements also their values. */
    bool alone;    /* A random element that is no array. */
    bool hurried;  /* It does not wait for the client any more. */
    bool anew;     /* A page: its place was not found, the walk begins again. */
    bool pops;     /* What it draws is removed from the key. */
    struct stream_key keys[];
};

void stream_set_stage(struct stream *st, enum stream_stage stage);

/* Whether one that began before removes what it draws from the same key: it is to end first. */
bool stream_pops_before(const struct stream *st);

/* Ends it with an error. */
enum stream_result stream_refuse(struct conn *c, const char *why);

/* Why nothing can be read in this way now; NULL: it can. */
const char *stream_forbidden(const struct shard *sh);

/* A key was changed: from the begin, unless that was tried too often. */
enum stream_result stream_again(struct conn *c);

/* Whether the store has everything that it needs; else the connection is tried again. */
bool stream_is_stored(struct conn *c);

enum stream_shows {
    STREAM_SHOWS_NUMBER,
    STREAM_SHOWS_SET,
    STREAM_SHOWS_SCORED
};

/* A slice of the first pass has come, `ended`: the last. The reply's head follows, and the rows. */
enum stream_result stream_counted(struct conn *c, const struct cmd *cmd, bool ended,
                                  enum stream_shows shows);

/* The head of the reply. */
void stream_reply_head(struct conn *c, const struct cmd *cmd);

/* The slice that has come, and the next one. */
enum stream_result stream_flow(struct conn *c, const struct cmd *cmd);

/* Results that are kept to be stored, or to be shown, at the moment; and how large one may be. */
bool stream_stores_other(const struct shard *sh);
bool stream_shows_others(const struct shard *sh);
uint64_t stream_kept_max(const struct shard *sh);

/* It is too large: ends with an error. */
enum stream_result stream_refuse_kept(struct conn *c);

/* --- stream_page.c --- */

/* HSCAN, SSCAN and ZSCAN: the reply is one page, written at once. */
bool stream_is_page(const struct cmd *cmd);

/* The store has all of it: asks for the page, or replies an error. */
enum stream_result stream_page_begin(struct conn *c, const struct coll *coll,
                                     const struct dispatch_plan *plan, const struct resp_cmd *rc);

/* What was asked for has come. */
enum stream_result stream_page_step(struct conn *c, const struct dispatch_plan *plan,
                                    const struct resp_cmd *rc);

/* The place of the page is being looked for: the same. */
enum stream_result stream_page_seek(struct conn *c, const struct dispatch_plan *plan,
                                    const struct resp_cmd *rc);

/* --- stream_zset.c --- */

/* Whether it is a range of a sorted set that is shown, counted or stored, or a rank. */
bool stream_is_of_order(const struct cmd *cmd);

/* The store has all of it: reads the first slice, or replies. */
enum stream_result stream_order_begin(struct conn *c, const struct coll *coll,
                                      const struct dispatch_plan *plan, const struct resp_cmd *rc);

/* The first slice of what the key row said before, and those of COUNTING. */
enum stream_result stream_order_step(struct conn *c, const struct cmd *cmd);

/* An element. */
void stream_order_reply(struct conn *c, const struct ks_stream_elem *elem);

/* --- stream_random.c --- */

/* The store has all of it: draws or picks. */
enum stream_result stream_random_begin(struct conn *c, const struct coll *coll,
                                       const struct dispatch_plan *plan, const struct resp_cmd *rc);
/* What was drawn is kept until all of it is there. */
enum stream_result stream_random_step(struct conn *c, const struct cmd *cmd);
void stream_random_head(struct conn *c);
void stream_random_reply(struct conn *c, const struct cmd *cmd, const struct ks_stream_elem *elem);

/* --- stream_walk.c --- */

bool stream_walks(const struct stream *st);
/* The next slice. */
enum stream_result stream_walk_step(struct conn *c);
/* It is to end soon; as a write waits for it. */
void stream_walk_hurry(struct stream *st);
void stream_walk_want(struct stream *st);
/* The key has another value by now, or none: it expired, or was evicted. */
bool stream_walk_lost(const struct stream *st);
/* Nothing happens if it is none. */
void stream_walk_end(struct stream *st);

/* --- stream_sets.c --- */

/* Whether their cursors may be opened. */
bool stream_sets_room(const struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc);

/* All stages but FLOWING. */
enum stream_result stream_sets_step(struct conn *c, const struct dispatch_plan *plan,
                                    const struct resp_cmd *rc);

#endif
