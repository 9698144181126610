/* Making checkpoints of the key table; keymerge.h tells the steps. */
#include "engine/space/keymerge.h"

#include <errno.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/space/keyscan.h"
#include "engine/space/ks_state.h"

/* Of one slice: rows of the journal read, keys written, key rows read, rows of the journal removed.
 */
#define SLICE_ROWS   64
#define SLICE_KEYS   65536
#define SLICE_SCAN   16384
#define SLICE_FORGET 4096
/* Rows of the journal are few; more of them are a reason for a checkpoint too. */
#define ROWS_MAX 16384
/* After a failure, and when most of the journal was not persistent yet. Milliseconds. */
#define RETRY_FAILED_MS 10000
#define RETRY_EARLY_MS  1000
/* After key rows that could not be read: all of them are read each time. */
#define RETRY_REMAKE_MS 600000
/* Entries of one batch: bounds its journal row, not the batch. */
#define ENTRIES_BYTES_MAX (64u << 20)

enum phase {
    PHASE_BEGIN,
    PHASE_COUNT,
    PHASE_PLACE,
    PHASE_MERGE,
    PHASE_REMAKE,
    PHASE_FORGET,
    PHASE_DONE
};

struct keymerge {
    struct keyspace *ks;
    struct pool_class cls;
    struct pool_job job;
    bool busy;
    bool stop;
    uint64_t retry_at_ms;
    uint64_t now_ms;
    uint64_t covered_lsn;
    uint64_t changes; /* In the journal when it began, roughly. */
    uint64_t enough;  /* Of less it makes no checkpoint. */
    /* The job's while it is under way. */
    enum phase phase;
    int err;
    struct keylog_head head; /* What is persistent. */
    uint64_t base;           /* Of the old checkpoint. */
    struct keylog_span span; /* What is to be read of the journal. */
    uint64_t *entries;       /* By slot, then time; sorted by hash when their slot's turn comes. */
    uint64_t *scratch;
    uint32_t *ends; /* KEY_SLOTS: where the entries of each slot end; at first their number. */
    uint64_t count;
    uint32_t slot; /* Where the merge is among the entries. */
    uint32_t at;
    bool sorted; /* Those of `slot` are. */
    struct keyfile_reader old;
    struct keyfile_group group; /* What is left of it. */
    bool old_end;
    struct keyfile_writer fresh;
    struct keyscan scan; /* Of PHASE_REMAKE. */
    int unusable;        /* Why it is made anew; 0: told already, or it is not. */
    struct store_batch batch;
};

/* --- the journal, on the shard's thread --- */

void ks_keys_note(struct keyspace *ks, const struct ks_key *key, uint8_t type, bool has_ttl)
{
    struct ks_keys *k = &ks->keys;

    if (k->head.id == 0)
        return;
    CHECK(buf_reserve(&k->entries, KEYLOG_ENTRY_BYTES) == 0);
    keylog_entry_store(buf_end(&k->entries), key->slot, keystate_of(key->hash, type, has_ttl));
    buf_commit(&k->entries, KEYLOG_ENTRY_BYTES);
}

void ks_keys_put(struct keyspace *ks, struct store_batch *batch)
{
    const struct ks_keys *k = &ks->keys;
    const struct keylog_head head = {.id = k->head.id, .last = k->head.last + 1};

    if (k->entries.len == 0)
        return;
    keylog_put(batch, head.last, buf_bytes(&k->entries));
    keylog_put_head(batch, &head);
}

void ks_keys_done(struct keyspace *ks, bool written)
{
    struct ks_keys *k = &ks->keys;

    if (written && k->entries.len != 0) {
        k->head.last++;
        k->changes += k->entries.len / KEYLOG_ENTRY_BYTES;
    }
    buf_clear(&k->entries);
}

/* --- on the maintenance thread --- */

