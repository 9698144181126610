/*
 * SINTER, SUNION, SDIFF and relatives of sets that are too large to be loaded; ZINTER, ZUNION,
 * ZDIFF and relatives of sorted sets, or of sets.
 *
 * All sets are read in the order of their rows, and joined (engine/space/collmerge.h). Nobody knows
 * how many members the result has until it has been read, so it is counted first; a result that
 * fills no more than STREAM_KEEP_BYTES is kept meanwhile, a larger one is read a second time,
 * through the same cursors, when its head has been sent.
 *
 * SINTERSTORE, SUNIONSTORE and SDIFFSTORE keep the whole result, at most an eighth of maxmemory
 * with what it takes as a set, for it is stored by one command or not at all; one at a time, and
 * each of several shards its part of that. Writers of the sources wait until then; a change all the
 * same (expiry, eviction) has all begin anew.
 *
 * ZINTER, ZUNION and ZDIFF show their members by scores, which are known when all is joined. So
 * much of the least ones is kept as may be stored; if there are more, all is joined again for each
 * such part, when the one before has been taken. Some commands do that at a time. ZINTERCARD
 * is counted.
 *
 * Sets that are small enough to be loaded, but many together, are read in this way where that is
 * possible at once, and loaded where not.
 */
#include <stdlib.h>

#include "engine/base/check.h"
#include "engine/base/err.h"

#include "engine/space/coll.h"
#include "engine/space/collstream.h"
#include "engine/space/demote.h"
#include "engine/space/keyspace.h"
#include "engine/space/resident.h"

#include "server/conn.h"
#include "server/dispatch.h"
#include "server/node.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/stream_impl.h"
#include "server/zalgebra.h"
#include "server/zset.h"

/* What a member of a set takes in DRAM beside its name, roughly. */
#define MEMBER_BYTES 64u
/* More than that in sets each of which can be loaded, all together: reading is better. */
#define LOADED_TIMES 2

static bool stores(const struct cmd *cmd)
{
    return (cmd->flags & CMD_WRITE) != 0;
}

bool stream_is_of_sets(const struct cmd *cmd)
{
    switch (cmd->id) {
    case CMD_ID_sinter:
    case CMD_ID_sintercard:
    case CMD_ID_sinterstore:
    case CMD_ID_sunion:
    case CMD_ID_sunionstore:
    case CMD_ID_sdiff:
    case CMD_ID_sdiffstore:
        return true;
    default:
        return zalgebra_is(cmd);
    }
}

/* The result is a sorted set, all of which is kept. */
static bool is_scored(const struct cmd *cmd)
{
    return zalgebra_is(cmd) && cmd->id != CMD_ID_zintercard;
}

/* And it is kept in order to be sent. */
static bool is_shown_sorted(const struct cmd *cmd)
{
    return is_scored(cmd) && !stores(cmd);
}

/* Only the number of its members is asked for. */
static bool is_card(const struct cmd *cmd)
{
    return cmd->id == CMD_ID_sintercard || cmd->id == CMD_ID_zintercard;
}

static enum collmerge_op op_of(const struct cmd *cmd)
{
    switch (cmd->id) {
    case CMD_ID_sunion:
    case CMD_ID_sunionstore:
    case CMD_ID_zunion:
    case CMD_ID_zunionstore:
        return COLLMERGE_UNION;
    case CMD_ID_sdiff:
    case CMD_ID_sdiffstore:
    case CMD_ID_zdiff:
    case CMD_ID_zdiffstore:
        return COLLMERGE_DIFF;
    default:
        return COLLMERGE_INTER;
    }
}

/* What else the arguments say. False: they are not as the handler will have it. */
static bool scored_of(const struct cmd *cmd, uint32_t argc, const struct bytes *argv,
                      struct zalgebra *out)
{
    return zalgebra_keys(cmd, argc, argv, out) == ZALGEBRA_OK &&
           zalgebra_options(argc, argv, out) == ZALGEBRA_OK;
}

