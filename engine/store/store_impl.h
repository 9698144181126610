/*
 * What the implementations of the store share with its front (store.c).
 *
 * The front counts the calls under way, keeps the covered position from going down, remembers the
 * last failure, and knows the covered row; an implementation embeds struct store as its first
 * member and fills the table. Atomics, elsewhere avoided, are here because a store is by contract
 * called from several threads.
 */
#ifndef TIERRA_ENGINE_STORE_STORE_IMPL_H
#define TIERRA_ENGINE_STORE_STORE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/store/store.h"

/* Row key and row of the covered position: version(1) = 1 | lsn(8 LE) | vv. */
#define COVERED_ROW_VERSION      1
#define COVERED_ROW_HEADER_BYTES 9

struct bytes covered_key(void);
void covered_row_store(uint8_t *out, uint64_t lsn, struct bytes vv);

/* What went wrong, as an error number and a line of text. */
struct store_fault {
    int err;
    char text[STORE_WHY_BYTES];
};

struct store_iter_ops {
    void (*close)(struct store_iter *it);
    void (*seek)(struct store_iter *it, struct bytes key);
    void (*seek_prev)(struct store_iter *it, struct bytes key);
    void (*next)(struct store_iter *it);
    void (*prev)(struct store_iter *it);
    bool (*valid)(const struct store_iter *it);
    struct bytes (*key)(const struct store_iter *it);
    struct bytes (*frame)(const struct store_iter *it);
    int (*status)(const struct store_iter *it);
};

struct store_iter {
    const struct store_iter_ops *ops;
    struct store *store;
    enum store_status row_status; /* Of the row it stands on. */
    struct bytes row;
};

/* Functions that return an error fill `fault` with it. None is called while the store is closed. */
struct store_ops {
    int (*open)(struct store *store, struct store_fault *fault);
    void (*close)(struct store *store);
    void (*destroy)(struct store *store); /* Frees a closed store. */
    int (*write)(struct store *store, const struct store_batch *batch, uint32_t flags,
                 struct store_fault *fault);
    int (*flush)(struct store *store, struct store_fault *fault);
    /*
     * Appends to `out` what has to be written again after a close and an open, so that the rows are
     * those of now: as one batch that may come upon any state from the last persistent one on.
     */
    int (*save)(struct store *store, struct store_batch *out, struct store_fault *fault);
    int (*checkpoint)(struct store *store, const char *dir, struct store_fault *fault);
    int (*compact)(struct store *store, struct bytes from, struct bytes to);
    int (*suggest_compact)(struct store *store, struct bytes from, struct bytes to);
    void (*get)(struct store *store, struct bytes key, uint32_t flags, struct store_value *out);
    /*
     * A get gave an error: fills `fault` with its text, which names the file where there is one.
     * Reads again, and may find nothing wrong: then nothing is set. NULL: errors have no text.
     */
    void (*explain)(struct store *store, struct bytes key, struct store_fault *fault);
    void (*multi_get)(struct store *store, size_t n, const struct bytes *keys, uint32_t flags,
                      struct store_value *out);
    int (*iter_open)(struct store *store, const struct store_iter_options *options,
                     struct store_iter **out);
    void (*stats)(struct store *store, struct store_stats *out);
    void (*debt)(struct store *store, struct store_debt *out); /* NULL: it never has any. */
};

struct store {
    const struct store_ops *ops;
    atomic_uint users;     /* Calls under way and open iterators. */
    atomic_bool closed;    /* No call may enter. */
    atomic_int health;     /* fault.err, readable without the lock. */
    atomic_bool reopening; /* Who finds it closed waits for the end of that. */
    bool read_only;
    struct store_batch saved; /* What the close of a reopen would have lost; until it is written. */
    pthread_mutex_t gate_lock;
    pthread_cond_t gate_moved; /* `reopening` has become false. */
    uint64_t covered_lsn;      /* Of the last batch written; the writer's. */
    pthread_mutex_t fault_lock;
    struct store_fault fault; /* Of the last write or flush; err 0 if it succeeded. */
};

/* Opens the implementation for the first time; an error frees it and goes to `why`. */
MUST_USE int store_start(struct store *take_store, const struct store_ops *ops, bool read_only,
                         struct store **out, char *why, size_t why_len);

/* Sets `fault` and returns `err`. */
int store_fault_set(struct store_fault *fault, int err, const char *format, ...) PRINTF_LIKE(3, 4);

/* Copies a text, cut if it is too long; `why` may be NULL. */
void store_why(char *why, size_t why_len, const char *text);

/* Appends a put of a frame as it is, damaged or not. Errors as store_batch_put. */
MUST_USE int store_batch_put_frame(struct store_batch *batch, struct bytes key, struct bytes frame);

/* Records in the batch, the covered position included. */
uint32_t store_batch_records_count(const struct store_batch *batch);

/* A value without a row: ABSENT, CORRUPT, INCOMPLETE, ERROR. */
static inline struct store_value store_value_none(enum store_status status, int err)
{
    return (struct store_value){.status = status, .err = err};
}

#endif