static int begin(struct keymerge *m)
{
    const struct ks_keys *k = &m->ks->keys;
    struct store *store = m->ks->options.store;

    int err = keylog_read_head(store, true, &m->head);
    if (err == -ERR_NOT_FOUND) {
        m->phase = PHASE_DONE;
        return 0;
    }
    if (err != 0)
        return err;
    err = keyfile_open(&m->old, k->path);
    if (err == -ENOENT && k->base == 0) {
        /* None yet: the journal has all. */
        m->old.head = (struct keyfile_head){.id = m->head.id};
        m->old_end = true;
        err = 0;
    }
    if (err != 0)
        return err;
    if (m->old.head.id != m->head.id || m->old.head.base > m->head.last)
        return -ERR_CORRUPT;
    m->base = m->old.head.base;
    m->span = (struct keylog_span){.next = m->base + 1, .last = m->head.last};
    m->ends = mem_zalloc_array(KEY_SLOTS, sizeof(*m->ends));
    m->phase = m->base == m->head.last ? PHASE_DONE : PHASE_COUNT;
    return 0;
}

static int count_row(void *ctx, struct bytes entries)
{
    struct keymerge *m = ctx;
    uint16_t slot;
    uint64_t state;

    while (entries.len != 0) {
        const int err = keylog_entry_get(&entries, &slot, &state);
        if (err != 0)
            return err;
        m->ends[slot]++;
        m->count++;
    }
    return m->count < UINT32_MAX ? 0 : -ERR_LIMIT;
}

static int place_row(void *ctx, struct bytes entries)
{
    struct keymerge *m = ctx;
    uint16_t slot;
    uint64_t state;

    while (entries.len != 0) {
        const int err = keylog_entry_get(&entries, &slot, &state);
        if (err != 0)
            return err;
        m->entries[m->ends[slot]++] = state;
    }
    return 0;
}

/* Makes of the numbers the places where each slot begins; placing moves them to where it ends. */
static void counted(struct keymerge *m)
{
    uint32_t sum = 0;

    if (m->count < m->enough && m->head.last - m->base < ROWS_MAX / 2) {
        m->phase = PHASE_DONE;
        return;
    }
    for (uint32_t slot = 0; slot < KEY_SLOTS; slot++) {
        const uint32_t n = m->ends[slot];
        m->ends[slot] = sum;
        sum += n;
    }
    m->entries = mem_alloc((m->count + 1) * sizeof(*m->entries));
    m->span.next = m->base + 1;
    m->phase = PHASE_PLACE;
}

static int create_fresh(struct keymerge *m)
{
    const struct keyfile_head head = {.id = m->head.id,
                                      .base = m->head.last,
                                      .covered_lsn = m->covered_lsn,
                                      .written_ms = clock_wall_ms()};

    return keyfile_create(&m->fresh, m->ks->keys.path, &head);
}

static int placed(struct keymerge *m)
{
    m->phase = PHASE_MERGE;
    return create_fresh(m);
}

static int read_rows(struct keymerge *m, keylog_fn fn)
{
    return keylog_read(m->ks->options.store, &m->span, SLICE_ROWS, fn, m);
}

/* Stable, by hash: of several entries of one key the last is the one of latest time. */
static void sort(uint64_t *a, uint32_t n, uint64_t *scratch)
{
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t lo = 0; lo < n; lo += 2 * width) {
            const uint32_t mid = lo + width < n ? lo + width : n;
            const uint32_t hi = mid + width < n ? mid + width : n;
            uint32_t i = lo, j = mid;
            for (uint32_t to = lo; to < hi; to++) {
                const bool left = j == hi || (i < mid && a[i] >> KEYSTATE_HASH_SHIFT <= a[j] >>
                                                             KEYSTATE_HASH_SHIFT);
                scratch[to] = left ? a[i++] : a[j++];
            }
        }
        memcpy(a, scratch, n * sizeof(*a));
    }
}

