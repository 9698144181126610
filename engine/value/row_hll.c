/*
 * HyperLogLogs among the values of a row.
 *
 * A HyperLogLog is a string (hll.h) that is written as a whole. Where members add to one at the
 * same time, each of the concurrent values has what its origin had seen and added. What shows is
 * all of it: the values from the one with the greatest tag down to, and without, the first that is
 * no HyperLogLog, joined register by register to their maximum. So a SET to something else wins
 * over what is older than it, as over any string, and what a DEL or SET has seen is gone: only
 * values that are alive are joined. What shows is a function of them, hence the same everywhere.
 *
 * What they show together stands in the encoded row (PART_JOINED), so that a view can borrow it; it
 * is made anew whenever a row is encoded, and never joined with another. Garbage collection makes
 * it the value of the greatest tag when all values are stable (row_collect.c). Then there are two
 * values of one tag, the later of which has all that the earlier one has and more: row_hll_weight
 * tells which. It is the same at all members, for they collect the same values: what is concurrent
 * to a stable value has arrived, and whatever has not has seen it.
 *
 * If nothing is added to what the greatest value has, that is what shows, byte by byte.
 */
#include <string.h>

#include "engine/base/mem.h"

#include "engine/value/hll.h"
#include "engine/value/row_state.h"

/* Joined values stay sparse up to here: the default of hll-sparse-max-bytes, at every member. */
#define SPARSE_BYTES_MAX 3000

struct work {
    struct hll_registers joined;
    struct hll_registers one;
};

static bool may_be(const struct row_sib *sib)
{
    return !sib->chunked && hll_valid(sib->value);
}

/* The value with the greatest tag below that of `above`; NULL: of all. */
static const struct row_sib *next_below(const struct row_state *s, const struct row_sib *above)
{
    const struct row_sib *next = NULL;

    for (unsigned i = 0; i < s->sibs_count; i++) {
        const struct row_sib *sib = &s->sibs[i];

        if ((above == NULL || tag_cmp(sib->tag, above->tag) < 0) &&
            (next == NULL || tag_cmp(sib->tag, next->tag) > 0))
            next = sib;
    }
    return next;
}

/* Whether it is one that is whole; then its registers are in work->one. */
static bool read_one(struct work *w, const struct row_sib *sib)
{
    if (!may_be(sib))
        return false;
    memset(&w->one, 0, sizeof(w->one));
    return hll_merge(sib->value, &w->one);
}

/* Raises what is joined by work->one; whether that has added anything. */
static bool raise_joined(struct work *w)
{
    bool more = false;

    for (uint32_t i = 0; i < HLL_REGISTERS; i++) {
        more |= w->one.at[i] > w->joined.at[i];
        w->joined.at[i] = w->one.at[i] > w->joined.at[i] ? w->one.at[i] : w->joined.at[i];
    }
    return more;
}

static bool may_join(const struct row_state *s)
{
    const struct row_sib *first = next_below(s, NULL);

    if (first == NULL || !may_be(first))
        return false;
    const struct row_sib *second = next_below(s, first);
    return second != NULL && may_be(second);
}

bool row_hll_shows(const struct row_state *s, const struct row_sib *sib)
{
    struct work *w;
    bool shows = false;

    if (s->joined.len == 0)
        return false;
    w = mem_alloc(sizeof(*w));
    for (const struct row_sib *at = next_below(s, NULL); at != NULL && read_one(w, at);
         at = next_below(s, at)) {
        if (at == sib)
            shows = true;
    }
    mem_free(w);
    return shows;
}

int row_hll_join(const struct row_state *s, struct buf *out)
{
    const struct row_sib *first;
    bool more = false, sparse;
    int err = 0;

    if (s->sibs_count < 2 || !may_join(s))
        return 0;
    struct work *w = mem_zalloc(sizeof(*w));
    first = next_below(s, NULL);
    sparse = !hll_is_dense(first->value);
    if (read_one(w, first)) {
        (void)raise_joined(w);
        for (const struct row_sib *at = next_below(s, first); at != NULL && read_one(w, at);
             at = next_below(s, at)) {
            more |= raise_joined(w);
            sparse = sparse && !hll_is_dense(at->value);
        }
    }
    if (more)
        err = hll_encode(&w->joined, sparse ? SPARSE_BYTES_MAX : 0, out);
    mem_free(w);
    return err;
}

unsigned row_hll_count(const struct row_state *s)
{
    unsigned count = 0;

    for (unsigned i = 0; i < s->sibs_count; i++)
        count += may_be(&s->sibs[i]);
    return count;
}

uint64_t row_hll_weight(const struct row_sib *sib)
{
    struct work *w;
    uint64_t weight = 0;

    if (!may_be(sib))
        return 0;
    w = mem_alloc(sizeof(*w));
    if (read_one(w, sib)) {
        weight = 1;
        for (uint32_t i = 0; i < HLL_REGISTERS; i++)
            weight += w->one.at[i];
    }
    mem_free(w);
    return weight;
}
