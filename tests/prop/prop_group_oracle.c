/* The oracle of a group: prop_group_oracle.h. */
#include "tests/prop/prop_group_oracle.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "engine/value/op.h"
#include "engine/value/row.h"
#include "engine/value/row_chunk.h"
#include "engine/value/row_state.h"

#include "tests/lib/tcase.h"
#include "tests/prop/prop_value_chunks_oracle.h"

/* One op, with the tag and the context of its batch. */
struct event {
    struct event *next; /* The one before it, of any key. */
    struct vv ctx;
    struct tag tag;
    struct op op;
    uint8_t *bytes; /* Of key, sub, value. */
};

struct oracle {
    struct event *last;
};

struct oracle *oracle_create(void)
{
    return mem_zalloc(sizeof(struct oracle));
}

void oracle_destroy(struct oracle *o)
{
    while (o->last != NULL) {
        struct event *e = o->last;
        o->last = e->next;
        mem_free(e->bytes);
        mem_free(e);
    }
    mem_free(o);
}

static struct bytes copy(uint8_t **at, struct bytes from)
{
    const struct bytes to = bytes_of(*at, from.len);

    if (from.len != 0)
        memcpy(*at, from.ptr, from.len);
    *at += from.len;
    return to;
}

void oracle_add(struct oracle *o, struct bytes bytes)
{
    struct batch batch;
    struct op op;

    assert_int_equal(batch_open(bytes, &batch), 0);
    while (batch_next(&batch, &op) == BATCH_OP) {
        struct event *e = mem_zalloc(sizeof(*e));
        e->bytes = mem_alloc(op.key.len + op.sub.len + op.value.len + op.seen.len + 1);
        uint8_t *at = e->bytes;
        e->op = op;
        e->op.key = copy(&at, op.key);
        e->op.sub = copy(&at, op.sub);
        e->op.value = copy(&at, op.value);
        e->op.seen = copy(&at, op.seen);
        e->tag = batch_tag(&batch);
        vv_copy(&e->ctx, &batch.ctx);
        e->next = o->last;
        o->last = e;
    }
}

/* --- who has seen whom --- */

static bool is_key_of(const struct event *e, struct bytes key)
{
    return bytes_eq(e->op.key, key);
}

static bool is_elem(const struct event *e, uint8_t type, struct bytes sub)
{
    return e->op.kind >= OP_ELEM_SET && e->op.kind <= OP_ELEM_DEL && e->op.type == type &&
           bytes_eq(e->op.sub, sub);
}

static bool adds_elem(const struct event *e)
{
    return e->op.kind == OP_ELEM_SET || e->op.kind == OP_ELEM_INCR;
}

/* It takes away all of the key that it has seen. */
static bool removes_key(const struct event *e)
{
    return e->op.kind == OP_DEL ||
           ((e->op.flags & OP_COVER) != 0 && (e->op.kind == OP_INCR || adds_elem(e)));
}

static bool is_value(const struct event *e)
{
    return e->op.kind == OP_SET || e->op.kind == OP_STRING;
}

/* It takes away values and types. */
static bool replaces_key(const struct event *e)
{
    return is_value(e) || removes_key(e);
}

/* A string in chunks is new with it, or was changed in part. */
static bool is_chunked(const struct event *e)
{
    return e->op.kind == OP_STRING ||
           (e->op.kind == OP_SET && e->op.value.len > ROW_INLINE_BYTES_MAX);
}

static struct tag generation_of(const struct event *e)
{
    return e->op.kind == OP_STRING ? e->op.generation : e->tag;
}

typedef bool takes_fn(const struct event *e, const struct event *gone);

static bool gone(const struct oracle *o, const struct event *what, takes_fn *takes)
{
    for (const struct event *e = o->last; e != NULL; e = e->next) {
        if (is_key_of(e, what->op.key) && vv_covers(&e->ctx, what->tag) && takes(e, what))
            return true;
    }
    return false;
}

static bool takes_value(const struct event *e, const struct event *what)
{
    (void)what;
    return replaces_key(e);
}

/* A part goes with the string that it is of, when something has seen that and takes its place. */
static bool part_gone(const struct oracle *o, const struct event *what)
{
    for (const struct event *e = o->last; what->op.kind == OP_STRING && e != NULL; e = e->next) {
        const bool part = e->op.kind == OP_STRING && !tag_eq(e->op.generation, e->tag);

        if (is_key_of(e, what->op.key) && replaces_key(e) && !part &&
            vv_covers(&e->ctx, what->op.generation))
            return true;
    }
    return false;
}