/* LIMIT of SINTERCARD or ZINTERCARD, 0 if there is none. False as above. */
static bool limit_of(const struct cmd *cmd, uint32_t argc, const struct bytes *argv, uint64_t *out)
{
    int64_t keys, limit = 0;

    struct zalgebra asked;

    *out = 0;
    if (zalgebra_is(cmd)) {
        const bool right = scored_of(cmd, argc, argv, &asked);
        *out = right ? (uint64_t)asked.limit : 0;
        return right;
    }
    if (cmd->id != CMD_ID_sintercard)
        return true;
    if (!num_parse_i64(argv[1], &keys) || keys < 1 || keys > (int64_t)argc - 2)
        return false;
    for (uint32_t i = 2 + (uint32_t)keys; i < argc; i += 2) {
        if (i + 1 >= argc || !bytes_eq_nocase(argv[i], "LIMIT") ||
            !num_parse_i64(argv[i + 1], &limit) || limit < 0)
            return false;
    }
    *out = (uint64_t)limit;
    return true;
}

/* --- the sets --- */

/* What is known of them once all key rows are in DRAM. */
struct sets {
    uint64_t lsn;     /* Of the last change of any. */
    uint64_t missing; /* Members of those that are not all in DRAM, */
    uint64_t largest; /* and of the largest of these. */
    uint32_t there;
    bool empty; /* The result is, since one is absent. */
    bool wrong; /* One of the keys is no set. */
};

/* The argument is a source, not the destination. */
static bool is_source(const struct cmd *cmd, uint32_t pos)
{
    return !stores(cmd) || pos != 1;
}

static void look_at(struct shard *sh, const struct cmd *cmd, const struct ks_key *key, bool first,
                    struct sets *out)
{
    const struct obj *obj = ks_peek(sh->ks, key, shard_now_ms(sh));
    const enum collmerge_op op = op_of(cmd);

    if (obj == NULL) {
        out->empty |= op == COLLMERGE_INTER || (op == COLLMERGE_DIFF && first);
        return;
    }
    if (obj->h.type != VT_SET && (obj->h.type != VT_ZSET || !zalgebra_is(cmd))) {
        out->wrong = true;
        return;
    }
    const struct coll *coll = ks_peek_coll(sh->ks, key);
    out->lsn = u64_max(out->lsn, coll->lsn);
    out->missing += coll->complete ? 0 : coll->count;
    out->largest = u64_max(out->largest, coll->complete ? 0 : coll->count);
    out->there++;
}

/* Asks for the key rows of all keys; returns the reads under way, or fills `*out`. */
static int look(struct shard *sh, const struct cmd *cmd, uint32_t argc, const struct bytes *argv,
                struct ks_wait *wait, struct sets *out)
{
    int waiting = 0;
    uint32_t sources = 0;

    *out = (struct sets){0};
    if (command_keys(cmd, argc, argv, &sh->keys) != 0) {
        out->wrong = true;
        return 0;
    }
    for (uint32_t i = 0; i < sh->keys.count; i++) {
        const uint32_t pos = sh->keys.key[i].pos;
        const struct ks_key key = ks_key_of(argv[pos], ks_seed(sh->ks));
        waiting += is_source(cmd, pos) ? ks_need_key(sh->ks, &key, wait)
                                       : ks_need_existence(sh->ks, &key, wait);
    }
    for (uint32_t i = 0; i < sh->keys.count && waiting == 0; i++) {
        const uint32_t pos = sh->keys.key[i].pos;
        const struct ks_key key = ks_key_of(argv[pos], ks_seed(sh->ks));
        if (is_source(cmd, pos))
            look_at(sh, cmd, &key, sources++ == 0, out);
    }
    return waiting;
}

/*
 * Whether to read them is better than to load them. A sorted set that is stored may then be too
 * large: for that they are loaded if they can be.
 */
static bool is_better(const struct shard *sh, const struct cmd *cmd, const struct sets *sets)
{
    if (!stores(cmd) || !is_scored(cmd))
        return sets->missing > stream_worth(sh);
    return sets->largest > stream_loadable(sh) ||
           sets->missing > LOADED_TIMES * stream_loadable(sh);
}

