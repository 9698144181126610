/* What the sources of stream.h share: a reply under way, and its stages. */
#ifndef TIERRA_SERVER_STREAM_IMPL_H
#define TIERRA_SERVER_STREAM_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/list.h"

#include "server/stream.h"

struct ks_stream;

/* Between two looks whether the store has all. */
#define STREAM_FLUSH_LOOK_MS 3

enum stream_stage {
    STAGE_FLUSHING,
    STAGE_OPENING,
    STAGE_COUNTING, /* Of several sets: how many elements will be shown. */
    STAGE_FLOWING
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
    uint64_t seq;  /* When it began, by sh->streams_seq. */
    uint64_t lsn;  /* The store is to have everything up to here. */
    uint64_t left; /* Elements that are announced and not added yet. */
    uint64_t moved_ms;
    uint32_t tries;
    uint32_t keys_count;
    uint8_t stage; /* enum stream_stage */
    bool full;     /* It waits for room. */
    bool storing;  /* It keeps the whole result. */
    struct stream_key keys[];
};

void stream_set_stage(struct stream *st, enum stream_stage stage);

/* Ends it with an error. */
enum stream_result stream_refuse(struct conn *c, const char *why);

/* Why nothing can be read in this way now; NULL: it can. */
const char *stream_forbidden(const struct shard *sh);

/* A key was changed: from the begin, unless that was tried too often. */
enum stream_result stream_again(struct conn *c);

/* Whether the store has everything that it needs; else the connection is tried again. */
bool stream_is_stored(struct conn *c);

/* The slice that has come, and the next one. */
enum stream_result stream_flow(struct conn *c, const struct cmd *cmd);

/* --- stream_sets.c --- */

/* Whether their cursors may be opened. */
bool stream_sets_room(const struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc);

/* All stages but FLOWING. */
enum stream_result stream_sets_step(struct conn *c, const struct dispatch_plan *plan,
                                    const struct resp_cmd *rc);

#endif
