/*
 * A key that is a string in chunks, for the most part: the changes of its parts, what of it a
 * client sees, and what the history says of its content (prop_value_chunks_oracle.h).
 *
 *     SET of a long string       STRING of a new generation, and its images; before it DEL, where
 *                                nothing was to be seen: what a long SET with OP_COVER gives
 *     SETBIT, BITFIELD           STRING, BITS of one chunk
 *     SETRANGE, APPEND           STRING, the image of the chunk
 *     BITFIELD that only makes
 *     the string longer          STRING
 *     MULTI of these             one STRING, and of each bit one op; an EXPIRE is one beside it
 *     a former build's           a STRING that has a time for itself, and an EXPIRE of that
 *     SET, DEL, EXPIRE, INCR,
 *     HSET, ..                   as of any key (sim_group_ops.c)
 *
 * Whether the key is there, as what, and until when, is said by the oracle of the value code, to
 * which STRING is a SET that goes when its generation is replaced.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_state.h"

#include "tests/prop/prop_value_chunks_oracle.h"
#include "tests/sim/sim_group.h"

#define IMAGE_BYTES (GS_CHUNK_BITS / 8)
#define PICKED_MAX  4 /* Parts of a batch that are drawn; more follow from them. */
#define EVENTS_MAX  (SIM_BATCHES_MAX * (SIM_CHANGES_MAX + GS_PARTS_MAX))

STATIC_ASSERT(GS_CHUNKS <= GS_PARTS_MAX);

struct edit {
    struct gs *gs;
    struct gs_member *m;
    struct sim_batch *made;
    struct gs_bits_batch *bits;
    struct row_view view; /* Of the key, as it was. */
    bool former;          /* As a former build would have made it. */
    uint64_t content[GS_CHUNKS];
    uint64_t stored[GS_CHUNKS]; /* As it was, with what is behind the end. */
    uint64_t len;
};

static unsigned end_of(const struct gs_part *part)
{
    return (unsigned)part->first + part->count;
}

/* Bits `first` .. of a chunk, of which the first is the most significant. */
static uint64_t mask_of(unsigned first, unsigned count)
{
    return (~0ULL >> (GS_CHUNK_BITS - count)) << (GS_CHUNK_BITS - first - count);
}

static uint64_t laid(uint64_t content, const struct gs_part *part)
{
    if (part->kind == OP_CHUNK)
        return part->bits;
    return (content & ~mask_of(part->first, part->count)) |
           part->bits << (GS_CHUNK_BITS - part->first - part->count);
}

/* What of a chunk is in front of the end of the string. */
static uint64_t cut(uint64_t content, unsigned chunk, uint64_t len)
{
    const uint64_t at = (uint64_t)chunk * ROW_CHUNK_BYTES;

    if (len <= at)
        return 0;
    return content & mask_of(0, 8 * (unsigned)u64_min(len - at, IMAGE_BYTES));
}

static void read_content(struct gs_member *m, struct tag generation, uint64_t *content)
{
    for (unsigned i = 0; i < GS_CHUNKS; i++) {
        uint8_t image[ROW_CHUNK_BYTES] = {0};
        struct tag tag;
        size_t len;

        CHECK(row_chunk_read(gs_chunk_row(m, i), generation, image, &len, &tag) == 0);
        CHECK(len <= IMAGE_BYTES);
        content[i] = be64_load(image);
    }
}

/* --- what is told --- */

static void tell(struct gs_bits_batch *bits, const struct gs_part *part)
{
    CHECK(bits->ops_count < GS_PART_OPS_MAX);
    bits->ops[bits->ops_count++] = *part;
}

static void take_back(struct gs_bits_batch *bits, unsigned at)
{
    bits->ops[at] = bits->ops[--bits->ops_count];
}

/* One image instead of all that was told of the chunk. */
static void tell_image(struct gs_bits_batch *bits, unsigned chunk, uint64_t content)
{
    const struct gs_part image = {.kind = OP_CHUNK, .chunk = (uint8_t)chunk, .bits = content};

    for (unsigned i = bits->ops_count; i-- != 0;) {
        if (bits->ops[i].chunk == chunk)
            take_back(bits, i);
    }
    tell(bits, &image);
}

