/*
 * Codec of rows: state to bytes and back; row_state.h has the layout of the GENERAL form.
 */
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/value/hll.h"
#include "engine/value/row_state.h"

#define SUM_FLOAT 0x01u

void row_state_init(struct row_state *state)
{
    state->poison = 0;
    state->rows = false;
    state->sibs_count = 0;
    state->runs_count = 0;
    state->floors_count = 0;
    state->types_count = 0;
    state->exps_count = 0;
    state->groups_count = 0;
    state->count = 0;
    state->count_lsn = 0;
    vv_init(&state->ctx);
    vv_init(&state->rctx);
    vv_init(&state->clear);
    vv_init(&state->clear_by);
    state->list.used = false;
    state->list.runs_count = 0;
    state->list.rank_min = 0;
    state->list.rank_max = 0;
    state->joined = bytes_of(NULL, 0);
}

/* --- parts that several lists share --- */

static int tag_get(struct bytes *in, struct tag *out)
{
    struct bytes raw;

    if (!bytes_take(in, TAG_BYTES, &raw))
        return -ERR_CORRUPT;
    *out = tag_load(raw.ptr);
    return tag_is_none(*out) ? -ERR_CORRUPT : 0;
}

static int sum_get(struct bytes *in, int64_t *out_isum, struct fsum *out_fsum)
{
    struct bytes raw;
    uint64_t zigzag;
    uint8_t kind;

    if (u8_get(in, &kind) != 0 || (kind & ~SUM_FLOAT) != 0 || varint_get(in, &zigzag) != 0)
        return -ERR_CORRUPT;
    *out_isum = zigzag_decode(zigzag);
    *out_fsum = fsum_of(0.0L);
    if (kind == 0)
        return 0;
    if (!bytes_take(in, FSUM_BYTES, &raw) || ldouble_load(raw.ptr, &out_fsum->hi) != 0 ||
        ldouble_load(raw.ptr + LDOUBLE_BYTES, &out_fsum->lo) != 0)
        return -ERR_CORRUPT;
    return fsum_is_zero(*out_fsum) ? -ERR_CORRUPT : 0;
}

/* The writers below append to room that row_encode has reserved. */
static void put(struct buf *out, const void *ptr, size_t len)
{
    memcpy(buf_end(out), ptr, len);
    buf_commit(out, len);
}

static void put_u8(struct buf *out, unsigned value)
{
    const uint8_t byte = (uint8_t)value;

    put(out, &byte, 1);
}

static void put_u64(struct buf *out, uint64_t value)
{
    le64_store(buf_end(out), value);
    buf_commit(out, 8);
}

static void put_varint(struct buf *out, uint64_t value)
{
    buf_commit(out, varint_put(buf_end(out), value));
}

static void put_tag(struct buf *out, struct tag tag)
{
    tag_store(buf_end(out), tag);
    buf_commit(out, TAG_BYTES);
}

static void put_vv(struct buf *out, const struct vv *vv)
{
    buf_commit(out, vv_encode(vv, buf_end(out)));
}

static void put_sum(struct buf *out, int64_t isum, struct fsum fsum)
{
    const bool is_float = !fsum_is_zero(fsum);

    put_u8(out, is_float ? SUM_FLOAT : 0);
    put_varint(out, zigzag_encode(isum));
    if (!is_float)
        return;
    ldouble_store(buf_end(out), fsum.hi);
    ldouble_store(buf_end(out) + LDOUBLE_BYTES, fsum.lo);
    buf_commit(out, FSUM_BYTES);
}

/* --- cut lists --- */

int row_cut_get(struct bytes *in, struct row_cut *out)
{
    if (u8_get(in, &out->origin) != 0 || le64_get(in, &out->hlc) != 0 || out->hlc == 0)
        return -ERR_CORRUPT;
    return sum_get(in, &out->isum, &out->fsum);
}

void row_cut_put(struct buf *out, const struct row_cut *cut)
{
    put_u8(out, cut->origin);
    put_u64(out, cut->hlc);
    put_sum(out, cut->isum, cut->fsum);
}

int row_cuts_open(struct bytes *in, unsigned *out_count)
{
    uint8_t count = 0;

    if (in->len != 0 && (u8_get(in, &count) != 0 || count == 0 || count > VV_ORIGINS_MAX))
        return -ERR_CORRUPT;
    *out_count = count;
    return 0;
}

