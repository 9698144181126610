/* Sorted sets: single members, ends, and what the other handlers of the family share. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/collstream.h"
#include "engine/space/group.h"

#include "server/collscan.h"
#include "server/config.h"
#include "server/draw.h"
#include "server/encoding.h"
#include "server/handlers.h"
#include "server/req_range.h"
#include "server/shard.h"
#include "server/zset.h"

/* --- shared --- */

static struct coll *zset_of(struct request *rq, const struct obj *obj, bool *ok)
{
    *ok = req_type_ok(rq, obj, VT_ZSET);
    return !*ok || obj == NULL ? NULL : obj_coll(obj);
}

struct coll *zset_get(struct request *rq, const struct ks_key *key, bool *ok)
{
    return zset_of(rq, req_get(rq, key), ok);
}

struct coll *zset_read(struct request *rq, const struct ks_key *key, bool *ok)
{
    return zset_of(rq, req_read(rq, key), ok);
}

void zset_reply(struct reply *r, struct bytes member, double score, bool scores, bool nested)
{
    if (nested)
        reply_array(r, 2);
    reply_bulk(r, member);
    if (scores)
        reply_double(r, score);
}

void zset_reply_head(struct reply *r, uint64_t n, bool scores)
{
    reply_array(r, scores && r->proto == 2 ? 2 * n : n);
}

/*
 * Whether Redis would have a sorted set of `count` members, of at most so many bytes, in its
 * compact encoding, as far as the present size tells: it does not go back to it. That has no
 * negative zero.
 */
static bool is_compact(const struct request *rq, uint64_t count, size_t member_bytes)
{
    const struct config *cfg = rq->sh->cfg;

    return count <= (uint64_t)cfg->zset_max_listpack_entries &&
           member_bytes <= (uint64_t)cfg->zset_max_listpack_value;
}

static void set_score(struct request *rq, struct coll *coll, struct bytes member, double score,
                      bool compact)
{
    uint8_t value[ROW_SCORE_BYTES];

    row_score_store(value, compact && score == 0.0 ? 0.0 : score);
    (void)mut_elem_set(rq->mut, coll, member, bytes_of(value, sizeof(value)));
}

bool zset_can_remove(struct request *rq, const struct ks_key *key, const struct coll *coll,
                     uint64_t start, uint64_t n)
{
    struct zorder_pos pos;
    size_t bytes = 0;

    /* The dispatcher has made room for some; removal of all is one op. */
    if (n <= 4 || n == coll->count || !zorder_at(&coll->order, start, &pos))
        return true;
    for (uint64_t i = 0; i < n; i++) {
        bytes += key->name.len + pos.elem->h.name_len;
        if (!zorder_next(&pos))
            break;
    }
    return req_log_room(rq, n, bytes);
}

void zset_remove_ranks(struct request *rq, const struct ks_key *key, struct coll *coll,
                       uint64_t start, uint64_t n)
{
    struct zorder_pos pos;

    if (n > 1 && n == coll->count) {
        mut_del(rq->mut, key);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        CHECK(zorder_at(&coll->order, start, &pos));
        if (!mut_elem_del(rq->mut, coll, elem_sub(pos.elem)))
            return;
    }
}

int zset_items_add(struct zset_items *items, struct bytes member, double score)
{
    if (items->count == items->cap) {
        const size_t cap = items->cap == 0 ? 64 : 2 * items->cap;
        struct zset_item *at = mem_try_realloc(items->at, cap * sizeof(*at));
        if (at == NULL)
            return -ENOMEM;
        items->at = at;
        items->cap = cap;
    }
    items->at[items->count++] = (struct zset_item){.member = member, .score = score};
    return 0;
}

void zset_items_free(struct zset_items *items)
{
    mem_free(items->at);
    *items = (struct zset_items){0};
}