/* What of `old` lies in front of `part`, or behind it. */
static void tell_rest(struct gs_bits_batch *bits, const struct gs_part *old, unsigned first,
                      unsigned end)
{
    if (first >= end)
        return;
    struct gs_part rest = {.kind = OP_BITS,
                           .chunk = old->chunk,
                           .first = (uint8_t)first,
                           .count = (uint8_t)(end - first)};
    rest.bits = (old->bits >> (end_of(old) - end)) & (~0ULL >> (64 - rest.count));
    tell(bits, &rest);
}

static bool has_image(const struct gs_bits_batch *bits, unsigned chunk)
{
    for (unsigned i = 0; i < bits->ops_count; i++) {
        if (bits->ops[i].kind == OP_CHUNK && bits->ops[i].chunk == chunk)
            return true;
    }
    return false;
}

static void tell_bits(const struct gs *gs, struct gs_bits_batch *bits, const struct gs_part *part)
{
    const unsigned end = end_of(part);

    for (unsigned i = bits->ops_count; i-- != 0 && gs->fault != GS_BITS_AGAIN;) {
        const struct gs_part old = bits->ops[i];

        if (old.chunk != part->chunk || old.first >= end || part->first >= end_of(&old))
            continue;
        take_back(bits, i);
        tell_rest(bits, &old, old.first, part->first);
        tell_rest(bits, &old, end, end_of(&old));
    }
    tell(bits, part);
}

static void change_part(struct edit *e, const struct gs_part *part)
{
    struct gs_bits_batch *bits = e->bits;

    CHECK(bits->count < GS_PARTS_MAX && part->chunk < GS_CHUNKS);
    bits->parts[bits->count++] = *part;
    e->content[part->chunk] = laid(e->content[part->chunk], part);
    if (part->kind == OP_CHUNK || has_image(bits, part->chunk))
        tell_image(bits, part->chunk, e->content[part->chunk]);
    else
        tell_bits(e->gs, bits, part);
    e->gs->totals.parts++;
}

/* --- changes --- */

/* EXPIRE of a generation. */
static void make_expire(struct edit *e, struct tag generation, uint64_t at_ms)
{
    struct sim_change *change = sim_change_add(e->made, GS_BITS_KEY, OP_EXPIRE);

    change->op.target_type = VT_CHUNKED;
    change->op.target = generation;
    change->op.expire_at_ms = at_ms;
}

static void make_string(struct edit *e, struct tag generation, uint64_t at_ms)
{
    struct sim_change *change = sim_change_add(e->made, GS_BITS_KEY, OP_STRING);

    e->bits->len = e->len;
    memcpy(e->bits->content, e->content, sizeof(e->content));
    sim_generation_text(generation, change->text);
    change->op.generation = e->bits->generation = generation;
    change->op.len = e->len;
    change->op.expire_at_ms = at_ms;
    if (!e->former)
        change->op.flags = OP_SHARED_TIME;
}

/* A change of a part: the time that the value has for itself becomes one of the generation. */
static void make_part(struct edit *e, bool expires, uint64_t at_ms)
{
    if (e->former) {
        make_string(e, e->view.generation, expires ? at_ms : e->view.expire_at_ms);
        return;
    }
    make_string(e, e->view.generation, 0);
    if (expires)
        make_expire(e, e->view.generation, at_ms);
    else if (e->view.target_type == VT_STRING)
        make_expire(e, e->view.generation, e->view.expire_at_ms);
}

/* The chunk becomes so long, or is. */
static void reach(struct edit *e, unsigned chunk, unsigned bytes)
{
    e->len = u64_max(e->len, (uint64_t)chunk * ROW_CHUNK_BYTES + bytes);
}

/* SET of a long string. */
static void begin(struct edit *e)
{
    struct gs *gs = e->gs;

    if (!e->view.present)
        (void)sim_change_add(e->made, GS_BITS_KEY, OP_DEL);
    memset(e->content, 0, sizeof(e->content));
    e->len = 1;
    for (unsigned i = 0; i < GS_CHUNKS; i++) {
        const struct gs_part image = {.kind = OP_CHUNK,
                                      .chunk = (uint8_t)i,
                                      .bits = gs_chance(gs, 30) ? 0 : rng_u64(&gs->rng)};

        if (gs_chance(gs, 30))
            continue;
        change_part(e, &image);
        reach(e, i, IMAGE_BYTES + gs_pick(gs, ROW_CHUNK_BYTES - IMAGE_BYTES));
    }
    make_string(e, e->made->tag, gs->expiry && gs_chance(gs, 30) ? gs_deadline(gs, e->m) : 0);
    gs->totals.begun++;
}

