/* What commands need of sorted sets; need_zset.h tells. */
#include "server/need_zset.h"

#include <math.h>

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/num.h"

#include "engine/space/coll.h"
#include "engine/space/keyspace.h"
#include "engine/space/resident.h"
#include "engine/value/rowkey.h"

#include "server/zrange.h"

/* Arguments that are not in order need nothing: the handler will refuse them. */
static uint64_t count_at(uint32_t index, const struct zset_asked *a, uint64_t otherwise)
{
    int64_t n;

    if (index >= a->argc)
        return otherwise;
    return num_parse_i64(a->argv[index], &n) && n > 0 ? (uint64_t)n : 0;
}

static uint64_t plus(uint64_t n, uint64_t more)
{
    return n > UINT64_MAX - more ? UINT64_MAX : n + more;
}

/* `n` members from an end. */
static struct ks_zset_need at_end(bool back, uint64_t n)
{
    return (struct ks_zset_need){.n = n, .back = back};
}

/* By rank: from the end that takes fewer members. False: nothing. */
static bool want_ranks(const struct coll *coll, const struct zset_asked *a,
                       const struct zrange *range, struct ks_zset_need *out)
{
    uint64_t start;
    const uint64_t n = zrange_positions(range, coll->count, &start);

    if (n == 0) {
        /* But a transaction may make something of it. */
        *out = at_end(false, UINT64_MAX);
        return a->moved != 0;
    }
    const uint64_t near = start + n, far = coll->count - start;
    *out = at_end((near > far) != range->reverse, plus(near < far ? near : far, a->moved));
    out->n_max = a->members_max;
    return true;
}

/* The first place behind all members with the score; empty, the end, if it is the greatest. */
static void append_behind(struct buf *to, double score)
{
    uint8_t place[ROWKEY_SCORE_BYTES];

    /* The next place is that of no number. */
    if (isinf(score) && score > 0)
        return;
    rowkey_score_store(place, score);
    for (size_t i = ROWKEY_SCORE_BYTES; i > 0 && ++place[i - 1] == 0; i--) {
    }
    CHECK(buf_append(to, place, sizeof(place)) == 0);
}

static void append_place(struct buf *to, double score, struct bytes member)
{
    uint8_t place[ROWKEY_SCORE_BYTES];

    /* No member is longer: a part says as much as the whole. */
    member.len = size_min(member.len, KS_NAME_BYTES_MAX);
    rowkey_score_store(place, score);
    CHECK(buf_append(to, place, sizeof(place)) == 0 && buf_append_bytes(to, member) == 0);
}

/* The places between which the range lies. False: there is nothing to ask for. */
static bool want_places(const struct coll *coll, const struct zrange *range, struct buf *low,
                        struct buf *high)
{
    struct zorder_pos pos;

    if (range->by == BY_SCORE) {
        /* What is left out must not count for the limit. */
        if (range->min.exclusive && isinf(range->min.score) && range->min.score > 0)
            return false;
        if (range->min.exclusive)
            append_behind(low, range->min.score);
        else
            append_place(low, range->min.score, bytes_of(NULL, 0));
        if (range->max.exclusive)
            append_place(high, range->max.score, bytes_of(NULL, 0));
        else
            append_behind(high, range->max.score);
        return true;
    }
    /* All members are meant to have one score: that of any. */
    if (!zorder_first(&coll->order, &pos))
        return false;
    if (range->min.infinite == 0)
        append_place(low, pos.score, range->min.member);
    if (range->max.infinite == 0)
        append_place(high, pos.score, range->max.member);
    return true;
}

/* What need_zset was called with. */
struct ask {
    struct keyspace *ks;
    const struct ks_key *key;
    const struct coll *coll;
    const struct zset_asked *asked;
    struct ks_wait *wait;
};