void zset_items_store(struct request *rq, const struct ks_key *key, const struct zset_items *items)
{
    struct obj *old;
    size_t bytes = 0;
    size_t longest = 0;
    size_t at = 0;

    for (size_t i = 0; i < items->count; i++) {
        bytes += items->at[i].member.len;
        longest = size_max(longest, items->at[i].member.len);
    }
    /* The destination need not be the first argument (GEORADIUS). */
    if (!req_log_room(rq, items->count, bytes + items->count * (ROW_SCORE_BYTES + key->name.len)))
        return;
    /* What is there may be what the members are borrowed from. */
    uint8_t *names = mem_try_alloc(bytes + 1);
    if (names == NULL) {
        reply_err_oom(rq->out, "the result does not fit into memory");
        return;
    }
    for (size_t i = 0; i < items->count; i++) {
        struct bytes *member = &items->at[i].member;
        if (member->len != 0)
            memcpy(names + at, member->ptr, member->len);
        member->ptr = names + at;
        at += member->len;
    }
    if (ks_find(rq->ks, key, rq->now_ms, &old, NULL) != KS_ABSENT)
        mut_del(rq->mut, key);
    if (items->count != 0) {
        struct coll *coll = mut_coll(rq->mut, key, VT_ZSET);
        const bool compact = is_compact(rq, items->count, longest);
        for (size_t i = 0; i < items->count; i++)
            set_score(rq, coll, items->at[i].member, items->at[i].score, compact);
    }
    mem_free(names);
    reply_u64(rq->out, items->count);
}

void zset_read_store(struct request *rq, const struct ks_key *key, struct ks_stream *read)
{
    struct obj *old;
    struct ks_stream_elem elem;
    const uint64_t count = ks_stream_counted(read);
    size_t longest = 0;

    if (!req_log_room(rq, count, ks_stream_bytes(read)))
        return;
    while (ks_stream_next(read, &elem))
        longest = size_max(longest, elem.sub.len);
    ks_stream_show_again(read);
    if (ks_find(rq->ks, key, rq->now_ms, &old, NULL) != KS_ABSENT)
        mut_del(rq->mut, key);
    if (count != 0) {
        struct coll *coll = mut_coll(rq->mut, key, VT_ZSET);
        const bool compact = is_compact(rq, count, longest);
        while (ks_stream_next(read, &elem))
            set_score(rq, coll, elem.sub, elem.score, compact);
    }
    reply_u64(rq->out, count);
}

/* --- ZADD, ZINCRBY --- */

enum zadd_flag {
    ZADD_NX = 1 << 0,
    ZADD_XX = 1 << 1,
    ZADD_GT = 1 << 2,
    ZADD_LT = 1 << 3,
    ZADD_CH = 1 << 4,
    ZADD_INCR = 1 << 5
};

struct zadd {
    unsigned flags;
    uint32_t first; /* Argument of the first score. */
    int64_t added;
    int64_t updated;
    bool processed; /* INCR: the condition held, */
    double score;   /* and this is the new score. */
};

/* Options up to the first argument that is none. */
static void zadd_options(struct request *rq, struct zadd *z)
{
    static const struct {
        const char *word;
        unsigned flag;
    } words[] = {{"NX", ZADD_NX}, {"XX", ZADD_XX}, {"GT", ZADD_GT},
                 {"LT", ZADD_LT}, {"CH", ZADD_CH}, {"INCR", ZADD_INCR}};

    for (z->first = 2; z->first < rq->argc; z->first++) {
        const struct bytes arg = rq->argv[z->first];
        size_t w = ARRAY_COUNT(words);
        /* All words have two or four letters. */
        if (arg.len == 2 || arg.len == 4) {
            w = 0;
            while (w < ARRAY_COUNT(words) && !bytes_eq_nocase(arg, words[w].word))
                w++;
        }
        if (w == ARRAY_COUNT(words))
            return;
        z->flags |= words[w].flag;
    }
}

/* False after an error reply. */
static bool zadd_options_ok(struct request *rq, const struct zadd *z)
{
    const unsigned f = z->flags;
    const uint32_t left = rq->argc - z->first;
    const int comparisons = ((f & ZADD_GT) != 0) + ((f & ZADD_LT) != 0) + ((f & ZADD_NX) != 0);

    if (left == 0 || left % 2 != 0)
        reply_err_syntax(rq->out);
    else if ((f & ZADD_NX) != 0 && (f & ZADD_XX) != 0)
        reply_error(rq->out, "ERR XX and NX options at the same time are not compatible");
    else if (comparisons > 1)
        reply_error(rq->out, "ERR GT, LT, and/or NX options at the same time are not compatible");
    else if ((f & ZADD_INCR) != 0 && left > 2)
        reply_error(rq->out, "ERR INCR option supports a single increment-element pair");
    else
        return true;
    return false;
}