/* SETBIT, BITFIELD; SETRANGE, APPEND. */
static void change_some(struct edit *e)
{
    struct gs *gs = e->gs;
    const unsigned chunk = gs_pick(gs, gs_chance(gs, 50) ? 1 : GS_CHUNKS);
    struct gs_part part = {.kind = OP_BITS, .chunk = (uint8_t)chunk};

    if (gs_chance(gs, gs->lives ? 6 : 25)) {
        part.kind = OP_CHUNK;
        part.bits = e->content[chunk] ^ (rng_u64(&gs->rng) & mask_of(0, 16));
    } else {
        part.first = (uint8_t)gs_pick(gs, gs_chance(gs, 50) ? 4 : GS_CHUNK_BITS - 8);
        part.count = (uint8_t)(1 + gs_pick(gs, 8));
        part.bits = rng_u64(&gs->rng) & (~0ULL >> (64 - part.count));
    }
    change_part(e, &part);
    reach(e, chunk, IMAGE_BYTES);
}

/*
 * Whether a collection lost against the string. A part would take it out of the key row and leave
 * its elements, for STRING has no clear vector, or else it would take its own generation away: then
 * the string is written as a whole.
 */
static bool is_beside(const struct edit *e)
{
    struct row_state *state = mem_alloc(sizeof(*state));

    CHECK(row_decode(gs_key_row(e->m, GS_BITS_KEY), state) == 0);
    const bool types = state->types_count != 0;
    mem_free(state);
    return types && e->gs->fault != GS_PART_BESIDE;
}

static void make_whole(struct edit *e, uint64_t at_ms)
{
    e->bits->count = e->bits->ops_count = 0;
    for (unsigned i = 0; i < GS_CHUNKS; i++) {
        const struct gs_part image = {.kind = OP_CHUNK, .chunk = (uint8_t)i, .bits = e->content[i]};

        if (e->content[i] != 0)
            change_part(e, &image);
    }
    make_string(e, e->made->tag, at_ms);
}

/*
 * What was behind the end, and would show now that the string is longer, is to be zeros. It is
 * there where a change of this string, seen by one of another string, made it longer; when that
 * other one loses against a change that had seen neither, the length goes, and not the chunks.
 */
static void clear_gap(struct edit *e)
{
    for (unsigned i = 0; i < GS_CHUNKS; i++) {
        const struct gs_part image = {.kind = OP_CHUNK, .chunk = (uint8_t)i, .bits = e->content[i]};

        if (cut(e->stored[i], i, e->len) != cut(e->stored[i], i, e->view.count))
            change_part(e, &image);
    }
}

static void change_parts(struct edit *e)
{
    struct gs *gs = e->gs;
    uint64_t at_ms = e->view.expire_at_ms;
    bool expires = false;

    if (gs_chance(gs, 20))
        e->len += gs_pick(gs, (unsigned)(GS_CHUNKS * ROW_CHUNK_BYTES - e->len) + 1);
    else
        change_some(e);
    while (e->bits->count < PICKED_MAX && gs_chance(gs, 30))
        change_some(e);
    clear_gap(e);
    /* MULTI with EXPIRE or PERSIST behind it. */
    if (gs->expiry && gs_chance(gs, 10)) {
        expires = true;
        at_ms = gs_chance(gs, 30) ? 0 : gs_deadline(gs, e->m);
    }
    if (is_beside(e))
        make_whole(e, at_ms);
    else
        make_part(e, expires, at_ms);
}

/* EXPIRE, PERSIST alone. */
static void change_time(struct edit *e)
{
    const uint64_t at_ms = gs_chance(e->gs, 30) ? 0 : gs_deadline(e->gs, e->m);

    if (e->former) {
        make_expire(e, e->view.generation, at_ms);
        e->made->changes[e->made->changes_count - 1].op.target_type = VT_STRING;
        e->made->changes[e->made->changes_count - 1].op.target = e->view.tag;
    } else if (e->view.target_type == VT_STRING) {
        make_part(e, true, at_ms);
    } else {
        make_expire(e, e->view.generation, at_ms);
    }
}

