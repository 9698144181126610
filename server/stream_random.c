/*
 * SRANDMEMBER, SPOP, HRANDFIELD and ZRANDMEMBER of a collection that is too large to be loaded.
 *
 * Of a hash or set elements are drawn by the hashes of their rows (engine/space/colldraw.h), which
 * costs some rows each. Where many different ones are wanted, and of sorted sets, whose rows have
 * no such order, all rows are looked through once and so many of them picked; they come in the
 * order of the rows, as Redis promises none. With a negative count elements may come several times,
 * in any order: those of a sorted set are counted out in one pass, kept, an eighth of maxmemory at
 * most, and shuffled.
 *
 * What SPOP draws is kept, too, likewise bounded. When all of it is there, and the set is still
 * what it was, the members become resident and the handler removes them. Writers wait until then,
 * so nobody can have changed the set between; one that pops the same set waits for its turn.
 */
#include "engine/base/err.h"
#include "engine/base/rng.h"

#include "engine/space/coll.h"
#include "engine/space/colldraw.h"
#include "engine/space/collstream.h"

#include "server/conn.h"
#include "server/dispatch.h"
#include "server/draw.h"
#include "server/popahead.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/stream_impl.h"
#include "server/zset.h"

/* As many different ones are drawn as are one part in so many of all; more are picked. */
#define DRAW_PART 64

/* What a member that is popped takes beside its name and row, roughly: resident, and logged. */
#define POP_BYTES 96u

/* What the arguments ask for. */
struct asked {
    uint64_t n;   /* 0: nothing, or the handler will refuse it. */
    bool alone;   /* No array: no count was given. */
    bool repeats; /* An element may come several times. */
    bool with;    /* WITHVALUES, WITHSCORES */
};

bool stream_is_of_random(const struct cmd *cmd)
{
    return cmd->id == CMD_ID_srandmember || cmd->id == CMD_ID_hrandfield ||
           cmd->id == CMD_ID_zrandmember || stream_is_pop(cmd);
}

bool stream_is_pop(const struct cmd *cmd)
{
    return cmd->id == CMD_ID_spop;
}

static struct asked ask_of(const struct cmd *cmd, uint32_t argc, const struct bytes *argv)
{
    const char *const word = cmd->id == CMD_ID_hrandfield ? "WITHVALUES" : "WITHSCORES";
    const uint32_t argc_max = cmd->id == CMD_ID_srandmember || stream_is_pop(cmd) ? 3 : 4;
    const int64_t count_min = stream_is_pop(cmd) ? 0 : -(int64_t)DRAWS_MAX;
    int64_t count = 1;

    if (argc > argc_max || (argc == 4 && !bytes_eq_nocase(argv[3], word)) ||
        (argc > 2 && !num_parse_i64(argv[2], &count)) || (argc == 4 && count > INT64_MAX / 2) ||
        count < count_min)
        return (struct asked){.n = 0};
    return (struct asked){.n = (uint64_t)(count < 0 ? -count : count),
                          .alone = argc == 2,
                          .repeats = count < 0,
                          .with = argc == 4};
}

bool stream_random_asks(const struct cmd *cmd, uint32_t argc, const struct bytes *argv)
{
    return ask_of(cmd, argc, argv).n != 0;
}

bool stream_pops_ahead(const struct shard *sh, const struct cmd *cmd, const struct coll *coll,
                       uint32_t argc, const struct bytes *argv)
{
    const struct asked asked = ask_of(cmd, argc, argv);

    return stream_is_pop(cmd) && asked.n != 0 && coll != NULL && !coll->complete &&
           coll->type == VT_SET && pop_ahead_has(&sh->pop_ahead, coll, asked.n);
}

/* Few of many are drawn. */
static bool are_few(const struct coll *coll, uint64_t n)
{
    return n <= COLLDRAW_DISTINCT_MAX && n <= coll->count / DRAW_PART;
}

