/* Replies larger than DRAM; stream.h tells the stages. */
#include "server/stream.h"

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/space/coll.h"
#include "engine/space/collstream.h"
#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/space/keyspace.h"

#include "server/conn.h"
#include "server/dispatch.h"
#include "server/node.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/stream_impl.h"
#include "server/txn.h"
#include "server/zalgebra.h"
#include "server/zset.h"

/* A client that takes nothing for so long is let go. */
#define STREAM_STALL_MS 30000
/* The key was changed all the same, by expiry or eviction: it is begun again so often. */
#define TRIES_MAX 8
/* Elements that would fill a quarter of what may be loaded, at so many bytes each. */
#define ELEM_BYTES 64
/* What is kept, to be stored or shown in another order, may take so much of what may be loaded. */
#define KEPT_SHARE 2
/* Results that are kept to be shown, at a time. */
#define SHOWN_MAX    2
#define BETTER_SHARE 4

bool stream_serves(const struct conn *c, const struct cmd *cmd)
{
    const bool named = cmd->id == CMD_ID_hgetall || cmd->id == CMD_ID_hkeys ||
                       cmd->id == CMD_ID_hvals || cmd->id == CMD_ID_smembers ||
                       cmd->id == CMD_ID_lrange;

    if (c->is_agent || c->sh->group != NULL || c->reply_mode != CONN_REPLY_ON)
        return false;
    return stream_is_page(cmd) || stream_is_pop(cmd) ||
           ((named || stream_is_of_sets(cmd) || stream_is_of_order(cmd) ||
             stream_is_of_random(cmd)) &&
            c->fw == NULL);
}

bool stream_is_ready(const struct conn *c, const struct cmd *cmd)
{
    if (!stream_serves(c, cmd))
        return false;
    return c->stream != NULL || stream_is_of_sets(cmd) ||
           (stream_forbidden(c->sh) == NULL && ks_stream_room(c->sh->ks, 1));
}

bool stream_could(const struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    return stream_serves(c, cmd) &&
           (!stream_is_of_random(cmd) || stream_random_asks(cmd, rc->argc, rc->argv));
}

uint64_t stream_worth(const struct shard *sh)
{
    return ks_scan_bytes_max(sh->ks) / BETTER_SHARE / ELEM_BYTES;
}

uint64_t stream_loadable(const struct shard *sh)
{
    return ks_scan_bytes_max(sh->ks) / ELEM_BYTES;
}

bool stream_is_better(const struct shard *sh, const struct cmd *cmd, const struct coll *coll)
{
    /* Once loaded it gives random elements for next to nothing. */
    const uint64_t worth = stream_is_of_random(cmd) ? stream_loadable(sh) : stream_worth(sh);

    return !coll->complete && coll->count > worth;
}

bool stream_fits(const struct cmd *cmd, const struct coll *coll)
{
    if (coll == NULL || coll->complete)
        return false;
    if ((cmd->acl & ACL_LIST) != 0)
        return coll->type == VT_LIST;
    if ((cmd->acl & ACL_SORTEDSET) != 0)
        return coll->type == VT_ZSET;
    return coll->type == ((cmd->acl & ACL_SET) != 0 ? VT_SET : VT_HASH);
}

static bool has_room(const struct conn *c, const struct dispatch_plan *plan,
                     const struct resp_cmd *rc)
{
    if (stream_is_of_sets(plan->cmd))
        return stream_sets_room(c, plan->cmd, rc);
    return stream_fits(plan->cmd, ks_peek_coll(c->sh->ks, &plan->key)) &&
           ks_stream_room(c->sh->ks, 1);
}

