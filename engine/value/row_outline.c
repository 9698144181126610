/* Rows of the GENERAL form without a state; row_outline.h tells which. */
#include "engine/value/row_outline.h"

#include <string.h>

#include "engine/base/codec.h"
#include "engine/base/le.h"
#include "engine/base/num.h"

#include "engine/value/row_state.h"

#define KNOWN                                                                             \
    ((unsigned)PART_CTX | PART_RCTX | PART_RCTX_IS_CTX | PART_CLEAR | PART_CLEAR_IS_CTX | \
     PART_SIBS | PART_RUNS | PART_TYPES | PART_ROWS)
/* Origin, start, hlc, kind of the sum; the sum follows. */
#define RUN_HEAD_BYTES (1 + 8 + 8 + 1)
#define TYPE_BYTES     (1 + TAG_BYTES)

/* --- reading --- */

bool row_vector_take(struct bytes *in, struct bytes *out)
{
    if (in->len < 1 || in->ptr[0] == 0 || in->ptr[0] > VV_ORIGINS_MAX)
        return false;
    const size_t len = (size_t)in->ptr[0] * TAG_BYTES;
    *in = bytes_from(*in, 1);
    if (!bytes_take(in, len, out))
        return false;
    for (size_t at = 0; at < len; at += TAG_BYTES) {
        if (le64_load(out->ptr + at + 1) == 0 ||
            (at != 0 && out->ptr[at] <= out->ptr[at - TAG_BYTES]))
            return false;
    }
    return true;
}

uint64_t row_vector_get(struct bytes vector, uint8_t origin)
{
    for (size_t at = 0; at < vector.len; at += TAG_BYTES) {
        if (vector.ptr[at] == origin)
            return le64_load(vector.ptr + at + 1);
    }
    return 0;
}

uint8_t *row_outline_put_chunked(uint8_t *at, struct tag generation, uint64_t len)
{
    *at++ = 1;
    tag_store(at, generation);
    at += TAG_BYTES;
    return at + varint_put(at, len);
}

bool row_outline_take_chunked(struct bytes *in, struct tag *generation, uint64_t *len)
{
    struct bytes tag;

    if (!bytes_take(in, TAG_BYTES, &tag))
        return false;
    *generation = tag_load(tag.ptr);
    const size_t left = in->len;
    return !tag_is_none(*generation) && varint_get(in, len) == 0 &&
           left - in->len == varint_size(*len);
}

static bool sib_take(struct bytes *in, struct row_outline *o)
{
    struct bytes head;
    uint64_t len;

    o->sib_at = (size_t)(in->ptr - o->row.ptr);
    /* Their number, the tag, and the number of cuts. */
    if (!bytes_take(in, 1 + TAG_BYTES + 1, &head) || head.ptr[0] != 1 ||
        head.ptr[1 + TAG_BYTES] != 0)
        return false;
    o->sib = tag_load(head.ptr + 1);
    if (tag_is_none(o->sib) || varint_get(in, &len) != 0)
        return false;
    o->chunked = len == 1;
    if (o->chunked)
        return row_outline_take_chunked(in, &o->generation, &o->len);
    return len % 2 == 0 && len / 2 <= in->len && bytes_take(in, (size_t)(len / 2), &o->value);
}

static bool run_take(struct bytes *in, struct row_outline_run *out)
{
    const uint8_t *const start = in->ptr;
    struct bytes head;
    uint64_t zigzag;

    if (!bytes_take(in, RUN_HEAD_BYTES, &head) || head.ptr[RUN_HEAD_BYTES - 1] != 0 ||
        varint_get(in, &zigzag) != 0)
        return false;
    out->bytes = bytes_of(start, (size_t)(in->ptr - start));
    out->origin = head.ptr[0];
    out->start = le64_load(head.ptr + 1);
    out->hlc = le64_load(head.ptr + 9);
    out->isum = zigzag_decode(zigzag);
    return out->start != 0 && out->start <= out->hlc;
}

/* The number of items of a list, which are few. */
static bool count_take(struct bytes *in, unsigned *out)
{
    uint8_t count;

    if (u8_get(in, &count) != 0 || count == 0 || count > VV_ORIGINS_MAX)
        return false;
    *out = count;
    return true;
}

static bool runs_take(struct bytes *in, struct row_outline *o)
{
    struct row_outline_run run;
    int last = -1;

    if (!count_take(in, &o->runs_count))
        return false;
    o->runs_at = (size_t)(in->ptr - o->row.ptr);
    for (unsigned i = 0; i < o->runs_count; i++) {
        if (!run_take(in, &run) || run.origin <= last)
            return false;
        last = run.origin;
    }
    return true;
}

