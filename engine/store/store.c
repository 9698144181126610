/*
 * The front of the store: what both implementations have in common.
 *
 * Calls under way are counted so that a reopen cannot pull the files from under them. The order is
 * the usual one of such gates: a call counts itself, then looks at `closed`; a reopen sets
 * `closed`, then looks at the count; with sequentially consistent atomics at least one of them sees
 * the other. Who finds the gate closed by a reopen that is under way waits for its end: a reopen
 * takes the time of an open, behind that of the calls it has to wait for, which its caller bounds;
 * and a read that waits need not be repeated.
 *
 * A reopen keeps what is not persistent yet: it is taken out of the old files' memtables as one
 * batch before they are closed, and written before the gate opens. If the open fails the batch is
 * kept for the next attempt, and the gate stays closed: the rows of before are not shown.
 */
#include "engine/store/store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/store/store_frame.h"
#include "engine/store/store_impl.h"

/* Between two looks whether a call is still under way. */
#define USERS_STEP_NS 200000
/* Of what a reopen keeps: as much as memtables can hold, and the size of RocksDB's batches. */
#define SAVED_BYTES_MAX UINT32_MAX

/* --- the gate --- */

/* For calls that never block: false also while a reopen is under way. */
static bool store_try_enter(struct store *store)
{
    atomic_fetch_add(&store->users, 1);
    if (likely(!atomic_load(&store->closed)))
        return true;
    atomic_fetch_sub(&store->users, 1);
    return false;
}

/* The gate is closed. True: a reopen was under way, and has ended. */
static bool wait_for_reopen(struct store *store)
{
    bool waited = false;

    pthread_mutex_lock(&store->gate_lock);
    while (atomic_load(&store->reopening)) {
        waited = true;
        pthread_cond_wait(&store->gate_moved, &store->gate_lock);
    }
    pthread_mutex_unlock(&store->gate_lock);
    return waited;
}

static bool store_enter(struct store *store)
{
    while (!store_try_enter(store)) {
        /* Closed without a reopen: look once more, since one may have ended just now. */
        if (!wait_for_reopen(store))
            return store_try_enter(store);
    }
    return true;
}

static void store_leave(struct store *store)
{
    atomic_fetch_sub(&store->users, 1);
}

/* --- failures --- */

int store_fault_set(struct store_fault *fault, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(fault->text, sizeof(fault->text), format, args); /* Cut if too long. */
    va_end(args);
    fault->err = err;
    return err;
}

void store_why(char *why, size_t why_len, const char *text)
{
    if (why != NULL && why_len != 0)
        (void)snprintf(why, why_len, "%s", text); /* Cut if too long. */
}

/* What a write or flush gave: remembered if it failed, forgotten if it succeeded. */
static int store_note(struct store *store, int err, const struct store_fault *fault)
{
    if (err == -ERR_BUSY || (err == 0 && atomic_load(&store->health) == 0))
        return err;
    pthread_mutex_lock(&store->fault_lock);
    if (err == 0)
        store->fault = (struct store_fault){.err = 0};
    else
        store->fault = *fault;
    atomic_store(&store->health, err);
    pthread_mutex_unlock(&store->fault_lock);
    return err;
}

int store_health(struct store *store, char *why, size_t why_len)
{
    if (atomic_load(&store->health) == 0)
        return 0;
    pthread_mutex_lock(&store->fault_lock);
    const int err = store->fault.err;
    store_why(why, why_len, store->fault.text);
    pthread_mutex_unlock(&store->fault_lock);
    return err;
}

/* --- the covered position --- */

struct bytes covered_key(void)
{
    static const uint8_t key[2] = {0xff, 0x01};

    return bytes_of(key, sizeof(key));
}

void covered_row_store(uint8_t *out, uint64_t lsn, struct bytes vv)
{
    out[0] = COVERED_ROW_VERSION;
    le64_store(out + 1, lsn);
    if (vv.len != 0)
        memcpy(out + COVERED_ROW_HEADER_BYTES, vv.ptr, vv.len);
}