/* The next entry of the journal is at m->slot, m->at; false: there is none. */
static bool entry_peek(struct keymerge *m)
{
    while (m->slot < KEY_SLOTS && m->at == m->ends[m->slot]) {
        m->slot++;
        m->sorted = false;
    }
    if (m->slot == KEY_SLOTS)
        return false;
    if (!m->sorted) {
        const uint32_t n = m->ends[m->slot] - m->at;
        m->scratch = mem_realloc(m->scratch, n * sizeof(*m->scratch));
        sort(m->entries + m->at, n, m->scratch);
        m->sorted = true;
    }
    return true;
}

/* The latest entry of the key at hand; goes on behind it. */
static uint64_t entry_take(struct keymerge *m)
{
    const uint32_t end = m->ends[m->slot];
    const uint64_t hash = m->entries[m->at] >> KEYSTATE_HASH_SHIFT;

    while (m->at + 1 < end && m->entries[m->at + 1] >> KEYSTATE_HASH_SHIFT == hash)
        m->at++;
    return m->entries[m->at++];
}

/* 1: the next key of the old checkpoint is the first of m->group; 0: there is none. */
static int old_peek(struct keymerge *m)
{
    if (m->group.count != 0)
        return 1;
    if (m->old_end)
        return 0;
    const int step = keyfile_next(&m->old, &m->group);
    m->old_end = step == 0;
    return step;
}

static uint64_t old_take(struct keymerge *m)
{
    const uint64_t state = keystate_load(m->group.states);

    m->group.states += KEYSTATE_BYTES;
    m->group.count--;
    return state;
}

/* Where the two sides stand to each other: below zero, the old key comes first. */
static int compare(const struct keymerge *m)
{
    const uint64_t old = keystate_load(m->group.states) >> KEYSTATE_HASH_SHIFT;
    const uint64_t entry = m->entries[m->at] >> KEYSTATE_HASH_SHIFT;

    if (m->group.slot != m->slot)
        return m->group.slot < m->slot ? -1 : 1;
    return old < entry ? -1 : old > entry;
}

static int merge(struct keymerge *m)
{
    int err = 0;

    for (uint32_t n = 0; n < SLICE_KEYS && err == 0; n++) {
        const bool entry = entry_peek(m);
        const int old = old_peek(m);
        if (old < 0)
            return old;
        if (!entry && old == 0) {
            m->phase = PHASE_FORGET;
            return keyfile_finish(&m->fresh);
        }
        const int order = !entry ? -1 : old == 0 ? 1 : compare(m);
        const uint16_t slot = order < 0 ? m->group.slot : (uint16_t)m->slot;
        uint64_t state = order <= 0 ? old_take(m) : 0;
        if (order >= 0)
            state = entry_take(m);
        if (keystate_type(state) != VT_NONE)
            err = keyfile_add(&m->fresh, slot, state);
    }
    return err;
}

/* Frees what merging needs. */
static void drop_merge(struct keymerge *m)
{
    keyfile_close(&m->old);
    keyfile_abort(&m->fresh);
    mem_free(m->entries);
    mem_free(m->scratch);
    mem_free(m->ends);
    m->entries = m->scratch = NULL;
    m->ends = NULL;
}

/* The old checkpoint or its journal is damaged, or is not there, and would be so the next time. */
static bool is_unusable(const struct keymerge *m, int err)
{
    return m->phase <= PHASE_MERGE && m->head.id != 0 &&
           (err == -ERR_CORRUPT || err == -ERR_FORMAT || err == -ERR_LOST || err == -ENOENT ||
            err == -EIO);
}

static int begin_remake(struct keymerge *m, int why)
{
    drop_merge(m);
    keyscan_init(&m->scan, m->ks->options.store, m->ks->group != NULL);
    m->unusable = why;
    m->count = m->changes;
    m->phase = PHASE_REMAKE;
    return create_fresh(m);
}

static int remake_key(void *ctx, uint16_t slot, uint64_t hash, uint8_t type, bool has_ttl)
{
    struct keymerge *m = ctx;

    return keyfile_add(&m->fresh, slot, keystate_of(hash, type, has_ttl));
}