static bool types_take(struct bytes *in, struct row_outline *o)
{
    struct bytes all;
    unsigned last = 0;

    if (!count_take(in, &o->types_count))
        return false;
    o->types_at = (size_t)(in->ptr - o->row.ptr);
    if (!bytes_take(in, o->types_count * (size_t)TYPE_BYTES, &all))
        return false;
    for (const uint8_t *at = all.ptr; at != all.ptr + all.len; at += TYPE_BYTES) {
        const struct tag tag = tag_load(at + 1);
        const unsigned order = at[0] * 256u + tag.origin;
        if (at[0] <= VT_STRING || at[0] >= VT_END || tag_is_none(tag) ||
            (at != all.ptr && order <= last))
            return false;
        last = order;
    }
    return true;
}

bool row_outline_open(struct bytes row, struct row_outline *out)
{
    const bool general = row.len >= ROW_GENERAL_HEAD_BYTES && row.ptr[0] == ROW_GENERAL;
    const unsigned parts = general ? le16_load(row.ptr + 1) : 0;
    const unsigned rctx = parts & (PART_RCTX | PART_RCTX_IS_CTX);
    struct bytes by;

    if (!general || (parts & ~KNOWN) != 0 || rctx == PART_RCTX || rctx == PART_RCTX_IS_CTX ||
        (parts & (PART_CLEAR | PART_CLEAR_IS_CTX)) == PART_CLEAR_IS_CTX ||
        ((parts & (PART_RCTX_IS_CTX | PART_CLEAR_IS_CTX)) != 0 && (parts & PART_CTX) == 0))
        return false;
    *out = (struct row_outline){.parts = parts, .row = row};
    row = bytes_from(row, ROW_GENERAL_HEAD_BYTES);
    if ((parts & PART_CTX) != 0 && !row_vector_take(&row, &out->ctx))
        return false;
    if ((parts & PART_CLEAR) != 0) {
        if ((parts & PART_CLEAR_IS_CTX) == 0 && !row_vector_take(&row, &out->clear))
            return false;
        if (!row_vector_take(&row, &by))
            return false;
    }
    return ((parts & PART_SIBS) == 0 || sib_take(&row, out)) &&
           ((parts & PART_RUNS) == 0 || runs_take(&row, out)) &&
           ((parts & PART_TYPES) == 0 || types_take(&row, out)) && row.len == 0;
}

/* The runs, to be taken one by one. */
static struct bytes runs_of(const struct row_outline *o)
{
    return bytes_from(o->row, o->runs_at);
}

bool row_outline_run(const struct row_outline *o, uint8_t origin, struct row_outline_run *out)
{
    struct bytes in = runs_of(o);

    for (unsigned i = 0; i < o->runs_count && run_take(&in, out); i++) {
        if (out->origin == origin)
            return true;
    }
    return false;
}

void row_outline_clear(const struct row_outline *o, struct vv *out)
{
    const struct bytes clear = (o->parts & PART_CLEAR_IS_CTX) != 0 ? o->ctx : o->clear;

    vv_init(out);
    for (size_t at = 0; at < clear.len; at += TAG_BYTES) {
        out->origin[out->count] = clear.ptr[at];
        out->hlc[out->count++] = le64_load(clear.ptr + at + 1);
    }
}

bool row_outline_sum(const struct row_outline *o, int64_t *out)
{
    struct bytes in = runs_of(o);
    struct row_outline_run run;

    *out = 0;
    /* One in chunks has no bytes here, and is none. */
    if ((o->parts & PART_SIBS) != 0 && !num_parse_i64(o->value, out))
        return false;
    for (unsigned i = 0; i < o->runs_count && run_take(&in, &run); i++) {
        if (__builtin_add_overflow(*out, run.isum, out))
            return false;
    }
    return true;
}

static struct tag latest_run(const struct row_outline *o)
{
    struct bytes in = runs_of(o);
    struct row_outline_run run;
    struct tag tag = tag_of(0, 0);

    for (unsigned i = 0; i < o->runs_count && run_take(&in, &run); i++)
        tag = tag_max(tag, tag_of(run.hlc, run.origin));
    return tag;
}

static void view_types(const struct row_outline *o, struct row_view *out)
{
    for (unsigned i = 0; i < o->types_count; i++) {
        const uint8_t *at = o->row.ptr + o->types_at + i * (size_t)TYPE_BYTES;
        const struct tag tag = tag_load(at + 1);
        if (tag_cmp(tag, out->tag) <= 0)
            continue;
        out->tag = out->target = tag;
        out->type = out->target_type = at[0];
    }
    out->present = true;
}

