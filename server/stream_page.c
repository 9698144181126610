/*
 * HSCAN, SSCAN and ZSCAN of a collection that is too large to be loaded: one page of its rows.
 *
 * Rows of fields and members of sets stand by a hash, of which 48 bits are the cursor. Members of
 * sorted sets stand by their names: there the cursor is a hash of the member with which the next
 * page begins, and scanplaces.h tells which one that is. If it does not, all rows before it are
 * looked through; if that member has gone meanwhile, the walk begins anew, as it does for a cursor
 * of another order (collscan.h).
 */
#include "engine/base/check.h"
#include "engine/base/err.h"

#include "engine/space/coll.h"
#include "engine/space/collstream.h"
#include "engine/space/keyspace.h"
#include "engine/space/resident.h"

#include "server/collscan.h"
#include "server/conn.h"
#include "server/dispatch.h"
#include "server/request.h"
#include "server/scanplaces.h"
#include "server/shard.h"
#include "server/stream_impl.h"

bool stream_is_page(const struct cmd *cmd)
{
    return cmd->id == CMD_ID_hscan || cmd->id == CMD_ID_sscan || cmd->id == CMD_ID_zscan;
}

static void ask(struct conn *c)
{
    stream_set_stage(c->stream, STAGE_OPENING);
    ks_stream_read(c->stream->rows, &c->wait);
}

/* `from`: the cursor without its mark; 0: the begin. */
static void ask_members(struct conn *c, const struct coll *coll, const struct ks_key *key,
                        uint64_t from, uint32_t count)
{
    struct ks_stream_span span = {.skip = 0};
    const bool known =
        from == 0 || scan_places_find(c->sh->scan_places, key->hash, from, &span.low);

    c->stream->rows = ks_stream_create(c->sh->ks, key, coll, &span);
    ks_stream_page_members(c->stream->rows, known ? NULL : &from, count);
    ask(c);
}

enum stream_result stream_page_begin(struct conn *c, const struct coll *coll,
                                     const struct dispatch_plan *plan, const struct resp_cmd *rc)
{
    struct stream *st = c->stream;
    struct collscan_options options;
    uint64_t cursor;

    if (!collscan_cursor(&c->out, rc->argv[2], &cursor) ||
        !collscan_options(&c->out, rc->argc, rc->argv, &options)) {
        stream_drop(c);
        return STREAM_DONE;
    }
    /* Another walk's order begins anew. */
    const bool mine = (cursor & COLLSCAN_ON_FLASH) != 0 && !st->anew;
    const uint64_t from = mine ? cursor & (COLLSCAN_ON_FLASH - 1) : 0;
    if (coll->type == VT_ZSET) {
        ask_members(c, coll, &plan->key, from, options.count);
        return STREAM_PARKED;
    }
    st->rows = ks_stream_create(c->sh->ks, &plan->key, coll, &(struct ks_stream_span){.skip = 0});
    ks_stream_page(st->rows, from, options.count);
    ask(c);
    return STREAM_PARKED;
}

/* Of the next page; 0: there is none. */
static uint64_t next_cursor(struct conn *c, const struct ks_key *key, const struct cmd *cmd)
{
    const struct stream *st = c->stream;
    struct bytes member;
    uint64_t next;

    if (cmd->id != CMD_ID_zscan)
        return ks_stream_page_end(st->rows, &next) ? COLLSCAN_ON_FLASH | next : 0;
    if (!ks_stream_page_next(st->rows, &member))
        return 0;
    next = ks_stream_place(c->sh->ks, member);
    scan_places_keep(&c->sh->scan_places, key->hash, next, member);
    return COLLSCAN_ON_FLASH | next;
}

static void reply_elem(struct conn *c, const struct cmd *cmd, const struct ks_stream_elem *elem)
{
    char text[REQ_TEXT_BYTES];

    reply_bulk(&c->out, elem->sub);
    if (cmd->id == CMD_ID_hscan)
        reply_bulk(&c->out, row_text(&elem->view, text));
    else if (cmd->id == CMD_ID_zscan)
        reply_bulk(&c->out, bytes_of(text, num_print_double(text, elem->score)));
}

static void reply_page(struct conn *c, const struct ks_key *key, const struct cmd *cmd,
                       const struct resp_cmd *rc)
{
    struct collscan_options options;
    struct ks_stream_elem elem;
    const uint64_t per_elem = cmd->id == CMD_ID_sscan ? 1 : 2;
    uint64_t shown = 0;

    CHECK(collscan_options(&c->out, rc->argc, rc->argv, &options)); /* As before. */
    collscan_reply_head(&c->out, next_cursor(c, key, cmd));
    const struct reply_mark mark = reply_deferred_begin(&c->out, options.count * per_elem);
    while (ks_stream_next(c->stream->rows, &elem)) {
        if (!collscan_matches(&options, elem.sub))
            continue;
        reply_elem(c, cmd, &elem);
        shown += per_elem;
    }
    reply_deferred_array(&c->out, mark, shown);
}

enum stream_result stream_page_step(struct conn *c, const struct dispatch_plan *plan,
                                    const struct resp_cmd *rc)
{
    struct stream *st = c->stream;

    /* The cursor stands: writers need not wait for the search. */
    if (ks_stream_err(st->rows) == 0 && ks_stream_page_seeks(st->rows))
        stream_set_stage(st, STAGE_COUNTING);
    return stream_page_seek(c, plan, rc);
}

enum stream_result stream_page_seek(struct conn *c, const struct dispatch_plan *plan,
                                    const struct resp_cmd *rc)
{
    struct stream *st = c->stream;

    /* A place that is sought may be far: FLUSHALL does not wait for it. */
    if (stream_forbidden(c->sh) != NULL)
        return stream_refuse(c, stream_forbidden(c->sh));
    if (ks_stream_err(st->rows) != 0)
        return stream_refuse(c, err_str(ks_stream_err(st->rows)));
    if (ks_stream_page_seeks(st->rows) && !ks_stream_end(st->rows)) {
        ks_stream_read(st->rows, &c->wait);
        return STREAM_PARKED;
    }
    if (ks_stream_page_seeks(st->rows)) {
        st->anew = true;
        return stream_again(c);
    }
    reply_page(c, &plan->key, plan->cmd, rc);
    ks_wait_unpin(&c->wait);
    stream_drop(c);
    return STREAM_DONE;
}