/* Reads over a list at the front of `*in`; `*out` is its slice. */
static int cuts_take(struct bytes *in, struct bytes *out)
{
    const struct bytes start = *in;
    struct row_cut cut;
    uint8_t count;
    int last = -1;

    if (u8_get(in, &count) != 0 || count > VV_ORIGINS_MAX)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < count; i++) {
        if (row_cut_get(in, &cut) != 0 || cut.origin <= last)
            return -ERR_CORRUPT;
        last = cut.origin;
    }
    *out = bytes_of(start.ptr, count == 0 ? 0 : start.len - in->len);
    return 0;
}

int row_cuts_check(struct bytes cuts)
{
    struct bytes slice;

    if (cuts.len == 0)
        return 0;
    return cuts_take(&cuts, &slice) == 0 && cuts.len == 0 && slice.len != 0 ? 0 : -ERR_CORRUPT;
}

bool row_cuts_find(struct bytes cuts, uint8_t origin, struct row_cut *out)
{
    unsigned count;

    if (row_cuts_open(&cuts, &count) != 0)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (row_cut_get(&cuts, out) != 0)
            return false;
        if (out->origin == origin)
            return true;
    }
    return false;
}

/* --- decoding --- */

static int list_count_get(struct bytes *in, unsigned max, unsigned *out)
{
    uint64_t count;

    if (varint_get(in, &count) != 0 || count == 0 || count > max)
        return -ERR_CORRUPT;
    *out = (unsigned)count;
    return 0;
}

static int sib_value_get(struct bytes *in, struct row_sib *sib)
{
    uint64_t len;

    if (varint_get(in, &len) != 0)
        return -ERR_CORRUPT;
    sib->chunked = (len & 1) != 0;
    sib->generation = tag_of(0, 0);
    sib->len = 0;
    sib->value = bytes_of(NULL, 0);
    if (sib->chunked)
        return len == 1 && tag_get(in, &sib->generation) == 0 && varint_get(in, &sib->len) == 0
                   ? 0
                   : -ERR_CORRUPT;
    return len / 2 <= in->len && bytes_take(in, (size_t)(len / 2), &sib->value) ? 0 : -ERR_CORRUPT;
}

static int sibs_get(struct bytes *in, struct row_state *state)
{
    unsigned count;

    if (list_count_get(in, ROW_SIBS_MAX, &count) != 0)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < count; i++) {
        struct row_sib *sib = &state->sibs[i];

        if (tag_get(in, &sib->tag) != 0 || cuts_take(in, &sib->cuts) != 0)
            return -ERR_CORRUPT;
        if (sib_value_get(in, sib) != 0)
            return -ERR_CORRUPT;
        if (i > 0 && sib->tag.origin <= sib[-1].tag.origin)
            return -ERR_CORRUPT;
    }
    state->sibs_count = count;
    return 0;
}

static int runs_get(struct bytes *in, struct row_state *state)
{
    unsigned count;

    if (list_count_get(in, ROW_RUNS_MAX, &count) != 0)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < count; i++) {
        struct row_run *run = &state->runs[i];

        if (u8_get(in, &run->origin) != 0 || le64_get(in, &run->start) != 0 ||
            le64_get(in, &run->hlc) != 0 || sum_get(in, &run->isum, &run->fsum) != 0)
            return -ERR_CORRUPT;
        if (run->start == 0 || run->start > run->hlc || (i > 0 && run->origin <= run[-1].origin))
            return -ERR_CORRUPT;
    }
    state->runs_count = count;
    return 0;
}

static int floors_get(struct bytes *in, struct row_state *state)
{
    unsigned count;

    if (list_count_get(in, ROW_FLOORS_MAX, &count) != 0)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < count; i++) {
        struct row_floor *floor = &state->floors[i];

        if (row_cut_get(in, &floor->cut) != 0 || tag_get(in, &floor->del_tag) != 0)
            return -ERR_CORRUPT;
        if (i > 0 && row_floor_cmp(floor, floor - 1) <= 0)
            return -ERR_CORRUPT;
    }
    state->floors_count = count;
    return 0;
}

