/*
 * The journal of keys: what each batch for the store changed in the set of its keys, written as a
 * row of the same batch.
 *
 * A start needs the slot, hash, type and has-an-expiry of every key row of the store. They are in a
 * file (keyfile.h), the checkpoint, up to a number; the journal has what came after. Since a batch
 * becomes persistent whole, its journal row is in the store exactly if its key rows are: checkpoint
 * and journal together are the keys of the store as it is found, after a crash too, and neither a
 * position of the op log nor its trimming comes into it. The log is replayed upon that as it would
 * be upon a table made by reading all key rows.
 *
 *     head       0xff 0x04               1 | id 8 | last 8
 *     row        0xff 0x04 | number 8 BE 1 | entries of 9 bytes: slot 2, key 7 (keyfile.h)
 *
 * Integers little-endian, but for the number in the row's name. `id` is drawn by chance for each
 * store: the checkpoint of another store is recognised by it. Batches that change the set carry a
 * row, numbered 1, 2, 3 without gaps, and the head with the number in `last`. A key of type 0 has
 * gone. An entry says what the store has now, so that it may be repeated.
 *
 * A batch that writes a key anew with its type, and with an expiry or without as before, changes
 * nothing: obj.told remembers what the journal last said of a hot key, and a cold entry is that.
 * Overwriting the same keys over and over leaves the journal empty.
 *
 * When it has grown (ks_keys_due), the maintenance thread makes a new checkpoint of the old one and
 * the persistent part of the journal (keymerge.h), and removes that part. The numbers of what a
 * crash took are used again; hence the persistent part only.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYLOG_H
#define TIERRA_ENGINE_SPACE_KEYLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/le.h"

#include "engine/space/keyfile.h"
#include "engine/value/rowkey.h"

struct store;
struct store_batch;

#define KEYLOG_ENTRY_BYTES (2 + KEYSTATE_BYTES)
#define KEYLOG_HEAD_BYTES  17u
/* Of the name of a row; the head's is shorter. */
#define KEYLOG_NAME_BYTES 10u

struct keylog_head {
    uint64_t id; /* 0: there is no journal. */
    uint64_t last;
};

static inline void keylog_entry_store(uint8_t *to, uint16_t slot, uint64_t state)
{
    le16_store(to, slot);
    keystate_store(to + 2, state);
}

/* 0 or -ERR_CORRUPT; cuts one entry off `*in`, which is not empty. */
MUST_USE int keylog_entry_get(struct bytes *in, uint16_t *slot, uint64_t *state);

/* An id that is not 0. */
MUST_USE int keylog_new_id(uint64_t *out);

/* Appends the head to the batch. */
void keylog_put_head(struct store_batch *batch, const struct keylog_head *head);

/* Appends a row; `entries`: at least one. */
void keylog_put(struct store_batch *batch, uint64_t number, struct bytes entries);
void keylog_delete(struct store_batch *batch, uint64_t number);

/*
 * The head; `persisted`: as it would be found after a crash now. -ERR_NOT_FOUND, -ERR_CORRUPT or
 * the error of the store. Blocks, as those below.
 */
MUST_USE int keylog_read_head(struct store *store, bool persisted, struct keylog_head *out);

/* The highest number among the rows, 0 if there is none. */
MUST_USE int keylog_read_last(struct store *store, uint64_t *out);

/* Rows of the journal. */
struct keylog_span {
    uint64_t next;
    uint64_t last;
};

/*
 * Calls fn for the rows of the span in order, at most `max` of them, until it returns an error,
 * which is returned. What was taken goes off the span. -ERR_LOST: a row is missing.
 */
typedef int (*keylog_fn)(void *ctx, struct bytes entries);
MUST_USE int keylog_read(struct store *store, struct keylog_span *span, uint64_t max, keylog_fn fn,
                         void *ctx);

/* Appends deletes of at most `max` rows up to `to`; `*out_more`: there are more. */
MUST_USE int keylog_forget(struct store *store, uint64_t to, uint32_t max,
                           struct store_batch *batch, bool *out_more);

#endif