static bool takes_increment(const struct event *e, const struct event *what)
{
    (void)what;
    return removes_key(e);
}

static bool takes_elem_value(const struct event *e, const struct event *what)
{
    return replaces_key(e) ||
           (is_elem(e, what->op.type, what->op.sub) && e->op.kind != OP_ELEM_INCR);
}

static bool takes_elem_increment(const struct event *e, const struct event *what)
{
    return (is_elem(e, what->op.type, what->op.sub) && e->op.kind == OP_ELEM_DEL) ||
           replaces_key(e);
}

/* --- counters --- */

static double amount(const struct event *e)
{
    return (double)e->op.isum + (double)fsum_value(e->op.fsum);
}

static bool same_counter(const struct event *a, const struct event *b)
{
    return a->op.kind == b->op.kind && bytes_eq(a->op.key, b->op.key) &&
           a->tag.origin == b->tag.origin && a->op.type == b->op.type &&
           bytes_eq(a->op.sub, b->op.sub);
}

static bool is_latest(const struct oracle *o, const struct event *what)
{
    for (const struct event *e = o->last; e != NULL; e = e->next) {
        if (same_counter(e, what) && e->tag.hlc > what->tag.hlc)
            return false;
    }
    return true;
}

/* Takes what an op says that it has seen of the run, if that is further than `*at`. */
static void see(const struct event *e, const struct event *run, uint64_t *at, double *seen)
{
    struct bytes in = e->op.seen;
    struct row_cut cut;
    unsigned count;

    if (in.len == 0)
        return;
    assert_int_equal(row_cuts_open(&in, &count), 0);
    for (; count != 0; count--) {
        assert_int_equal(row_cut_get(&in, &cut), 0);
        if (cut.origin != run->tag.origin || cut.hlc < run->op.start || cut.hlc <= *at)
            continue;
        *at = cut.hlc;
        *seen = (double)cut.isum + (double)fsum_value(cut.fsum);
    }
}

/*
 * A counter in a collection that was removed as a whole: what a removal saw of it counts again if
 * its run goes on, so it matters what was left of it when an op looked.
 */
static double remains_of_removed(const struct oracle *o, const struct event *last,
                                 const struct event *base)
{
    double seen = 0;
    uint64_t at = 0;

    if (base != NULL)
        see(base, last, &at, &seen);
    for (const struct event *d = o->last; d != NULL; d = d->next) {
        if (is_key_of(d, last->op.key) && is_elem(d, last->op.type, last->op.sub) &&
            d->op.kind == OP_ELEM_DEL && !gone(o, d, takes_value))
            see(d, last, &at, &seen);
    }
    return amount(last) - seen;
}

static bool was_removed(const struct oracle *o, struct bytes key)
{
    for (const struct event *e = o->last; e != NULL; e = e->next) {
        if (is_key_of(e, key) && replaces_key(e))
            return true;
    }
    return false;
}

/*
 * What is left of the run of which `last` is the latest: less what it was when a DEL of just this
 * counter, or the value that it is added to, saw it.
 */
static double remains(const struct oracle *o, const struct event *last, const struct event *base)
{
    const struct event *seen = NULL;

    if (last->op.kind == OP_ELEM_INCR && was_removed(o, last->op.key))
        return remains_of_removed(o, last, base);
    for (const struct event *e = o->last; e != NULL; e = e->next) {
        if (!same_counter(e, last) || e->op.start != last->op.start)
            continue;
        const bool cut = base != NULL && vv_covers(&base->ctx, e->tag);
        bool floored = false;
        for (const struct event *d = o->last; d != NULL && !floored; d = d->next) {
            const bool del = last->op.kind == OP_INCR ? removes_key(d)
                                                      : is_elem(d, last->op.type, last->op.sub) &&
                                                            d->op.kind == OP_ELEM_DEL;
            floored = del && is_key_of(d, last->op.key) && vv_covers(&d->ctx, e->tag);
        }
        if ((cut || floored) && (seen == NULL || e->tag.hlc > seen->tag.hlc))
            seen = e;
    }
    return amount(last) - (seen == NULL ? 0 : amount(seen));
}

/* --- showing --- */