static int types_get(struct bytes *in, struct row_state *state)
{
    unsigned count;

    if (list_count_get(in, ROW_TYPES_MAX, &count) != 0)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < count; i++) {
        struct row_type *type = &state->types[i];

        if (u8_get(in, &type->type) != 0 || tag_get(in, &type->tag) != 0)
            return -ERR_CORRUPT;
        if (type->type <= VT_STRING || type->type >= VT_END)
            return -ERR_CORRUPT;
        if (i > 0 && (type->type < type[-1].type ||
                      (type->type == type[-1].type && type->tag.origin <= type[-1].tag.origin)))
            return -ERR_CORRUPT;
    }
    state->types_count = count;
    return 0;
}

static int exps_get(struct bytes *in, struct row_state *state)
{
    unsigned count;

    if (list_count_get(in, ROW_EXPS_MAX, &count) != 0)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < count; i++) {
        struct row_exp *exp = &state->exps[i];

        if (u8_get(in, &exp->type) != 0 || tag_get(in, &exp->target) != 0 ||
            tag_get(in, &exp->etag) != 0 || le64_get(in, &exp->at_ms) != 0)
            return -ERR_CORRUPT;
        if (exp->type >= VT_END || exp->at_ms == 0)
            return -ERR_CORRUPT;
        if (i > 0 && row_exp_cmp(&exp[-1], exp) >= 0)
            return -ERR_CORRUPT;
    }
    state->exps_count = count;
    return 0;
}

static int groups_get(struct bytes *in, struct row_state *state)
{
    unsigned count;

    if (list_count_get(in, ROW_GROUPS_MAX, &count) != 0)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < count; i++) {
        struct row_group *group = &state->groups[i];

        group->target = tag_of(0, 0);
        if (u8_get(in, &group->type) != 0 || group->type >= VT_END)
            return -ERR_CORRUPT;
        if (row_group_has_target(group->type) && tag_get(in, &group->target) != 0)
            return -ERR_CORRUPT;
        if (vv_decode(in, &group->seen) != 0 || vv_empty(&group->seen))
            return -ERR_CORRUPT;
        if (i > 0 &&
            row_group_cmp(group[-1].type, group[-1].target, group->type, group->target) >= 0)
            return -ERR_CORRUPT;
    }
    state->groups_count = count;
    return 0;
}

static int list_end_get(struct bytes *in, struct list_end *out)
{
    uint64_t rank;
    uint32_t offset;

    if (le64_get(in, &rank) != 0 || le64_get(in, &out->hlc) != 0 || le32_get(in, &offset) != 0)
        return -ERR_CORRUPT;
    out->rank = (int64_t)rank;
    out->offset = (int32_t)offset;
    return 0;
}

static int list_get(struct bytes *in, struct list_meta *list)
{
    uint64_t rank_min;
    uint64_t rank_max;
    uint64_t count;

    if (le64_get(in, &rank_min) != 0 || le64_get(in, &rank_max) != 0 ||
        varint_get(in, &count) != 0 || count > VV_ORIGINS_MAX)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < count; i++) {
        struct list_run *run = &list->runs[i];

        if (u8_get(in, &run->origin) != 0 || list_end_get(in, &run->front) != 0 ||
            list_end_get(in, &run->back) != 0 || (i > 0 && run->origin <= run[-1].origin))
            return -ERR_CORRUPT;
    }
    list->used = true;
    list->rank_min = (int64_t)rank_min;
    list->rank_max = (int64_t)rank_max;
    list->runs_count = (unsigned)count;
    return 0;
}

/* A vector that is present is not empty, so that a state has one encoding. */
static int context_get(struct bytes *in, struct vv *out)
{
    return vv_decode(in, out) == 0 && !vv_empty(out) ? 0 : -ERR_CORRUPT;
}

static int contexts_get(struct bytes *in, unsigned parts, struct row_state *out)
{
    if ((parts & PART_CTX) != 0 && context_get(in, &out->ctx) != 0)
        return -ERR_CORRUPT;
    if ((parts & PART_RCTX_IS_CTX) != 0)
        vv_copy(&out->rctx, &out->ctx);
    else if ((parts & PART_RCTX) != 0 && context_get(in, &out->rctx) != 0)
        return -ERR_CORRUPT;
    if ((parts & PART_CLEAR) == 0)
        return 0;
    if ((parts & PART_CLEAR_IS_CTX) != 0)
        vv_copy(&out->clear, &out->ctx);
    else if (context_get(in, &out->clear) != 0)
        return -ERR_CORRUPT;
    return context_get(in, &out->clear_by);
}