/* The keys that it names; their places are kept in the order of the arguments. */
static struct stream *stream_new(struct shard *sh, const struct dispatch_plan *plan,
                                 const struct resp_cmd *rc)
{
    struct stream *st;

    if (!stream_is_of_sets(plan->cmd)) {
        st = mem_zalloc(sizeof(*st) + sizeof(struct stream_key));
        st->keys_count = 1;
        st->keys[0] = (struct stream_key){.hash = plan->key.hash, .slot = plan->key.slot};
        return st;
    }
    CHECK(command_keys(plan->cmd, rc->argc, rc->argv, &sh->keys) == 0); /* As before. */
    st = mem_zalloc(sizeof(*st) + sh->keys.count * sizeof(struct stream_key));
    st->keys_count = sh->keys.count;
    for (uint32_t i = 0; i < sh->keys.count; i++) {
        const struct ks_key key = ks_key_of(rc->argv[sh->keys.key[i].pos], ks_seed(sh->ks));
        st->keys[i] = (struct stream_key){.hash = key.hash, .slot = key.slot};
    }
    return st;
}

/* ZRANGESTORE reads its second key. */
static struct dispatch_plan plan_of(const struct shard *sh, const struct dispatch_plan *plan,
                                    const struct resp_cmd *rc)
{
    struct dispatch_plan own = *plan;

    if (plan->cmd->id == CMD_ID_zrangestore)
        own.key = ks_key_of(rc->argv[2], ks_seed(sh->ks));
    return own;
}

bool stream_begin(struct conn *c, const struct dispatch_plan *plan, const struct resp_cmd *rc)
{
    const struct dispatch_plan own = plan_of(c->sh, plan, rc);

    if (!stream_could(c, plan->cmd, rc) || !has_room(c, &own, rc))
        return false;
    struct stream *st = stream_new(c->sh, &own, rc);
    st->conn = c;
    st->seq = ++c->sh->streams_seq;
    st->lsn = oplog_applied_lsn(c->sh->log);
    st->pops = stream_is_pop(plan->cmd);
    c->stream = st;
    list_push_back(&c->sh->streams, &st->link);
    c->sh->streams_shut++;
    return true;
}

struct ks_stream *stream_result(const struct conn *c)
{
    return c->stream == NULL ? NULL : c->stream->rows;
}

bool stream_of_dram(const struct conn *c)
{
    return stream_walks(c->stream);
}

static bool shuts(uint8_t stage)
{
    return stage == STAGE_FLUSHING || stage == STAGE_OPENING || stage == STAGE_WALKING;
}

void stream_set_stage(struct stream *st, enum stream_stage stage)
{
    if (stage == STAGE_FLOWING)
        st->moved_ms = reactor_now_ms(st->conn->sh->reactor);
    st->conn->sh->streams_shut += shuts((uint8_t)stage);
    st->conn->sh->streams_shut -= shuts(st->stage);
    st->stage = (uint8_t)stage;
}

void stream_drop(struct conn *c)
{
    struct stream *st = c->stream;

    if (st == NULL)
        return;
    stream_set_stage(st, STAGE_FLOWING);
    ks_stream_destroy(st->rows);
    stream_walk_end(st);
    list_remove(&st->link);
    mem_free(st);
    c->stream = NULL;
}

bool stream_stores_other(const struct shard *sh)
{
    LIST_FOR_EACH(link, &sh->streams) {
        if (LIST_ITEM(link, struct stream, link)->storing)
            return true;
    }
    return false;
}

bool stream_shows_others(const struct shard *sh)
{
    uint32_t count = 0;

    LIST_FOR_EACH(link, &sh->streams)
        count += LIST_ITEM(link, struct stream, link)->keeping;
    return count >= SHOWN_MAX;
}

uint64_t stream_kept_max(const struct shard *sh)
{
    return ks_scan_bytes_max(sh->ks) / KEPT_SHARE / sh->node->shards_count;
}

/* --- what is asked --- */

