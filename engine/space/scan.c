/* Walking over all keys; scan.h tells how. */
#include "engine/space/scan.h"

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/group_impl.h"
#include "engine/space/ks_state.h"
#include "engine/space/resident.h"

/* Names read for one stretch; if there are more it is read in parts. Bytes. */
#define NAMES_BYTES_MAX (8u << 20)
/* Stretches read and not fetched yet; the oldest is dropped. */
#define STRETCHES_MAX 64
/*
 * Names of keys that were demoted since a stretch's read began, or wait in the overlay. Beyond it
 * the stretch is read again, half as long.
 */
#define LATE_BYTES_MAX (4u << 20)

/* --- the stretch of the table --- */

struct stretch {
    bool any_cold;
};

static void look(void *ctx, const struct keytab_entry *entry)
{
    struct stretch *s = ctx;

    s->any_cold |= entry->kind == KEYTAB_COLD;
}

struct show {
    struct keyspace *ks;
    ks_scan_fn fn;
    void *ctx;
    uint64_t now_ms;
};

static void show_hot(void *ctx, const struct keytab_entry *entry)
{
    const struct show *s = ctx;

    if (entry->kind != KEYTAB_HOT || (entry->ref.obj->h.flags & BLK_DEAD) != 0)
        return;
    const struct obj *obj = entry->ref.obj;
    const uint64_t at_ms = ks_expire_at(obj);
    s->fn(s->ctx, obj_key(obj), obj->h.type, at_ms != 0 && at_ms <= s->now_ms);
}

/* --- names from the store --- */

struct ks_names {
    struct list_link link;
    struct pool_job job;
    struct keyspace *ks;
    struct list waiters;
    struct buf names; /* u16 length, u8 type, u64 expiry, name. */
    struct buf late;  /* The same, of keys demoted since: the read may not have seen their rows. */
    uint32_t late_count;
    uint32_t asked; /* As the walk's step says, */
    uint32_t count; /* and of this stretch, which is shorter where names are too long. */
    uint64_t cursor;
    uint64_t next; /* The stretch ends before it; 0: the end of all. */
    int err;
    bool reading;
    bool done;
    bool outdated; /* More were demoted than `late` has room for. */
};

#define RECORD_HEAD_BYTES 11

struct record {
    struct bytes name;
    uint64_t expire_at_ms;
    uint8_t type;
};

static int record_append(struct buf *out, const struct record *r)
{
    uint8_t head[RECORD_HEAD_BYTES];

    le16_store(head, (uint16_t)r->name.len);
    head[2] = r->type;
    le64_store(head + 3, r->expire_at_ms);
    const int err = buf_append(out, head, sizeof(head));
    return err != 0 ? err : buf_append_bytes(out, r->name);
}

/* The record at `*at`, which becomes the place of the next; false at the end. */
static bool record_next(struct bytes in, size_t *at, struct record *out)
{
    if (*at == in.len)
        return false;
    in = bytes_from(in, *at);
    const size_t len = le16_load(in.ptr);
    CHECK(len <= in.len - RECORD_HEAD_BYTES);
    *out = (struct record){.name = bytes_of(in.ptr + RECORD_HEAD_BYTES, len),
                           .expire_at_ms = le64_load(in.ptr + 3),
                           .type = in.ptr[2]};
    *at += RECORD_HEAD_BYTES + len;
    return true;
}

/* The row key at which a cursor's stretch begins. */
static size_t cursor_key(uint64_t cursor, uint8_t out[ROWKEY_HEAD_BYTES])
{
    be16_store(out, (uint16_t)(cursor >> KEYTAB_CURSOR_HASH_BITS));
    be64_store(out + 2, cursor << (64 - KEYTAB_CURSOR_HASH_BITS));
    return 10;
}

static int keep_name(struct ks_names *n, const struct rowkey *rk, struct bytes row)
{
    struct row_view view;

    int err = row_view(row, 0, &view);
    if (err != 0 || view.type == VT_NONE)
        return err;
    const struct record record = {
        .name = rk->key, .expire_at_ms = view.expire_at_ms, .type = view.type};
    return record_append(&n->names, &record);
}

/* From a key row to the next one, over its elements. */
static int step_over(struct store_iter *it, struct buf *room)
{
    struct rowkey rk;

    store_iter_next(it);
    if (!store_iter_valid(it) || rowkey_parse(store_iter_key(it), &rk) != 0 ||
        rk.kind == ROWKEY_KIND_KEY)
        return 0;
    const struct bytes prefix = bytes_of(store_iter_key(it).ptr, ROWKEY_HEAD_BYTES + rk.key.len);
    buf_clear(room);
    const int err = buf_reserve(room, prefix.len + 1);
    if (err != 0)
        return err;
    const size_t len = rowkey_store_after(buf_end(room), prefix);
    store_iter_seek(it, bytes_of(buf_end(room), len));
    return 0;
}

