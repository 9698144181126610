/*
 * Making and reading positions; the header has the layout and the order.
 */
#include "engine/value/listpos.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#define STEP_BEFORE 0x40u
#define STEP_END    0x80u
#define STEP_AFTER  0xc0u

#define RANK_BIAS   (UINT64_C(1) << 63)
#define OFFSET_BIAS 0x80000000u

/* One run step, decoded. */
struct run_step {
    uint64_t hlc;
    int32_t offset;
    uint8_t origin;
};

static void rank_store(uint8_t *dst, int64_t rank)
{
    be64_store(dst, (uint64_t)rank ^ RANK_BIAS);
}

static int64_t rank_load(const uint8_t *src)
{
    return (int64_t)(be64_load(src) ^ RANK_BIAS);
}

static void step_store(uint8_t *dst, struct run_step step)
{
    dst[0] = step.origin;
    be64_store(dst + 1, step.hlc);
    be32_store(dst + 9, (uint32_t)step.offset ^ OFFSET_BIAS);
    dst[LISTPOS_RUN_BYTES] = STEP_END;
}

static struct run_step step_load(const uint8_t *src)
{
    return (struct run_step){.origin = src[0],
                             .hlc = be64_load(src + 1),
                             .offset = (int32_t)(be32_load(src + 9) ^ OFFSET_BIAS)};
}

int listpos_check(struct bytes pos)
{
    if (pos.len < LISTPOS_FIRST_BYTES || pos.len > LISTPOS_BYTES_MAX ||
        (pos.len - LISTPOS_FIRST_BYTES) % LISTPOS_STEP_BYTES != 0)
        return -ERR_CORRUPT;
    for (size_t end = LISTPOS_FIRST_BYTES; end <= pos.len; end += LISTPOS_STEP_BYTES) {
        const uint8_t mark = pos.ptr[end - 1];
        const bool last = end == pos.len;

        if (last ? mark != STEP_END : (mark != STEP_BEFORE && mark != STEP_AFTER))
            return -ERR_CORRUPT;
        if (step_load(pos.ptr + end - 1 - LISTPOS_RUN_BYTES).hlc == 0)
            return -ERR_CORRUPT;
    }
    return 0;
}

static void first_store(struct listpos *out, int64_t rank, struct run_step step)
{
    rank_store(out->bytes, rank);
    step_store(out->bytes + 8, step);
    out->len = LISTPOS_FIRST_BYTES;
}

static const struct list_run *own_run(const struct list_meta *meta, uint8_t origin)
{
    for (unsigned i = 0; meta->used && i < meta->runs_count; i++) {
        if (meta->runs[i].origin == origin)
            return &meta->runs[i];
    }
    return NULL;
}

/* Whether the element at `pos` was pushed with the run of that end. */
static bool in_run(struct bytes pos, const struct list_end *end, uint8_t origin)
{
    const struct run_step step = step_load(pos.ptr + 8);

    return rank_load(pos.ptr) == end->rank && step.origin == origin && step.hlc == end->hlc;
}

/* Whether no run of another origin has an end at the rank. */
static bool alone_at(const struct list_meta *meta, int64_t rank, uint8_t origin)
{
    for (unsigned i = 0; i < meta->runs_count; i++) {
        const struct list_run *run = &meta->runs[i];
        if (run->origin != origin && (run->front.rank == rank || run->back.rank == rank))
            return false;
    }
    return true;
}

bool list_meta_own(const struct list_meta *meta, uint8_t origin, struct list_run *out)
{
    const struct list_run *own = own_run(meta, origin);

    if (own == NULL)
        return false;
    *out = *own;
    if (!alone_at(meta, own->front.rank, origin))
        out->front.offset = INT32_MIN;
    if (!alone_at(meta, own->back.rank, origin))
        out->back.offset = INT32_MAX;
    return true;
}

void listpos_back(struct bytes last, const struct list_meta *meta, struct tag tag,
                  struct listpos *out)
{
    const struct list_run *own = own_run(meta, tag.origin);
    int64_t rank = 0;

    CHECK(last.len == 0 || last.len >= LISTPOS_FIRST_BYTES);
    if (own != NULL && own->back.offset < INT32_MAX &&
        (last.len != 0
             ? in_run(last, &own->back, tag.origin)
             : own->back.rank == meta->rank_max && alone_at(meta, meta->rank_max, tag.origin))) {
        first_store(out, own->back.rank,
                    (struct run_step){.origin = tag.origin,
                                      .hlc = own->back.hlc,
                                      .offset = own->back.offset + 1});
        return;
    }
    if (meta->used)
        rank = meta->rank_max + 1;
    if (last.len != 0)
        rank = i64_max(rank, rank_load(last.ptr) + 1);
    first_store(out, rank, (struct run_step){.origin = tag.origin, .hlc = tag.hlc});
}

void listpos_front(struct bytes first, const struct list_meta *meta, struct tag tag,
                   struct listpos *out)
{
    const struct list_run *own = own_run(meta, tag.origin);
    int64_t rank = 0;

