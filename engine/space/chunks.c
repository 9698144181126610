/* Chunks of strings in DRAM; chunks.h tells their layout. */
#include "engine/space/chunks.h"

#include "engine/base/check.h"
#include "engine/base/mem.h"

struct chunk_leaf {
    uint64_t known;
    uint64_t dirty;
    uint64_t flight;
    uint64_t own; /* Data of its own, not in the block. */
    bool touched; /* Since the shedding hand passed. */
    uint8_t *block;
    uint8_t *data[CHUNKS_PER_LEAF];
    uint64_t hlc[CHUNKS_PER_LEAF];
    uint8_t origin[CHUNKS_PER_LEAF];
};

void chunks_init(struct chunks *c)
{
    *c = (struct chunks){0};
}

static void *take(struct chunks *c, size_t len)
{
    void *ptr = mem_alloc(len);

    c->bytes += mem_usable(ptr);
    return ptr;
}

static void drop(struct chunks *c, void *ptr)
{
    if (ptr == NULL)
        return;
    c->bytes -= mem_usable(ptr);
    mem_free(ptr);
}

static void leaf_free(struct chunks *c, struct chunk_leaf *leaf)
{
    if (leaf == NULL)
        return;
    for (uint64_t own = leaf->own; own != 0; own &= own - 1)
        drop(c, leaf->data[__builtin_ctzll(own)]);
    drop(c, leaf->block);
    drop(c, leaf);
}

void chunks_deinit(struct chunks *c)
{
    for (uint32_t i = 0; i < c->cap; i++)
        leaf_free(c, c->leaves[i]);
    drop(c, c->leaves);
    CHECK(c->bytes == 0);
    *c = (struct chunks){0};
}

/* --- look-up --- */

static struct chunk_leaf *leaf_of(const struct chunks *c, uint32_t index)
{
    const uint32_t at = index / CHUNKS_PER_LEAF;

    return at < c->cap ? c->leaves[at] : NULL;
}

static uint64_t bit_of(uint32_t index)
{
    return 1ull << (index % CHUNKS_PER_LEAF);
}

static void reserve(struct chunks *c, uint32_t leaves)
{
    if (leaves <= c->cap)
        return;
    const uint32_t cap = leaves < c->cap + c->cap / 2 ? c->cap + c->cap / 2 : leaves;
    struct chunk_leaf **grown = take(c, cap * sizeof(struct chunk_leaf *));
    for (uint32_t i = 0; i < cap; i++)
        grown[i] = i < c->cap ? c->leaves[i] : NULL;
    drop(c, c->leaves);
    c->leaves = grown;
    c->cap = cap;
}

static struct chunk_leaf *leaf_make(struct chunks *c, uint32_t index)
{
    const uint32_t at = index / CHUNKS_PER_LEAF;

    reserve(c, at + 1);
    if (c->leaves[at] == NULL) {
        c->leaves[at] = take(c, sizeof(struct chunk_leaf));
        memset(c->leaves[at], 0, sizeof(struct chunk_leaf));
    }
    c->leaves[at]->touched = true;
    return c->leaves[at];
}

bool chunks_known(const struct chunks *c, uint32_t index)
{
    const struct chunk_leaf *leaf = leaf_of(c, index);

    return leaf != NULL && (leaf->known & bit_of(index)) != 0;
}

struct bytes chunks_run(const struct chunks *c, uint64_t offset, uint64_t max)
{
    const uint32_t index = (uint32_t)(offset / ROW_CHUNK_BYTES);
    const size_t within = offset % ROW_CHUNK_BYTES;
    struct chunk_leaf *leaf = leaf_of(c, index);
    uint32_t i = index % CHUNKS_PER_LEAF;
    size_t len = ROW_CHUNK_BYTES - within;

    if (leaf == NULL || leaf->data[i] == NULL)
        return bytes_of(NULL, u64_min(len, max));
    leaf->touched = true;
    const uint8_t *data = leaf->data[i];
    while (len < max && ++i < CHUNKS_PER_LEAF && leaf->data[i] == data + within + len)
        len += ROW_CHUNK_BYTES;
    return bytes_of(data + within, u64_min(len, max));
}

uint32_t chunks_next(const struct chunks *c, uint32_t index)
{
    for (; index / CHUNKS_PER_LEAF < c->cap; index++) {
        const struct chunk_leaf *leaf = leaf_of(c, index);
        if (leaf == NULL)
            index |= CHUNKS_PER_LEAF - 1;
        else if (leaf->data[index % CHUNKS_PER_LEAF] != NULL)
            return index;
    }
    return CHUNKS_NO_INDEX;
}

/* --- changes --- */

static void set_tag(struct chunk_leaf *leaf, uint32_t index, struct tag tag)
{
    leaf->hlc[index % CHUNKS_PER_LEAF] = tag.hlc;
    leaf->origin[index % CHUNKS_PER_LEAF] = tag.origin;
}

/* Memory for a chunk that has none. */
static void give_data(struct chunks *c, struct chunk_leaf *leaf, uint32_t index, struct bytes image)
{
    uint8_t *data = take(c, ROW_CHUNK_BYTES);

    if (image.len != 0)
        memcpy(data, image.ptr, image.len);
    memset(data + image.len, 0, ROW_CHUNK_BYTES - image.len);
    leaf->data[index % CHUNKS_PER_LEAF] = data;
    leaf->own |= bit_of(index);
}