static int joined_get(struct bytes *in, struct bytes *out)
{
    uint64_t len;

    if (varint_get(in, &len) != 0 || len > in->len || !bytes_take(in, (size_t)len, out))
        return -ERR_CORRUPT;
    return hll_valid(*out) ? 0 : -ERR_CORRUPT;
}

static int general_decode(struct bytes in, struct row_state *out)
{
    unsigned parts;

    if (in.len < ROW_GENERAL_HEAD_BYTES)
        return -ERR_CORRUPT;
    parts = le16_load(in.ptr + 1);
    in = bytes_from(in, ROW_GENERAL_HEAD_BYTES);
    if ((parts & ~(unsigned)PART_ALL) != 0)
        return -ERR_CORRUPT;
    if ((parts & PART_COUNT) != 0 &&
        (le64_get(&in, &out->count) != 0 || le64_get(&in, &out->count_lsn) != 0))
        return -ERR_CORRUPT;
    if (contexts_get(&in, parts, out) != 0)
        return -ERR_CORRUPT;
    if ((parts & PART_SIBS) != 0 && sibs_get(&in, out) != 0)
        return -ERR_CORRUPT;
    if ((parts & PART_RUNS) != 0 && runs_get(&in, out) != 0)
        return -ERR_CORRUPT;
    if ((parts & PART_FLOORS) != 0 && floors_get(&in, out) != 0)
        return -ERR_CORRUPT;
    if ((parts & PART_TYPES) != 0 && types_get(&in, out) != 0)
        return -ERR_CORRUPT;
    if ((parts & PART_EXPS) != 0 && exps_get(&in, out) != 0)
        return -ERR_CORRUPT;
    if ((parts & PART_ECTX) != 0 && groups_get(&in, out) != 0)
        return -ERR_CORRUPT;
    if ((parts & PART_LIST) != 0 && list_get(&in, &out->list) != 0)
        return -ERR_CORRUPT;
    out->rows = (parts & PART_ROWS) != 0;
    if ((parts & PART_JOINED) != 0 && joined_get(&in, &out->joined) != 0)
        return -ERR_CORRUPT;
    return in.len == 0 ? 0 : -ERR_CORRUPT;
}

static int value_decode(struct bytes row, struct row_state *out)
{
    const bool ttl = row.ptr[0] == ROW_VALUE_TTL;
    const size_t value_at = ttl ? ROW_TTL_VALUE_AT : ROW_VALUE_AT;

    if (row.len < value_at)
        return -ERR_CORRUPT;

    const struct tag tag = tag_load(row.ptr + ROW_TAG_AT);

    if (tag_is_none(tag))
        return -ERR_CORRUPT;
    out->sibs[0] =
        (struct row_sib){.tag = tag, .value = bytes_from(row, value_at), .cuts = {NULL, 0}};
    out->sibs_count = 1;
    if (!ttl)
        return 0;

    const uint64_t at_ms = le64_load(row.ptr + ROW_TTL_AT);

    if (at_ms == 0 || at_ms == ROW_EXPIRE_NEVER)
        return -ERR_CORRUPT;
    out->exps[0] = (struct row_exp){.type = VT_STRING, .target = tag, .etag = tag, .at_ms = at_ms};
    out->exps_count = 1;
    return 0;
}

static int chunked_decode(struct bytes row, struct row_state *out)
{
    if (!row_chunked_sound(row))
        return -ERR_CORRUPT;

    const struct tag tag = tag_load(row.ptr + ROW_TAG_AT);
    const struct tag generation = tag_load(row.ptr + ROW_CHUNKED_GEN_AT);
    const bool shared = row.ptr[0] == ROW_CHUNKED_TTL;
    const struct tag of = shared ? generation : tag;
    const uint64_t at_ms = le64_load(row.ptr + ROW_CHUNKED_TTL_AT);

    out->sibs[0] = (struct row_sib){.tag = tag,
                                    .chunked = true,
                                    .generation = generation,
                                    .len = le64_load(row.ptr + ROW_CHUNKED_LEN_AT)};
    out->sibs_count = 1;
    out->exps[0] = (struct row_exp){
        .type = shared ? VT_CHUNKED : VT_STRING, .target = of, .etag = of, .at_ms = at_ms};
    out->exps_count = at_ms != 0;
    return 0;
}