    CHECK(first.len == 0 || first.len >= LISTPOS_FIRST_BYTES);
    if (own != NULL && own->front.offset > INT32_MIN &&
        (first.len != 0
             ? in_run(first, &own->front, tag.origin)
             : own->front.rank == meta->rank_min && alone_at(meta, meta->rank_min, tag.origin))) {
        first_store(out, own->front.rank,
                    (struct run_step){.origin = tag.origin,
                                      .hlc = own->front.hlc,
                                      .offset = own->front.offset - 1});
        return;
    }
    if (meta->used)
        rank = meta->rank_min - 1;
    if (first.len != 0)
        rank = i64_min(rank, rank_load(first.ptr) - 1);
    first_store(out, rank, (struct run_step){.origin = tag.origin, .hlc = tag.hlc});
}

/* `parent` without its end, then a side, then the step. */
static int nest(struct bytes parent, uint8_t side, struct run_step step, struct listpos *out)
{
    if (parent.len + LISTPOS_STEP_BYTES > LISTPOS_BYTES_MAX)
        return -ERR_LIMIT;
    memcpy(out->bytes, parent.ptr, parent.len - 1);
    out->bytes[parent.len - 1] = side;
    step_store(out->bytes + parent.len, step);
    out->len = (uint16_t)(parent.len + LISTPOS_STEP_BYTES);
    return 0;
}

int listpos_between(struct bytes before, struct bytes after, struct tag tag, uint32_t index,
                    struct listpos *out)
{
    const struct run_step step = {
        .origin = tag.origin, .hlc = tag.hlc, .offset = (int32_t)(index & INT32_MAX)};

    if (listpos_check(before) != 0 || listpos_check(after) != 0 || bytes_cmp(before, after) >= 0)
        return -ERR_CORRUPT;
    /* Beside our own last insertion, as the next one at the same place. */
    if (before.len > LISTPOS_FIRST_BYTES) {
        const size_t step_at = before.len - 1 - LISTPOS_RUN_BYTES;
        const struct bytes parent = bytes_of(before.ptr, step_at);

        memcpy(out->bytes, parent.ptr, parent.len);
        step_store(out->bytes + step_at, step);
        out->len = (uint16_t)before.len;
        if (step_load(before.ptr + step_at).origin == tag.origin &&
            bytes_cmp(before, listpos_bytes(out)) < 0 && bytes_cmp(listpos_bytes(out), after) < 0)
            return 0;
    }
    if (bytes_starts(after, bytes_of(before.ptr, before.len - 1)))
        return nest(after, STEP_BEFORE, step, out);
    return nest(before, STEP_AFTER, step, out);
}

bool listpos_meta(struct bytes pos, struct list_meta *out)
{
    struct run_step step;

    if (listpos_check(pos) != 0)
        return false;
    list_meta_init(out);
    out->used = true;
    out->rank_min = rank_load(pos.ptr);
    out->rank_max = out->rank_min;
    if (pos.len != LISTPOS_FIRST_BYTES)
        return true;
    step = step_load(pos.ptr + 8);
    const struct list_end end = {.rank = out->rank_min, .hlc = step.hlc, .offset = step.offset};
    out->runs[0] = (struct list_run){.origin = step.origin, .front = end, .back = end};
    out->runs_count = 1;
    return true;
}

/* The end that lies further out; of one run, the offset that does. `sign` 1: back, -1: front. */
static struct list_end end_outer(struct list_end a, struct list_end b, int sign)
{
    if (a.rank != b.rank)
        return (a.rank > b.rank) == (sign > 0) ? a : b;
    if (a.hlc != b.hlc)
        return (a.hlc > b.hlc) == (sign > 0) ? a : b;
    return (a.offset > b.offset) == (sign > 0) ? a : b;
}

int list_meta_join(struct list_meta *into, const struct list_meta *from)
{
    if (!from->used)
        return 0;
    if (!into->used) {
        *into = *from;
        return 0;
    }
    into->rank_min = i64_min(into->rank_min, from->rank_min);
    into->rank_max = i64_max(into->rank_max, from->rank_max);
    for (unsigned i = 0; i < from->runs_count; i++) {
        const struct list_run *run = &from->runs[i];
        unsigned at = 0;

        while (at < into->runs_count && into->runs[at].origin < run->origin)
            at++;
        if (at < into->runs_count && into->runs[at].origin == run->origin) {
            into->runs[at].front = end_outer(into->runs[at].front, run->front, -1);
            into->runs[at].back = end_outer(into->runs[at].back, run->back, 1);
            continue;
        }
        if (into->runs_count == VV_ORIGINS_MAX)
            return -ERR_LIMIT;
        memmove(&into->runs[at + 1], &into->runs[at],
                (into->runs_count - at) * sizeof(into->runs[0]));
        into->runs[at] = *run;
        into->runs_count++;
    }
    return 0;
}