static void read_names(struct ks_names *n)
{
    uint8_t lower[ROWKEY_HEAD_BYTES], upper[ROWKEY_HEAD_BYTES] = {0x80};
    struct store_iter *it;
    struct rowkey rk;
    struct bytes row;
    struct buf room;
    const size_t lower_len = cursor_key(n->cursor, lower);
    const size_t upper_len = n->next == 0 ? 1 : cursor_key(n->next, upper);
    const struct store_iter_options options = {.lower = bytes_of(lower, lower_len),
                                               .upper = bytes_of(upper, upper_len)};

    n->err = store_iter_open(n->ks->options.store, &options, &it);
    if (n->err != 0)
        return;
    buf_init(&room, ROWKEY_BYTES_MAX);
    store_iter_seek(it, bytes_of(NULL, 0));
    while (store_iter_valid(it) && n->err == 0) {
        n->err = rowkey_parse(store_iter_key(it), &rk);
        if (n->err == 0 && rk.kind == ROWKEY_KIND_KEY)
            n->err =
                store_iter_row(it, &row) == STORE_FOUND ? keep_name(n, &rk, row) : -ERR_CORRUPT;
        if (n->err == 0)
            n->err = step_over(it, &room);
    }
    if (n->err == 0)
        n->err = store_iter_status(it);
    store_iter_close(it);
    buf_deinit(&room);
}

static void names_batch(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++)
        read_names(container_of(jobs[i], struct ks_names, job));
}

static void names_free(struct ks_names *n)
{
    list_remove(&n->link);
    n->ks->names_count--;
    buf_deinit(&n->names);
    buf_deinit(&n->late);
    mem_free(n);
}

static void on_names(struct mail *mail)
{
    struct ks_names *n =
        container_of(container_of(mail, struct pool_job, mail), struct ks_names, job);

    n->reading = false;
    n->done = true;
    n->ks->names_reading--;
    ks_wake(&n->waiters, 0);
}

/* The stretch of that step, or NULL. */
static struct ks_names *find(struct keyspace *ks, uint64_t cursor, uint32_t asked)
{
    LIST_FOR_EACH(link, &ks->names) {
        struct ks_names *n = LIST_ITEM(link, struct ks_names, link);
        if (n->cursor == cursor && n->asked == asked)
            return n;
    }
    return NULL;
}

/* Drops the oldest stretch that nobody has fetched. */
static void drop_one(struct keyspace *ks)
{
    LIST_FOR_EACH(link, &ks->names) {
        struct ks_names *n = LIST_ITEM(link, struct ks_names, link);
        if (n->done && list_empty(&n->waiters)) {
            names_free(n);
            return;
        }
    }
}

/* --- keys whose rows are not in the store --- */

static void add_late(struct ks_names *n, const struct record *record)
{
    if (n->outdated)
        return;
    if (buf_reserve(&n->late, RECORD_HEAD_BYTES + record->name.len) != 0) {
        n->outdated = true;
        buf_deinit(&n->late);
        return;
    }
    CHECK(record_append(&n->late, record) == 0);
    n->late_count++;
}

static bool is_within(const struct ks_names *n, uint64_t cursor)
{
    return cursor >= n->cursor && (n->next == 0 || cursor < n->next);
}

static void add_overlaid(struct ks_names *n, const struct overlay *o, const struct overlay_key *k)
{
    const struct overlay_entry *e = overlay_find(o, k, ROWKEY_KIND_KEY, bytes_of(NULL, 0));
    struct row_view view;

    if (e == NULL || row_view(overlay_row(e), 0, &view) != 0 || view.type == VT_NONE)
        return; /* The store tells more of it. */
    const struct record record = {
        .name = overlay_key_name(k), .expire_at_ms = view.expire_at_ms, .type = view.type};
    add_late(n, &record);
}

/*
 * In a group the rows of a cold key may wait in the overlay. Names are taken from there before the
 * read, as they may be in the store when it has ended, and after it, as a hot key may have been
 * taken apart meanwhile.
 */
static void note_overlay(struct keyspace *ks, struct ks_names *n)
{
    const uint64_t first = n->cursor >> KEYTAB_CURSOR_HASH_BITS;
    const uint64_t last = n->next == 0 ? KEY_SLOTS - 1 : n->next >> KEYTAB_CURSOR_HASH_BITS;

    if (ks->group == NULL)
        return;
    const struct overlay *o = &ks->group->overlay;
    for (uint64_t slot = first; slot <= last && slot < KEY_SLOTS; slot++) {
        LIST_FOR_EACH(link, overlay_slot(o, (uint16_t)slot)) {
            const struct overlay_key *k = LIST_ITEM(link, struct overlay_key, slot_link);
            if (is_within(n, keytab_cursor(k->slot, k->hash)))
                add_overlaid(n, o, k);
        }
    }
}