__attribute__((format(printf, 2, 3))) static void say(struct buf *out, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    const int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    assert_int_equal(buf_append(out, text, (size_t)len), 0);
}

static bool number(struct bytes value, uint8_t type, double *out)
{
    long double f;

    if (type == VT_ZSET) {
        const uint64_t bits = le64_load(value.ptr);
        memcpy(out, &bits, sizeof(bits));
        return true;
    }
    if (!num_parse_ldouble(value, &f))
        return false;
    *out = (double)f;
    return true;
}

struct cell {
    const struct event *base; /* The value that shows, or NULL. */
    double sum;
    bool counter;
    struct tag tag; /* Of the greatest that is alive; none: nothing is. */
};

/* A string, or one element. */
static struct cell cell_of(const struct oracle *o, struct bytes key, uint8_t type, struct bytes sub)
{
    struct cell c = {0};
    const bool elem = type != VT_STRING;

    for (const struct event *e = o->last; e != NULL; e = e->next) {
        const bool value = elem ? is_elem(e, type, sub) && e->op.kind == OP_ELEM_SET : is_value(e);
        if (is_key_of(e, key) && value && !gone(o, e, elem ? takes_elem_value : takes_value) &&
            (elem || !part_gone(o, e)) && (c.base == NULL || tag_cmp(e->tag, c.base->tag) > 0))
            c.base = e;
    }
    if (c.base != NULL)
        c.tag = c.base->tag;
    for (const struct event *e = o->last; e != NULL; e = e->next) {
        const bool incr =
            elem ? is_elem(e, type, sub) && e->op.kind == OP_ELEM_INCR : e->op.kind == OP_INCR;
        if (!is_key_of(e, key) || !incr || !is_latest(o, e) ||
            gone(o, e, elem ? takes_elem_increment : takes_increment))
            continue;
        if (c.base != NULL && vv_covers(&c.base->ctx, e->tag))
            continue;
        c.sum += remains(o, e, c.base);
        c.counter = true;
        c.tag = tag_max(c.tag, e->tag);
    }
    return c;
}

/* --- strings in chunks --- */

struct told {
    struct chunks_event *events;
    size_t count;
};

static struct chunks_event *tell(struct told *told, const struct event *e, enum chunks_kind kind)
{
    told->events = mem_realloc(told->events, (told->count + 1) * sizeof(*told->events));
    struct chunks_event *event = &told->events[told->count++];

    *event = (struct chunks_event){
        .kind = kind, .tag = e->tag, .ctx = &e->ctx, .generation = generation_of(e)};
    return event;
}

static void tell_set(struct told *told, const struct event *e)
{
    struct bytes left = e->op.value;

    tell(told, e, CHUNKS_STRING)->len = left.len;
    for (uint64_t i = 0; left.len != 0; i++) {
        struct chunks_event *image = tell(told, e, CHUNKS_IMAGE);

        image->at = i;
        image->bytes = bytes_of(left.ptr, size_min(left.len, ROW_CHUNK_BYTES));
        left = bytes_from(left, image->bytes.len);
    }
}

static void tell_part(struct told *told, const struct event *e)
{
    const enum chunks_kind kind = e->op.kind == OP_BITS ? CHUNKS_BITS : CHUNKS_IMAGE;
    struct chunks_event *part = tell(told, e, kind);

    part->generation = e->op.generation;
    part->at = e->op.at;
    part->bits = e->op.bits;
    part->bits_count = e->op.bits_count;
    part->bytes = e->op.value;
}

/* What the string in chunks that shows is, by the oracle of these. */
static void show_chunks(const struct oracle *o, const struct event *base, struct buf *out)
{
    struct told told = {0};
    struct tag generation;

    for (const struct event *e = o->last; e != NULL; e = e->next) {
        if (!is_key_of(e, base->op.key))
            continue;
        if (e->op.kind == OP_BITS || e->op.kind == OP_CHUNK)
            tell_part(&told, e);
        else if (e->op.kind == OP_STRING)
            tell(&told, e, CHUNKS_STRING)->len = e->op.len;
        else if (is_chunked(e))
            tell_set(&told, e);
        else if (e->op.kind == OP_SET)
            tell(&told, e, CHUNKS_WHOLE)->bytes = e->op.value;
        else if (removes_key(e))
            (void)tell(&told, e, CHUNKS_DEL);
    }
    /* The first one first. */
    for (size_t i = 0; i < told.count / 2; i++) {
        const struct chunks_event swap = told.events[i];

        told.events[i] = told.events[told.count - 1 - i];
        told.events[told.count - 1 - i] = swap;
    }
    assert_true(chunks_oracle(told.events, told.count, &generation, out));
    assert_true(tag_eq(generation, generation_of(base)));
    mem_free(told.events);
}

