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

/* The words behind the bounds; what the handler refuses may be read as anything. */
static void read_options(const struct zset_asked *a, uint32_t i, struct zrange *out)
{
    for (; i < a->argc; i++) {
        if (bytes_eq_nocase(a->argv[i], "LIMIT") && i + 2 < a->argc) {
            if (!num_parse_i64(a->argv[i + 1], &out->offset) ||
                !num_parse_i64(a->argv[i + 2], &out->limit))
                return;
            i += 2;
        } else if (bytes_eq_nocase(a->argv[i], "REV")) {
            out->reverse = true;
        } else if (bytes_eq_nocase(a->argv[i], "BYLEX")) {
            out->by = BY_LEX;
        } else if (bytes_eq_nocase(a->argv[i], "BYSCORE")) {
            out->by = BY_SCORE;
        }
    }
    if (out->by == BY_ANY)
        out->by = BY_RANK;
}

/* By rank: from the end that takes fewer members. */
static bool want_ranks(const struct coll *coll, const struct zset_asked *a, const struct bytes *min,
                       bool reverse, struct ks_zset_need *out)
{
    int64_t start, end;
    const int64_t size = (int64_t)coll->count;

    if (!num_parse_i64(min[0], &start) || !num_parse_i64(min[1], &end))
        return false;
    start = start < 0 ? i64_max(start + size, 0) : start;
    end = end < 0 ? end + size : i64_min(end, size - 1);
    if (start > end) {
        /* Nothing; but a transaction may make something of it. */
        *out = at_end(false, UINT64_MAX);
        return a->moved != 0;
    }
    const uint64_t near = (uint64_t)end + 1, far = coll->count - (uint64_t)start;
    *out = at_end((near > far) != reverse, plus(near < far ? near : far, a->moved));
    return true;
}

/* The first place behind all members with the score; empty if there is none. */
static void append_behind(struct buf *to, double score)
{
    uint8_t place[ROWKEY_SCORE_BYTES];
    size_t i = ROWKEY_SCORE_BYTES;

    /* The next place is that of no number. */
    if (isinf(score) && score > 0)
        return;
    rowkey_score_store(place, score);
    while (i > 0 && ++place[i - 1] == 0)
        i--;
    if (i != 0)
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
        append_place(low, range->min.score, bytes_of(NULL, 0));
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

static bool parse_bound(uint8_t by, struct bytes arg, struct zrange_bound *out)
{
    return by == BY_SCORE ? zrange_parse_score(arg, out) : zrange_parse_lex(arg, out);
}

/* What need_zset was called with. */
struct ask {
    struct keyspace *ks;
    const struct ks_key *key;
    const struct coll *coll;
    const struct zset_asked *asked;
    struct ks_wait *wait;
};

/* By score or member. The bounds are the arguments from `at` on. */
static int need_places(const struct ask *ask, uint32_t at, struct zrange *range)
{
    const struct zset_asked *a = ask->asked;
    struct buf low, high;
    int result = 0;

    if (!parse_bound(range->by, a->argv[range->reverse ? at + 1 : at], &range->min) ||
        !parse_bound(range->by, a->argv[range->reverse ? at : at + 1], &range->max))
        return 0;
    uint64_t n = UINT64_MAX;
    if (range->offset < 0)
        return 0; /* Nothing shows. */
    if (range->limit >= 0)
        n = plus(plus((uint64_t)range->offset, (uint64_t)range->limit), a->moved);
    buf_init(&low, ZKEY_BYTES_MAX);
    buf_init(&high, ZKEY_BYTES_MAX);
    struct ks_zset_need want = at_end(false, 1);
    if (want_places(ask->coll, range, &low, &high))
        want = (struct ks_zset_need){
            .low = buf_bytes(&low), .high = buf_bytes(&high), .n = n, .back = range->reverse};
    if (range->min.infinite <= 0 && range->max.infinite >= 0)
        result = ks_need_zset(ask->ks, ask->key, &want, ask->wait);
    buf_deinit(&low);
    buf_deinit(&high);
    return result;
}

/* What fixes the range: the command, or its options. False: the command has none. */
static bool range_of(const struct zset_asked *a, uint32_t *out_at, struct zrange *out)
{
    *out = (struct zrange){.limit = -1};
    *out_at = 2;
    switch (a->cmd->id) {
    case CMD_ID_zrangestore:
        *out_at = 3;
        break;
    case CMD_ID_zrange:
        break;
    case CMD_ID_zrevrange:
    case CMD_ID_zremrangebyrank:
        out->by = BY_RANK;
        break;
    case CMD_ID_zrangebyscore:
    case CMD_ID_zrevrangebyscore:
    case CMD_ID_zcount:
    case CMD_ID_zremrangebyscore:
        out->by = BY_SCORE;
        break;
    case CMD_ID_zrangebylex:
    case CMD_ID_zrevrangebylex:
    case CMD_ID_zlexcount:
    case CMD_ID_zremrangebylex:
        out->by = BY_LEX;
        break;
    default:
        return false;
    }
    out->reverse = a->cmd->id == CMD_ID_zrevrange || a->cmd->id == CMD_ID_zrevrangebyscore ||
                   a->cmd->id == CMD_ID_zrevrangebylex;
    read_options(a, *out_at + 2, out);
    return true;
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

int need_zset(struct keyspace *ks, const struct ks_key *key, const struct coll *coll,
              const struct zset_asked *a, struct ks_wait *wait)
{
    struct zrange range;
    struct ks_zset_need want;
    uint32_t at;

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
    if (!range_of(a, &at, &range))
        return ks_need_whole(ks, key, wait);
    const struct ask ask = {.ks = ks, .key = key, .coll = coll, .asked = a, .wait = wait};
    if (range.by != BY_RANK)
        return need_places(&ask, at, &range);
    if (!want_ranks(coll, a, &a->argv[at], range.reverse, &want))
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
