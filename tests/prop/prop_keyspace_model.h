/*
 * What prop_keyspace.c holds the keyspace against: plain arrays, one kind for each type of value.
 */
#ifndef TIERRA_TESTS_PROP_PROP_KEYSPACE_MODEL_H
#define TIERRA_TESTS_PROP_PROP_KEYSPACE_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/bytes.h"

#define KEYS      60
#define SUBS      80
#define LISTS     6
#define LIST_MAX  4000
#define NOW_MS    1700000000000ull
#define ORIGIN    1
#define HASH_SEED 77
#define TEXT_MAX  (90u << 10) /* Of a string: more than one leaf of chunks. */

/* --- the model --- */

struct model_key {
    uint8_t type;   /* VT_NONE: absent. */
    bool is_text;   /* Of a string: its value is in core.texts; else */
    int64_t value;  /* a number. */
    bool has[SUBS]; /* Elements, and what they hold. */
    int64_t elem[SUBS];
    uint64_t expire_at_ms;
};

/* A list of numbers in a ring. */
struct model_list {
    uint64_t count;
    uint64_t first;
    int64_t at[LIST_MAX];
};

static inline int64_t *model_at(struct model_list *m, uint64_t index)
{
    return &m->at[(m->first + index) % LIST_MAX];
}

/* A string's bytes. */
struct model_text {
    size_t len;
    uint8_t bytes[TEXT_MAX];
};

static inline struct bytes sub_of(unsigned s, char name[16])
{
    return bytes_of(name, (size_t)snprintf(name, 16, "sub:%u", s));
}

static inline struct bytes number(int64_t value, char text[32])
{
    return bytes_of(text, (size_t)snprintf(text, 32, "%lld", (long long)value));
}

static inline uint64_t model_count(const struct model_key *m)
{
    uint64_t count = 0;

    for (unsigned s = 0; s < SUBS; s++)
        count += m->has[s];
    return count;
}

/* A member of a sorted set. */
struct entry {
    int64_t score;
    unsigned sub;
};

static inline int entry_cmp(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    char nx[16], ny[16];

    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return bytes_cmp(sub_of(x->sub, nx), sub_of(y->sub, ny));
}

static inline uint64_t sorted(const struct model_key *m, struct entry out[SUBS])
{
    uint64_t n = 0;

    for (unsigned s = 0; s < SUBS; s++) {
        if (m->has[s])
            out[n++] = (struct entry){.score = m->elem[s], .sub = s};
    }
    qsort(out, n, sizeof(out[0]), entry_cmp);
    return n;
}

#endif
