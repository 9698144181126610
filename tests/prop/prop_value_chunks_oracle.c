/* The oracle of strings in chunks: prop_value_chunks_oracle.h. */
#include "tests/prop/prop_value_chunks_oracle.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#define CHUNK_BYTES 1024u

static bool is_content(const struct chunks_event *e)
{
    return e->kind == CHUNKS_IMAGE || e->kind == CHUNKS_BITS;
}

static bool is_value(const struct chunks_event *e)
{
    return e->kind == CHUNKS_WHOLE || e->kind == CHUNKS_STRING;
}

/* It takes the place of all that it has seen. */
static bool replaces_all(const struct chunks_event *e)
{
    return e->kind == CHUNKS_DEL || e->kind == CHUNKS_WHOLE ||
           (e->kind == CHUNKS_STRING && tag_eq(e->generation, e->tag));
}

static bool is_alive(const struct chunks_event *events, size_t n, const struct chunks_event *what)
{
    for (size_t i = 0; i < n; i++) {
        const struct chunks_event *e = &events[i];

        if (is_content(e) || e->kind == CHUNKS_TIME)
            continue;
        if (vv_covers(e->ctx, what->tag))
            return false;
        if (what->kind == CHUNKS_STRING && replaces_all(e) && vv_covers(e->ctx, what->generation))
            return false;
    }
    return true;
}

static int by_tag(const void *a, const void *b)
{
    const struct chunks_event *const *x = a, *const *y = b;
    const int tags = tag_cmp((*x)->tag, (*y)->tag);

    return tags != 0 ? tags : (*x > *y) - (*x < *y);
}

static void put_image(uint8_t *text, uint64_t len, const struct chunks_event *e)
{
    const uint64_t at = e->at * CHUNK_BYTES;

    CHECK(e->bytes.len <= CHUNK_BYTES);
    if (at >= len)
        return;
    memset(text + at, 0, u64_min(CHUNK_BYTES, len - at));
    if (e->bytes.len != 0)
        memcpy(text + at, e->bytes.ptr, u64_min(e->bytes.len, len - at));
}

static void put_bits(uint8_t *text, uint64_t len, const struct chunks_event *e)
{
    for (uint32_t i = 0; i < e->bits_count; i++) {
        const uint64_t bit = e->at + i;
        const uint8_t mask = (uint8_t)(0x80u >> bit % 8);

        if (bit / 8 >= len)
            return;
        if ((e->bits >> (e->bits_count - 1 - i) & 1) != 0)
            text[bit / 8] |= mask;
        else
            text[bit / 8] &= (uint8_t)~mask;
    }
}

/* Appends the `len` bytes of a generation. */
static void put_content(const struct chunks_event *events, size_t n, struct tag generation,
                        uint64_t len, struct buf *out)
{
    const struct chunks_event **all = mem_alloc((n + 1) * sizeof(struct chunks_event *));
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        if (is_content(&events[i]) && tag_eq(events[i].generation, generation))
            all[count++] = &events[i];
    }
    if (count != 0)
        qsort(all, count, sizeof(struct chunks_event *), by_tag);
    CHECK(buf_reserve(out, len) == 0);
    uint8_t *text = buf_end(out);
    memset(text, 0, len);
    for (size_t i = 0; i < count; i++) {
        if (all[i]->kind == CHUNKS_IMAGE)
            put_image(text, len, all[i]);
        else
            put_bits(text, len, all[i]);
    }
    buf_commit(out, len);
    mem_free(all);
}

bool chunks_oracle(const struct chunks_event *events, size_t n, struct tag *out_generation,
                   struct buf *out)
{
    const struct chunks_event *winner = NULL;
    uint64_t len = 0;

    *out_generation = tag_of(0, 0);
    for (size_t i = 0; i < n; i++) {
        if (is_value(&events[i]) && is_alive(events, n, &events[i]) &&
            (winner == NULL || tag_cmp(events[i].tag, winner->tag) > 0))
            winner = &events[i];
    }
    if (winner == NULL)
        return false;
    if (winner->kind == CHUNKS_WHOLE) {
        CHECK(buf_append_bytes(out, winner->bytes) == 0);
        return true;
    }
    *out_generation = winner->generation;
    for (size_t i = 0; i < n; i++) {
        const struct chunks_event *e = &events[i];

        if (e->kind == CHUNKS_STRING && tag_eq(e->generation, winner->generation) &&
            is_alive(events, n, e))
            len = u64_max(len, e->len);
    }
    put_content(events, n, winner->generation, len, out);
    return true;
}

static bool is_time_of(const struct chunks_event *e, struct tag generation)
{
    return tag_eq(e->generation, generation) &&
           (e->kind == CHUNKS_TIME ||
            (e->kind == CHUNKS_STRING && tag_eq(e->tag, generation) && e->at_ms != 0));
}

uint64_t chunks_oracle_time(const struct chunks_event *events, size_t n, struct tag generation)
{
    uint64_t longest = 0;

    for (size_t i = 0; i < n; i++) {
        bool changed = !is_time_of(&events[i], generation);

        for (size_t j = 0; j < n && !changed; j++)
            changed = events[j].kind == CHUNKS_TIME && tag_eq(events[j].generation, generation) &&
                      vv_covers(events[j].ctx, events[i].tag);
        if (!changed)
            longest = u64_max(longest, events[i].at_ms == 0 ? UINT64_MAX : events[i].at_ms);
    }
    return longest == UINT64_MAX ? 0 : longest;
}
