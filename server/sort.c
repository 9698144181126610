/* Elements in the order of what patterns lead to; sort.h tells. */
#include "server/sort.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "engine/space/coll.h"
#include "engine/space/demote.h"
#include "engine/space/keyspace.h"
#include "engine/space/resident.h"
#include "engine/space/strval.h"

/* What a key in memory takes beside its name and its row, roughly. Bytes. */
#define KEY_BYTES 64
/* Longer texts are no numbers. */
#define NUMBER_BYTES_MAX NUM_LDOUBLE_BYTES

/* A copy, one behind the other. */
struct sort_text {
    struct sort_text *next;
    uint8_t data[];
};

/* Room for `len` bytes until sort_end; NULL: there is no memory. */
static uint8_t *text_room(struct sort *s, size_t len)
{
    size_t bytes;

    if (size_add_overflow(sizeof(struct sort_text), len, &bytes))
        return NULL;
    struct sort_text *t = mem_try_alloc(bytes);
    if (t == NULL)
        return NULL;
    t->next = s->texts;
    s->texts = t;
    return t->data;
}

/* --- what patterns lead to --- */

/* The key for an element; false: no key can have such a name. */
static bool key_for(struct sort *s, const struct sort_pattern *p, struct bytes element,
                    struct ks_key *out)
{
    if (p->head.len + element.len + p->tail.len > KS_NAME_BYTES_MAX ||
        p->field.len > KS_NAME_BYTES_MAX)
        return false;
    buf_clear(&s->name);
    CHECK(buf_append_bytes(&s->name, p->head) == 0);
    CHECK(buf_append_bytes(&s->name, element) == 0);
    CHECK(buf_append_bytes(&s->name, p->tail) == 0);
    *out = ks_key_of(buf_bytes(&s->name), ks_seed(s->ks));
    return true;
}

static void string_value(struct sort *s, struct obj *obj, struct sort_value *out)
{
    struct row_view view;

    if (obj->h.type != VT_STRING)
        return;
    out->found = true;
    if (obj_is_chunked(obj)) {
        s->cold = s->cold || !obj_coll(obj)->complete;
        out->chunked = obj;
        return;
    }
    CHECK(row_view(obj_row(obj), s->now_ms, &view) == 0);
    out->bytes = row_text(&view, out->text);
}

static void field_value(struct sort *s, const struct obj *obj, struct bytes field,
                        struct sort_value *out)
{
    struct row_view view;

    if (obj->h.type != VT_HASH)
        return;
    const struct coll *coll = obj_coll(obj);
    const struct elem *elem = coll_find(coll, field);
    if (elem == NULL) {
        s->cold = s->cold || !coll_knows(coll, field);
        return;
    }
    out->found = true;
    CHECK(row_view(elem_row(elem), s->now_ms, &view) == 0);
    out->bytes = row_text(&view, out->text);
}

void sort_value(struct sort *s, const struct sort_pattern *pattern, struct bytes element,
                struct sort_value *out)
{
    struct ks_key key;
    struct obj *obj;

    out->found = pattern->itself;
    out->chunked = NULL;
    out->bytes = element;
    if (!pattern->leads || !key_for(s, pattern, element, &key))
        return;
    switch (ks_find(s->ks, &key, s->now_ms, &obj, NULL)) {
    case KS_ABSENT:
        return;
    case KS_COLD:
        s->cold = true;
        return;
    case KS_HOT:
        break;
    }
    if (pattern->field.len != 0)
        field_value(s, obj, pattern->field, out);
    else
        string_value(s, obj, out);
}

/* --- bringing it into memory --- */

/* What is to be asked for. */
struct needed {
    uint64_t first; /* Items. */
    uint64_t end;
    bool by; /* By which patterns. */
    bool gets;
    struct sort_walk *walk;
    struct ks_wait *wait;
};

static int need_one(struct sort *s, const struct sort_pattern *p, struct bytes element,
                    const struct needed *n)
{
    struct ks_key key;

    if (!p->leads || !key_for(s, p, element, &key))
        return 0;
    int waiting = ks_need_key(s->ks, &key, n->wait);
    if (p->field.len != 0)
        waiting += ks_need_elem(s->ks, &key, p->field, n->wait);
    if (waiting != 0)
        return waiting;
    struct obj *obj = ks_peek(s->ks, &key, s->now_ms);
    if (obj == NULL)
        return 0;
    n->walk->bytes += KEY_BYTES + key.name.len + obj->h.row_len;
    if (p->field.len == 0 && obj_is_chunked(obj)) {
        n->walk->bytes += strval_len(obj);
        return ks_need_whole(s->ks, &key, n->wait);
    }
    return 0;
}

/* All patterns of one item. */
static int need_item(struct sort *s, struct bytes element, const struct needed *n)
{
    const struct sort_args *args = s->args;
    int waiting = 0;

    for (uint32_t i = 0; i <= args->gets_count; i++) {
        const bool by = i == args->gets_count;
        if (by ? !n->by : !n->gets)
            continue;
        const int result = need_one(s, by ? s->by : &args->gets[i], element, n);
        if (result < 0)
            return result;
        waiting += result;
    }
    return waiting;
}