void gs_bits_change(struct gs *gs, struct gs_member *m, struct sim_batch *made,
                    struct gs_bits_batch *bits)
{
    struct edit e = {.gs = gs, .m = m, .made = made, .bits = bits};
    const unsigned what = gs_pick(gs, 100);

    CHECK(row_view(gs_key_row(m, GS_BITS_KEY), gs_now_ms(gs, m), &e.view) == 0);
    e.former = gs->expiry && gs->former && gs_chance(gs, 40);
    if (e.view.present && e.view.kind == ROW_KIND_CHUNKS) {
        e.len = e.view.count;
        read_content(m, e.view.generation, e.stored);
        for (unsigned i = 0; i < GS_CHUNKS; i++)
            e.content[i] = cut(e.stored[i], i, e.len);
        if (gs->expiry && gs_chance(gs, 8)) {
            change_time(&e);
            return;
        }
        if (what < (gs->lives ? 97 : 75)) {
            change_parts(&e);
            return;
        }
    }
    if (what < (e.view.present && e.view.kind == ROW_KIND_CHUNKS ? 85u : 50u))
        begin(&e);
    else
        gs_change_key(gs, m, made, GS_BITS_KEY);
}

/* Breaks a rule on purpose: the value that shows is the target, as it is of other strings. */
struct op gs_bits_time_of_value(struct gs_member *m, const struct sim_batch *batch,
                                const struct op *op)
{
    struct op out = *op;
    struct row_view view;

    if (op->kind != OP_EXPIRE || op->target_type != VT_CHUNKED)
        return out;
    CHECK(row_view(gs_key_row(m, GS_BITS_KEY), 0, &view) == 0);
    out.target_type = VT_STRING;
    out.target = view.tag;
    for (unsigned i = 0; i < batch->changes_count; i++) {
        if (batch->changes[i].op.kind == OP_STRING)
            out.target = batch->tag;
    }
    return out;
}

/* --- their ops --- */

unsigned gs_bits_encode(const struct gs_bits_batch *bits, struct sim_batch *batch)
{
    for (unsigned i = 0; i < bits->ops_count; i++) {
        const struct gs_part *part = &bits->ops[i];
        uint8_t image[IMAGE_BYTES];
        struct op op = {.kind = part->kind,
                        .key = BYTES_LIT("k5"),
                        .generation = bits->generation,
                        .at = part->chunk};

        if (part->kind == OP_CHUNK) {
            be64_store(image, part->bits);
            op.value = bytes_of(image, sizeof(image));
        } else {
            op.at = (uint64_t)part->chunk * ROW_CHUNK_BITS + part->first;
            op.bits_count = part->count;
            op.bits = part->bits;
        }
        CHECK(buf_reserve(&batch->bytes, op_size(&op)) == 0);
        buf_commit(&batch->bytes, op_store(buf_end(&batch->bytes), &op, batch->tag.hlc));
    }
    return bits->ops_count;
}

/* --- what shows --- */

void gs_bits_show(const struct gs *gs, struct gs_member *m, uint64_t now_ms, struct buf *out)
{
    uint64_t content[GS_CHUNKS];
    struct row_view view;

    (void)gs;
    CHECK(row_view(gs_key_row(m, GS_BITS_KEY), now_ms, &view) == 0);
    if (!view.present || view.kind != ROW_KIND_CHUNKS)
        return;
    CHECK(view.count <= (uint64_t)GS_CHUNKS * ROW_CHUNK_BYTES);
    CHECK(buf_reserve(out, view.count) == 0);
    memset(buf_end(out), 0, view.count);
    read_content(m, view.generation, content);
    for (unsigned i = 0; i < GS_CHUNKS; i++) {
        const size_t at = (size_t)i * ROW_CHUNK_BYTES;
        uint8_t image[IMAGE_BYTES];

        be64_store(image, content[i]);
        if (at < view.count)
            memcpy(buf_end(out) + at, image, u64_min(IMAGE_BYTES, view.count - at));
    }
    buf_commit(out, view.count);
}

void gs_bits_check_made(struct gs *gs, struct gs_member *m, const struct gs_bits_batch *bits)
{
    uint64_t content[GS_CHUNKS];
    struct row_view view;

    if (tag_is_none(bits->generation))
        return;
    CHECK(row_view(gs_key_row(m, GS_BITS_KEY), 0, &view) == 0);
    read_content(m, bits->generation, content);
    bool right = view.kind == ROW_KIND_CHUNKS && tag_eq(view.generation, bits->generation) &&
                 view.count == bits->len;
    for (unsigned i = 0; right && i < GS_CHUNKS; i++)
        right = cut(content[i], i, bits->len) == bits->content[i];
    if (!right)
        gs_fail(gs, "member %u: what it wrote into the string is not there", m->index);
}

