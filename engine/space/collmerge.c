/* Joins of sets on flash; collmerge.h tells how they go. */
#include "engine/space/collmerge.h"

#include <math.h>
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
    double weight;
    struct bytes row; /* Of the member that is being looked at, if `has`. */
    uint8_t kind;     /* Of its rows. */
    bool has;
    bool hides;
    bool taken; /* Its row was shown, or equals one that was: to be stepped over. */
};

struct collmerge {
    enum collmerge_op op;
    enum collmerge_aggregate how; /* If `scored`. */
    uint8_t lead;                 /* The kind of the rows that are walked over. */
    bool scored;
    bool second; /* A union has come to the members that only sets of the other kind have. */
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

static void add(struct collmerge *m, const struct ks_key *key, const struct tag *hidden,
                uint8_t kind)
{
    struct source *s = &m->source[m->count++];
    const size_t len = rowkey_prefix_size(key->name) + 1;

    CHECK(m->count <= m->cap);
    s->kind = kind;
    buf_init(&s->prefix, ROWKEY_BYTES_MAX);
    CHECK(buf_reserve(&s->prefix, len) == 0);
    (void)rowkey_store_prefix(s->prefix.ptr, key->slot, key->hash, key->name);
    s->prefix.ptr[len - 1] = kind;
    buf_commit(&s->prefix, len);
    s->prefix_len = len;
    s->hides = hidden != NULL;
    if (s->hides)
        s->hidden = *hidden;
}

void collmerge_add(struct collmerge *m, const struct ks_key *key, const struct tag *hidden)
{
    add(m, key, hidden, ROWKEY_KIND_SET);
}

void collmerge_add_scored(struct collmerge *m, const struct collmerge_scored *set)
{
    add(m, set->key, set->hidden, set->kind);
    m->scored = true;
    m->how = set->how;
    m->source[m->count - 1].weight = set->weight;
}

static int source_open(struct source *s, struct store *store, size_t readahead)
{
    struct buf upper;

    buf_init(&upper, ROWKEY_BYTES_MAX);
    int err = buf_append_bytes(&upper, buf_bytes(&s->prefix));
    if (err == 0) {
        upper.ptr[s->prefix_len - 1] = (uint8_t)(s->kind + 1);
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
    const size_t share = READAHEAD / m->count;
    const size_t readahead = share < READAHEAD_MIN ? READAHEAD_MIN : share;

    m->open = true;
    for (uint32_t i = 0; i < m->count && m->err == 0; i++) {
        struct source *s = &m->source[i];
        /* One of the other kind is asked for single members. */
        m->err = source_open(s, store, s->kind == m->source[0].kind ? readahead : 0);
    }
    if (m->err == 0)
        collmerge_rewind(m);
    return m->err;
}

/* To the begin of all sets of this kind. */
static void walk(struct collmerge *m, uint8_t kind)
{
    m->lead = kind;
    for (uint32_t i = 0; i < m->count; i++) {
        struct source *s = &m->source[i];
        s->taken = false;
        if (s->kind != kind)
            continue;
        buf_truncate(&s->prefix, s->prefix_len);
        store_iter_seek(s->it, buf_bytes(&s->prefix));
    }
}

void collmerge_rewind(struct collmerge *m)
{
    m->second = false;
    walk(m, m->source[0].kind);
}

/* --- one cursor --- */

static bool at_row(const struct source *s)
{
    return store_iter_valid(s->it);
}

/* Hash and name, of sorted sets the name: what all sets of the kind are ordered by. */
static struct bytes place(const struct source *s)
{
    const struct bytes key = store_iter_key(s->it);

    return bytes_from(key, s->prefix_len);
}

/* The name. False: it cannot be read. */
static bool member_at(struct collmerge *m, const struct source *s, struct bytes *out)
{
    const size_t hash_bytes = rowkey_kind_hashed(s->kind) ? ROWKEY_HASH_BYTES : 0;

    *out = place(s);
    if (out->len < hash_bytes) {
        m->err = -ERR_CORRUPT;
        return false;
    }
    *out = bytes_from(*out, hash_bytes);
    return true;
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

/* To the first row at or behind the place of a member that a set of the other kind has. */
static void jump(struct collmerge *m, struct source *s, struct bytes member, int64_t *cost)
{
    uint8_t hash[ROWKEY_HASH_BYTES];

    buf_truncate(&s->prefix, s->prefix_len);
    if (rowkey_kind_hashed(s->kind)) {
        rowkey_hash_store(hash, member);
        m->err = buf_append(&s->prefix, hash, sizeof(hash));
    }
    if (m->err == 0)
        m->err = buf_append_bytes(&s->prefix, member);
    if (m->err == 0)
        store_iter_seek(s->it, buf_bytes(&s->prefix));
    *cost -= SEEK_COST;
}

/* Goes to the member at which `at` stands; whether there is a row of it. Sets the error. */
static bool find(struct collmerge *m, struct source *s, const struct source *at, int64_t *cost)
{
    struct bytes member;

    if (s->kind == at->kind) {
        leap(m, s, place(at), cost);
    } else {
        if (!member_at(m, at, &member))
            return false;
        jump(m, s, member, cost);
    }
    if (m->err != 0)
        return false;
    if (at_row(s))
        return bytes_eq(place(s), s->kind == at->kind
                                      ? place(at)
                                      : bytes_from(buf_bytes(&s->prefix), s->prefix_len));
    /* A cursor at no row has ended, or could not read. */
    m->err = store_iter_status(s->it);
    return false;
}

/* Whether the row shows a member, which it then has. Sets the error. */
static bool shows(struct collmerge *m, struct source *s)
{
    struct row_view view;

    m->err =
        store_iter_row(s->it, &s->row) == STORE_FOUND ? row_view(s->row, 0, &view) : -ERR_CORRUPT;
    s->has = m->err == 0 && view.present && (!s->hides || tag_cmp(view.tag, s->hidden) > 0);
    return s->has;
}

/* --- scores --- */

double collmerge_weighted(double score, double weight)
{
    const double product = score * weight;

    return isnan(product) ? 0.0 : product;
}

double collmerge_aggregate(enum collmerge_aggregate how, double sum, double score)
{
    switch (how) {
    case COLLMERGE_SUM:
        sum += score;
        /* Of the two infinities. */
        return isnan(sum) ? 0.0 : sum;
    case COLLMERGE_MIN:
        return score < sum ? score : sum;
    case COLLMERGE_MAX:
        return score > sum ? score : sum;
    }
    UNREACHABLE();
}

/* The score of the member that was looked at. False: it cannot be read. */
static bool score_of(struct collmerge *m, double *out)
{
    bool first = true;

    for (uint32_t i = 0; i < m->count; i++) {
        const struct source *s = &m->source[i];
        double score = 1.0;
        if (!s->has)
            continue;
        if (s->kind == ROWKEY_KIND_ZSET)
            m->err = row_score(s->row, &score);
        if (m->err != 0)
            return false;
        /* As Redis: in an intersection only the first product is looked at by itself. */
        if (m->op == COLLMERGE_INTER && !first)
            score *= s->weight;
        else if (m->op != COLLMERGE_DIFF)
            score = collmerge_weighted(score, s->weight);
        *out = first ? score : collmerge_aggregate(m->how, *out, score);
        first = false;
    }
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

static enum look look_inter(struct collmerge *m, int64_t *cost)
{
    struct source *first = &m->source[0];

    if (!at_row(first))
        return LOOK_END;
    for (uint32_t i = 1; i < m->count; i++) {
        struct source *s = &m->source[i];
        const bool found = find(m, s, first, cost);
        if (m->err != 0)
            return LOOK_END;
        if (found)
            continue;
        first->taken = s->kind != first->kind;
        if (first->taken)
            return LOOK_NOT;
        if (!at_row(s))
            return LOOK_END;
        leap(m, first, place(s), cost);
        return LOOK_NOT;
    }
    first->taken = true;
    for (uint32_t i = 0; i < m->count; i++) {
        if (!shows(m, &m->source[i]))
            return LOOK_NOT;
    }
    return LOOK_SHOW;
}

static enum look look_diff(struct collmerge *m, int64_t *cost)
{
    struct source *first = &m->source[0];

    if (!at_row(first))
        return LOOK_END;
    first->taken = true;
    if (!shows(m, first))
        return LOOK_NOT;
    for (uint32_t i = 1; i < m->count; i++) {
        struct source *s = &m->source[i];
        if (find(m, s, first, cost) && shows(m, s))
            return LOOK_NOT;
        if (m->err != 0)
            return LOOK_END;
    }
    return LOOK_SHOW;
}

/* The set with the least place among those that are walked over; NULL: all were. */
static const struct source *least_of(const struct collmerge *m)
{
    const struct source *least = NULL;

    for (uint32_t i = 0; i < m->count; i++) {
        const struct source *s = &m->source[i];
        if (s->kind == m->lead && at_row(s) &&
            (least == NULL || bytes_cmp(place(s), place(least)) < 0))
            least = s;
    }
    return least;
}

/* Goes on to the sets of the other kind, if there are any. False: all is read, or an error. */
static bool walk_others(struct collmerge *m)
{
    uint8_t other = m->lead;

    for (uint32_t i = 0; i < m->count && m->err == 0; i++) {
        if (m->source[i].kind == m->lead)
            m->err = store_iter_status(m->source[i].it);
        else
            other = m->source[i].kind;
    }
    if (m->err != 0 || m->second || other == m->lead)
        return false;
    m->second = true;
    walk(m, other);
    return true;
}

/*
 * The member of the least place is shown by the sets that have it; `*from` is the first. Sets of
 * the other kind are asked for it: at first for its scores, then whether it was shown already.
 */
static enum look look_union(struct collmerge *m, int64_t *cost, uint32_t *from)
{
    const struct source *least = least_of(m);
    bool any = false, here = false, before = false;

    if (least == NULL)
        return walk_others(m) ? LOOK_NOT : LOOK_END;
    for (uint32_t i = 0; i < m->count && m->err == 0; i++) {
        struct source *s = &m->source[i];
        const bool walked = s->kind == m->lead;
        if (!(walked ? at_row(s) && bytes_eq(place(s), place(least)) : find(m, s, least, cost)))
            continue;
        s->taken = walked;
        if ((any && !m->scored) || !shows(m, s))
            continue;
        here |= walked;
        before |= m->second && !walked;
        if (!any)
            *from = i;
        any = true;
    }
    if (m->err != 0)
        return LOOK_END;
    return here && !before ? LOOK_SHOW : LOOK_NOT;
}

static void step_over(struct collmerge *m, int64_t *cost)
{
    for (uint32_t i = 0; i < m->count; i++) {
        m->source[i].has = false;
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

/* The member that is to be shown, by one that has it. False: it cannot be read. */
static bool take(struct collmerge *m, const struct source *from, struct collmerge_row *out)
{
    out->row = from->row;
    return member_at(m, from, &out->member) && (!m->scored || score_of(m, &out->score));
}

enum collmerge_result collmerge_next(struct collmerge *m, int64_t *cost, struct collmerge_row *out)
{
    uint32_t from = 0;
    enum look look = LOOK_NOT;

    while (*cost > 0) {
        step_over(m, cost);
        switch (m->op) {
        case COLLMERGE_INTER:
            look = look_inter(m, cost);
            break;
        case COLLMERGE_UNION:
            look = look_union(m, cost, &from);
            break;
        case COLLMERGE_DIFF:
            look = look_diff(m, cost);
            break;
        }
        if (m->err != 0 || look == LOOK_END)
            return ended(m);
        if (look == LOOK_NOT)
            continue;
        return take(m, &m->source[from], out) ? COLLMERGE_ROW : COLLMERGE_END;
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