/* One round of asking, from `from` on. > 0: reads are under way. */
static int need_round(struct sort *s, const struct needed *n, uint64_t from)
{
    bool waits = false;

    for (uint64_t i = from; i < n->end; i++) {
        const int result = need_item(s, s->items[i].element, n);
        if (result < 0)
            return result;
        if (result > 0 && !waits) {
            waits = true;
            n->walk->at = i - n->first;
        }
        /* The others would wait for the same: room for reads. */
        if (n->wait->queued)
            break;
    }
    return waits;
}

static int need(struct sort *s, const struct needed *n)
{
    struct sort_walk *walk = n->walk;

    for (;;) {
        const uint64_t from = u64_min(n->first + walk->at, n->end);
        if (walk->at == 0)
            walk->bytes = 0;
        const int result = need_round(s, n, from);
        if (result > 0 && walk->bytes > ks_scan_bytes_max(s->ks))
            return -ERR_LIMIT;
        if (result != 0 || walk->at == 0)
            return result;
        *walk = (struct sort_walk){0};
    }
}

int sort_prepare(struct sort *s, struct sort_walk *walk, struct ks_wait *wait)
{
    const bool most = s->end - s->first >= s->count / 2;
    const struct needed before = {
        .end = s->count, .by = s->by != NULL, .gets = most, .walk = walk, .wait = wait};
    int result = need(s, &before);

    if (result == 0)
        result = sort_order(s);
    if (result != 0 || most || s->args->gets_count == 0)
        return result;
    struct sort_walk shown = {0};
    const struct needed after = {
        .first = s->first, .end = s->end, .gets = true, .walk = &shown, .wait = wait};
    return need(s, &after);
}

/* --- loading --- */

/* What LIMIT shows of `count` elements. */
static void find_range(struct sort *s, uint64_t count)
{
    const int64_t size = (int64_t)count;
    const int64_t offset = i64_min(i64_max(s->args->offset, 0), size);
    const int64_t limit = i64_min(s->args->limit, size);

    s->first = (uint64_t)offset;
    s->end = limit < 0 ? count : (uint64_t)i64_min(offset + limit, size);
}

static void take(struct sort *s, struct bytes element)
{
    s->items[s->count++] = (struct sort_item){.element = element};
}

/* `n` elements of a list from index `at` on. */
static int take_list(struct sort *s, const struct coll *coll, uint64_t at, uint64_t n)
{
    const bool backward = s->as_it_is && s->args->descending;
    char text[ROW_TEXT_BYTES];
    struct row_view view;
    struct listq_at cursor;

    coll_list_at(coll, backward ? coll->count - 1 - at : at, &cursor);
    for (; n > 0; n--) {
        CHECK(listq_valid(&cursor));
        CHECK(row_view(cursor.row, s->now_ms, &view) == 0);
        struct bytes element = row_text(&view, text);
        if (element.ptr == (const uint8_t *)text) {
            uint8_t *copy = text_room(s, element.len);
            if (copy == NULL)
                return -ENOMEM;
            memcpy(copy, text, element.len);
            element.ptr = copy;
        }
        take(s, element);
        if (backward)
            listq_prev(&coll->seq, &cursor);
        else
            listq_next(&coll->seq, &cursor);
    }
    return 0;
}

/* `n` members of a sorted set from rank `at` on, in either direction. */
static void take_ranks(struct sort *s, const struct coll *coll, uint64_t at, uint64_t n)
{
    const bool backward = s->args->descending;
    struct zorder_pos pos;

    CHECK(zorder_at(&coll->order, backward ? coll->count - 1 - at : at, &pos));
    for (bool more = true; n > 0; n--) {
        CHECK(more);
        take(s, elem_sub(pos.elem));
        more = backward ? zorder_prev(&pos) : zorder_next(&pos);
    }
}

static void take_members(struct sort *s, const struct coll *coll)
{
    struct coll_iter it;
    const struct elem *elem;

    coll_iter_init(coll, &it);
    while ((elem = coll_iter_next(&it)) != NULL)
        take(s, elem_sub(elem));
}

void sort_begin(struct sort *s, struct keyspace *ks, uint64_t now_ms, const struct sort_args *args)
{
    *s = (struct sort){.ks = ks, .now_ms = now_ms, .args = args};
    buf_init(&s->name, KS_NAME_BYTES_MAX);
    s->as_it_is = args->unsorted;
    s->by_text = args->alpha;
    if (args->has_by && args->by.leads && !args->unsorted)
        s->by = &args->by;
}

static int items_alloc(struct sort *s, uint64_t n)
{
    size_t bytes;

    mem_free(s->items);
    s->items = NULL;
    s->count = 0;
    if (size_mul_overflow(n, sizeof(*s->items), &bytes))
        return -ENOMEM;
    s->items = mem_try_alloc(size_max(bytes, 1));
    return s->items == NULL ? -ENOMEM : 0;
}