static int count_decode(struct bytes row, struct row_state *out)
{
    if (row.len != ROW_COUNT_BYTES)
        return -ERR_CORRUPT;
    out->runs[0] = (struct row_run){.origin = row.ptr[1],
                                    .start = le64_load(row.ptr + ROW_COUNT_START_AT),
                                    .hlc = le64_load(row.ptr + ROW_COUNT_HLC_AT),
                                    .isum = (int64_t)le64_load(row.ptr + ROW_COUNT_SUM_AT),
                                    .fsum = fsum_of(0.0L)};
    out->runs_count = 1;
    return out->runs[0].start == 0 || out->runs[0].start > out->runs[0].hlc ? -ERR_CORRUPT : 0;
}

static int coll_decode(struct bytes row, struct row_state *out)
{
    if (row.len != ROW_COLL_BYTES || row.ptr[1] <= VT_STRING || row.ptr[1] >= VT_END)
        return -ERR_CORRUPT;
    out->types[0] =
        (struct row_type){.type = row.ptr[1], .tag = tag_load(row.ptr + ROW_COLL_TAG_AT)};
    out->types_count = 1;
    out->count = le64_load(row.ptr + ROW_COLL_COUNT_AT);
    out->count_lsn = le64_load(row.ptr + ROW_COLL_LSN_AT);
    return tag_is_none(out->types[0].tag) ? -ERR_CORRUPT : 0;
}

int row_decode(struct bytes row, struct row_state *out)
{
    row_state_init(out);
    if (row.len == 0)
        return 0;
    switch (row.ptr[0]) {
    case ROW_DEAD:
        return row.len == 1 ? 0 : -ERR_CORRUPT;
    case ROW_VALUE:
    case ROW_VALUE_TTL:
        return value_decode(row, out);
    case ROW_COUNT:
        return count_decode(row, out);
    case ROW_COLL:
        return coll_decode(row, out);
    case ROW_CHUNKED:
    case ROW_CHUNKED_TTL:
        return chunked_decode(row, out);
    case ROW_POISON:
        if (row.len != ROW_POISON_BYTES || row.ptr[1] == UINT8_MAX)
            return -ERR_CORRUPT;
        out->poison = (uint8_t)(row.ptr[1] + 1);
        return 0;
    case ROW_GENERAL:
        return general_decode(row, out);
    default:
        return -ERR_CORRUPT;
    }
}

/* --- encoding --- */

static bool has_shown_rows(const struct row_state *s)
{
    bool any = s->types_count != 0;

    for (unsigned i = 0; !any && i < s->sibs_count; i++)
        any = s->sibs[i].chunked;
    return any;
}

static unsigned parts_of(const struct row_state *s)
{
    unsigned parts = 0;

    if ((s->count | s->count_lsn) != 0)
        parts |= PART_COUNT;
    if (!vv_empty(&s->ctx))
        parts |= PART_CTX;
    if (!vv_empty(&s->rctx))
        parts |= PART_RCTX | (vv_equal(&s->rctx, &s->ctx) ? (unsigned)PART_RCTX_IS_CTX : 0u);
    if (!vv_empty(&s->clear))
        parts |= PART_CLEAR | (vv_equal(&s->clear, &s->ctx) ? (unsigned)PART_CLEAR_IS_CTX : 0u);
    if (s->sibs_count != 0)
        parts |= PART_SIBS;
    if (s->runs_count != 0)
        parts |= PART_RUNS;
    if (s->floors_count != 0)
        parts |= PART_FLOORS;
    if (s->types_count != 0)
        parts |= PART_TYPES;
    if (s->exps_count != 0)
        parts |= PART_EXPS;
    if (s->groups_count != 0)
        parts |= PART_ECTX;
    if (s->list.used)
        parts |= PART_LIST;
    /* Assertions and values in chunks say the same. */
    if (s->rows && !has_shown_rows(s))
        parts |= PART_ROWS;
    return parts;
}

/* An upper bound of the GENERAL encoding. */
static size_t general_size(const struct row_state *s)
{
    size_t size = ROW_GENERAL_HEAD_BYTES + 16 + 4 * VV_BYTES_MAX;

    for (unsigned i = 0; i < s->sibs_count; i++)
        size += 2 * TAG_BYTES + 1 + s->sibs[i].cuts.len + 2 * (size_t)VARINT_BYTES_MAX +
                s->sibs[i].value.len;
    size += s->runs_count * (8 + (size_t)ROW_CUT_BYTES_MAX);
    size += s->floors_count * (TAG_BYTES + (size_t)ROW_CUT_BYTES_MAX);
    size += s->types_count * (1 + (size_t)TAG_BYTES);
    size += s->exps_count * (1 + 2 * (size_t)TAG_BYTES + 8);
    size += s->groups_count * (1 + TAG_BYTES + (size_t)VV_BYTES_MAX);
    size += s->list.used ? 16 + s->list.runs_count * (size_t)41 : 0;
    return size + 8 * VARINT_BYTES_MAX;
}

