/* Joins of sets on flash; collmerge.h tells how they go. */
#include "engine/space/collmerge.h"

#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/keyspace.h"
#include "engine/store/store.h"
#include "engine/value/row.h"
#include "engine/value/rowkey.h"

/* A cursor that is so many rows behind seeks. */
#define STEPS_MAX 8
/* What a seek costs, in steps. */
#define SEEK_COST 16
/* All cursors together read ahead so much, each at least the lower. */
#define READAHEAD     (256u << 10)
#define READAHEAD_MIN (16u << 10)

struct source {
    struct store_iter *it;
    struct buf prefix; /* Of the member rows; then scratch for a place to seek. */
    size_t prefix_len;
    struct tag hidden;
    bool hides;
    bool taken; /* Its row was shown, or equals one that was: to be stepped over. */
};

struct collmerge {
    enum collmerge_op op;
    uint32_t count;
    uint32_t cap;
    int err;
    bool open;
    struct source source[];
};

struct collmerge *collmerge_create(enum collmerge_op op, uint32_t sets)
{
    struct collmerge *m = mem_zalloc(sizeof(*m) + sets * sizeof(struct source));

    CHECK(sets != 0);
    m->op = op;
    m->cap = sets;
    return m;
}

void collmerge_add(struct collmerge *m, const struct ks_key *key, const struct tag *hidden)
{
    struct source *s = &m->source[m->count++];
    const size_t len = rowkey_prefix_size(key->name) + 1;

    CHECK(m->count <= m->cap);
    buf_init(&s->prefix, ROWKEY_BYTES_MAX);
    CHECK(buf_reserve(&s->prefix, len) == 0);
    (void)rowkey_store_prefix(s->prefix.ptr, key->slot, key->hash, key->name);
    s->prefix.ptr[len - 1] = ROWKEY_KIND_SET;
    buf_commit(&s->prefix, len);
    s->prefix_len = len;
    s->hides = hidden != NULL;
    if (s->hides)
        s->hidden = *hidden;
}

static int source_open(struct source *s, struct store *store, size_t readahead)
{
    struct buf upper;

    buf_init(&upper, ROWKEY_BYTES_MAX);
    int err = buf_append_bytes(&upper, buf_bytes(&s->prefix));
    if (err == 0) {
        upper.ptr[s->prefix_len - 1] = ROWKEY_KIND_SET + 1;
        const struct store_iter_options options = {.lower = buf_bytes(&s->prefix),
                                                   .upper = buf_bytes(&upper),
                                                   .readahead_bytes = readahead};
        err = store_iter_open(store, &options, &s->it);
        if (err != 0)
            s->it = NULL;
    }
    buf_deinit(&upper);
    return err;
}

int collmerge_open(struct collmerge *m, struct store *store)
{
    const size_t readahead = READAHEAD / m->count;

    m->open = true;
    for (uint32_t i = 0; i < m->count && m->err == 0; i++)
        m->err = source_open(&m->source[i], store,
                             readahead < READAHEAD_MIN ? READAHEAD_MIN : readahead);
    if (m->err == 0)
        collmerge_rewind(m);
    return m->err;
}

void collmerge_rewind(struct collmerge *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        struct source *s = &m->source[i];
        buf_truncate(&s->prefix, s->prefix_len);
        s->taken = false;
        store_iter_seek(s->it, buf_bytes(&s->prefix));
    }
}

/* --- one cursor --- */

static bool at_row(const struct source *s)
{
    return store_iter_valid(s->it);
}

/* Hash and name: what all sets are ordered by. */
static struct bytes place(const struct source *s)
{
    const struct bytes key = store_iter_key(s->it);

    return bytes_from(key, s->prefix_len);
}

static void step(struct source *s, int64_t *cost)
{
    store_iter_next(s->it);
    (*cost)--;
}

/* To the first row at or behind `to`, which is in another cursor. */
static void leap(struct collmerge *m, struct source *s, struct bytes to, int64_t *cost)
{
    for (int i = 0; i < STEPS_MAX; i++) {
        if (!at_row(s) || bytes_cmp(place(s), to) >= 0)
            return;
        step(s, cost);
    }
    buf_truncate(&s->prefix, s->prefix_len);
    m->err = buf_append_bytes(&s->prefix, to);
    if (m->err != 0)
        return;
    store_iter_seek(s->it, buf_bytes(&s->prefix));
    *cost -= SEEK_COST;
}

/* Whether the row shows a member. Sets the error, or `row`, which may be NULL. */
static bool shows(struct collmerge *m, const struct source *s, struct bytes *row)
{
    struct bytes found;
    struct row_view view;

    m->err =
        store_iter_row(s->it, &found) == STORE_FOUND ? row_view(found, 0, &view) : -ERR_CORRUPT;
    if (m->err != 0 || !view.present || (s->hides && tag_cmp(view.tag, s->hidden) <= 0))
        return false;
    if (row != NULL)
        *row = found;
    return true;
}