/* --- a wrong fold --- */

/* The greatest stable tag among the bits of a row with one generation; none: there are none. */
static struct tag greatest_bit(struct bytes row, const struct vv *stable)
{
    struct tag greatest = tag_of(0, 0);
    size_t at = 2 + TAG_BYTES;

    if (row.ptr[0] != ROW_CHUNKS || row.ptr[1] != 1)
        return greatest;
    const unsigned len = le16_load(row.ptr + at);
    at += 2 + (len == 0 ? 0 : TAG_BYTES + len - 1) + 2;
    for (; at < row.len; at += 2 + TAG_BYTES) {
        const struct tag tag = tag_load(row.ptr + at + 2);

        if (vv_covers(stable, tag))
            greatest = tag_max(greatest, tag);
    }
    return greatest;
}

void gs_bits_raise_image(struct bytes unfolded, const struct vv *stable, struct buf *row)
{
    const struct tag greatest = greatest_bit(unfolded, stable);
    const size_t at = row->ptr[0] == ROW_CHUNK ? ROW_CHUNK_TAG_AT : 2 + TAG_BYTES + 2;
    const struct bytes both[2] = {buf_bytes(row), buf_bytes(row)};
    struct buf joined;

    if (tag_is_none(greatest) || !row_is_chunk(buf_bytes(row)))
        return;
    if (tag_cmp(tag_load(row->ptr + at), greatest) < 0)
        tag_store(row->ptr + at, greatest);
    buf_init(&joined, SIZE_MAX);
    CHECK(row_merge_partial(both, 2, &joined) == 0);
    buf_deinit(row);
    *row = joined;
}

/* --- the oracle --- */

static void tell_change(const struct sim_batch *batch, const struct sim_change *change,
                        struct chunks_event *out)
{
    const struct op *op = &change->op;

    *out = (struct chunks_event){.kind = CHUNKS_DEL, .tag = batch->tag, .ctx = &batch->ctx};
    if (op->kind == OP_STRING) {
        out->kind = CHUNKS_STRING;
        out->generation = op->generation;
        out->len = op->len;
    } else if (op->kind == OP_SET) {
        out->kind = CHUNKS_WHOLE;
        out->bytes = bytes_cstr(change->text);
    }
}

static void tell_part(const struct sim_batch *batch, struct tag generation,
                      const struct gs_part *part, uint8_t image[IMAGE_BYTES],
                      struct chunks_event *out)
{
    *out = (struct chunks_event){
        .kind = CHUNKS_BITS, .tag = batch->tag, .generation = generation, .at = part->chunk};
    if (part->kind == OP_CHUNK) {
        be64_store(image, part->bits);
        out->kind = CHUNKS_IMAGE;
        out->bytes = bytes_of(image, IMAGE_BYTES);
    } else {
        out->at = (uint64_t)part->chunk * ROW_CHUNK_BITS + part->first;
        out->bits_count = part->count;
        out->bits = part->bits;
    }
}

void gs_bits_oracle(const struct gs *gs, struct tag *out_generation, struct buf *out)
{
    static struct chunks_event events[EVENTS_MAX];
    static uint8_t images[EVENTS_MAX][IMAGE_BYTES];
    size_t n = 0;

    for (unsigned i = 0; i < gs->history.batches_count; i++) {
        const struct sim_batch *batch = &gs->history.batches[i];
        const struct gs_bits_batch *bits = &gs->bits_batches[i];

        for (unsigned j = 0; j < batch->changes_count; j++) {
            const struct op *op = &batch->changes[j].op;

            if (batch->changes[j].key_index == GS_BITS_KEY &&
                (op->kind == OP_STRING || op->kind == OP_SET || op->kind == OP_DEL ||
                 (op->flags & OP_COVER) != 0))
                tell_change(batch, &batch->changes[j], &events[n++]);
        }
        for (unsigned j = 0; j < bits->count; j++, n++)
            tell_part(batch, bits->generation, &bits->parts[j], images[n], &events[n]);
    }
    (void)chunks_oracle(events, n, out_generation, out);
}