/* How many elements the command shows, and how many it leaves out before them. */
static uint64_t range_of(const struct coll *coll, const struct resp_cmd *rc, uint64_t *skip)
{
    const int64_t count = (int64_t)coll->count;
    int64_t from = 0, to = -1;

    *skip = 0;
    if (coll->type != VT_LIST)
        return coll->count;
    if (!num_parse_i64(rc->argv[2], &from) || !num_parse_i64(rc->argv[3], &to))
        return 0;
    from = from < 0 ? i64_max(from + count, 0) : from;
    to = to < 0 ? to + count : i64_min(to, count - 1);
    if (from > to)
        return 0;
    *skip = (uint64_t)from;
    return (uint64_t)(to - from) + 1;
}

void stream_reply_head(struct conn *c, const struct cmd *cmd)
{
    const uint64_t n = c->stream->left;

    if (stream_is_of_random(cmd))
        stream_random_head(c);
    else if (stream_is_of_order(cmd))
        zset_reply_head(&c->out, n, c->stream->scores);
    else if (cmd->id == CMD_ID_hgetall)
        reply_map(&c->out, n);
    else if (cmd->id == CMD_ID_smembers)
        reply_set(&c->out, n);
    else
        reply_array(&c->out, n);
}

static void reply_elem(struct conn *c, const struct cmd *cmd, const struct ks_stream_elem *elem)
{
    char text[REQ_TEXT_BYTES];

    if (stream_is_of_order(cmd) || zalgebra_is(cmd)) {
        stream_order_reply(c, elem);
        return;
    }
    if (stream_is_of_random(cmd)) {
        stream_random_reply(c, cmd, elem);
        return;
    }
    if (cmd->id != CMD_ID_hvals && cmd->id != CMD_ID_lrange)
        reply_bulk(&c->out, elem->sub);
    if (cmd->id != CMD_ID_hkeys && (cmd->acl & ACL_SET) == 0)
        reply_bulk(&c->out, row_text(&elem->view, text));
}

/* --- the stages --- */

enum stream_result stream_refuse(struct conn *c, const char *why)
{
    reply_error(&c->out,
                "ERR the value does not fit into memory, and cannot be sent while it is "
                "read: %s",
                why);
    stream_drop(c);
    return STREAM_DONE;
}

enum stream_result stream_refuse_kept(struct conn *c)
{
    const char *const why =
        c->stream->storing ? "the result is larger than an eighth of maxmemory (of the shard's "
                             "part of it), and is stored as a whole or not at all"
                           : "the elements take more than an eighth of maxmemory (of the shard's "
                             "part of it); use a lower count";

    reply_err_oom(&c->out, why);
    stream_drop(c);
    return STREAM_DONE;
}

/* What was announced will not come. */
static enum stream_result break_off(struct conn *c, int err)
{
    LOG_WARN("server", "client closed: its reply cannot be completed from flash id=%llu err=\"%s\"",
             (unsigned long long)c->id, err_str(err));
    stream_drop(c);
    c->out.failed = true;
    return STREAM_DONE;
}

enum stream_result stream_again(struct conn *c)
{
    struct stream *st = c->stream;

    /* Those whose writes hit one that pops came before it, and are only so many. */
    if (!st->pops && ++st->tries == TRIES_MAX)
        return stream_refuse(c, "it changes all the time");
    ks_stream_destroy(st->rows);
    st->rows = NULL;
    stream_set_stage(st, STAGE_FLUSHING);
    st->lsn = oplog_applied_lsn(c->sh->log);
    shard_retry_after(c->sh, c, STREAM_FLUSH_LOOK_MS);
    return STREAM_PARKED;
}

const char *stream_forbidden(const struct shard *sh)
{
    if (sh->flushing)
        return "the data set is being emptied";
    if (sh->stopping)
        return "the server is shutting down";
    return sh->fenced || sh->mend.ailing ? "the flash tier takes no writes now" : NULL;
}

bool stream_is_stored(struct conn *c)
{
    struct shard *sh = c->sh;
    const uint64_t lsn = c->stream->lsn;

    if (!ks_flush_needed(sh->ks) || ks_flush_covered(sh->ks) >= lsn)
        return true;
    sh->save.here_lsn = u64_max(sh->save.here_lsn, lsn);
    shard_retry_after(sh, c, STREAM_FLUSH_LOOK_MS);
    return false;
}