/* --- the operations --- */

/*
 * Each looks at the place of one cursor, and says whether its member is to be shown; what it looked
 * at is marked as taken, and stepped over before the next look.
 */
enum look {
    LOOK_SHOW,
    LOOK_NOT,
    LOOK_END
};

static enum look look_inter(struct collmerge *m, int64_t *cost, struct bytes *row)
{
    struct source *first = &m->source[0];

    if (!at_row(first))
        return LOOK_END;
    for (uint32_t i = 1; i < m->count; i++) {
        struct source *s = &m->source[i];
        leap(m, s, place(first), cost);
        if (m->err != 0 || !at_row(s))
            return LOOK_END;
        if (!bytes_eq(place(s), place(first))) {
            leap(m, first, place(s), cost);
            return LOOK_NOT;
        }
    }
    first->taken = true;
    for (uint32_t i = 0; i < m->count; i++) {
        if (!shows(m, &m->source[i], i == 0 ? row : NULL))
            return LOOK_NOT;
    }
    return LOOK_SHOW;
}

static enum look look_diff(struct collmerge *m, int64_t *cost, struct bytes *row)
{
    struct source *first = &m->source[0];

    if (!at_row(first))
        return LOOK_END;
    first->taken = true;
    if (!shows(m, first, row))
        return LOOK_NOT;
    for (uint32_t i = 1; i < m->count; i++) {
        struct source *s = &m->source[i];
        leap(m, s, place(first), cost);
        if (m->err == 0 && at_row(s) && bytes_eq(place(s), place(first)) && shows(m, s, NULL))
            return LOOK_NOT;
        /* A cursor at no row has ended, or could not read. */
        if (m->err == 0 && !at_row(s))
            m->err = store_iter_status(s->it);
        if (m->err != 0)
            return LOOK_END;
    }
    return LOOK_SHOW;
}

/* The member of the least place is shown by the first set that has it; `*from` is that set. */
static enum look look_union(struct collmerge *m, struct bytes *row, uint32_t *from)
{
    const struct source *least = NULL;
    bool shown = false;

    for (uint32_t i = 0; i < m->count; i++) {
        const struct source *s = &m->source[i];
        if (at_row(s) && (least == NULL || bytes_cmp(place(s), place(least)) < 0))
            least = s;
    }
    if (least == NULL)
        return LOOK_END;
    for (uint32_t i = 0; i < m->count; i++) {
        struct source *s = &m->source[i];
        if (!at_row(s) || !bytes_eq(place(s), place(least)))
            continue;
        s->taken = true;
        if (shown || !shows(m, s, row))
            continue;
        shown = true;
        *from = i;
    }
    return shown ? LOOK_SHOW : LOOK_NOT;
}

static void step_over(struct collmerge *m, int64_t *cost)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (!m->source[i].taken)
            continue;
        m->source[i].taken = false;
        step(&m->source[i], cost);
    }
}

/* A cursor that is at no row has come to its end, or could not read. */
static enum collmerge_result ended(struct collmerge *m)
{
    for (uint32_t i = 0; i < m->count && m->err == 0; i++)
        m->err = store_iter_status(m->source[i].it);
    return COLLMERGE_END;
}

enum collmerge_result collmerge_next(struct collmerge *m, int64_t *cost, struct collmerge_row *out)
{
    uint32_t from = 0;
    enum look look = LOOK_NOT;

    while (*cost > 0) {
        step_over(m, cost);
        switch (m->op) {
        case COLLMERGE_INTER:
            look = look_inter(m, cost, &out->row);
            break;
        case COLLMERGE_UNION:
            look = look_union(m, &out->row, &from);
            break;
        case COLLMERGE_DIFF:
            look = look_diff(m, cost, &out->row);
            break;
        }
        if (m->err != 0 || look == LOOK_END)
            return ended(m);
        if (look == LOOK_NOT)
            continue;
        out->member = place(&m->source[from]);
        if (out->member.len < ROWKEY_HASH_BYTES) {
            m->err = -ERR_CORRUPT;
            return COLLMERGE_END;
        }
        out->member = bytes_from(out->member, ROWKEY_HASH_BYTES);
        return COLLMERGE_ROW;
    }
    return COLLMERGE_PAUSE;
}

int collmerge_err(const struct collmerge *m)
{
    return m->err;
}

bool collmerge_is_open(const struct collmerge *m)
{
    return m->open;
}

void collmerge_close(struct collmerge *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->source[i].it != NULL)
            store_iter_close(m->source[i].it);
        m->source[i].it = NULL;
    }
    m->open = false;
}

void collmerge_destroy(struct collmerge *m)
{
    if (m == NULL)
        return;
    CHECK(!m->open);
    for (uint32_t i = 0; i < m->count; i++)
        buf_deinit(&m->source[i].prefix);
    mem_free(m);
}