/* By score or member. */
static int need_places(const struct ask *ask, const struct zrange *range)
{
    const struct zset_asked *a = ask->asked;
    struct buf low, high;
    int result = 0;

    uint64_t n = UINT64_MAX;
    if (range->offset < 0)
        return 0; /* Nothing shows. */
    /* One that is at a bound, but left out, may count besides. */
    if (range->limit >= 0)
        n = plus(plus((uint64_t)range->offset, (uint64_t)range->limit), plus(a->moved, 1));
    buf_init(&low, ZKEY_BYTES_MAX);
    buf_init(&high, ZKEY_BYTES_MAX);
    struct ks_zset_need want = at_end(false, 1);
    if (want_places(ask->coll, range, &low, &high))
        want = (struct ks_zset_need){.low = buf_bytes(&low),
                                     .high = buf_bytes(&high),
                                     .n = n,
                                     .bytes_max = a->bytes_max,
                                     .back = range->reverse};
    if (range->min.infinite <= 0 && range->max.infinite >= 0)
        result = ks_need_zset(ask->ks, ask->key, &want, ask->wait);
    buf_deinit(&low);
    buf_deinit(&high);
    return result;
}

/* numkeys key .. MIN | MAX [COUNT count], of ZMPOP from argument 1 on, of BZMPOP from 2 on. */
static struct ks_zset_need of_zmpop(const struct zset_asked *a)
{
    const uint32_t at = a->cmd->id == CMD_ID_zmpop ? 1 : 2;
    const uint64_t where = count_at(at, a, 0) + at + 1;

    if (where >= a->argc)
        return at_end(false, 0);
    return at_end(bytes_eq_nocase(a->argv[where], "MAX"), count_at((uint32_t)where + 2, a, 1));
}

bool need_zset_is_part(const struct cmd *cmd)
{
    uint32_t key_at;

    switch (cmd->id) {
    case CMD_ID_zpopmin:
    case CMD_ID_zpopmax:
    case CMD_ID_bzpopmin:
    case CMD_ID_bzpopmax:
    case CMD_ID_zmpop:
    case CMD_ID_bzmpop:
        return true;
    default:
        return zrange_is(cmd, &key_at);
    }
}

static bool removes_all(const struct zset_asked *a, const struct zrange *range, uint64_t size)
{
    const bool removes = a->cmd->id == CMD_ID_zremrangebyrank ||
                         a->cmd->id == CMD_ID_zremrangebyscore ||
                         a->cmd->id == CMD_ID_zremrangebylex;

    return removes && a->moved == 0 && zrange_is_all(range, size);
}

int need_zset(struct keyspace *ks, const struct ks_key *key, const struct coll *coll,
              const struct zset_asked *a, struct ks_wait *wait)
{
    struct zrange range;
    struct ks_zset_need want;

    switch (a->cmd->id) {
    case CMD_ID_zpopmin:
    case CMD_ID_zpopmax:
        want = at_end(a->cmd->id == CMD_ID_zpopmax, plus(count_at(2, a, 1), a->moved));
        return ks_need_zset(ks, key, &want, wait);
    case CMD_ID_bzpopmin:
    case CMD_ID_bzpopmax:
        want = at_end(a->cmd->id == CMD_ID_bzpopmax, plus(1, a->moved));
        return ks_need_zset(ks, key, &want, wait);
    case CMD_ID_zmpop:
    case CMD_ID_bzmpop:
        want = of_zmpop(a);
        want.n = plus(want.n, a->moved);
        return ks_need_zset(ks, key, &want, wait);
    default:
        break;
    }
    /* The handler will say what is wrong. */
    if (zrange_parse(a->cmd, a->argc, a->argv, &range) != ZRANGE_OK)
        return 0;
    if (removes_all(a, &range, coll->count))
        return 0;
    const struct ask ask = {.ks = ks, .key = key, .coll = coll, .asked = a, .wait = wait};
    if (range.by != BY_RANK)
        return need_places(&ask, &range);
    if (!want_ranks(coll, a, &range, &want))
        return 0;
    return ks_need_zset(ks, key, &want, wait);
}

uint64_t need_zset_moved(const struct cmd *cmd, uint32_t argc, const struct bytes *argv)
{
    const struct zset_asked a = {.cmd = cmd, .argc = argc, .argv = argv};

    switch (cmd->id) {
    case CMD_ID_zpopmin:
    case CMD_ID_zpopmax:
        return count_at(2, &a, 1);
    case CMD_ID_zmpop:
    case CMD_ID_bzmpop:
        return of_zmpop(&a).n;
    case CMD_ID_zremrangebyrank:
    case CMD_ID_zremrangebyscore:
    case CMD_ID_zremrangebylex:
        return UINT32_MAX;
    default:
        return argc;
    }
}