/*
 * How many of `n` chunks share a block. All, unless that would leave as much of the allocator's
 * size class unused as there are chunks beyond the class below: those are then blocks of their own.
 */
static uint32_t shared_chunks(uint32_t n)
{
    const size_t unused =
        mem_class_bytes((size_t)n * ROW_CHUNK_BYTES) / ROW_CHUNK_BYTES - (size_t)n;
    uint32_t shared = n;

    while (mem_class_bytes((size_t)shared * ROW_CHUNK_BYTES) != (size_t)shared * ROW_CHUNK_BYTES)
        shared--;
    return unused >= n - shared ? shared : n;
}

void chunks_set(struct chunks *c, struct bytes value, struct tag tag)
{
    const uint32_t count = chunks_count(value.len);

    CHECK(c->cap == 0);
    reserve(c, (count + CHUNKS_PER_LEAF - 1) / CHUNKS_PER_LEAF);
    for (uint32_t first = 0; first < count; first += CHUNKS_PER_LEAF) {
        struct chunk_leaf *leaf = leaf_make(c, first);
        const uint32_t n = count - first < CHUNKS_PER_LEAF ? count - first : CHUNKS_PER_LEAF;
        const uint32_t shared = shared_chunks(n);
        const size_t room = (size_t)shared * ROW_CHUNK_BYTES;
        const size_t len = size_min(value.len, room);

        leaf->block = take(c, room);
        memcpy(leaf->block, value.ptr, len);
        memset(leaf->block + len, 0, room - len);
        value = bytes_from(value, len);
        for (uint32_t i = 0; i < n; i++) {
            if (i < shared) {
                leaf->data[i] = leaf->block + (size_t)i * ROW_CHUNK_BYTES;
            } else {
                const struct bytes rest = bytes_of(value.ptr, size_min(value.len, ROW_CHUNK_BYTES));
                give_data(c, leaf, i, rest);
                value = bytes_from(value, rest.len);
            }
            set_tag(leaf, i, tag);
        }
        leaf->known = leaf->dirty = UINT64_MAX >> (CHUNKS_PER_LEAF - n);
        c->dirty += n;
    }
}

uint8_t *chunks_edit(struct chunks *c, uint32_t index, struct tag tag)
{
    struct chunk_leaf *leaf = leaf_make(c, index);

    if (leaf->data[index % CHUNKS_PER_LEAF] == NULL)
        give_data(c, leaf, index, bytes_of(NULL, 0));
    c->dirty += (leaf->dirty & bit_of(index)) == 0;
    leaf->known |= bit_of(index);
    leaf->dirty |= bit_of(index);
    set_tag(leaf, index, tag);
    return leaf->data[index % CHUNKS_PER_LEAF];
}

void chunks_install(struct chunks *c, uint32_t index, struct bytes image, struct tag tag)
{
    struct chunk_leaf *leaf = leaf_make(c, index);

    if ((leaf->known & bit_of(index)) != 0)
        return;
    leaf->known |= bit_of(index);
    if (image.len == 0)
        return;
    give_data(c, leaf, index, image);
    set_tag(leaf, index, tag);
}

/* --- write-back --- */

void chunks_flush_begin(struct chunks *c, chunks_flush_fn *fn, void *ctx)
{
    for (uint32_t l = 0; l < c->cap; l++) {
        struct chunk_leaf *leaf = c->leaves[l];
        if (leaf == NULL || leaf->dirty == 0)
            continue;
        CHECK(leaf->flight == 0);
        for (uint64_t left = leaf->dirty; left != 0; left &= left - 1) {
            const uint32_t i = (uint32_t)__builtin_ctzll(left);
            fn(ctx, l * CHUNKS_PER_LEAF + i, leaf->data[i], tag_of(leaf->hlc[i], leaf->origin[i]));
        }
        leaf->flight = leaf->dirty;
        leaf->dirty = 0;
    }
    c->dirty = 0;
}

void chunks_flush_done(struct chunks *c)
{
    for (uint32_t l = 0; l < c->cap; l++) {
        if (c->leaves[l] != NULL)
            c->leaves[l]->flight = 0;
    }
}

void chunks_flush_failed(struct chunks *c)
{
    for (uint32_t l = 0; l < c->cap; l++) {
        struct chunk_leaf *leaf = c->leaves[l];
        if (leaf == NULL)
            continue;
        c->dirty += (uint32_t)__builtin_popcountll(leaf->flight & ~leaf->dirty);
        leaf->dirty |= leaf->flight;
        leaf->flight = 0;
    }
}

bool chunks_shed(struct chunks *c, uint32_t max)
{
    bool any = false;

    for (uint32_t n = 0; n < max && n < c->cap; n++) {
        c->shed_hand = c->shed_hand + 1 < c->cap ? c->shed_hand + 1 : 0;
        struct chunk_leaf *leaf = c->leaves[c->shed_hand];
        if (leaf == NULL || (leaf->dirty | leaf->flight) != 0)
            continue;
        if (leaf->touched) {
            leaf->touched = false;
            continue;
        }
        c->leaves[c->shed_hand] = NULL;
        leaf_free(c, leaf);
        any = true;
    }
    return any;
}