/* Whether a member that is there may get the new score. */
static bool zadd_allowed(unsigned flags, double old, double score)
{
    if ((flags & ZADD_LT) != 0 && score >= old)
        return false;
    return (flags & ZADD_GT) == 0 || score > old;
}

/* One member. False: the result is not a number, nothing changed. */
static bool zadd_one(struct request *rq, struct coll *coll, struct zadd *z, double score,
                     struct bytes member)
{
    long double sum;
    const struct elem *elem = coll_find(coll, member);

    if (elem == NULL) {
        if ((z->flags & ZADD_XX) != 0)
            return true;
        /* In a group the first increment is one, too: to that of another member it is added. */
        if ((z->flags & ZADD_INCR) == 0 || !ks_group_on(rq->ks))
            set_score(rq, coll, member, score, is_compact(rq, coll->count + 1, member.len));
        else if (mut_elem_incr_float(rq->mut, coll, member, (long double)score, &sum) != 0)
            return false;
        z->added++;
        z->score = score;
        z->processed = true;
        return true;
    }
    if ((z->flags & ZADD_NX) != 0)
        return true;
    const double old = coll_score(elem);
    const double delta = score;
    if ((z->flags & ZADD_INCR) != 0)
        score += old;
    if (isnan(score))
        return false;
    if (!zadd_allowed(z->flags, old, score))
        return true;
    z->score = score;
    z->processed = true;
    if (score == old)
        return true;
    z->updated++;
    if ((z->flags & ZADD_INCR) == 0)
        set_score(rq, coll, member, score, is_compact(rq, coll->count, member.len));
    else if (mut_elem_incr_float(rq->mut, coll, member, (long double)delta, &sum) == 0)
        z->score = (double)sum;
    else
        return false;
    return true;
}

static void zadd_reply(struct request *rq, const struct zadd *z)
{
    if ((z->flags & ZADD_INCR) == 0)
        reply_i64(rq->out, z->added + ((z->flags & ZADD_CH) != 0 ? z->updated : 0));
    else if (z->processed)
        reply_double(rq->out, z->score);
    else
        reply_null(rq->out);
}

/* Every score is a number and every member may be stored; else the error was replied. */
static bool zadd_pairs_ok(struct request *rq, uint32_t first, double *out_first)
{
    for (uint32_t i = first; i < rq->argc; i += 2) {
        double score;
        if (!num_parse_double(rq->argv[i], &score)) {
            reply_err_not_float(rq->out);
            return false;
        }
        if (i == first)
            *out_first = score;
        if (rq->argv[i + 1].len > KS_NAME_BYTES_MAX) {
            reply_err_key_too_long(rq->out);
            return false;
        }
    }
    return true;
}

static void zadd_generic(struct request *rq, unsigned flags)
{
    bool ok;
    double score = 0.0;
    struct zadd z = {.flags = flags};
    const struct ks_key key = req_key(rq, 1);

    zadd_options(rq, &z);
    if (!zadd_options_ok(rq, &z) || !zadd_pairs_ok(rq, z.first, &score))
        return;
    struct coll *coll = zset_get(rq, &key, &ok);
    if (!ok)
        return;
    if (coll == NULL) {
        if ((z.flags & ZADD_XX) != 0) {
            zadd_reply(rq, &z);
            return;
        }
        coll = mut_coll(rq->mut, &key, VT_ZSET);
    }
    for (uint32_t i = z.first; i < rq->argc; i += 2) {
        if (i != z.first)
            CHECK(num_parse_double(rq->argv[i], &score));
        if (!zadd_one(rq, coll, &z, score, rq->argv[i + 1])) {
            reply_err_score_nan(rq->out);
            return;
        }
    }
    zadd_reply(rq, &z);
}

void cmd_zadd(struct request *rq)
{
    zadd_generic(rq, 0);
}

void cmd_zincrby(struct request *rq)
{
    zadd_generic(rq, ZADD_INCR);
}

/* --- ZREM, ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK --- */

