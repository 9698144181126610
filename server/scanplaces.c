/* A ring of places; scanplaces.h. */
#include "server/scanplaces.h"

#include <string.h>

#include "engine/base/mem.h"

/* Walks that go on without a search, and what their members take together. */
#define PLACES_MAX       256u
#define PLACES_BYTES_MAX (1u << 20)

struct place {
    uint64_t key_hash;
    uint64_t place;
    uint8_t *member; /* NULL: free. */
    uint32_t len;
};

struct scan_places {
    struct place at[PLACES_MAX];
    uint32_t next; /* The oldest. */
    size_t bytes;
};

static void forget(struct scan_places *t, struct place *p)
{
    t->bytes -= p->len;
    mem_free(p->member);
    *p = (struct place){0};
}

void scan_places_destroy(struct scan_places *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < PLACES_MAX; i++)
        mem_free(t->at[i].member);
    mem_free(t);
}

bool scan_places_find(const struct scan_places *t, uint64_t key_hash, uint64_t place,
                      struct bytes *out)
{
    for (uint32_t i = 0; t != NULL && i < PLACES_MAX; i++) {
        const struct place *p = &t->at[i];
        if (p->member == NULL || p->place != place || p->key_hash != key_hash)
            continue;
        *out = bytes_of(p->member, p->len);
        return true;
    }
    return false;
}

void scan_places_keep(struct scan_places **table, uint64_t key_hash, uint64_t place,
                      struct bytes member)
{
    struct bytes known;

    if (scan_places_find(*table, key_hash, place, &known))
        return;
    if (*table == NULL)
        *table = mem_zalloc(sizeof(**table));
    struct scan_places *t = *table;
    forget(t, &t->at[t->next]);
    for (uint32_t i = 1; i < PLACES_MAX && t->bytes + member.len > PLACES_BYTES_MAX; i++)
        forget(t, &t->at[(t->next + i) % PLACES_MAX]);
    struct place *p = &t->at[t->next];
    *p = (struct place){.key_hash = key_hash,
                        .place = place,
                        .member = mem_alloc(member.len + 1),
                        .len = (uint32_t)member.len};
    if (member.len != 0)
        memcpy(p->member, member.ptr, member.len);
    t->bytes += member.len;
    t->next = (t->next + 1) % PLACES_MAX;
}