/* Whether the key row is there, and the collection one to be streamed, which has not expired. */
static enum stream_result find(struct conn *c, const struct dispatch_plan *plan, struct coll **out)
{
    const int waiting = ks_need_key(c->sh->ks, &plan->key, &c->wait);

    if (waiting != 0)
        return STREAM_PARKED;
    if (ks_peek(c->sh->ks, &plan->key, shard_now_ms(c->sh)) == NULL)
        return STREAM_GONE;
    *out = ks_peek_coll(c->sh->ks, &plan->key);
    return stream_fits(plan->cmd, *out) ? STREAM_DONE : STREAM_GONE;
}

static enum stream_result flushing(struct conn *c, struct coll *coll,
                                   const struct dispatch_plan *plan, const struct resp_cmd *rc)
{
    struct stream *st = c->stream;
    struct shard *sh = c->sh;
    struct ks_stream_span span = {.skip = 0};

    if (stream_forbidden(sh) != NULL)
        return stream_refuse(c, stream_forbidden(sh));
    if (stream_pops_ahead(sh, plan->cmd, coll, rc->argc, rc->argv))
        return STREAM_GONE;
    if (coll->lsn > st->lsn || (st->pops && stream_pops_before(st)))
        return stream_again(c);
    if (!stream_is_stored(c))
        return STREAM_PARKED;
    if (stream_is_page(plan->cmd))
        return stream_page_begin(c, coll, plan, rc);
    if (stream_is_of_order(plan->cmd))
        return stream_order_begin(c, coll, plan, rc);
    if (stream_is_of_random(plan->cmd))
        return stream_random_begin(c, coll, plan, rc);
    st->left = range_of(coll, rc, &span.skip);
    if (st->left == 0)
        return STREAM_GONE;
    st->rows = ks_stream_create(sh->ks, &plan->key, coll, &span);
    stream_set_stage(st, STAGE_OPENING);
    ks_stream_read(st->rows, &c->wait);
    return STREAM_PARKED;
}

enum stream_result stream_counted(struct conn *c, const struct cmd *cmd, bool ended,
                                  enum stream_shows shows)
{
    struct stream *st = c->stream;
    const uint64_t n = ks_stream_counted(st->rows);
    const bool kept = ks_stream_kept(st->rows);

    if (ks_stream_err(st->rows) != 0)
        return stream_refuse(c, err_str(ks_stream_err(st->rows)));
    if (st->storing && !kept)
        return stream_refuse_kept(c);
    if (!ended) {
        ks_stream_read(st->rows, &c->wait);
        return STREAM_PARKED;
    }
    if (st->storing)
        return STREAM_RUN;
    if (shows == STREAM_SHOWS_NUMBER) {
        reply_u64(&c->out, n);
        stream_drop(c);
        return STREAM_DONE;
    }
    if (shows == STREAM_SHOWS_SCORED)
        zset_reply_head(&c->out, n, st->scores);
    else
        reply_set(&c->out, n);
    st->left = n;
    stream_set_stage(st, STAGE_FLOWING);
    if (kept || n == 0 || st->keeping)
        return stream_flow(c, cmd);
    ks_stream_rewind(st->rows);
    ks_stream_read(st->rows, &c->wait);
    return STREAM_PARKED;
}

enum stream_result stream_flow(struct conn *c, const struct cmd *cmd)
{
    struct stream *st = c->stream;
    struct ks_stream_elem elem;