void cmd_zrem(struct request *rq)
{
    bool ok;
    int64_t deleted = 0;
    const struct ks_key key = req_key(rq, 1);
    struct coll *coll = zset_get(rq, &key, &ok);

    if (!ok)
        return;
    for (uint32_t i = 2; i < rq->argc && coll != NULL; i++) {
        const struct elem *elem = coll_find(coll, rq->argv[i]);
        if (elem == NULL)
            continue;
        deleted++;
        encoding_keep(rq, coll, elem);
        if (!mut_elem_del(rq->mut, coll, rq->argv[i]))
            coll = NULL;
    }
    reply_i64(rq->out, deleted);
}

void cmd_zcard(struct request *rq)
{
    bool ok;
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = zset_get(rq, &key, &ok);

    if (ok)
        reply_u64(rq->out, coll == NULL ? 0 : coll->count);
}

static void reply_score(struct request *rq, const struct coll *coll, struct bytes member)
{
    const struct elem *elem = coll == NULL ? NULL : coll_find(coll, member);

    if (elem == NULL)
        reply_null(rq->out);
    else
        reply_double(rq->out, coll_score(elem));
}

void cmd_zscore(struct request *rq)
{
    bool ok;
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = zset_get(rq, &key, &ok);

    if (ok)
        reply_score(rq, coll, rq->argv[2]);
}

void cmd_zmscore(struct request *rq)
{
    bool ok;
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = zset_get(rq, &key, &ok);

    if (!ok)
        return;
    reply_array(rq->out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++)
        reply_score(rq, coll, rq->argv[i]);
}

static void zrank_generic(struct request *rq, bool reverse)
{
    bool ok;
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = zset_get(rq, &key, &ok);

    if (!ok)
        return;
    const struct elem *elem = coll == NULL ? NULL : coll_find(coll, rq->argv[2]);
    if (elem == NULL) {
        reply_null(rq->out);
        return;
    }
    uint64_t rank = 0;
    CHECK(coll_zset_rank_of(coll, elem, &rank)); /* Or it would have been loaded (needs.c). */
    reply_u64(rq->out, reverse ? coll->count - 1 - rank : rank);
}

void cmd_zrank(struct request *rq)
{
    zrank_generic(rq, false);
}

void cmd_zrevrank(struct request *rq)
{
    zrank_generic(rq, true);
}

/* --- ZPOPMIN, ZPOPMAX, ZMPOP --- */

/* Replies the `n` first or last members and removes them; the array was not announced yet. */
void zset_pop(struct request *rq, const struct ks_key *key, struct coll *coll, uint64_t n, bool max,
              bool nested)
{
    struct zorder_pos pos;
    const uint64_t start = max ? zorder_count(&coll->order) - n : 0;
    bool more = max ? zorder_last(&coll->order, &pos) : zorder_first(&coll->order, &pos);

    reply_array(rq->out, nested ? n : 2 * n);
    if (n == 1) {
        CHECK(more);
        zset_reply(rq->out, elem_sub(pos.elem), pos.score, true, nested);
        (void)mut_elem_del(rq->mut, coll, elem_sub(pos.elem));
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        CHECK(more);
        zset_reply(rq->out, elem_sub(pos.elem), pos.score, true, nested);
        more = max ? zorder_prev(&pos) : zorder_next(&pos);
    }
    zset_remove_ranks(rq, key, coll, start, n);
}

static void zpop_generic(struct request *rq, bool max)
{
    bool ok;
    int64_t count = 1;

    if (rq->argc > 3) {
        reply_err_syntax(rq->out);
        return;
    }
    if (rq->argc == 3 && !req_i64_positive(rq, 2, &count))
        return;
    const struct ks_key key = req_key(rq, 1);
    struct coll *coll = zset_get(rq, &key, &ok);
    if (!ok)
        return;
    if (coll == NULL || count == 0) {
        reply_array(rq->out, 0);
        return;
    }
    const uint64_t n = u64_min((uint64_t)count, coll->count);
    if (zset_can_remove(rq, &key, coll, max ? zorder_count(&coll->order) - n : 0, n))
        zset_pop(rq, &key, coll, n, max, rq->argc == 3 && rq->out->proto == 3);
}

