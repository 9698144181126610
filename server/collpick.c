/* Random elements, none twice; collpick.h tells how. */
#include "server/collpick.h"

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/space/coll.h"

/* A part above one in so many is taken by a reservoir. */
#define DRAW_PART 4

static struct elem **alloc_elems(uint64_t n)
{
    size_t size;

    return size_mul_overflow(n, sizeof(struct elem *), &size) ? NULL : mem_try_alloc(size);
}

/* What was drawn: open addressing by address. False if it was there. */
static bool drawn_add(struct elem **slots, uint64_t mask, struct elem *elem)
{
    uint64_t i = ((uintptr_t)elem >> 4) * 0x9e3779b97f4a7c15ull >> 20 & mask;

    for (; slots[i] != NULL; i = (i + 1) & mask) {
        if (slots[i] == elem)
            return false;
    }
    slots[i] = elem;
    return true;
}

static bool draw(const struct coll *coll, struct rng *rng, uint64_t n, struct elem **out)
{
    uint64_t cap = 16;

    while (cap < 2 * n)
        cap *= 2;
    struct elem **slots = mem_try_zalloc(cap * sizeof(struct elem *));
    if (slots == NULL)
        return false;
    for (uint64_t i = 0; i < n;) {
        struct elem *elem = coll_random(coll, rng);
        if (drawn_add(slots, cap - 1, elem))
            out[i++] = elem;
    }
    mem_free(slots);
    return true;
}

static void sample(const struct coll *coll, struct rng *rng, uint64_t n, struct elem **out)
{
    struct coll_iter it;
    struct elem *elem;
    uint64_t seen = 0;

    coll_iter_init(coll, &it);
    while ((elem = coll_iter_next(&it)) != NULL) {
        const uint64_t at = seen < n ? seen : rng_below(rng, seen + 1);
        if (at < n)
            out[at] = elem;
        seen++;
    }
    CHECK(seen >= n);
}

struct elem **collpick(const struct coll *coll, struct rng *rng, uint64_t n)
{
    struct elem **out = alloc_elems(n);

    if (out == NULL)
        return NULL;
    if (n > coll->count / DRAW_PART) {
        sample(coll, rng, n, out);
    } else if (!draw(coll, rng, n, out)) {
        mem_free(out);
        return NULL;
    }
    return out;
}