/* A stretch from `cursor` to `next`, to be read. */
static struct ks_names *names_create(struct keyspace *ks, uint64_t cursor, uint64_t next)
{
    struct ks_names *n = mem_zalloc(sizeof(*n));

    if (ks->names_count >= STRETCHES_MAX)
        drop_one(ks);
    n->ks = ks;
    n->cursor = cursor;
    n->next = next;
    list_init(&n->waiters);
    buf_init(&n->names, NAMES_BYTES_MAX);
    buf_init(&n->late, LATE_BYTES_MAX);
    n->job = (struct pool_job){.mail = {.fn = on_names}, .reply_to = ks->options.mailbox};
    list_push_back(&ks->names, &n->link);
    ks->names_count++;
    note_overlay(ks, n);
    return n;
}

static void names_read(struct ks_names *n)
{
    n->reading = true;
    n->ks->names_reading++;
    pool_submit(&n->ks->names_class, &n->job);
}

/*
 * A key that was hot and unwritten when its stretch was read has no row there, or an old one. If it
 * is written and demoted before the stretch is shown, it is in neither half: so demotion leaves the
 * name with the stretch.
 */
void ks_scan_demoted(struct keyspace *ks, const struct ks_key *key, const struct obj *obj)
{
    const uint64_t at = keytab_cursor(key->slot, key->hash);
    const struct record record = {
        .name = key->name, .expire_at_ms = ks_expire_at(obj), .type = obj->h.type};

    LIST_FOR_EACH(link, &ks->names) {
        struct ks_names *n = LIST_ITEM(link, struct ks_names, link);
        if (is_within(n, at))
            add_late(n, &record);
    }
}

/* Where the latest record of each name stands in `late`: open addressing, at most half full. */
struct late {
    struct bytes records;
    uint32_t *place; /* Behind the record's first byte; 0: empty. NULL: there are no records. */
    size_t mask;
};

static uint32_t *late_place(const struct late *l, const struct ks_key *key)
{
    struct record other;
    size_t i = key->hash & l->mask;

    CHECK(l->place != NULL);
    for (; l->place[i] != 0; i = (i + 1) & l->mask) {
        size_t at = l->place[i] - 1;
        CHECK(record_next(l->records, &at, &other));
        if (bytes_eq(other.name, key->name))
            break;
    }
    return &l->place[i];
}

static void late_init(struct late *l, const struct ks_names *n)
{
    struct record record;
    size_t places = 2;

    *l = (struct late){.records = buf_bytes(&n->late)};
    if (n->late_count == 0)
        return;
    while (places < 2 * (size_t)n->late_count)
        places *= 2;
    l->place = mem_zalloc_array(places, sizeof(*l->place));
    l->mask = places - 1;
    for (size_t at = 0, begin = 0; record_next(l->records, &at, &record); begin = at) {
        const struct ks_key key = ks_key_of(record.name, n->ks->options.seed);
        *late_place(l, &key) = (uint32_t)begin + 1;
    }
}

/* --- showing --- */

/* Keys that are hot were shown by the table. */
static void show_if_cold(const struct show *s, const struct ks_key *key, const struct record *r)
{
    struct keytab_ref ref;

    if (keytab_find(s->ks->tab, key->slot, key->hash, key->name, &ref) == KEYTAB_COLD &&
        keytab_type(&ref) != KS_GHOST)
        s->fn(s->ctx, r->name, r->type, r->expire_at_ms != 0 && r->expire_at_ms <= s->now_ms);
}

/* Shows the names of keys that are cold now, each once: as demoted last, else as read. */
static void show_cold(const struct show *s, const struct ks_names *n)
{
    struct record r;
    struct late late;

    late_init(&late, n);
    for (size_t at = 0; record_next(buf_bytes(&n->names), &at, &r);) {
        const struct ks_key key = ks_key_of(r.name, s->ks->options.seed);
        if (late.place == NULL || *late_place(&late, &key) == 0)
            show_if_cold(s, &key, &r);
    }
    for (size_t at = 0, begin = 0; record_next(late.records, &at, &r); begin = at) {
        const struct ks_key key = ks_key_of(r.name, s->ks->options.seed);
        if (*late_place(&late, &key) == begin + 1)
            show_if_cold(s, &key, &r);
    }
    mem_free(late.place);
}