/* A place for one more: else they are loaded, if they can be. */
static bool is_place(const struct shard *sh, const struct cmd *cmd, const struct sets *sets)
{
    return ks_stream_room(sh->ks, sets->there) &&
           (!is_shown_sorted(cmd) || !stream_shows_others(sh));
}

int stream_need_sets(struct shard *sh, const struct cmd *cmd, uint32_t argc,
                     const struct bytes *argv, struct ks_wait *wait)
{
    struct sets sets;
    uint64_t limit;
    int waiting = look(sh, cmd, argc, argv, wait, &sets);

    /* What the handler answers without the members. */
    if (waiting != 0 || sets.wrong || sets.empty || !limit_of(cmd, argc, argv, &limit))
        return waiting;
    if (is_better(sh, cmd, &sets) && stream_forbidden(sh) == NULL && is_place(sh, cmd, &sets))
        return -ERR_LIMIT;
    for (uint32_t i = 0; i < sh->keys.count; i++) {
        const uint32_t pos = sh->keys.key[i].pos;
        const struct ks_key key = ks_key_of(argv[pos], ks_seed(sh->ks));
        if (!is_source(cmd, pos))
            continue;
        const int result = ks_need_whole(sh->ks, &key, wait);
        if (result < 0)
            return result;
        waiting += result;
    }
    return waiting;
}

bool stream_sets_room(const struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    struct sets sets;

    return look(c->sh, cmd, rc->argc, rc->argv, NULL, &sets) == 0 && !sets.wrong && !sets.empty &&
           sets.there != 0 && is_place(c->sh, cmd, &sets);
}

/* --- the stages --- */

/* A set that is joined: the number of its key among all keys, and among those of sources. */
struct source {
    uint64_t count;
    uint32_t key;
    uint32_t place;
    uint8_t type;
};