void cmd_zpopmin(struct request *rq)
{
    zpop_generic(rq, false);
}

void cmd_zpopmax(struct request *rq)
{
    zpop_generic(rq, true);
}

/* COUNT behind MIN or MAX; false after an error reply. */
bool zset_pop_count(struct request *rq, uint32_t at, int64_t *out)
{
    if (at == rq->argc) {
        *out = 1;
        return true;
    }
    if (!req_is(rq, at, "COUNT") || at + 1 >= rq->argc) {
        reply_err_syntax(rq->out);
        return false;
    }
    if (!req_i64_min(rq, at + 1, 1, "count should be greater than 0", out))
        return false;
    if (at + 2 == rq->argc)
        return true;
    reply_err_syntax(rq->out);
    return false;
}

void zset_mpop(struct request *rq, const struct ks_key *key, struct coll *coll, uint64_t count,
               bool max)
{
    const uint64_t n = u64_min(count, coll->count);

    if (!zset_can_remove(rq, key, coll, max ? zorder_count(&coll->order) - n : 0, n))
        return;
    reply_array(rq->out, 2);
    reply_bulk(rq->out, key->name);
    zset_pop(rq, key, coll, n, max, true);
}

/* ZMPOP numkeys key .. MIN | MAX [COUNT count] */
void cmd_zmpop(struct request *rq)
{
    bool ok;
    int64_t keys, count;

    if (!req_i64_min(rq, 1, 1, "numkeys should be greater than 0", &keys))
        return;
    const uint32_t where = keys >= rq->argc ? rq->argc : (uint32_t)keys + 2;
    if (where >= rq->argc || (!req_is(rq, where, "MIN") && !req_is(rq, where, "MAX"))) {
        reply_err_syntax(rq->out);
        return;
    }
    if (!zset_pop_count(rq, where + 1, &count))
        return;
    const bool max = req_is(rq, where, "MAX");
    for (uint32_t i = 2; i < where; i++) {
        const struct ks_key key = req_key(rq, i);
        struct coll *coll = zset_get(rq, &key, &ok);
        if (!ok)
            return;
        if (coll == NULL)
            continue;
        zset_mpop(rq, &key, coll, (uint64_t)count, max);
        return;
    }
    reply_null_array(rq->out);
}

/* --- ZRANDMEMBER --- */

static void reply_pos(struct request *rq, const struct zorder_pos *pos, bool scores)
{
    zset_reply(rq->out, elem_sub(pos->elem), pos->score, scores, scores && rq->out->proto == 3);
}

/*
 * `n` different ranks below `size`, each set of them as likely as any other (Floyd): for each j
 * from size - n on, a random rank up to j, or j itself if that one is taken. `table` has `cap`
 * entries, a power of two of at least 2 n, all UINT64_MAX.
 */
static void reply_sample(struct request *rq, const struct coll *coll, uint64_t n, uint64_t *table,
                         uint64_t cap, bool scores)
{
    const uint64_t size = zorder_count(&coll->order);
    struct zorder_pos pos;

    for (uint64_t j = size - n; j < size; j++) {
        uint64_t rank = rng_below(&rq->sh->rng, j + 1);
        uint64_t slot = rank * 0x9e3779b97f4a7c15ull & (cap - 1);
        while (table[slot] != UINT64_MAX && table[slot] != rank)
            slot = (slot + 1) & (cap - 1);
        if (table[slot] == rank) {
            rank = j;
            slot = rank * 0x9e3779b97f4a7c15ull & (cap - 1);
            while (table[slot] != UINT64_MAX)
                slot = (slot + 1) & (cap - 1);
        }
        table[slot] = rank;
        CHECK(zorder_at(&coll->order, rank, &pos));
        reply_pos(rq, &pos, scores);
    }
}

/* `count` different members, or all. */
static void random_distinct(struct request *rq, const struct coll *coll, uint64_t count,
                            bool scores)
{
    struct zorder_pos pos;
    const uint64_t size = coll->count;
    uint64_t cap = 64;

    if (count >= size) {
        zset_reply_head(rq->out, size, scores);
        bool more = zorder_first(&coll->order, &pos);
        for (; more; more = zorder_next(&pos))
            reply_pos(rq, &pos, scores);
        return;
    }
    while (cap < 2 * count)
        cap *= 2;
    uint64_t *table = mem_try_alloc(cap * sizeof(*table));
    if (table == NULL) {
        reply_err_oom(rq->out, "the sample does not fit into memory");
        return;
    }
    memset(table, 0xff, cap * sizeof(*table));
    zset_reply_head(rq->out, count, scores);
    reply_sample(rq, coll, count, table, cap, scores);
    mem_free(table);
}