int sort_load(struct sort *s, const struct coll *coll)
{
    /* A set has no order of its own, and what is stored should be the same everywhere. */
    if (s->as_it_is && coll->type == VT_SET && s->args->store_at != 0) {
        s->as_it_is = false;
        s->by_text = true;
    }
    find_range(s, coll->count);
    const bool ranged = s->as_it_is && coll->type != VT_SET;
    const uint64_t at = ranged ? s->first : 0;
    const uint64_t n = ranged ? s->end - s->first : coll->count;
    const int err = items_alloc(s, n);
    if (err != 0 || n == 0)
        return err;
    s->first -= at;
    s->end -= at;
    if (coll->type == VT_LIST)
        return take_list(s, coll, at, n);
    if (ranged)
        take_ranks(s, coll, at, n);
    else
        take_members(s, coll);
    return 0;
}

int sort_load_words(struct sort *s, const struct bytes *words, uint64_t n)
{
    const int err = items_alloc(s, n);

    for (uint64_t i = 0; i < n && err == 0; i++)
        take(s, words[i]);
    s->first = 0;
    s->end = s->count;
    return err;
}

void sort_end(struct sort *s)
{
    struct sort_text *t;

    while ((t = s->texts) != NULL) {
        s->texts = t->next;
        mem_free(t);
    }
    mem_free(s->items);
    buf_deinit(&s->name);
}

/* --- order --- */

/* As strtod reads it: blanks in front and no digits at all are fine. */
static bool parse_score(struct bytes value, double *out)
{
    char text[NUMBER_BYTES_MAX];
    char *end;
    int64_t integer;

    if (num_parse_i64(value, &integer)) {
        *out = (double)integer;
        return true;
    }
    if (value.len >= sizeof(text))
        return false;
    if (value.len != 0)
        memcpy(text, value.ptr, value.len);
    text[value.len] = 0;
    errno = 0;
    *out = strtod(text, &end); /* tidy: allow strtod, Redis' own reading */
    return *end == 0 && errno != ERANGE && !isnan(*out);
}

/* The text stays until sort_end. */
static int keep_text(struct sort *s, const struct sort_value *value, struct bytes *out)
{
    const bool copied = value->bytes.ptr == (const uint8_t *)value->text;

    if (value->chunked == NULL && !copied) {
        *out = value->bytes;
        /* An empty text is one. */
        if (out->ptr == NULL)
            out->ptr = (const uint8_t *)"";
        return 0;
    }
    const size_t len = value->chunked != NULL ? strval_len(value->chunked) : value->bytes.len;
    uint8_t *copy = text_room(s, len);
    if (copy == NULL)
        return -ENOMEM;
    if (value->chunked != NULL)
        strval_copy(obj_coll(value->chunked), 0, copy, len);
    else if (len != 0)
        memcpy(copy, value->bytes.ptr, len);
    *out = bytes_of(copy, len);
    return 0;
}

/* What an item is sorted by. */
static int weigh(struct sort *s, struct sort_item *item)
{
    struct sort_value value;

    if (s->by == NULL) {
        if (s->by_text)
            item->by.text = item->element;
        else if (!parse_score(item->element, &item->by.score))
            s->not_number = true;
        return 0;
    }
    sort_value(s, s->by, item->element, &value);
    if (s->cold)
        return 0;
    if (s->by_text) {
        item->by.text = bytes_of(NULL, 0);
        return value.found ? keep_text(s, &value, &item->by.text) : 0;
    }
    item->by.score = 0;
    if (value.found && (value.chunked != NULL || !parse_score(value.bytes, &item->by.score)))
        s->not_number = true;
    return 0;
}

static int by_text(const struct sort_item *a, const struct sort_item *b)
{
    const struct bytes x = a->by.text, y = b->by.text;

    if (x.ptr == NULL || y.ptr == NULL)
        return (x.ptr != NULL) - (y.ptr != NULL);
    return bytes_cmp(x, y);
}

static int by_score(const struct sort_item *a, const struct sort_item *b)
{
    const double x = a->by.score, y = b->by.score;

    return x > y ? 1 : x < y ? -1 : bytes_cmp(a->element, b->element);
}

static int compare(const void *a, const void *b, void *ctx)
{
    const struct sort *s = ctx;
    const int order = s->by_text ? by_text(a, b) : by_score(a, b);

    return s->args->descending ? -order : order;
}

int sort_order(struct sort *s)
{
    if (s->as_it_is)
        return 0;
    for (uint64_t i = 0; i < s->count; i++) {
        const int err = weigh(s, &s->items[i]);
        if (err != 0)
            return err;
        if (s->cold)
            return 0;
    }
    if (s->count > 1 && !s->not_number)
        qsort_r(s->items, s->count, sizeof(*s->items), compare, s);
    return 0;
}
