/* Results that are kept to be sorted; collkeep.h tells what if they are too large. */
#include "engine/space/collkeep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#define HEAD_BYTES 12u
/* What stays where there is no room for all: one part in so many. */
#define STAYS_PART 2

/* A member that is kept. */
struct place {
    double score;
    const uint8_t *at; /* Its head. */
};

/* Where a part of the order ends. */
struct mark {
    double score;
    struct buf member;
    bool set;
};

struct collkeep {
    struct buf rows;
    struct place *order; /* Of the first `order_count`, if they are sorted. */
    size_t order_cap;
    size_t order_count;
    size_t count; /* Members in rows. */
    size_t at;    /* So many were shown. */
    uint64_t bytes;
    uint64_t bytes_max;
    uint32_t beside;
    bool all;
    bool lacks;
    struct mark shown; /* Up to here they were in earlier passes. */
    struct mark end;   /* Behind here none is taken in this one. */
};

struct collkeep *collkeep_create(uint64_t bytes, uint32_t beside, bool all)
{
    struct collkeep *k = mem_zalloc(sizeof(*k));

    k->bytes_max = bytes;
    k->beside = beside;
    k->all = all;
    buf_init(&k->rows, SIZE_MAX / 2);
    buf_init(&k->shown.member, UINT32_MAX);
    buf_init(&k->end.member, UINT32_MAX);
    return k;
}

void collkeep_destroy(struct collkeep *k)
{
    if (k == NULL)
        return;
    buf_deinit(&k->rows);
    buf_deinit(&k->shown.member);
    buf_deinit(&k->end.member);
    mem_free(k->order);
    mem_free(k);
}

static struct bytes member_of(const uint8_t *head)
{
    uint32_t len;

    memcpy(&len, head + sizeof(double), sizeof(len));
    return bytes_of(head + HEAD_BYTES, len);
}

static int compare(double a_score, struct bytes a, double b_score, struct bytes b)
{
    if (a_score != b_score)
        return a_score < b_score ? -1 : 1;
    return bytes_cmp(a, b);
}

static int by_score(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return compare(x->score, member_of(x->at), y->score, member_of(y->at));
}

static int mark_set(struct mark *mark, const struct place *p)
{
    const struct bytes member = member_of(p->at);

    buf_clear(&mark->member);
    const int err = buf_append_bytes(&mark->member, member);
    mark->score = p->score;
    mark->set = err == 0;
    return err;
}

/* Whether the member stands behind the mark, or is the one. */
static int against(const struct mark *mark, struct bytes member, double score)
{
    return compare(score, member, mark->score, buf_bytes(&mark->member));
}

static int append(struct buf *to, struct bytes member, double score)
{
    uint8_t head[HEAD_BYTES];
    const uint32_t len = (uint32_t)member.len;

    memcpy(head, &score, sizeof(score));
    memcpy(head + sizeof(score), &len, sizeof(len));
    int err = buf_reserve(to, HEAD_BYTES + member.len);
    if (err == 0)
        err = buf_append(to, head, sizeof(head));
    return err == 0 ? buf_append_bytes(to, member) : err;
}

/* The order in which they came. */
static int list_all(struct collkeep *k)
{
    const uint8_t *at = k->rows.ptr;

    if (k->count > k->order_cap) {
        struct place *order = mem_try_realloc(k->order, k->count * sizeof(*order));
        if (order == NULL)
            return -ENOMEM;
        k->order = order;
        k->order_cap = k->count;
    }
    for (size_t i = 0; i < k->count; i++) {
        memcpy(&k->order[i].score, at, sizeof(double));
        k->order[i].at = at;
        at += HEAD_BYTES + member_of(at).len;
    }
    CHECK(k->rows.len == 0 || at == k->rows.ptr + k->rows.len);
    k->order_count = k->count;
    k->at = 0;
    return 0;
}

/* The least ones stay, as many as fill a part of the room. */
static int trim(struct collkeep *k)
{
    struct buf stays;
    size_t n = 0;
    uint64_t bytes = 0;

    int err = collkeep_sort(k);
    buf_init(&stays, SIZE_MAX / 2);
    while (err == 0 && n < k->count && (n == 0 || bytes < k->bytes_max / STAYS_PART)) {
        const struct place *p = &k->order[n++];
        const struct bytes member = member_of(p->at);
        bytes += member.len + k->beside;
        err = append(&stays, member, p->score);
    }
    if (err == 0 && n < k->count) {
        err = mark_set(&k->end, &k->order[n - 1]);
        k->lacks = true;
    }
    if (err != 0) {
        buf_deinit(&stays);
        return err;
    }
    buf_deinit(&k->rows);
    k->rows = stays;
    k->bytes = bytes;
    k->count = n;
    k->order_count = 0;
    return 0;
}

/* None is kept. */
static void drop_all(struct collkeep *k)
{
    buf_deinit(&k->rows);
    k->count = 0;
    k->lacks = true;
}

int collkeep_add(struct collkeep *k, struct bytes member, double score)
{
    k->order_count = 0;
    if ((k->shown.set && against(&k->shown, member, score) <= 0) || (k->all && k->lacks))
        return 0;
    if (k->end.set && against(&k->end, member, score) > 0) {
        k->lacks = true;
        return 0;
    }
    k->bytes += member.len + k->beside;
    if (k->all && k->bytes > k->bytes_max) {
        drop_all(k);
        return 0;
    }
    const int err = append(&k->rows, member, score);
    if (err != 0)
        return err;
    k->count++;
    return k->bytes > k->bytes_max ? trim(k) : 0;
}

bool collkeep_lacks(const struct collkeep *k)
{
    return k->lacks;
}

int collkeep_sort(struct collkeep *k)
{
    const int err = list_all(k);

    if (err == 0 && k->count > 1)
        qsort(k->order, k->count, sizeof(*k->order), by_score);
    return err;
}

int collkeep_shuffle(struct collkeep *k, struct rng *rng)
{
    const int err = list_all(k);

    for (size_t i = err == 0 ? k->count : 0; i > 1; i--) {
        const size_t j = (size_t)rng_below(rng, i);
        const struct place p = k->order[i - 1];
        k->order[i - 1] = k->order[j];
        k->order[j] = p;
    }
    return err;
}

bool collkeep_next(struct collkeep *k, struct bytes *member, double *score)
{
    if (k->at >= k->order_count)
        return false;
    const struct place *p = &k->order[k->at++];
    *member = member_of(p->at);
    *score = p->score;
    return true;
}

void collkeep_show_again(struct collkeep *k)
{
    CHECK(k->order_count == k->count);
    k->at = 0;
}

int collkeep_pass(struct collkeep *k)
{
    CHECK(!k->all && k->count != 0 && k->at == k->order_count && k->order_count == k->count);
    const int err = mark_set(&k->shown, &k->order[k->count - 1]);
    k->end.set = false;
    k->lacks = false;
    k->bytes = 0;
    k->count = k->order_count = k->at = 0;
    buf_clear(&k->rows);
    return err;
}

size_t collkeep_bytes(const struct collkeep *k)
{
    return k->rows.len;
}
