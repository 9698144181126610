/*
 * Leaves of one size side by side; keytab_pool.h explains it.
 */
#include "engine/space/keytab_pool.h"

#include "engine/base/attr.h"
#include "engine/base/check.h"
#include "engine/base/mem.h"

#define CHUNK_BYTES_MIN 4096u
#define CHUNK_BYTES_MAX (256u << 10)
/* From here on a chunk begins at a page: jemalloc would shift it otherwise, and touch one more. */
#define CHUNK_BYTES_PAGED 16384u
#define PAGE_BYTES        4096u
/* A chunk is this part of what its class has already. */
#define CHUNK_PART 16u

static size_t leaf_bytes(unsigned cls)
{
    return (size_t)cls * LEAFPOOL_LINE_BYTES;
}

void leafpool_init(struct leafpool *pool, void (*moved)(void *, struct trie_leaf *, unsigned),
                   void *ctx)
{
    *pool = (struct leafpool){.moved = moved, .ctx = ctx};
}

static void account(struct leafpool *pool, struct leafpool_class *c, size_t bytes, bool more)
{
    c->bytes = more ? c->bytes + bytes : c->bytes - bytes;
    pool->bytes = more ? pool->bytes + bytes : pool->bytes - bytes;
}

static void chunk_free(struct leafpool *pool, unsigned cls, uint32_t index)
{
    struct leafpool_class *c = &pool->cls[cls];
    const size_t bytes = mem_class_bytes(c->chunks[index].count * leaf_bytes(cls));

    account(pool, c, bytes, false);
    mem_free(c->chunks[index].leaves);
}

static void chunks_release(struct leafpool *pool, struct leafpool_class *c)
{
    if (c->chunks_cap != 0)
        pool->bytes -= mem_class_bytes(c->chunks_cap * sizeof(*c->chunks));
    mem_free(c->chunks);
    c->chunks = NULL;
    c->chunks_cap = 0;
}

void leafpool_deinit(struct leafpool *pool)
{
    for (unsigned cls = 1; cls <= LEAF_CLASSES; cls++) {
        struct leafpool_class *c = &pool->cls[cls];
        for (uint32_t i = 0; i < c->chunks_used + c->spare; i++)
            chunk_free(pool, cls, i);
        chunks_release(pool, c);
    }
    CHECK(pool->bytes == 0);
}

/* Puts an empty chunk behind the used ones. */
static NOINLINE void chunk_add(struct leafpool *pool, unsigned cls)
{
    struct leafpool_class *c = &pool->cls[cls];
    const size_t wish = size_min(size_max(c->bytes / CHUNK_PART, CHUNK_BYTES_MIN), CHUNK_BYTES_MAX);
    /* As many leaves as the allocator's block has room for. */
    const uint32_t count = (uint32_t)(mem_class_bytes(wish) / leaf_bytes(cls));
    const size_t bytes = mem_class_bytes(count * leaf_bytes(cls));

    if (c->chunks_used == c->chunks_cap) {
        const uint32_t cap = c->chunks_cap == 0 ? 2 : c->chunks_cap * 2;
        if (c->chunks_cap != 0)
            pool->bytes -= mem_class_bytes(c->chunks_cap * sizeof(*c->chunks));
        c->chunks = mem_realloc(c->chunks, cap * sizeof(*c->chunks));
        c->chunks_cap = cap;
        pool->bytes += mem_class_bytes(cap * sizeof(*c->chunks));
    }
    c->chunks[c->chunks_used] = (struct leafpool_chunk){
        .leaves = mem_alloc_aligned(bytes > CHUNK_BYTES_PAGED ? PAGE_BYTES : LEAFPOOL_LINE_BYTES,
                                    count * leaf_bytes(cls)),
        .count = count};
    c->spare = true;
    account(pool, c, bytes, true);
}

struct trie_leaf *leafpool_new(struct leafpool *pool, unsigned cls)
{
    struct leafpool_class *c = &pool->cls[cls];

    if (c->chunks_used == 0 || c->used == c->chunks[c->chunks_used - 1].count) {
        if (!c->spare)
            chunk_add(pool, cls);
        c->spare = false;
        c->chunks_used++;
        c->used = 0;
    }
    uint8_t *leaf = c->chunks[c->chunks_used - 1].leaves + c->used * leaf_bytes(cls);
    c->used++;
    return (struct trie_leaf *)(void *)leaf;
}

/* The last used chunk became empty: it is the spare one now, instead of another. */
static NOINLINE void chunk_emptied(struct leafpool *pool, unsigned cls)
{
    struct leafpool_class *c = &pool->cls[cls];

    if (c->spare)
        chunk_free(pool, cls, c->chunks_used);
    c->spare = true;
    c->chunks_used--;
    if (c->chunks_used != 0) {
        c->used = c->chunks[c->chunks_used - 1].count;
        return;
    }
    chunk_free(pool, cls, 0);
    c->spare = false;
    chunks_release(pool, c);
}

void leafpool_free(struct leafpool *pool, struct trie_leaf *leaf, unsigned cls)
{
    struct leafpool_class *c = &pool->cls[cls];

    CHECK(c->used != 0);
    const struct leafpool_chunk *chunk = &c->chunks[c->chunks_used - 1];
    c->used--;
    struct trie_leaf *last =
        (struct trie_leaf *)(void *)(chunk->leaves + c->used * leaf_bytes(cls));
    if (last != leaf) {
        memcpy(leaf, last, leaf_bytes(cls));
        pool->moved(pool->ctx, leaf, cls);
    }
    if (c->spare && c->used < chunk->count / 2) {
        chunk_free(pool, cls, c->chunks_used);
        c->spare = false;
    }
    if (c->used == 0)
        chunk_emptied(pool, cls);
}