static int covered_row_load(struct bytes row, uint64_t *out_lsn, struct buf *vv)
{
    if (row.len < COVERED_ROW_HEADER_BYTES || row.ptr[0] != COVERED_ROW_VERSION)
        return -ERR_CORRUPT;
    if (vv != NULL) {
        const int err = buf_append_bytes(vv, bytes_from(row, COVERED_ROW_HEADER_BYTES));
        if (err != 0)
            return err;
    }
    *out_lsn = le64_load(row.ptr + 1);
    return 0;
}

static int covered_read(struct store *store, bool persisted_only, uint64_t *out_lsn, struct buf *vv)
{
    struct store_value value;
    int err;

    store->ops->get(store, covered_key(), persisted_only ? STORE_READ_PERSISTED : 0, &value);
    switch (value.status) {
    case STORE_FOUND:
        err = covered_row_load(value.row, out_lsn, vv);
        break;
    case STORE_ABSENT:
        *out_lsn = 0;
        err = 0;
        break;
    case STORE_CORRUPT:
    case STORE_INCOMPLETE:
    case STORE_ERROR:
    default:
        err = value.err != 0 ? value.err : -ERR_CORRUPT;
        break;
    }
    store_value_release(&value);
    return err;
}

int store_covered(struct store *store, bool persisted_only, uint64_t *out_lsn, struct buf *vv)
{
    if (!store_enter(store))
        return -ERR_CLOSED;
    const int err = covered_read(store, persisted_only, out_lsn, vv);
    store_leave(store);
    return err;
}

/* --- start and end --- */

/* Opens the files and reads the position. After an error the files are closed. */
static int store_do_open(struct store *store, struct store_fault *fault)
{
    int err = store->ops->open(store, fault);

    if (err != 0)
        return err;
    err = covered_read(store, false, &store->covered_lsn, NULL);
    if (err == 0)
        return 0;
    struct store_fault why = {.err = 0};
    if (store->ops->explain != NULL)
        store->ops->explain(store, covered_key(), &why);
    store->ops->close(store);
    return store_fault_set(fault, err, "the covered position cannot be read: %s",
                           why.err != 0 ? why.text : err_str(err));
}

/* Nobody holds them or waits. */
static void locks_destroy(struct store *store)
{
    (void)pthread_mutex_destroy(&store->fault_lock);
    (void)pthread_mutex_destroy(&store->gate_lock);
    (void)pthread_cond_destroy(&store->gate_moved);
}

int store_start(struct store *take_store, const struct store_ops *ops, bool read_only,
                struct store **out, char *why, size_t why_len)
{
    struct store *store = take_store;
    struct store_fault fault = {.err = 0};

    store->ops = ops;
    store->read_only = read_only;
    atomic_init(&store->users, 0);
    atomic_init(&store->closed, false);
    atomic_init(&store->health, 0);
    atomic_init(&store->reopening, false);
    store_batch_init(&store->saved, SAVED_BYTES_MAX);
    CHECK(pthread_mutex_init(&store->fault_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&store->gate_lock, NULL) == 0);
    CHECK(pthread_cond_init(&store->gate_moved, NULL) == 0);
    const int err = store_do_open(store, &fault);
    if (err != 0) {
        store_why(why, why_len, fault.text);
        locks_destroy(store);
        ops->destroy(store);
        return err;
    }
    *out = store;
    return 0;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    CHECK(atomic_load(&store->users) == 0);
    if (!atomic_load(&store->closed))
        store->ops->close(store);
    store_batch_deinit(&store->saved);
    locks_destroy(store);
    store->ops->destroy(store);
}

/* --- reopen --- */

static bool wait_for_users(struct store *store, uint32_t wait_ms)
{
    const struct timespec step = {.tv_nsec = USERS_STEP_NS};
    const uint64_t end_ns = clock_mono_ns() + (uint64_t)wait_ms * 1000000;

    while (atomic_load(&store->users) != 0) {
        if (clock_mono_ns() >= end_ns)
            return false;
        (void)nanosleep(&step, NULL); /* tidy: allow nanosleep, store calls may block */
    }
    return true;
}