    if (c->out.out.len + c->sending.len > STREAM_OUT_BYTES_MAX) {
        st->full = true;
        return STREAM_PARKED;
    }
    st->moved_ms = reactor_now_ms(c->sh->reactor);
    ks_wait_unpin(&c->wait);
    if (ks_stream_err(st->rows) != 0)
        return break_off(c, ks_stream_err(st->rows));
    while (st->left != 0 && c->out.out.len <= 2 * STREAM_OUT_BYTES_MAX &&
           ks_stream_next(st->rows, &elem)) {
        reply_elem(c, cmd, &elem);
        st->left--;
    }
    if (st->left == 0) {
        stream_drop(c);
        return STREAM_DONE;
    }
    /* There may be more of what was read, which is no slice if it was kept. */
    if (c->out.out.len > 2 * STREAM_OUT_BYTES_MAX) {
        st->full = true;
        return STREAM_PARKED;
    }
    if (ks_stream_end(st->rows))
        return break_off(c, -ERR_CORRUPT);
    ks_stream_read(st->rows, &c->wait);
    return STREAM_PARKED;
}

static enum stream_result counting(struct conn *c, const struct dispatch_plan *plan,
                                   const struct resp_cmd *rc)
{
    if (stream_is_page(plan->cmd))
        return stream_page_seek(c, plan, rc);
    if (stream_is_of_random(plan->cmd))
        return stream_random_step(c, plan->cmd);
    return stream_order_step(c, plan->cmd);
}

static enum stream_result step(struct conn *c, const struct dispatch_plan *plan,
                               const struct resp_cmd *rc)
{
    struct stream *st = c->stream;
    struct coll *coll;

    if (st->rows != NULL && ks_stream_reading(st->rows))
        return STREAM_PARKED;
    if (st->stage == STAGE_FLOWING)
        return stream_flow(c, plan->cmd);
    const int err = c->wait.err;
    c->wait.err = 0;
    if (err != 0)
        return stream_refuse(c, err_str(err));
    if (stream_is_of_sets(plan->cmd))
        return stream_sets_step(c, plan, rc);
    if (st->stage == STAGE_COUNTING)
        return counting(c, plan, rc);
    const enum stream_result found = find(c, plan, &coll);
    if (found != STREAM_DONE)
        return found;
    if (st->stage == STAGE_FLUSHING)
        return flushing(c, coll, plan, rc);
    /* The cursor stands: what it sees is what the key row said before, if nothing changed it. */
    if (coll->lsn > st->lsn)
        return stream_again(c);
    if (stream_is_page(plan->cmd))
        return stream_page_step(c, plan, rc);
    if (stream_is_of_order(plan->cmd))
        return stream_order_step(c, plan->cmd);
    if (stream_is_of_random(plan->cmd) && (st->keeping || st->pops))
        return stream_random_step(c, plan->cmd);
    if (ks_stream_err(st->rows) != 0)
        return stream_refuse(c, err_str(ks_stream_err(st->rows)));
    stream_set_stage(st, STAGE_FLOWING);
    stream_reply_head(c, plan->cmd);
    return stream_flow(c, plan->cmd);
}

enum stream_result stream_step(struct conn *c, const struct dispatch_plan *plan,
                               const struct resp_cmd *rc, bool *fixed)
{
    if (stream_walks(c->stream)) {
        *fixed = false; /* Since it began. */
        return stream_walk_step(c);
    }
    const bool opening = c->stream->stage == STAGE_OPENING;
    const struct dispatch_plan own = plan_of(c->sh, plan, rc);
    const enum stream_result result = step(c, &own, rc);

    *fixed = opening && (result == STREAM_DONE || result == STREAM_PARKED) &&
             (c->stream == NULL || !shuts(c->stream->stage));
    if (result == STREAM_GONE)
        stream_drop(c);
    return result;
}

/* --- the others --- */

static bool names(const struct stream *st, const struct ks_key *key)
{
    for (uint32_t i = 0; i < st->keys_count; i++) {
        if (st->keys[i].hash == key->hash && st->keys[i].slot == key->slot)
            return true;
    }
    return false;
}

bool stream_pops_before(const struct stream *st)
{
    const struct ks_key key = {.hash = st->keys[0].hash, .slot = st->keys[0].slot};

    LIST_FOR_EACH(link, &st->conn->sh->streams) {
        const struct stream *other = LIST_ITEM(link, struct stream, link);
        if (other->pops && other->seq < st->seq && names(other, &key))
            return true;
    }
    return false;
}

