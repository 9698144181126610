/*
 * Rows of a store by key; inspect_walk.h tells more.
 *
 * Where a block is damaged, the cursor ends. The next readable place is then sought by the first
 * ten bytes of row keys, slot and hash, taken as one number: steps that double until a seek works,
 * then halves back to the first that does. What lies between is lost to the walk, and told.
 */
#include "tools/inspect/inspect_walk.h"

#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/crc16.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/store/store.h"
#include "engine/value/row_chunk.h"

#define READAHEAD_BYTES (2u << 20)

struct walk {
    struct store *store;
    const struct walk_fns *fns;
    struct store_iter *it;
    struct walk_key key;
    struct buf name; /* Of the key under way. */
    struct buf last; /* The row key before the present one. */
    struct buf row_name;
    uint8_t *scratch;
    bool open;   /* A key is under way. */
    bool sweeps; /* There are some. */
};

/* Keys of rows end where the special rows begin. */
static struct bytes beyond_keys(void)
{
    static const uint8_t beyond[1] = {0x80};

    return bytes_of(beyond, sizeof(beyond));
}

bool walk_alive(const struct walk_key *key, struct bytes row, const struct row_view *view)
{
    if (!view->present)
        return false;
    if (!tag_is_none(key->swept) && tag_cmp(view->tag, key->swept) <= 0)
        return false;
    return vv_empty(&key->clear) || !row_covered(row, &key->clear);
}

static void set(struct buf *to, struct bytes bytes)
{
    buf_clear(to);
    CHECK(buf_append_bytes(to, bytes) == 0);
}

static void load_sweep(struct walk *w)
{
    struct walk_key *k = &w->key;
    struct store_value value;

    const size_t len = rowkey_store_sweep(w->scratch, k->slot, k->hash, k->name);
    store_get(w->store, bytes_of(w->scratch, len), STORE_READ_NO_FILL, &value);
    if (value.status == STORE_FOUND && value.row.len == 1 + TAG_BYTES)
        k->swept = tag_load(value.row.ptr + 1);
    store_value_release(&value);
}

static void key_begin(struct walk *w, uint16_t slot, uint64_t hash, struct bytes name)
{
    set(&w->name, name);
    memset(&w->key, 0, sizeof(w->key));
    w->key.slot = slot;
    w->key.hash = hash;
    w->key.name = buf_bytes(&w->name);
    w->open = true;
    if (w->sweeps)
        load_sweep(w);
}

static int key_end(struct walk *w)
{
    return w->fns->key(w->fns->ctx, &w->key);
}

static bool is_element(unsigned kind)
{
    return kind != ROWKEY_KIND_KEY && kind != ROWKEY_KIND_ZINDEX;
}

static bool kind_fits(const struct walk_key *k, unsigned kind)
{
    switch (kind) {
    case ROWKEY_KIND_HASH:
        return k->view.type == VT_HASH;
    case ROWKEY_KIND_SET:
        return k->view.type == VT_SET;
    case ROWKEY_KIND_ZSET:
    case ROWKEY_KIND_ZINDEX:
        return k->view.type == VT_ZSET;
    case ROWKEY_KIND_LIST:
        return k->view.type == VT_LIST;
    default:
        return false;
    }
}

/* Whether the chunk is part of the string that the key row shows. */
static bool chunk_fits(const struct walk_key *k, struct bytes sub, const struct row_view *view)
{
    return k->has_row && k->view.kind == ROW_KIND_CHUNKS && sub.len == ROW_CHUNK_SUB_BYTES &&
           tag_eq(view->generation, k->view.generation) &&
           (uint64_t)be32_load(sub.ptr) * ROW_CHUNK_BYTES < k->view.count;
}

static void take_elem(struct walk *w, const struct rowkey *rk, struct bytes row)
{
    struct walk_key *k = &w->key;
    struct row_view view;

    if (row_view(row, 0, &view) != 0) {
        k->damaged = true;
    } else if (!walk_alive(k, row, &view)) {
        k->garbage++;
    } else if (rk->kind == ROWKEY_KIND_CHUNK) {
        k->value_bytes += row.len;
        k->orphans += !chunk_fits(k, rk->sub, &view);
    } else {
        k->value_bytes += row.len;
        if (w->fns->counts != NULL && !w->fns->counts(w->fns->ctx, k, rk->sub))
            return;
        k->orphans += !k->has_row || !kind_fits(k, rk->kind);
        k->elements += is_element(rk->kind);
    }
}

static void take_key_row(struct walk *w, struct bytes row)
{
    struct walk_key *k = &w->key;

    k->has_row = true;
    if (row_view(row, 0, &k->view) != 0 || row_clear(row, &k->clear) != 0) {
        k->damaged = true;
        vv_init(&k->clear);
    }
    k->view.value = bytes_of(NULL, k->view.value.len);
    k->value_bytes += row.len;
}

static void take_row(struct walk *w, struct bytes name, const struct rowkey *rk)
{
    struct bytes row = bytes_of(NULL, 0);
    const enum store_status status = store_iter_row(w->it, &row);
    struct walk_key *k = &w->key;

    k->rows++;
    k->bytes += name.len + row.len;
    if (status != STORE_FOUND)
        k->damaged = true;
    else if (rk->kind == ROWKEY_KIND_KEY)
        take_key_row(w, row);
    else
        take_elem(w, rk, row);
    if (w->fns->row != NULL)
        w->fns->row(w->fns->ctx, k, name, (int)status, row);
}

