/* Prefixes, and who is told of keys by them; tracking_bcast.h tells. */
#include "server/tracking_bcast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "server/conn.h"
#include "server/shard.h"
#include "server/tracking.h"
#include "server/tracking_send.h"

/* What one takes beside its text, at most, with nodes and what joins them. */
#define PREFIX_BYTES 512u

/* A prefix of this shard's clients. */
struct prefix {
    struct list subs;
    /* While keys are told: its part of them, and where it stands in the list of those found. */
    struct list_link found_link;
    size_t first;
    size_t count; /* 0: not found yet. */
    size_t len;
    uint8_t text[];
};

struct prefix_sub {
    struct list_link prefix_link;
    struct list_link client_link;
    struct prefix *prefix;
    struct tracking_client *client;
};

static struct bytes text_of(const struct prefix *p)
{
    return bytes_of(p->text, p->len);
}

/* --- prefixes --- */

static struct prefix *prefix_of(struct tracking *t, struct bytes text)
{
    struct prefix *p = prefixtree_get(&t->prefixes, text);

    if (p != NULL)
        return p;
    p = mem_zalloc(sizeof(*p) + text.len);
    list_init(&p->subs);
    p->len = text.len;
    if (text.len != 0)
        memcpy(p->text, text.ptr, text.len);
    prefixtree_add(&t->prefixes, text, p);
    return p;
}

/* Of each prefix, beside the client's own tree; as if nobody else had it. */
static size_t sub_bytes(struct bytes text)
{
    return sizeof(struct prefix_sub) + sizeof(struct prefix) + text.len;
}

void tracking_bcast_add(struct tracking_client *tc, struct bytes text)
{
    struct tracking *t = tc->conn->sh->tracking;

    if (prefixtree_get(&tc->prefixes, text) != NULL)
        return;
    struct prefix_sub *sub = mem_zalloc(sizeof(*sub));
    const size_t before = tracking_bcast_bytes(tc);
    sub->client = tc;
    sub->prefix = prefix_of(t, text);
    list_push_back(&sub->prefix->subs, &sub->prefix_link);
    list_push_back(&tc->subs, &sub->client_link);
    prefixtree_add(&tc->prefixes, text, sub);
    tc->subs_bytes += sub_bytes(text);
    t->prefixes_bytes += tracking_bcast_bytes(tc) - before;
}

void tracking_bcast_drop(struct tracking_client *tc)
{
    struct tracking *t = tc->conn->sh->tracking;
    struct list_link *link;

    t->prefixes_bytes -= tracking_bcast_bytes(tc);
    while ((link = list_pop_front(&tc->subs)) != NULL) {
        struct prefix_sub *sub = LIST_ITEM(link, struct prefix_sub, client_link);
        struct prefix *p = sub->prefix;
        list_remove(&sub->prefix_link);
        mem_free(sub);
        if (!list_empty(&p->subs))
            continue;
        CHECK(prefixtree_remove(&t->prefixes, text_of(p)) == p);
        mem_free(p);
    }
    prefixtree_deinit(&tc->prefixes);
    tc->subs_bytes = 0;
}

size_t tracking_bcast_bytes(const struct tracking_client *tc)
{
    /* The tree of the shard is as large for it as its own. */
    return tc->subs_bytes + 2 * tc->prefixes.bytes;
}

bool tracking_prefixes_fit(const struct conn *c, const struct tracking_options *o)
{
    const uint64_t max = tracking_bytes_max(c->sh);
    uint64_t bytes = c->sh->tracking->prefixes_bytes;

    for (uint32_t i = 0; i < o->prefixes_count; i++)
        bytes += PREFIX_BYTES + 3 * (uint64_t)o->prefixes[i]->len;
    return max == 0 || bytes <= max;
}

bool tracking_overlaps(const struct conn *c, struct bytes prefix, struct bytes *out)
{
    if (c->tracking == NULL)
        return false;
    struct prefixtree_heads heads = prefixtree_heads(&c->tracking->prefixes, prefix);
    const struct prefix_sub *sub = prefixtree_heads_next(&heads);
    if (sub == NULL)
        sub = prefixtree_first_of(&c->tracking->prefixes, prefix);
    if (sub == NULL)
        return false;
    *out = text_of(sub->prefix);
    return true;
}

struct each {
    void (*fn)(void *ctx, struct bytes prefix);
    void *ctx;
};

static void on_each(void *ctx, void *value)
{
    const struct each *each = ctx;
    const struct prefix_sub *sub = value;

    each->fn(each->ctx, text_of(sub->prefix));
}