/* Opens and writes what the close took away. After an error it is closed and `saved` unchanged. */
static int open_with_saved(struct store *store, struct store_fault *fault)
{
    int err = store_do_open(store, fault);

    if (err != 0)
        return err;
    if (store_batch_bytes(&store->saved) != 0)
        err = store->ops->write(store, &store->saved, 0, fault);
    if (err == 0)
        err = covered_read(store, false, &store->covered_lsn, NULL);
    if (err != 0) {
        store->ops->close(store);
        return fault->err != 0 ? fault->err : store_fault_set(fault, err, "%s", err_str(err));
    }
    store_batch_deinit(&store->saved);
    return 0;
}

/* Nobody is inside. */
static int reopen_alone(struct store *store, bool was_closed, struct store_fault *fault)
{
    if (!was_closed) {
        const int err = store->read_only ? 0 : store->ops->save(store, &store->saved, fault);
        if (err != 0) { /* As it was. */
            store_batch_deinit(&store->saved);
            atomic_store(&store->closed, false);
            return err;
        }
        store->ops->close(store);
    }
    const int err = open_with_saved(store, fault);
    if (err == 0)
        atomic_store(&store->closed, false);
    return err;
}

int store_reopen(struct store *store, uint32_t wait_ms, char *why, size_t why_len)
{
    struct store_fault fault = {.err = 0};
    int err = -ERR_BUSY;

    atomic_store(&store->reopening, true);
    const bool was_closed = atomic_exchange(&store->closed, true);
    if (wait_for_users(store, wait_ms)) {
        err = reopen_alone(store, was_closed, &fault);
        (void)store_note(store, err, &fault);
    } else {
        (void)store_fault_set(&fault, err, "calls are under way or iterators open");
        atomic_store(&store->closed, was_closed);
    }
    pthread_mutex_lock(&store->gate_lock);
    atomic_store(&store->reopening, false);
    pthread_cond_broadcast(&store->gate_moved);
    pthread_mutex_unlock(&store->gate_lock);
    if (err != 0)
        store_why(why, why_len, fault.text);
    return err;
}

bool store_is_open(const struct store *store)
{
    return !atomic_load(&store->closed);
}

/* --- writing --- */

int store_write(struct store *store, const struct store_batch *batch, uint32_t flags)
{
    struct store_fault fault = {.err = 0};

    CHECK(!store->read_only);
    if (!store_enter(store))
        return -ERR_CLOSED;
    int err = 0;
    if (batch->has_covered && batch->covered_lsn < store->covered_lsn) {
        err = -ERR_RANGE;
    } else if (store_batch_bytes(batch) != 0) {
        err = store_note(store, store->ops->write(store, batch, flags, &fault), &fault);
        if (err == 0 && batch->has_covered)
            store->covered_lsn = batch->covered_lsn;
    }
    store_leave(store);
    return err;
}

int store_flush(struct store *store)
{
    struct store_fault fault = {.err = 0};

    CHECK(!store->read_only);
    if (!store_enter(store))
        return -ERR_CLOSED;
    const int err = store_note(store, store->ops->flush(store, &fault), &fault);
    store_leave(store);
    return err;
}

int store_checkpoint(struct store *store, const char *dir)
{
    struct store_fault fault = {.err = 0};

    CHECK(!store->read_only);
    if (!store_enter(store))
        return -ERR_CLOSED;
    const int err = store->ops->checkpoint(store, dir, &fault);
    store_leave(store);
    return err;
}

int store_compact(struct store *store, struct bytes from, struct bytes to)
{
    CHECK(!store->read_only);
    if (!store_enter(store))
        return -ERR_CLOSED;
    const int err = store->ops->compact(store, from, to);
    store_leave(store);
    return err;
}

int store_suggest_compact(struct store *store, struct bytes from, struct bytes to)
{
    CHECK(!store->read_only);
    if (!store_enter(store))
        return -ERR_CLOSED;
    const int err = store->ops->suggest_compact(store, from, to);
    store_leave(store);
    return err;
}