static void draw_or_pick(struct conn *c, const struct coll *coll, const struct asked *asked,
                         uint64_t n, uint64_t seed)
{
    const struct stream *st = c->stream;
    const uint64_t more = st->pops ? pop_ahead_more(&c->sh->pop_ahead, coll) : 0;
    const bool few = are_few(coll, n);

    if (few && n <= POP_AHEAD_MAX && are_few(coll, n + more))
        n += more;
    if (coll->type != VT_ZSET && (asked->repeats || few))
        ks_stream_draw(st->rows, coll->count, n, seed, !asked->repeats);
    else
        ks_stream_pick(st->rows, coll->count, n, seed);
}

enum stream_result stream_random_begin(struct conn *c, const struct coll *coll,
                                       const struct dispatch_plan *plan, const struct resp_cmd *rc)
{
    struct stream *st = c->stream;
    const struct asked asked = ask_of(plan->cmd, rc->argc, rc->argv);
    const struct ks_stream_span span = {.by_score = coll->type == VT_ZSET};
    const uint64_t seed = rng_u64(&c->sh->rng);
    const uint64_t n = asked.repeats ? asked.n : u64_min(asked.n, coll->count);

    if (n == 0)
        return STREAM_GONE;
    /* Told at once: the rows need not be read for that. */
    if (st->pops && n > stream_kept_max(c->sh) / POP_BYTES)
        return stream_refuse_kept(c);
    st->keeping = false;
    if (asked.repeats && coll->type == VT_ZSET && stream_shows_others(c->sh))
        return stream_refuse(c, "too many others are");
    st->left = n;
    st->scores = asked.with;
    st->alone = asked.alone;
    st->rows = ks_stream_create(c->sh->ks, &plan->key, coll, &span);
    if (asked.repeats && coll->type == VT_ZSET) {
        const struct ks_stream_drawn drawn = {.count = coll->count,
                                              .n = n,
                                              .seed = seed,
                                              .keep = stream_kept_max(c->sh),
                                              .beside = STREAM_SCORED_BYTES};
        ks_stream_draw_scored(st->rows, &drawn);
        st->keeping = true;
    } else {
        draw_or_pick(c, coll, &asked, n, seed);
    }
    if (st->pops)
        ks_stream_gather(st->rows, stream_kept_max(c->sh), POP_BYTES);
    stream_set_stage(st, STAGE_OPENING);
    ks_stream_read(st->rows, &c->wait);
    return STREAM_PARKED;
}

enum stream_result stream_random_step(struct conn *c, const struct cmd *cmd)
{
    struct stream *st = c->stream;

    /* Nothing was sent yet. */
    if (stream_forbidden(c->sh) != NULL)
        return stream_refuse(c, stream_forbidden(c->sh));
    if (ks_stream_err(st->rows) != 0)
        return stream_refuse(c, err_str(ks_stream_err(st->rows)));
    if (!ks_stream_kept(st->rows))
        return stream_refuse_kept(c);
    if (!st->pops)
        stream_set_stage(st, STAGE_COUNTING);
    if (!ks_stream_end(st->rows)) {
        ks_stream_read(st->rows, &c->wait);
        return STREAM_PARKED;
    }
    if (st->pops)
        return STREAM_RUN;
    stream_set_stage(st, STAGE_FLOWING);
    stream_random_head(c);
    return stream_flow(c, cmd);
}

void stream_random_head(struct conn *c)
{
    const struct stream *st = c->stream;

    if (!st->alone)
        reply_array(&c->out, st->scores && c->out.proto == 2 ? st->left * 2 : st->left);
}

void stream_random_reply(struct conn *c, const struct cmd *cmd, const struct ks_stream_elem *elem)
{
    const bool with = c->stream->scores, nested = with && c->out.proto == 3;
    char text[REQ_TEXT_BYTES];

    if (cmd->id == CMD_ID_zrandmember) {
        zset_reply(&c->out, elem->sub, elem->score, with, nested);
        return;
    }
    if (nested)
        reply_array(&c->out, 2);
    reply_bulk(&c->out, elem->sub);
    if (with)
        reply_bulk(&c->out, row_text(&elem->view, text));
}
