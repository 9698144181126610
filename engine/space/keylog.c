/* The journal of keys; keylog.h has the rows and the argument. */
#include "engine/space/keylog.h"

#include "engine/base/check.h"
#include "engine/base/crc16.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/store/store.h"

/* First byte of head and rows: none that the store itself understands. */
#define ROW_VERSION 1u

static size_t store_name(uint8_t name[KEYLOG_NAME_BYTES], uint64_t number)
{
    name[0] = ROWKEY_SPECIAL;
    name[1] = ROWKEY_KEYLOG;
    be64_store(name + 2, number);
    return KEYLOG_NAME_BYTES;
}

static struct bytes head_name(void)
{
    static const uint8_t name[2] = {ROWKEY_SPECIAL, ROWKEY_KEYLOG};

    return bytes_of(name, sizeof(name));
}

int keylog_entry_get(struct bytes *in, uint16_t *slot, uint64_t *state)
{
    struct bytes entry;

    if (!bytes_take(in, KEYLOG_ENTRY_BYTES, &entry))
        return -ERR_CORRUPT;
    *slot = le16_load(entry.ptr);
    *state = keystate_load(entry.ptr + 2);
    return *slot < KEY_SLOTS && keystate_valid(*state, true) ? 0 : -ERR_CORRUPT;
}

int keylog_new_id(uint64_t *out)
{
    do {
        const int err = rng_os_bytes(out, sizeof(*out));
        if (err != 0)
            return err;
    } while (*out == 0);
    return 0;
}

/* --- writing; running out of memory here ends the process, as for any row --- */

void keylog_put_head(struct store_batch *batch, const struct keylog_head *head)
{
    uint8_t row[KEYLOG_HEAD_BYTES];

    row[0] = ROW_VERSION;
    le64_store(row + 1, head->id);
    le64_store(row + 9, head->last);
    CHECK(store_batch_put(batch, head_name(), bytes_of(row, sizeof(row))) == 0);
}

void keylog_put(struct store_batch *batch, uint64_t number, struct bytes entries)
{
    uint8_t name[KEYLOG_NAME_BYTES];
    const size_t len = store_name(name, number);

    CHECK(entries.len != 0 && entries.len % KEYLOG_ENTRY_BYTES == 0);
    uint8_t *row = mem_alloc(1 + entries.len);
    row[0] = ROW_VERSION;
    memcpy(row + 1, entries.ptr, entries.len);
    CHECK(store_batch_put(batch, bytes_of(name, len), bytes_of(row, 1 + entries.len)) == 0);
    mem_free(row);
}

void keylog_delete(struct store_batch *batch, uint64_t number)
{
    uint8_t name[KEYLOG_NAME_BYTES];
    const size_t len = store_name(name, number);

    CHECK(store_batch_delete(batch, bytes_of(name, len)) == 0);
}

/* --- reading --- */

int keylog_read_head(struct store *store, bool persisted, struct keylog_head *out)
{
    struct store_value value;
    int err = 0;

    *out = (struct keylog_head){0};
    store_get(store, head_name(), persisted ? STORE_READ_PERSISTED : STORE_READ_NO_FILL, &value);
    if (value.status == STORE_ABSENT)
        err = -ERR_NOT_FOUND;
    else if (value.status != STORE_FOUND)
        err = value.err != 0 ? value.err : -ERR_CORRUPT;
    else if (value.row.len != KEYLOG_HEAD_BYTES || value.row.ptr[0] != ROW_VERSION ||
             le64_load(value.row.ptr + 1) == 0)
        err = -ERR_CORRUPT;
    else
        *out = (struct keylog_head){.id = le64_load(value.row.ptr + 1),
                                    .last = le64_load(value.row.ptr + 9)};
    store_value_release(&value);
    return err;
}

/* A cursor over the rows of the journal from `from` on, the head left out. */
static int open_rows(struct store *store, uint64_t from, struct store_iter **out)
{
    static const uint8_t beyond[2] = {ROWKEY_SPECIAL, ROWKEY_KEYLOG + 1};
    uint8_t name[KEYLOG_NAME_BYTES];
    const size_t len = store_name(name, from);
    const struct store_iter_options options = {.lower = bytes_of(name, len),
                                               .upper = bytes_of(beyond, sizeof(beyond)),
                                               .readahead_bytes = 256u << 10};

    const int err = store_iter_open(store, &options, out);
    if (err == 0)
        store_iter_seek(*out, bytes_of(NULL, 0));
    return err;
}

/* The number of the row at the cursor. */
static int row_number(const struct store_iter *it, uint64_t *out)
{
    const struct bytes name = store_iter_key(it);

    if (name.len != KEYLOG_NAME_BYTES)
        return -ERR_CORRUPT;
    *out = be64_load(name.ptr + 2);
    return 0;
}

static int row_entries(const struct store_iter *it, struct bytes *out)
{
    struct bytes row;

    if (store_iter_row(it, &row) != STORE_FOUND || row.len < 1 + KEYLOG_ENTRY_BYTES ||
        row.ptr[0] != ROW_VERSION || (row.len - 1) % KEYLOG_ENTRY_BYTES != 0)
        return -ERR_CORRUPT;
    *out = bytes_from(row, 1);
    return 0;
}

int keylog_read_last(struct store *store, uint64_t *out)
{
    struct store_iter *it;

    *out = 0;
    int err = open_rows(store, 0, &it);
    if (err != 0)
        return err;
    store_iter_seek_prev(it, bytes_of(NULL, 0));
    err = store_iter_valid(it) ? row_number(it, out) : store_iter_status(it);
    store_iter_close(it);
    return err;
}

/* The cursor is to be at the next row of the span: its entries. */
static int take_row(const struct store_iter *it, const struct keylog_span *span, struct bytes *out)
{
    uint64_t number;

    if (!store_iter_valid(it)) {
        const int err = store_iter_status(it);
        return err != 0 ? err : -ERR_LOST;
    }
    const int err = row_number(it, &number);
    if (err != 0)
        return err;
    return number == span->next ? row_entries(it, out) : -ERR_LOST;
}

int keylog_read(struct store *store, struct keylog_span *span, uint64_t max, keylog_fn fn,
                void *ctx)
{
    struct store_iter *it;
    struct bytes entries;

    if (span->next > span->last)
        return 0;
    int err = open_rows(store, span->next, &it);
    if (err != 0)
        return err;
    for (; span->next <= span->last && max != 0; max--) {
        err = take_row(it, span, &entries);
        if (err == 0)
            err = fn(ctx, entries);
        if (err != 0)
            break;
        span->next++;
        store_iter_next(it);
    }
    store_iter_close(it);
    return err;
}

int keylog_forget(struct store *store, uint64_t to, uint32_t max, struct store_batch *batch,
                  bool *out_more)
{
    struct store_iter *it;
    uint64_t number;
    uint32_t count = 0;

    *out_more = false;
    int err = open_rows(store, 0, &it);
    if (err != 0)
        return err;
    for (; store_iter_valid(it) && err == 0; store_iter_next(it)) {
        err = row_number(it, &number);
        if (err != 0 || number > to)
            break;
        if (count++ == max) {
            *out_more = true;
            break;
        }
        keylog_delete(batch, number);
    }
    if (err == 0)
        err = store_iter_status(it);
    store_iter_close(it);
    return err;
}