static void values_put(const struct row_state *s, struct buf *out)
{
    if (s->sibs_count != 0)
        put_varint(out, s->sibs_count);
    for (unsigned i = 0; i < s->sibs_count; i++) {
        const struct row_sib *sib = &s->sibs[i];

        put_tag(out, sib->tag);
        if (sib->cuts.len == 0)
            put_u8(out, 0);
        else
            put(out, sib->cuts.ptr, sib->cuts.len);
        put_varint(out, sib->chunked ? 1 : 2 * (uint64_t)sib->value.len);
        if (sib->chunked) {
            put_tag(out, sib->generation);
            put_varint(out, sib->len);
        } else if (sib->value.len != 0) {
            put(out, sib->value.ptr, sib->value.len);
        }
    }
    if (s->runs_count != 0)
        put_varint(out, s->runs_count);
    for (unsigned i = 0; i < s->runs_count; i++) {
        put_u8(out, s->runs[i].origin);
        put_u64(out, s->runs[i].start);
        put_u64(out, s->runs[i].hlc);
        put_sum(out, s->runs[i].isum, s->runs[i].fsum);
    }
    if (s->floors_count != 0)
        put_varint(out, s->floors_count);
    for (unsigned i = 0; i < s->floors_count; i++) {
        row_cut_put(out, &s->floors[i].cut);
        put_tag(out, s->floors[i].del_tag);
    }
}

static void marks_put(const struct row_state *s, struct buf *out)
{
    if (s->types_count != 0)
        put_varint(out, s->types_count);
    for (unsigned i = 0; i < s->types_count; i++) {
        put_u8(out, s->types[i].type);
        put_tag(out, s->types[i].tag);
    }
    if (s->exps_count != 0)
        put_varint(out, s->exps_count);
    for (unsigned i = 0; i < s->exps_count; i++) {
        put_u8(out, s->exps[i].type);
        put_tag(out, s->exps[i].target);
        put_tag(out, s->exps[i].etag);
        put_u64(out, s->exps[i].at_ms);
    }
    if (s->groups_count != 0)
        put_varint(out, s->groups_count);
    for (unsigned i = 0; i < s->groups_count; i++) {
        put_u8(out, s->groups[i].type);
        if (row_group_has_target(s->groups[i].type))
            put_tag(out, s->groups[i].target);
        put_vv(out, &s->groups[i].seen);
    }
}

static void list_end_put(const struct list_end *end, struct buf *out)
{
    put_u64(out, (uint64_t)end->rank);
    put_u64(out, end->hlc);
    le32_store(buf_end(out), (uint32_t)end->offset);
    buf_commit(out, 4);
}

static int parts_put(const struct row_state *s, unsigned parts, struct bytes joined,
                     struct buf *out)
{
    const int err = buf_reserve(out, general_size(s) + VARINT_BYTES_MAX + joined.len);

    if (err != 0)
        return err;
    put_u8(out, ROW_GENERAL);
    le16_store(buf_end(out), (uint16_t)parts);
    buf_commit(out, 2);
    if ((parts & PART_COUNT) != 0) {
        put_u64(out, s->count);
        put_u64(out, s->count_lsn);
    }
    if ((parts & PART_CTX) != 0)
        put_vv(out, &s->ctx);
    if ((parts & (PART_RCTX | PART_RCTX_IS_CTX)) == PART_RCTX)
        put_vv(out, &s->rctx);
    if ((parts & (PART_CLEAR | PART_CLEAR_IS_CTX)) == PART_CLEAR)
        put_vv(out, &s->clear);
    if ((parts & PART_CLEAR) != 0)
        put_vv(out, &s->clear_by);
    values_put(s, out);
    marks_put(s, out);
    if ((parts & PART_LIST) != 0) {
        put_u64(out, (uint64_t)s->list.rank_min);
        put_u64(out, (uint64_t)s->list.rank_max);
        put_varint(out, s->list.runs_count);
    }
    for (unsigned i = 0; s->list.used && i < s->list.runs_count; i++) {
        put_u8(out, s->list.runs[i].origin);
        list_end_put(&s->list.runs[i].front, out);
        list_end_put(&s->list.runs[i].back, out);
    }
    if ((parts & PART_JOINED) != 0) {
        put_varint(out, joined.len);
        put(out, joined.ptr, joined.len);
    }
    return 0;
}