/* By a stream that began before, a walk, which then is hurried, or a MIGRATE. */
static bool is_shut(const struct shard *sh, const struct ks_key *key, uint64_t before)
{
    bool shut = watch_holds(sh->watches, key);

    LIST_FOR_EACH(link, &sh->streams) {
        struct stream *st = LIST_ITEM(link, struct stream, link);
        if (!shuts(st->stage) || !names(st, key) || stream_walk_lost(st))
            continue;
        if (stream_walks(st))
            stream_walk_want(st);
        else if (st->seq >= before)
            continue;
        shut = true;
    }
    return shut;
}

static bool names_shut(struct shard *sh, const struct cmd *cmd, uint32_t argc,
                       const struct bytes *argv, uint64_t before)
{
    bool shut = false;

    if ((cmd->flags & CMD_WRITE) == 0 || command_keys(cmd, argc, argv, &sh->keys) != 0)
        return false;
    for (uint32_t i = 0; i < sh->keys.count && !shut; i++) {
        const struct ks_key key = ks_key_of(argv[sh->keys.key[i].pos], ks_seed(sh->ks));
        shut = is_shut(sh, &key, before);
    }
    return shut;
}

static bool names_any_shut(struct conn *c, const struct dispatch_plan *plan,
                           const struct resp_cmd *rc, uint64_t before)
{
    bool shut = false;

    if (plan->key_at != 0)
        return is_shut(c->sh, &plan->key, before);
    if (plan->cmd->id != CMD_ID_exec)
        return names_shut(c->sh, plan->cmd, rc->argc, rc->argv, before);
    for (uint32_t i = 0; c->txn != NULL && i < c->txn->cmds_count && !shut; i++) {
        const struct txn_cmd *q = &c->txn->cmds[i];
        shut = names_shut(c->sh, q->cmd, q->argc, q->argv, before);
    }
    return shut;
}

/*
 * A writer waits for the streams that were there when it came, not for later ones, which it makes
 * begin anew: else commands that store what sets have in common, one after the other, would hold it
 * back for ever.
 */
bool stream_holds_back(struct conn *c, const struct dispatch_plan *plan, const struct resp_cmd *rc)
{
    const bool again = c->held_command == c->commands + 1;

    /* It does not wait for itself. */
    if (c->stream != NULL || c->migrate != NULL ||
        !names_any_shut(c, plan, rc, again ? c->held_seq : UINT64_MAX))
        return false;
    if (!again) {
        c->held_command = c->commands + 1;
        c->held_seq = ++c->sh->streams_seq;
    }
    return true;
}

void stream_sent(struct conn *c)
{
    struct stream *st = c->stream;

    if (!st->full || c->out.out.len + c->sending.len > STREAM_OUT_BYTES_MAX)
        return;
    st->full = false;
    shard_retry_next_turn(c->sh, c);
}

void stream_look(struct shard *sh)
{
    const uint64_t now_ms = reactor_now_ms(sh->reactor);
    const bool wanted = sh->flushing || sh->mend.ailing || sh->stopping;

    LIST_FOR_EACH_SAFE(link, &sh->streams) {
        struct stream *st = LIST_ITEM(link, struct stream, link);
        /* Held back by CLIENT PAUSE it would take more. */
        if (st->conn->postponed)
            st->moved_ms = now_ms;
        const bool stalls = now_ms - st->moved_ms >= STREAM_STALL_MS;
        if (stream_walks(st) && (wanted || stalls))
            stream_walk_hurry(st);
        if (st->stage != STAGE_FLOWING || (!wanted && !stalls))
            continue;
        LOG_NOTICE("server", "client closed: %s id=%llu",
                   wanted ? "the store that its reply is read from is replaced"
                          : "it takes nothing of a reply that is read from flash",
                   (unsigned long long)st->conn->id);
        conn_close(st->conn);
    }
}
