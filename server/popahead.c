/* Members drawn ahead of SPOP; popahead.h tells why. */
#include "server/popahead.h"

#include "engine/base/check.h"
#include "engine/base/le.h"

#include "engine/space/coll.h"
#include "engine/space/collstream.h"
#include "engine/space/keyspace.h"

/* Longer ones are drawn when they are asked for. */
#define KEEP_BYTES_MAX (64u << 10)
#define HEAD_BYTES     8u

void pop_ahead_deinit(struct pop_ahead *p)
{
    buf_deinit(&p->key);
    buf_deinit(&p->members);
}

static bool is_valid(const struct pop_ahead *p, const struct coll *set)
{
    const struct ks_key key = ks_key_of_coll(set);

    /* The key row has the position, too. No other change has the same. */
    return p->lsn == set->lsn && p->key.len == key.name.len &&
           bytes_eq(buf_bytes(&p->key), key.name);
}

bool pop_ahead_has(const struct pop_ahead *p, const struct coll *set, uint64_t n)
{
    return is_valid(p, set) && p->count >= n;
}

uint32_t pop_ahead_more(const struct pop_ahead *p, const struct coll *set)
{
    return is_valid(p, set) ? u32_min(2 * p->drawn + 1, POP_AHEAD_MAX) : 0;
}

void pop_ahead_take(struct pop_ahead *p, struct bytes *out_member, struct bytes *out_row)
{
    struct bytes in = bytes_from(buf_bytes(&p->members), p->at);

    CHECK(p->count != 0 && in.len >= HEAD_BYTES);
    const size_t member_len = le32_load(in.ptr), row_len = le32_load(in.ptr + 4);
    in = bytes_from(in, HEAD_BYTES);
    CHECK(bytes_take(&in, member_len, out_member) && bytes_take(&in, row_len, out_row));
    p->at += HEAD_BYTES + member_len + row_len;
    p->count--;
}

void pop_ahead_popped(struct pop_ahead *p, const struct coll *set)
{
    p->lsn = set->lsn;
}

static int add(struct pop_ahead *p, const struct ks_stream_elem *elem)
{
    uint8_t head[HEAD_BYTES];

    le32_store(head, (uint32_t)elem->sub.len);
    le32_store(head + 4, (uint32_t)elem->row.len);
    int err = buf_append(&p->members, head, sizeof(head));
    if (err == 0)
        err = buf_append_bytes(&p->members, elem->sub);
    return err == 0 ? buf_append_bytes(&p->members, elem->row) : err;
}

void pop_ahead_keep(struct pop_ahead *p, const struct coll *set, struct ks_stream *rows)
{
    struct ks_stream_elem elem;

    buf_deinit(&p->members);
    buf_deinit(&p->key);
    buf_init(&p->members, KEEP_BYTES_MAX);
    buf_init(&p->key, KS_NAME_BYTES_MAX);
    p->lsn = set->lsn;
    p->at = 0;
    p->count = p->drawn = 0;
    if (buf_append_bytes(&p->key, ks_key_of_coll(set).name) != 0)
        return; /* The next one is drawn when it is asked for. */
    while (ks_stream_next(rows, &elem)) {
        p->drawn++;
        if (add(p, &elem) != 0)
            break; /* What was added in part is behind those that count. */
        p->count++;
    }
}
