/* A group for tests: prop_group_net.h. */
#include "tests/prop/prop_group_net.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/coll.h"
#include "engine/space/strval.h"
#include "engine/value/op.h"

#include "replication/apply.h"
#include "replication/mutate_impl.h"

#include "tests/lib/tcase.h"
#include "tests/prop/prop_group_oracle.h"

static void on_record(void *ctx, const struct oplog_record *record)
{
    const struct net_end *end = ctx;
    struct net *n = end->net;

    n->parcels = mem_realloc(n->parcels, (n->parcels_count + 1) * sizeof(*n->parcels));
    struct parcel *p = &n->parcels[n->parcels_count++];
    *p = (struct parcel){0};
    buf_init(&p->bytes, UINT32_MAX);
    assert_int_equal(buf_append_bytes(&p->bytes, record->payload), 0);
    p->from = end->from;
    p->at[end->from] = true;
    if (n->oracle != NULL)
        oracle_add(n->oracle, record->payload);
}

void net_open(struct net *n, unsigned members)
{
    n->members = members;
    n->causal = true;
    for (unsigned i = 0; i < members; i++) {
        struct prop_member *m = &n->member[i];
        member_create(m, (uint8_t)(i + 1));
        n->end[i] = (struct net_end){.net = n, .from = i};
        m->loads_small = (n->loads_small >> i & 1) != 0;
        m->on_record = on_record;
        m->ctx = &n->end[i];
        member_open(m);
    }
}

void net_close(struct net *n)
{
    for (unsigned i = 0; i < n->members; i++) {
        member_close(&n->member[i]);
        member_destroy(&n->member[i]);
    }
    for (size_t i = 0; i < n->parcels_count; i++)
        buf_deinit(&n->parcels[i].bytes);
    mem_free(n->parcels);
}

/* As apply_remote, but what the batch has seen need not be here. */
static int apply_too_early(struct prop_member *m, struct bytes bytes, uint64_t *out_lsn)
{
    struct batch batch;
    struct vv vv = m->mut->vv;

    assert_int_equal(batch_open(bytes, &batch), 0);
    for (unsigned i = 0; i < batch.ctx.count; i++) {
        const struct tag tag = tag_of(batch.ctx.hlc[i], batch.ctx.origin[i]);
        if (tag.origin != batch.origin)
            assert_int_equal(vv_raise(&m->mut->vv, tag), 0);
    }
    const int err = apply_remote(m->mut, bytes, out_lsn);
    if (err == APPLY_DONE)
        assert_int_equal(vv_raise(&vv, batch_tag(&batch)), 0);
    m->mut->vv = vv;
    return err;
}

bool net_deliver(struct net *n, struct parcel *p, unsigned to)
{
    struct prop_member *m = &n->member[to];
    const struct bytes bytes = buf_bytes(&p->bytes);
    uint64_t lsn;

    const int err = n->causal ? apply_remote(m->mut, bytes, &lsn) : apply_too_early(m, bytes, &lsn);
    if (err == -ERR_RANGE)
        return false;
    assert_int_equal(err, p->at[to] ? APPLY_KNOWN : APPLY_DONE);
    p->at[to] = true;
    return true;
}

void net_deliver_all(struct net *n)
{
    for (unsigned i = 0; i < n->members; i++)
        member_show_all(&n->member[i]);
    for (unsigned to = 0; to < n->members; to++) {
        for (bool more = true; more;) {
            more = false;
            for (size_t i = 0; i < n->parcels_count; i++) {
                if (!n->parcels[i].at[to])
                    more |= net_deliver(n, &n->parcels[i], to);
            }
            member_turn(&n->member[to]);
        }
        for (size_t i = 0; i < n->parcels_count; i++)
            assert_true(n->parcels[i].at[to]);
    }
}