/* The rows from the cursor's place on, as long as it is on one. */
static int run(struct walk *w, const struct bytes *only)
{
    struct rowkey rk;

    for (; store_iter_valid(w->it); store_iter_next(w->it)) {
        set(&w->row_name, store_iter_key(w->it));
        const struct bytes name = buf_bytes(&w->row_name);
        set(&w->last, name);
        if (rowkey_parse(name, &rk) != 0) {
            if (w->fns->alien != NULL)
                w->fns->alien(w->fns->ctx, name);
            continue;
        }
        const bool same = w->open && w->key.hash == rk.hash && w->key.slot == rk.slot &&
                          bytes_eq(w->key.name, rk.key);
        if (!same && only != NULL)
            return 0;
        if (!same) {
            const int err = w->open ? key_end(w) : 0;
            if (err != 0)
                return err;
            key_begin(w, rk.slot, rk.hash, rk.key);
        }
        take_row(w, name, &rk);
    }
    return 0;
}

/* --- over damage --- */

/* The first ten bytes of row keys as a number. */
__extension__ typedef unsigned __int128 place;

#define PLACE_BYTES 10
#define PLACE_END   ((place)0x8000 << 64)

static place place_load(struct bytes name)
{
    place p = 0;

    for (size_t i = 0; i < PLACE_BYTES; i++)
        p = p << 8 | (i < name.len ? name.ptr[i] : 0);
    return p;
}

static bool seek_place(struct walk *w, place p)
{
    uint8_t bytes[PLACE_BYTES];

    for (size_t i = PLACE_BYTES; i-- > 0; p >>= 8)
        bytes[i] = (uint8_t)p;
    store_iter_seek(w->it, bytes_of(bytes, sizeof(bytes)));
    return store_iter_valid(w->it) || store_iter_status(w->it) == 0;
}

/* To the first readable place beyond the last row. False: there is none. */
static bool skip_gap(struct walk *w)
{
    const place from = place_load(buf_bytes(&w->last));
    place bad = 0, good = 1;

    while (from + good < PLACE_END && !seek_place(w, from + good)) {
        bad = good;
        good *= 2;
    }
    if (from + good >= PLACE_END)
        return false;
    while (good - bad > 1) {
        const place middle = bad + (good - bad) / 2;
        if (seek_place(w, from + middle))
            good = middle;
        else
            bad = middle;
    }
    return seek_place(w, from + good) && store_iter_valid(w->it);
}

static int walk_all(struct walk *w)
{
    store_iter_seek(w->it, bytes_of(NULL, 0));
    for (;;) {
        int err = run(w, NULL);
        if (err == 0 && w->open)
            err = store_iter_status(w->it) == 0 ? key_end(w) : 0;
        if (err != 0)
            return err;
        const int status = store_iter_status(w->it);
        if (status == 0)
            return 0;
        if (w->fns->gap == NULL)
            return status;
        w->key.damaged = true;
        if (w->open && (err = key_end(w)) != 0)
            return err;
        w->open = false;
        const bool more = skip_gap(w);
        w->fns->gap(w->fns->ctx, buf_bytes(&w->last),
                    more ? store_iter_key(w->it) : bytes_of(NULL, 0), status);
        if (!more)
            return 0;
    }
}

static int look_for_sweeps(struct walk *w)
{
    static const uint8_t first[2] = {ROWKEY_SPECIAL, ROWKEY_SWEEP};
    static const uint8_t beyond[2] = {ROWKEY_SPECIAL, ROWKEY_SWEEP + 1};
    const struct store_iter_options options = {.lower = bytes_of(first, 2),
                                               .upper = bytes_of(beyond, 2)};
    struct store_iter *it;

    const int err = store_iter_open(w->store, &options, &it);
    if (err != 0)
        return err;
    store_iter_seek(it, bytes_of(NULL, 0));
    /* If that cannot be read each key's own row is tried. */
    w->sweeps = store_iter_valid(it) || store_iter_status(it) != 0;
    store_iter_close(it);
    return 0;
}

static int walk_open(struct walk *w, struct store *store, const struct walk_fns *fns)
{
    const struct store_iter_options options = {.upper = beyond_keys(),
                                               .readahead_bytes = READAHEAD_BYTES};

    *w = (struct walk){.store = store, .fns = fns};
    buf_init(&w->name, ROWKEY_BYTES_MAX);
    buf_init(&w->last, STORE_KEY_BYTES_MAX);
    buf_init(&w->row_name, STORE_KEY_BYTES_MAX);
    w->scratch = mem_alloc(ROWKEY_BYTES_MAX);
    const int err = look_for_sweeps(w);
    return err != 0 ? err : store_iter_open(store, &options, &w->it);
}

static void walk_close(struct walk *w)
{
    if (w->it != NULL)
        store_iter_close(w->it);
    buf_deinit(&w->name);
    buf_deinit(&w->last);
    buf_deinit(&w->row_name);
    mem_free(w->scratch);
}

int walk_store(struct store *store, const struct walk_fns *fns)
{
    struct walk w;

    int err = walk_open(&w, store, fns);
    if (err == 0)
        err = walk_all(&w);
    walk_close(&w);
    return err;
}

int walk_one(struct store *store, uint64_t seed, struct bytes name, const struct walk_fns *fns)
{
    struct walk w;

    int err = walk_open(&w, store, fns);
    if (err == 0) {
        uint8_t *first = mem_alloc(rowkey_prefix_size(name) + 1);
        key_begin(&w, key_slot(name), hash64(name.ptr, name.len, seed), name);
        const size_t len = rowkey_store_key(first, w.key.slot, w.key.hash, name);
        store_iter_seek(w.it, bytes_of(first, len));
        mem_free(first);
        err = run(&w, &name);
        if (err == 0)
            err = store_iter_status(w.it);
        if (err != 0)
            w.key.damaged = true;
        const int end = key_end(&w);
        err = err != 0 ? err : end;
    }
    walk_close(&w);
    return err;
}