/* --- the walk --- */

/* What is shown next. */
struct part {
    struct ks_names *names; /* Of its cold keys; NULL: it has none, or they are left out. */
    uint32_t count;
    uint64_t next; /* Where it ends. */
};

/* What was read of the names, or would be, is of no use. */
static bool is_spoilt(struct keyspace *ks, struct ks_names *n, uint64_t next)
{
    if (n->done && n->next == next)
        note_overlay(ks, n);
    if (n->next != next || (n->err == -ERR_LIMIT && n->count > 1))
        return true;
    return n->outdated && (n->done || n->count > 1);
}

/* The part from `cursor` on: shorter than asked for where the names would be too long. */
static void find_part(struct keyspace *ks, const struct ks_scan *step, uint64_t cursor,
                      struct part *p)
{
    struct ks_names *n = step->wait == NULL ? NULL : find(ks, cursor, step->count);

    p->count = n == NULL ? step->count : n->count;
    for (;;) {
        struct stretch s = {0};
        p->next = keytab_scan(ks->tab, cursor, p->count, look, &s);
        if (n == NULL && s.any_cold && step->wait != NULL) {
            n = names_create(ks, cursor, p->next);
            n->asked = step->count;
            n->count = p->count;
        }
        /* What is being read is waited for, whatever has become of it. */
        if (n == NULL || n->reading || !is_spoilt(ks, n, p->next))
            break;
        /* The names of one key are never too long; keys may have come or gone in between. */
        if (n->next == p->next && p->count > 1)
            p->count /= 2;
        names_free(n);
        n = NULL;
    }
    p->names = n;
}

int ks_scan(struct keyspace *ks, const struct ks_scan *step, uint64_t *cursor)
{
    struct show show = {.ks = ks, .fn = step->fn, .ctx = step->ctx, .now_ms = step->now_ms};
    struct part p;

    find_part(ks, step, *cursor, &p);
    if (p.names != NULL && !p.names->done) {
        if (!p.names->reading)
            names_read(p.names);
        ks_wait_on(&p.names->waiters, step->wait);
        return 1;
    }
    if (p.names != NULL && p.names->err != 0) {
        const int err = p.names->err;
        names_free(p.names);
        return err;
    }
    /* The same call again: nothing has changed in between. */
    CHECK(keytab_scan(ks->tab, *cursor, p.count, show_hot, &show) == p.next);
    if (p.names != NULL) {
        show_cold(&show, p.names);
        names_free(p.names);
    }
    *cursor = p.next;
    return 0;
}

/* --- one slot --- */

uint64_t ks_slot_entries(const struct keyspace *ks, uint16_t slot)
{
    return keytab_count_slot(ks->tab, slot);
}

struct slot_count {
    uint16_t slot;
    uint32_t seen;
    uint64_t keys;
};

static void count_entry(void *ctx, const struct keytab_entry *entry)
{
    struct slot_count *c = ctx;

    c->seen++;
    if (entry->slot != c->slot)
        return;
    if (entry->kind == KEYTAB_HOT)
        c->keys += (entry->ref.obj->h.flags & BLK_DEAD) == 0;
    else
        c->keys += keytab_type(&entry->ref) != KS_GHOST;
}

bool ks_count_slot(struct keyspace *ks, uint16_t slot, uint32_t max, uint64_t *cursor,
                   uint64_t *count)
{
    struct slot_count c = {.slot = slot};
    const uint64_t begin = keytab_cursor(slot, 0);

    if (*cursor == 0) {
        /* Without entries that are no keys the table knows the number. */
        if (ks->tombstones == 0 && ks_group_ghosts(ks) == 0) {
            *count += keytab_count_slot(ks->tab, slot);
            return true;
        }
        *cursor = begin;
    }
    bool over = false;
    /* A walk ends at 0, which is where slot 0 begins. */
    while (!over && c.seen < max) {
        *cursor = keytab_walk(ks->tab, *cursor, count_entry, &c);
        over = *cursor <= begin || *cursor >> KEYTAB_CURSOR_HASH_BITS != slot;
    }
    *count += c.keys;
    return over;
}

void ks_scan_init(struct keyspace *ks)
{
    list_init(&ks->names);
    ks->names_class = (struct pool_class){.name = "names",
                                          .priority = POOL_BACKGROUND,
                                          .batch_max = 1,
                                          .run_batch = names_batch,
                                          .ctx = ks};
    pool_add_class(ks->options.readers, &ks->names_class);
}

void ks_scan_deinit(struct keyspace *ks)
{
    while (!list_empty(&ks->names))
        names_free(LIST_ITEM(list_first(&ks->names), struct ks_names, link));
}