void net_collect(struct net *n, unsigned who)
{
    struct vv stable, one;
    uint64_t lst = UINT64_MAX, now_ms = UINT64_MAX;

    for (unsigned i = 0; i < n->members; i++) {
        struct prop_member *m = &n->member[i];
        member_cover(m, &one);
        if (i == 0)
            stable = one;
        vv_meet(&stable, &one);
        lst = u64_min(lst, m->mut->hlc.last);
        now_ms = u64_min(now_ms, mut_now_ms(m->mut, m->now_ms));
    }
    /* What the first pass removes must have gone before the second sees that nothing is left. */
    for (unsigned pass = 0; pass < 4; pass++) {
        for (unsigned i = 0; i < n->members; i++) {
            if ((who & 1u << i) == 0)
                continue;
            member_collect(&n->member[i], &stable, lst, now_ms);
            member_cover(&n->member[i], &one);
        }
    }
}

/* --- what shows --- */

static void say(struct buf *out, struct bytes text)
{
    assert_int_equal(buf_append_bytes(out, text), 0);
}

static void show_row(struct bytes row, bool zset, struct buf *out)
{
    struct row_view view;
    double score;
    char text[ROW_TEXT_BYTES];

    if (zset) {
        assert_int_equal(row_score(row, &score), 0);
        const int len = snprintf(text, sizeof(text), "%.17g", score);
        say(out, bytes_of(text, (size_t)len));
    } else {
        assert_int_equal(row_view(row, 0, &view), 0);
        say(out, row_text(&view, text));
    }
    say(out, bytes_of(",", 1));
}

static int by_name(const void *a, const void *b)
{
    const struct elem *const *x = a, *const *y = b;

    return bytes_cmp(elem_sub(*x), elem_sub(*y));
}

static void show_list(const struct coll *coll, struct buf *out)
{
    struct listq_at at;
    uint64_t count = 0;

    for (listq_first(&coll->seq, &at); listq_valid(&at); listq_next(&coll->seq, &at), count++)
        show_row(at.row, false, out);
    assert_int_equal(coll->count, count);
}

static void show_elems(const struct coll *coll, struct buf *out)
{
    struct elem **all = mem_zalloc_array(coll->count + 1, sizeof(struct elem *));
    struct coll_iter it;
    struct elem *e;
    uint64_t count = 0;

    coll_iter_init(coll, &it);
    while ((e = coll_iter_next(&it)) != NULL) {
        assert_true(count < coll->count);
        all[count++] = e;
    }
    assert_int_equal(coll->count, count);
    if (coll->type == VT_ZSET)
        assert_int_equal(zorder_count(&coll->order), count);
    qsort(all, count, sizeof(struct elem *), by_name);
    for (uint64_t i = 0; i < count; i++) {
        say(out, elem_sub(all[i]));
        say(out, bytes_of("=", 1));
        show_row(elem_row(all[i]), coll->type == VT_ZSET, out);
    }
    mem_free(all);
}

static void show_long(const struct obj *obj, struct buf *out)
{
    const uint64_t len = strval_len(obj);

    assert_int_equal(buf_reserve(out, len), 0);
    strval_copy(obj_coll(obj), 0, buf_end(out), len);
    buf_commit(out, len);
    say(out, bytes_of(",", 1));
}

void net_show(struct prop_member *m, const struct ks_key *key, uint64_t now_ms, struct buf *out)
{
    char text[64];

    buf_clear(out);
    member_need(m, key, 1);
    const struct obj *obj = ks_get(m->ks, key, now_ms);
    if (obj == NULL)
        return;
    say(out, bytes_of(text, (size_t)snprintf(text, sizeof(text), "%u:", obj->h.type)));
    if (obj_is_chunked(obj))
        show_long(obj, out);
    else if (obj->h.type == VT_LIST)
        show_list(obj_coll(obj), out);
    else if ((obj->h.flags & BLK_COLL) != 0)
        show_elems(obj_coll(obj), out);
    else
        show_row(obj_row(obj), false, out);
    if (ks_expire_at(obj) != 0)
        say(out, bytes_of(text, (size_t)snprintf(text, sizeof(text), "@%llu",
                                                 (unsigned long long)ks_expire_at(obj))));
}