/*
 * Each key as the store has it now. That may be from after the file's base: then the journal beyond
 * the base says it once more. But it must not be from after what a crash would leave, hence the
 * flush.
 */
static int remake(struct keymerge *m)
{
    int err = keyscan_next(&m->scan, SLICE_SCAN, remake_key, m);

    if (err != 0)
        return err < 0 ? err : 0;
    err = store_flush(m->ks->options.store);
    if (err == 0)
        err = keyfile_finish(&m->fresh);
    if (err == 0)
        m->phase = PHASE_FORGET;
    return err;
}

static int forget(struct keymerge *m)
{
    bool more;

    store_batch_clear(&m->batch);
    int err = keylog_forget(m->ks->options.store, m->head.last, SLICE_FORGET, &m->batch, &more);
    if (err == 0)
        err = store_write(m->ks->options.store, &m->batch, 0);
    if (!more)
        m->phase = PHASE_DONE;
    return err;
}

static int slice(struct keymerge *m)
{
    int err;

    switch (m->phase) {
    case PHASE_BEGIN:
        return begin(m);
    case PHASE_COUNT:
        err = read_rows(m, count_row);
        if (err == 0 && m->span.next > m->span.last)
            counted(m);
        return err;
    case PHASE_PLACE:
        err = read_rows(m, place_row);
        return err == 0 && m->span.next > m->span.last ? placed(m) : err;
    case PHASE_MERGE:
        return merge(m);
    case PHASE_REMAKE:
        return remake(m);
    case PHASE_FORGET:
        return forget(m);
    case PHASE_DONE:
        break;
    }
    return 0;
}

static void run_slice(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct keymerge *m = ctx;

    (void)jobs;
    (void)n;
    m->err = slice(m);
    if (is_unusable(m, m->err))
        m->err = begin_remake(m, m->err);
}

/* --- back on the shard's thread --- */

/* Ends it, in whatever phase it is. */
static void clean_up(struct keymerge *m)
{
    drop_merge(m);
    keyscan_deinit(&m->scan);
    m->busy = false;
    m->stop = false;
}

/* The new checkpoint is in place. */
static void note_fresh(struct keymerge *m)
{
    struct ks_keys *k = &m->ks->keys;

    k->base = m->head.last;
    k->changes -= u64_min(k->changes, m->count);
    k->covered_lsn = m->fresh.head.covered_lsn;
    k->written_ms = m->fresh.head.written_ms;
}

static void on_slice(struct mail *mail)
{
    struct keymerge *m =
        container_of(container_of(mail, struct pool_job, mail), struct keymerge, job);
    struct keyspace *ks = m->ks;

    if (m->unusable != 0) {
        LOG_WARN("space",
                 "the checkpoint of the key table or its journal is damaged, making a new one of "
                 "the key rows path=%s err=\"%s\"",
                 ks->keys.path, err_str(m->unusable));
        m->unusable = 0;
        ks->metrics.key_checkpoint_remakes++;
    }
    if (m->err != 0) {
        LOG_WARN("space", "cannot make a checkpoint of the key table err=\"%s\"", err_str(m->err));
        m->retry_at_ms = m->now_ms + (m->phase == PHASE_REMAKE ? RETRY_REMAKE_MS : RETRY_FAILED_MS);
    }
    if (m->err == 0 && m->phase == PHASE_FORGET && ks->keys.base != m->head.last) {
        note_fresh(m);
        m->retry_at_ms = 0;
        ks->metrics.key_checkpoints++;
        ks->metrics.key_checkpoint_keys += m->fresh.keys;
    }
    if (m->err != 0 || m->stop || m->phase == PHASE_DONE) {
        clean_up(m);
        return;
    }
    pool_submit(&m->cls, &m->job);
}