/* --- reading --- */

void store_value_release(struct store_value *value)
{
    if (value->release != NULL)
        value->release(value->owner);
    *value = store_value_none(STORE_ABSENT, 0);
}

void store_get(struct store *store, struct bytes key, uint32_t flags, struct store_value *out)
{
    if (!store_enter(store)) {
        *out = store_value_none(STORE_ERROR, -ERR_CLOSED);
        return;
    }
    store->ops->get(store, key, flags, out);
    store_leave(store);
}

void store_multi_get(struct store *store, size_t n, const struct bytes *keys, uint32_t flags,
                     struct store_value *out)
{
    CHECK((flags & STORE_READ_MEMORY_ONLY) == 0);
    if (!store_enter(store)) {
        for (size_t i = 0; i < n; i++)
            out[i] = store_value_none(STORE_ERROR, -ERR_CLOSED);
        return;
    }
    store->ops->multi_get(store, n, keys, flags, out);
    store_leave(store);
}

void store_stats(struct store *store, struct store_stats *out)
{
    *out = (struct store_stats){.live_sst_bytes = 0};
    if (!store_try_enter(store))
        return;
    store->ops->stats(store, out);
    store_leave(store);
}

void store_debt(struct store *store, struct store_debt *out)
{
    *out = (struct store_debt){.level0_files = 0};
    if (store->ops->debt == NULL || !store_try_enter(store))
        return;
    store->ops->debt(store, out);
    store_leave(store);
}

/* --- iterating --- */

int store_iter_open(struct store *store, const struct store_iter_options *options,
                    struct store_iter **out)
{
    if (!store_enter(store))
        return -ERR_CLOSED;
    const int err = store->ops->iter_open(store, options, out);
    if (err != 0) {
        store_leave(store);
        return err;
    }
    (*out)->store = store;
    return 0; /* The iterator stays counted until it is closed. */
}

void store_iter_close(struct store_iter *it)
{
    if (it == NULL)
        return;
    struct store *store = it->store;
    it->ops->close(it);
    store_leave(store);
}

/* Looks at the row; goes on in the direction of `step` over those that readers do not see. */
static void iter_settle(struct store_iter *it, void (*step)(struct store_iter *it))
{
    for (; it->ops->valid(it); step(it)) {
        const struct bytes key = it->ops->key(it);
        if (bytes_eq(key, covered_key()))
            continue;
        it->row = bytes_of(NULL, 0);
        it->row_status = frame_read(key, it->ops->frame(it), &it->row);
        if (it->row_status != STORE_ABSENT)
            return;
    }
}

void store_iter_seek(struct store_iter *it, struct bytes key)
{
    it->ops->seek(it, key);
    iter_settle(it, it->ops->next);
}

void store_iter_seek_prev(struct store_iter *it, struct bytes key)
{
    it->ops->seek_prev(it, key);
    iter_settle(it, it->ops->prev);
}

void store_iter_next(struct store_iter *it)
{
    CHECK(it->ops->valid(it));
    it->ops->next(it);
    iter_settle(it, it->ops->next);
}

void store_iter_prev(struct store_iter *it)
{
    CHECK(it->ops->valid(it));
    it->ops->prev(it);
    iter_settle(it, it->ops->prev);
}

void store_iter_get(struct store_iter *it, struct bytes key, uint32_t flags,
                    struct store_value *out)
{
    it->store->ops->get(it->store, key, flags, out);
}

bool store_iter_valid(const struct store_iter *it)
{
    return it->ops->valid(it);
}

struct bytes store_iter_key(const struct store_iter *it)
{
    CHECK(it->ops->valid(it));
    return it->ops->key(it);
}

enum store_status store_iter_row(const struct store_iter *it, struct bytes *out_row)
{
    CHECK(it->ops->valid(it));
    if (it->row_status == STORE_FOUND)
        *out_row = it->row;
    return it->row_status;
}

int store_iter_status(const struct store_iter *it)
{
    return it->ops->status(it);
}
