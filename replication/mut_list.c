/* Changes of lists: elements at positions that are never used twice (engine/value/listpos.h). */
#include "engine/base/check.h"

#include "engine/space/listq.h"
#include "engine/value/listpos.h"
#include "engine/value/row.h"

#include "replication/mutate_impl.h"

/* Logs and applies one element of a list; the row is m->row. */
static void list_put(struct mut *m, struct coll *coll, struct bytes pos, struct bytes value,
                     enum ks_list_place place)
{
    const struct ks_key key = ks_key_of_coll(coll);
    struct op op = {.kind = OP_ELEM_SET, .type = VT_LIST, .sub = pos, .value = value};

    if (unlikely(m->group != NULL)) {
        (void)mut_group_elem_set(m, coll, pos, value);
        return;
    }
    (void)mut_void_elem(m, &key, pos);
    buf_clear(&m->row);
    CHECK(buf_reserve(&m->row, row_value_size(value.len, false)) == 0);
    buf_commit(&m->row, row_value_store(m->row.ptr, m->tag, value, 0));
    const struct ks_elem elem = {
        .sub = pos, .row = buf_bytes(&m->row), .tag = m->tag, .lsn = m->lsn};
    ks_apply_list_put(m->options.ks, coll, &elem, place);
    mut_append_elem(m, &key, &op, coll->count);
    mut_changed(m, &key);
}

void mut_list_push(struct mut *m, struct coll *coll, struct bytes value, bool front)
{
    struct listpos pos;

    mut_begin_op(m);
    coll_list_meta(coll, &m->meta);
    if (front)
        listpos_front(bytes_of(NULL, 0), &m->meta, m->tag, &pos);
    else
        listpos_back(bytes_of(NULL, 0), &m->meta, m->tag, &pos);
    list_put(m, coll, listpos_bytes(&pos), value, front ? KS_LIST_FRONT : KS_LIST_BACK);
}

static bool list_del(struct mut *m, struct coll *coll, const struct listq_at *at,
                     enum ks_list_place place)
{
    uint8_t room[LISTPOS_BYTES_MAX];
    const struct ks_key key = ks_key_of_coll(coll);
    const struct bytes pos = listq_position(at, room);
    struct op op = {.kind = OP_ELEM_DEL, .type = VT_LIST, .sub = pos};

    if (unlikely(m->group != NULL))
        return mut_group_elem_del(m, coll, pos);
    mut_begin_op(m);
    (void)mut_void_elem(m, &key, pos);
    mut_append_elem(m, &key, &op, coll->count - 1);
    mut_changed(m, &key);
    ks_apply_list_del(m->options.ks, coll, pos, m->tag, m->lsn, place);
    return mut_drop_if_empty(m, coll, &key);
}

bool mut_list_pop(struct mut *m, struct coll *coll, bool front)
{
    struct listq_at at;

    if (front)
        listq_first(&coll->seq, &at);
    else
        listq_last(&coll->seq, &at);
    CHECK(listq_valid(&at));
    return list_del(m, coll, &at, front ? KS_LIST_FRONT : KS_LIST_BACK);
}

bool mut_list_remove(struct mut *m, struct coll *coll, const struct listq_at *at)
{
    return list_del(m, coll, at, KS_LIST_WITHIN);
}

void mut_list_set(struct mut *m, struct coll *coll, const struct listq_at *at, struct bytes value)
{
    uint8_t room[LISTPOS_BYTES_MAX];

    mut_begin_op(m);
    list_put(m, coll, listq_position(at, room), value, KS_LIST_WITHIN);
}

int mut_list_insert(struct mut *m, struct coll *coll, const struct listq_at *at, bool before,
                    struct bytes value)
{
    uint8_t here_room[LISTPOS_BYTES_MAX], there_room[LISTPOS_BYTES_MAX];
    struct listq_at other = *at;
    struct listpos pos;

    if (before)
        listq_prev(&coll->seq, &other);
    else
        listq_next(&coll->seq, &other);
    if (!listq_valid(&other)) {
        mut_list_push(m, coll, value, before);
        return 0;
    }
    mut_begin_op(m);
    const struct bytes here = listq_position(at, here_room);
    const struct bytes there = listq_position(&other, there_room);
    const int err = before ? listpos_between(there, here, m->tag, m->nops, &pos)
                           : listpos_between(here, there, m->tag, m->nops, &pos);
    if (err == 0)
        list_put(m, coll, listpos_bytes(&pos), value, KS_LIST_WITHIN);
    return err;
}