static int general_encode(const struct row_state *s, unsigned parts, struct buf *out)
{
    struct buf joined;
    int err;

    if (s->sibs_count < 2)
        return parts_put(s, parts, bytes_of(NULL, 0), out);
    buf_init(&joined, SIZE_MAX);
    err = row_hll_join(s, &joined);
    if (joined.len != 0)
        parts |= PART_JOINED;
    if (err == 0)
        err = parts_put(s, parts, buf_bytes(&joined), out);
    buf_deinit(&joined);
    return err;
}

/* A setting as the form has it that is made of a value and its time, or its generation's. */
static bool is_time_of(const struct row_exp *exp, const struct row_sib *sib)
{
    const bool shared = exp->type == VT_CHUNKED && sib->chunked;
    const struct tag of = shared ? sib->generation : sib->tag;

    return (shared || exp->type == VT_STRING) && tag_eq(exp->target, of) && tag_eq(exp->etag, of) &&
           exp->at_ms != ROW_EXPIRE_NEVER;
}

/* VALUE, VALUE_TTL, CHUNKED, CHUNKED_TTL: at most the setting that came with it. */
static bool is_value(const struct row_state *s, unsigned parts)
{
    const struct row_sib *sib = &s->sibs[0];

    if ((parts & ~(unsigned)PART_EXPS) != PART_SIBS || s->sibs_count != 1 || sib->cuts.len != 0)
        return false;
    if (s->exps_count == 0)
        return true;
    return s->exps_count == 1 && is_time_of(&s->exps[0], sib);
}

static int chunked_encode(const struct row_state *s, struct buf *out)
{
    const struct row_sib *sib = &s->sibs[0];
    const bool expires = s->exps_count != 0;
    const int err = buf_reserve(out, ROW_CHUNKED_BYTES);

    if (err != 0)
        return err;
    uint8_t *row = buf_end(out);
    buf_commit(out, row_chunked_store(row, sib->tag, sib->generation, sib->len,
                                      expires ? s->exps[0].at_ms : 0));
    if (expires && s->exps[0].type == VT_CHUNKED)
        row[0] = ROW_CHUNKED_TTL;
    return 0;
}

int row_encode(const struct row_state *s, struct buf *out)
{
    const unsigned parts = s->poison != 0 ? 0 : parts_of(s);
    int err;

    if (s->poison != 0 || parts == 0) {
        const uint8_t raw[2] = {s->poison != 0 ? ROW_POISON : ROW_DEAD, (uint8_t)(s->poison - 1)};
        return buf_append(out, raw, s->poison != 0 ? 2 : 1);
    }
    if (is_value(s, parts) && s->sibs[0].chunked)
        return chunked_encode(s, out);
    if (is_value(s, parts)) {
        const uint64_t at_ms = s->exps_count != 0 ? s->exps[0].at_ms : 0;

        err = buf_reserve(out, row_value_size(s->sibs[0].value.len, at_ms != 0));
        if (err == 0)
            buf_commit(out, row_value_store(buf_end(out), s->sibs[0].tag, s->sibs[0].value, at_ms));
        return err;
    }
    if (parts == PART_RUNS && s->runs_count == 1 && fsum_is_zero(s->runs[0].fsum)) {
        const struct row_run *run = &s->runs[0];

        err = buf_reserve(out, ROW_COUNT_BYTES);
        if (err == 0)
            buf_commit(out, row_count_store(buf_end(out), run->start, tag_of(run->hlc, run->origin),
                                            run->isum));
        return err;
    }
    if ((parts & ~(unsigned)PART_COUNT) == PART_TYPES && s->types_count == 1) {
        err = buf_reserve(out, ROW_COLL_BYTES);
        if (err == 0)
            buf_commit(out, row_coll_store(buf_end(out), s->types[0].type, s->types[0].tag,
                                           s->count, s->count_lsn));
        return err;
    }
    return general_encode(s, parts, out);
}