static void show_cell(const struct oracle *o, const struct cell *c, uint8_t type, struct buf *out)
{
    double base = 0;

    if (type == VT_STRING && c->base != NULL && is_chunked(c->base)) {
        show_chunks(o, c->base, out);
        return;
    }

    if (c->base != NULL && !number(c->base->op.value, type, &base)) {
        assert_int_equal(buf_append_bytes(out, c->base->op.value), 0);
        return;
    }
    if (type == VT_ZSET || c->counter)
        say(out, "%.17g", base + c->sum);
    else
        assert_int_equal(buf_append_bytes(out, c->base->op.value), 0);
}

static int by_sub(const void *a, const void *b)
{
    const struct event *const *x = a, *const *y = b;

    return bytes_cmp((*x)->op.sub, (*y)->op.sub);
}

static bool show_coll(const struct oracle *o, struct bytes key, uint8_t type, struct buf *out)
{
    const struct event **subs = NULL;
    size_t count = 0;
    bool any = false;

    for (const struct event *e = o->last; e != NULL; e = e->next) {
        if (!is_key_of(e, key) || !adds_elem(e) || e->op.type != type)
            continue;
        subs = mem_realloc(subs, (count + 1) * sizeof(struct event *));
        subs[count++] = e;
    }
    if (count != 0)
        qsort(subs, count, sizeof(struct event *), by_sub);
    for (size_t i = 0; i < count; i++) {
        if (i != 0 && bytes_eq(subs[i]->op.sub, subs[i - 1]->op.sub))
            continue;
        const struct cell c = cell_of(o, key, type, subs[i]->op.sub);
        if (tag_is_none(c.tag))
            continue;
        if (!any)
            say(out, "%u:", type);
        any = true;
        if (type != VT_LIST)
            say(out, "%.*s=", (int)subs[i]->op.sub.len, (const char *)subs[i]->op.sub.ptr);
        show_cell(o, &c, type, out);
        say(out, ",");
    }
    mem_free(subs);
    return any;
}

bool oracle_show(const struct oracle *o, struct bytes key, struct buf *out)
{
    const struct cell string = cell_of(o, key, VT_STRING, bytes_of(NULL, 0));
    uint8_t type = tag_is_none(string.tag) ? VT_NONE : VT_STRING;
    struct tag best = string.tag;

    for (const struct event *e = o->last; e != NULL; e = e->next) {
        if (!is_key_of(e, key))
            continue;
        if (e->op.expire_at_ms != 0 || e->op.kind == OP_EXPIRE)
            return false;
        if (adds_elem(e) && tag_cmp(e->tag, best) > 0 && !gone(o, e, takes_value)) {
            best = e->tag;
            type = e->op.type;
        }
    }
    if (type == VT_STRING) {
        say(out, "%u:", type);
        show_cell(o, &string, VT_STRING, out);
        say(out, ",");
    } else if (type != VT_NONE) {
        (void)show_coll(o, key, type, out);
    }
    return true;
}

static void print_tag(const char *what, struct tag tag)
{
    (void)fprintf(stderr, " %s %u/%" PRIu64 ".%" PRIu64, what, tag.origin, hlc_ms(tag.hlc),
                  tag.hlc & 0xffff);
}

void oracle_print(const struct oracle *o, struct bytes key)
{
    for (const struct event *e = o->last; e != NULL; e = e->next) {
        if (!is_key_of(e, key))
            continue;
        (void)fprintf(stderr, "kind %u type %u flags %x %.*s = %.*s, sum %g", e->op.kind,
                      e->op.type, e->op.flags, (int)e->op.sub.len, (const char *)e->op.sub.ptr,
                      (int)size_min(e->op.value.len, 20), (const char *)e->op.value.ptr, amount(e));
        print_tag("at", e->tag);
        print_tag("run of", tag_of(e->op.start, e->tag.origin));
        for (unsigned i = 0; i < e->ctx.count; i++)
            print_tag("seen", tag_of(e->ctx.hlc[i], e->ctx.origin[i]));
        (void)fprintf(stderr, "\n");
    }
}