static int by_count(const void *a, const void *b)
{
    const struct source *x = a, *y = b;

    if (x->count != y->count)
        return x->count < y->count ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* The sets that are there, in the order in which they are joined: the smallest leads an
 * intersection, and sums are added up from small to large, as Redis does. */
static uint32_t sources_of(struct shard *sh, const struct cmd *cmd, const struct resp_cmd *rc,
                           struct source out[KS_STREAMS_MAX])
{
    uint32_t n = 0, place = 0;

    for (uint32_t i = 0; i < sh->keys.count; i++) {
        const uint32_t pos = sh->keys.key[i].pos;
        const struct ks_key key = ks_key_of(rc->argv[pos], ks_seed(sh->ks));
        if (!is_source(cmd, pos))
            continue;
        if (ks_peek(sh->ks, &key, shard_now_ms(sh)) != NULL) {
            CHECK(n < KS_STREAMS_MAX);
            const struct coll *coll = ks_peek_coll(sh->ks, &key);
            out[n++] =
                (struct source){.count = coll->count, .key = i, .place = place, .type = coll->type};
        }
        place++;
    }
    if (op_of(cmd) != COLLMERGE_DIFF)
        qsort(out, n, sizeof(*out), by_count);
    return n;
}

/* After `look`, which left the keys in sh->keys. */
static void open_sets(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc,
                      const struct sets *sets)
{
    struct shard *sh = c->sh;
    struct stream *st = c->stream;
    struct zalgebra asked = {.keys_count = 0};
    struct source sources[KS_STREAMS_MAX];
    const uint32_t n = sources_of(sh, cmd, rc, sources);

    if (zalgebra_is(cmd))
        CHECK(scored_of(cmd, rc->argc, rc->argv, &asked)); /* As before. */
    st->scores = asked.scores;
    st->rows = ks_stream_merge(sh->ks, op_of(cmd), sets->there);
    for (uint32_t i = 0; i < sh->keys.count; i++)
        st->keys[i].there = false;
    for (uint32_t i = 0; i < n; i++) {
        const struct source *s = &sources[i];
        const struct ks_key key = ks_key_of(rc->argv[sh->keys.key[s->key].pos], ks_seed(sh->ks));
        st->keys[s->key].there = true;
        if (!zalgebra_is(cmd)) {
            ks_stream_merge_add(st->rows, &key);
            continue;
        }
        const struct ks_stream_scored scored = {.how = asked.aggregate,
                                                .weight =
                                                    zalgebra_weight(&asked, rc->argv, s->place),
                                                .type = s->type};
        ks_stream_merge_add_scored(st->rows, &key, &scored);
    }
}

static enum stream_result begin_read(struct conn *c, const struct cmd *cmd,
                                     const struct resp_cmd *rc, const struct sets *sets)
{
    struct stream *st = c->stream;
    uint64_t limit;

    if (!limit_of(cmd, rc->argc, rc->argv, &limit))
        return STREAM_GONE;
    st->storing = false;
    if (stores(cmd) && stream_stores_other(c->sh)) {
        shard_retry_after(c->sh, c, STREAM_FLUSH_LOOK_MS);
        return STREAM_PARKED;
    }
    st->keeping = false;
    if (!is_place(c->sh, cmd, sets))
        return STREAM_GONE; /* Others were faster: loaded, or refused. */
    open_sets(c, cmd, rc, sets);
    st->storing = stores(cmd);
    st->keeping = is_shown_sorted(cmd);
    if (is_scored(cmd))
        ks_stream_count_sorted(st->rows, stream_kept_max(c->sh), STREAM_SCORED_BYTES, st->storing);
    else if (st->storing)
        ks_stream_count(st->rows, 0, stream_kept_max(c->sh), MEMBER_BYTES);
    else
        ks_stream_count(st->rows, limit, is_card(cmd) ? 0 : STREAM_KEEP_BYTES, STREAM_KEEP_BESIDE);
    stream_set_stage(st, STAGE_OPENING);
    ks_stream_read(st->rows, &c->wait);
    return STREAM_PARKED;
}

/* Whether those that were opened are still there, and no others. */
static bool same_sets(const struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    struct shard *sh = c->sh;
    const struct stream *st = c->stream;

    for (uint32_t i = 0; i < sh->keys.count; i++) {
        const uint32_t pos = sh->keys.key[i].pos;
        const struct ks_key key = ks_key_of(rc->argv[pos], ks_seed(sh->ks));
        if (is_source(cmd, pos) &&
            st->keys[i].there != (ks_peek(sh->ks, &key, shard_now_ms(sh)) != NULL))
            return false;
    }
    return true;
}

static enum stream_result counting(struct conn *c, const struct cmd *cmd)
{
    return stream_counted(c, cmd, ks_stream_is_counted(c->stream->rows),
                          is_card(cmd)     ? STREAM_SHOWS_NUMBER
                          : is_scored(cmd) ? STREAM_SHOWS_SCORED
                                           : STREAM_SHOWS_SET);
}

enum stream_result stream_sets_step(struct conn *c, const struct dispatch_plan *plan,
                                    const struct resp_cmd *rc)
{
    struct shard *sh = c->sh;
    struct stream *st = c->stream;
    const struct cmd *cmd = plan->cmd;
    struct sets sets;

    /* Cursors would have to be waited for; and nothing was sent yet. */
    if (stream_forbidden(sh) != NULL)
        return stream_refuse(c, stream_forbidden(sh));
    if (st->stage == STAGE_COUNTING)
        return counting(c, cmd);
    if (look(sh, cmd, rc->argc, rc->argv, &c->wait, &sets) != 0)
        return STREAM_PARKED;
    if (sets.wrong || sets.empty || sets.there == 0)
        return STREAM_GONE;
    if (sets.lsn > st->lsn || (st->stage == STAGE_OPENING && !same_sets(c, cmd, rc)))
        return stream_again(c);
    if (st->stage == STAGE_FLUSHING)
        return stream_is_stored(c) ? begin_read(c, cmd, rc, &sets) : STREAM_PARKED;
    /* The cursors stand, as those of one collection do. What is to be stored keeps writers back. */
    if (!stores(cmd))
        stream_set_stage(st, STAGE_COUNTING);
    return counting(c, cmd);
}