static bool start(struct keyspace *ks, uint64_t enough, uint64_t now_ms)
{
    struct ks_keys *k = &ks->keys;
    struct keymerge *m = k->merge;

    if (k->head.id == 0 || m->busy || k->head.last == k->base)
        return false;
    m->covered_lsn = ks->flush.covered_lsn;
    m->changes = k->changes;
    m->head = (struct keylog_head){0};
    m->enough = enough;
    m->busy = true;
    m->now_ms = now_ms;
    m->retry_at_ms = now_ms + RETRY_EARLY_MS;
    m->phase = PHASE_BEGIN;
    m->count = 0;
    m->slot = m->at = 0;
    m->sorted = m->old_end = false;
    m->group = (struct keyfile_group){0};
    pool_submit(&m->cls, &m->job);
    return true;
}

bool ks_keys_start(struct keyspace *ks, uint64_t now_ms)
{
    return start(ks, 1, now_ms);
}

static uint64_t due(const struct keyspace *ks)
{
    if (ks->keys.due != 0)
        return ks->keys.due;
    return u64_min(u64_max(ks_count(ks) / KS_KEYS_DUE_SHARE, KS_KEYS_DUE_MIN), KS_KEYS_DUE_MAX);
}

void ks_keys_step(struct keyspace *ks, uint64_t now_ms)
{
    const struct ks_keys *k = &ks->keys;

    if (now_ms < k->merge->retry_at_ms ||
        (k->changes < due(ks) && k->head.last - k->base < ROWS_MAX))
        return;
    (void)start(ks, due(ks) / 2, now_ms);
}

void ks_keys_set_due(struct keyspace *ks, uint64_t changes)
{
    ks->keys.due = changes;
}

void ks_keys_stop(struct keyspace *ks)
{
    ks->keys.merge->stop = ks->keys.merge->busy;
}

bool ks_keys_merging(const struct keyspace *ks)
{
    return ks->keys.merge->busy;
}

void ks_keys_info(const struct keyspace *ks, struct ks_keys_info *out)
{
    const struct ks_keys *k = &ks->keys;

    *out = (struct ks_keys_info){.base = k->base,
                                 .last = k->head.last,
                                 .changes = k->changes,
                                 .covered_lsn = k->covered_lsn,
                                 .written_ms = k->written_ms,
                                 .merging = k->merge->busy,
                                 .loaded = k->loaded};
}

/* --- life --- */

void ks_keys_renew(struct keyspace *ks, const char *path)
{
    struct ks_keys *k = &ks->keys;

    CHECK(!k->merge->busy);
    mem_free(k->path);
    *k = (struct ks_keys){.path = path == NULL ? NULL : mem_strdup(path),
                          .entries = k->entries,
                          .due = k->due,
                          .merge = k->merge};
    buf_clear(&k->entries);
    /* Never without a journal: a head that merely cannot be read would hide the keys to come. It is
     * replaced by the first row then, and since the store is empty, that row is the first. */
    if (path != NULL && keylog_read_head(ks->options.store, false, &k->head) != 0)
        CHECK(keylog_new_id(&k->head.id) == 0);
}

void ks_keys_init(struct keyspace *ks, const char *path)
{
    struct keymerge *m = mem_zalloc(sizeof(*m));

    m->ks = ks;
    m->old.fd = m->fresh.fd = -1;
    store_batch_init(&m->batch, 4u << 20);
    m->cls = (struct pool_class){.name = "keys",
                                 .priority = POOL_BACKGROUND,
                                 .batch_max = 1,
                                 .run_batch = run_slice,
                                 .ctx = m};
    pool_add_class(ks->options.maintainer, &m->cls);
    m->job = (struct pool_job){.mail = {.fn = on_slice}, .reply_to = ks->options.mailbox};
    ks->keys = (struct ks_keys){.path = path == NULL ? NULL : mem_strdup(path), .merge = m};
    buf_init(&ks->keys.entries, ENTRIES_BYTES_MAX);
}

void ks_keys_deinit(struct keyspace *ks)
{
    struct keymerge *m = ks->keys.merge;

    CHECK(!m->busy);
    store_batch_deinit(&m->batch);
    buf_deinit(&ks->keys.entries);
    mem_free(ks->keys.path);
    mem_free(m);
}