bool row_outline_view(const struct row_outline *o, struct row_view *out)
{
    const bool has_sib = (o->parts & PART_SIBS) != 0;

    switch (o->parts & (PART_SIBS | PART_RUNS | PART_TYPES)) {
    case PART_TYPES:
        view_types(o, out);
        return true;
    case PART_SIBS:
        out->tag = out->target = o->sib;
        out->type = out->target_type = VT_STRING;
        out->value = o->value;
        out->present = true;
        if (o->chunked) {
            out->kind = ROW_KIND_CHUNKS;
            out->generation = out->target = o->generation;
            out->target_type = VT_CHUNKED;
            out->count = o->len;
        }
        return true;
    case PART_RUNS:
    case PART_SIBS | PART_RUNS:
        if (!row_outline_sum(o, &out->i)) {
            out->i = 0;
            return false;
        }
        out->tag = latest_run(o);
        out->target = has_sib ? o->sib : out->tag;
        out->target_type = has_sib ? VT_STRING : VT_NONE;
        out->tag = has_sib ? tag_max(o->sib, out->tag) : out->tag;
        out->value = o->value;
        out->type = VT_STRING;
        out->kind = ROW_KIND_INT;
        out->present = true;
        return true;
    default:
        return false;
    }
}

/* --- changing --- */

int row_outline_put_run(const struct row_outline *o, const struct row_outline_run *old,
                        const struct row_outline_run *run, struct buf *out)
{
    const size_t before = (size_t)(old->bytes.ptr - o->row.ptr);
    const struct bytes behind = bytes_from(o->row, before + old->bytes.len);
    const int err = buf_reserve(out, o->row.len + VARINT_BYTES_MAX);

    if (err != 0)
        return err;
    uint8_t *at = buf_end(out);
    memcpy(at, o->row.ptr, before);
    at += before;
    *at++ = run->origin;
    le64_store(at, run->start);
    le64_store(at + 8, run->hlc);
    at += 16;
    *at++ = 0; /* No floating point part. */
    at += varint_put(at, zigzag_encode(run->isum));
    if (behind.len != 0)
        memcpy(at, behind.ptr, behind.len);
    buf_commit(out, (size_t)(at - buf_end(out)) + behind.len);
    return 0;
}

int row_outline_put_sib(const struct row_outline *o, struct tag tag, struct tag generation,
                        uint64_t len, struct buf *out)
{
    const int err = buf_reserve(out, o->sib_at + 1 + TAG_BYTES + 1 + ROW_CHUNKED_SIB_BYTES_MAX);

    if (err != 0)
        return err;
    uint8_t *at = buf_end(out);
    memcpy(at, o->row.ptr, o->sib_at);
    at += o->sib_at;
    *at++ = 1; /* One, */
    tag_store(at, tag);
    at += TAG_BYTES;
    *at++ = 0; /* without cuts. */
    at = row_outline_put_chunked(at, generation, len);
    buf_commit(out, (size_t)(at - buf_end(out)));
    return 0;
}

static bool run_is_later(const struct row_outline_run *a, const struct row_outline_run *b)
{
    if (a->hlc != b->hlc)
        return a->hlc > b->hlc;
    return a->start != b->start ? a->start > b->start : a->isum > b->isum;
}

int row_outline_join_run(const struct row_outline *o, const struct row_outline_run *run,
                         struct buf *out)
{
    struct row_outline_run old;
    const bool removes = (o->parts & PART_RCTX) != 0;

    if (!row_outline_run(o, run->origin, &old) || !run_is_later(run, &old) ||
        (removes && old.hlc <= row_vector_get(o->ctx, old.origin)))
        return 0;
    const int err = row_outline_put_run(o, &old, run, out);
    return err == 0 ? 1 : err;
}

int row_outline_join_type(const struct row_outline *o, uint8_t type, struct tag tag,
                          struct buf *out)
{
    for (unsigned i = 0; i < o->types_count; i++) {
        const size_t place = o->types_at + i * (size_t)TYPE_BYTES;
        const uint8_t *at = o->row.ptr + place;
        const struct tag old = tag_load(at + 1);

        if (at[0] != type || old.origin != tag.origin)
            continue;
        if (old.hlc > tag.hlc || old.hlc <= row_vector_get(o->ctx, old.origin) ||
            old.hlc <= row_vector_get(o->clear, old.origin))
            return 0;
        const int err = buf_reserve(out, o->row.len);
        if (err != 0)
            return err;
        memcpy(buf_end(out), o->row.ptr, o->row.len);
        tag_store(buf_end(out) + place + 1, tag);
        buf_commit(out, o->row.len);
        return 1;
    }
    return 0;
}