void tracking_each_prefix(const struct conn *c, void (*fn)(void *ctx, struct bytes prefix),
                          void *ctx)
{
    struct each each = {.fn = fn, .ctx = ctx};

    if (c->tracking != NULL)
        prefixtree_each(&c->tracking->prefixes, on_each, &each);
}

void tracking_append_key(struct buf *to, struct bytes name)
{
    char head[32];
    const int len = snprintf(head, sizeof(head), "$%zu\r\n", name.len);

    CHECK(len > 0 && buf_append(to, head, (size_t)len) == 0);
    CHECK(buf_append_bytes(to, name) == 0 && buf_append(to, "\r\n", 2) == 0);
}

/* --- the keys of a turn --- */

struct changed_key {
    struct bytes name;
    uint64_t writer;
    size_t place;
};

static int by_name(const void *a, const void *b)
{
    const struct changed_key *x = a, *y = b;
    const int order = bytes_cmp(x->name, y->name);

    return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

/* In the order of their names, each once with its last writer. Returns how many. */
static size_t read_changed(struct bytes list, struct changed_key *out)
{
    size_t n = 0, kept = 0;
    struct bytes name;

    while (list.len >= TRACKING_CHANGED_HEAD_BYTES) {
        const uint64_t writer = le64_load(list.ptr);
        const size_t len = le16_load(list.ptr + 8);
        list = bytes_from(list, TRACKING_CHANGED_HEAD_BYTES);
        CHECK(bytes_take(&list, len, &name));
        out[n] = (struct changed_key){.name = name, .writer = writer, .place = n};
        n++;
    }
    qsort(out, n, sizeof(*out), by_name);
    for (size_t i = 0; i < n; i++) {
        if (kept != 0 && bytes_eq(out[kept - 1].name, out[i].name))
            kept--;
        out[kept++] = out[i];
    }
    return kept;
}

/* The keys, but those of `but` (0: nobody); false: there are none. */
static bool array_of(const struct changed_key *keys, size_t n, uint64_t but, struct buf *out)
{
    uint64_t found = 0;
    char head[32];

    for (size_t i = 0; i < n; i++)
        found += but == 0 || keys[i].writer != but;
    const int len = snprintf(head, sizeof(head), "*%llu\r\n", (unsigned long long)found);
    buf_clear(out);
    CHECK(len > 0 && buf_append(out, head, (size_t)len) == 0);
    for (size_t i = 0; i < n; i++) {
        if (but == 0 || keys[i].writer != but)
            tracking_append_key(out, keys[i].name);
    }
    return found != 0;
}

/* Those who have the prefix, of its part of the keys. */
static void tell_prefix(struct shard *sh, const struct prefix *p, const struct changed_key *keys,
                        size_t bytes_max)
{
    struct buf all, some;

    keys += p->first;
    buf_init(&all, bytes_max);
    buf_init(&some, bytes_max);
    IGNORE_RESULT(array_of(keys, p->count, 0, &all));
    LIST_FOR_EACH(link, &p->subs) {
        struct tracking_client *tc = LIST_ITEM(link, struct prefix_sub, prefix_link)->client;
        if (!tc->noloop)
            tracking_tell(sh, tc, buf_bytes(&all));
        else if (array_of(keys, p->count, tc->conn->id, &some))
            tracking_tell(sh, tc, buf_bytes(&some));
    }
    buf_deinit(&all);
    buf_deinit(&some);
}

/* Which prefixes have which part of the keys. */
static void find_prefixes(const struct tracking *t, const struct changed_key *keys, size_t n,
                          struct list *found)
{
    for (size_t i = 0; i < n; i++) {
        struct prefixtree_heads heads = prefixtree_heads(&t->prefixes, keys[i].name);
        struct prefix *p;
        while ((p = prefixtree_heads_next(&heads)) != NULL) {
            if (p->count == 0) {
                p->first = i;
                list_push_back(found, &p->found_link);
            }
            p->count++;
        }
    }
}

void tracking_on_changed(struct shard *sh, struct bytes list)
{
    struct changed_key *keys =
        mem_alloc((list.len / TRACKING_CHANGED_HEAD_BYTES + 1) * sizeof(struct changed_key));
    const size_t n = read_changed(list, keys);
    struct list found;
    struct list_link *link;

    list_init(&found);
    find_prefixes(sh->tracking, keys, n, &found);
    while ((link = list_pop_front(&found)) != NULL) {
        struct prefix *p = LIST_ITEM(link, struct prefix, found_link);
        /* A name takes 16 bytes more in RESP, at most. */
        tell_prefix(sh, p, keys, list.len + n * 16 + 64);
        p->count = 0;
    }
    mem_free(keys);
}