static void reply_drawn(struct request *rq, const struct elem *elem, bool scores)
{
    zset_reply(rq->out, elem_sub(elem), coll_score(elem), scores, scores && rq->out->proto == 3);
}

static void random_count(struct request *rq, int64_t count, bool scores)
{
    bool ok;
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = zset_get(rq, &key, &ok);

    if (!ok)
        return;
    if (coll == NULL || count == 0)
        reply_array(rq->out, 0);
    else if (count < 0)
        draw_repeated(rq, coll, (uint64_t)-count, scores, reply_drawn);
    else
        random_distinct(rq, coll, (uint64_t)count, scores);
}

/* ZRANDMEMBER key [count [WITHSCORES]] */
void cmd_zrandmember(struct request *rq)
{
    bool ok;
    int64_t count;

    if (rq->argc > 2) {
        if (!req_count(rq, 2, &count))
            return;
        if (rq->argc > 4 || (rq->argc == 4 && !req_is(rq, 3, "WITHSCORES")))
            reply_err_syntax(rq->out);
        else if (rq->argc == 4 && (count < -INT64_MAX / 2 || count > INT64_MAX / 2))
            reply_err_out_of_range(rq->out);
        else
            random_count(rq, count, rq->argc == 4);
        return;
    }
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = zset_get(rq, &key, &ok);
    if (!ok)
        return;
    if (coll == NULL)
        reply_null(rq->out);
    else
        reply_bulk(rq->out, elem_sub(coll_random(coll, &rq->sh->rng)));
}

/* --- ZSCAN --- */

/*
 * Redis shows what it has: its compact encoding has whole scores up to 2^62 as integers, which
 * ZSCAN prints with all digits (1000000000000000000); the scores of the other one, and those of all
 * other commands, are printed as "%.17g" (1e+18).
 */
#define COMPACT_WHOLE_MAX 0x1p62
/* Above it sets are not looked through in each step: their scores are printed as those of large
 * ones. */
#define COMPACT_MEMBERS_MAX 1024

static void emit_pair(struct request *rq, const struct elem *elem)
{
    char text[NUM_DOUBLE_BYTES];

    reply_bulk(rq->out, elem_sub(elem));
    reply_bulk(rq->out, bytes_of(text, num_print_double(text, coll_score(elem))));
}

static void emit_compact_pair(struct request *rq, const struct elem *elem)
{
    char text[NUM_I64_BYTES];
    const double score = coll_score(elem);

    if (fabs(score) > COMPACT_WHOLE_MAX || score != trunc(score) || score == 0.0) {
        emit_pair(rq, elem);
        return;
    }
    reply_bulk(rq->out, elem_sub(elem));
    reply_bulk(rq->out, bytes_of(text, num_print_i64(text, (int64_t)score)));
}

/* Whether Redis would have all of a sorted set in its compact encoding, as far as the present
 * content tells. */
static bool is_all_compact(const struct request *rq, const struct coll *coll)
{
    struct coll_iter it;
    const struct elem *elem;

    if (coll->count > COMPACT_MEMBERS_MAX || !is_compact(rq, coll->count, 0))
        return false;
    coll_iter_init(coll, &it);
    while ((elem = coll_iter_next(&it)) != NULL) {
        if (!is_compact(rq, coll->count, elem->h.name_len))
            return false;
    }
    return true;
}

void cmd_zscan(struct request *rq)
{
    const struct ks_key key = req_key(rq, 1);
    const struct obj *obj = ks_peek(rq->ks, &key, rq->now_ms);
    const bool compact = obj != NULL && obj->h.type == VT_ZSET && is_all_compact(rq, obj_coll(obj));

    collscan_run(rq, VT_ZSET, 2, compact ? emit_compact_pair : emit_pair);
}
