/* The checkpoint of the key table; keyfile.h has the bytes. */
#include "engine/space/keyfile.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/crc16.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/io/file.h"
#include "engine/value/row.h"

#define VERSION            1u
#define BLOCK_HEADER_BYTES 16u
#define BLOCK_LAST         0x80000000u
#define GROUP_HEADER_BYTES 4u
#define LAST_BYTES         16u
/* Written so far is synced each time, so that the last sync finds little to do. */
#define SYNC_BYTES (4u << 20)

static const uint8_t magic[8] = {'T', 'I', 'E', 'R', 'K', 'E', 'Y', 'S'};

bool keystate_valid(uint64_t state, bool gone)
{
    const uint8_t type = keystate_type(state);

    if ((state & 0x60) != 0 || state >> 56 != 0)
        return false;
    return type < VT_END && (type != VT_NONE || gone);
}

/* Order in the file. */
static bool ascends(uint16_t slot_a, uint64_t a, uint16_t slot_b, uint64_t b)
{
    return slot_a != slot_b ? slot_a < slot_b
                            : a >> KEYSTATE_HASH_SHIFT <= b >> KEYSTATE_HASH_SHIFT;
}

/* --- writing --- */

static void tmp_path(const char *path, char out[KEYFILE_PATH_BYTES + 8])
{
    (void)snprintf(out, KEYFILE_PATH_BYTES + 8, "%s.tmp", path);
}

static int write_header(struct keyfile_writer *w)
{
    uint8_t header[KEYFILE_HEADER_BYTES] = {0};

    memcpy(header, magic, sizeof(magic));
    le32_store(header + 8, VERSION);
    le64_store(header + 16, w->head.id);
    le64_store(header + 24, w->head.base);
    le64_store(header + 32, w->head.covered_lsn);
    le64_store(header + 40, w->head.written_ms);
    le64_store(header + 56, sum64(header, 56));
    return file_write_full(w->fd, header, sizeof(header), 0);
}

int keyfile_create(struct keyfile_writer *w, const char *path, const struct keyfile_head *head)
{
    char tmp[KEYFILE_PATH_BYTES + 8];

    *w = (struct keyfile_writer){.head = *head, .fd = -1, .offset = KEYFILE_HEADER_BYTES};
    if (strlen(path) >= sizeof(w->path))
        return -ERR_RANGE;
    (void)snprintf(w->path, sizeof(w->path), "%s", path);
    tmp_path(path, tmp);
    w->fd = file_open(tmp, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE);
    if (w->fd < 0) {
        const int err = w->fd;
        w->fd = -1;
        return err;
    }
    w->block = mem_alloc(BLOCK_HEADER_BYTES + KEYFILE_PAYLOAD_BYTES);
    const int err = write_header(w);
    if (err != 0)
        keyfile_abort(w);
    return err;
}

static uint8_t *payload(const struct keyfile_writer *w)
{
    return w->block + BLOCK_HEADER_BYTES;
}

static uint64_t block_sum(const struct keyfile_head *head, const uint8_t *ptr, size_t len,
                          uint64_t offset)
{
    return sum64_seed(ptr, len, head->id + head->base + offset);
}

static int write_block(struct keyfile_writer *w, uint32_t flags)
{
    le32_store(w->block, (uint32_t)w->len | flags);
    le32_store(w->block + 4, 0);
    le64_store(w->block + 8, block_sum(&w->head, payload(w), w->len, w->offset));
    const size_t bytes = BLOCK_HEADER_BYTES + w->len;
    int err = file_write_full(w->fd, w->block, bytes, w->offset);
    w->offset += bytes;
    w->len = 0;
    w->in_group = false;
    if (err == 0 && w->offset - w->synced > SYNC_BYTES) {
        w->synced = w->offset;
        err = file_sync(w->fd, false);
    }
    return err;
}

static void group_begin(struct keyfile_writer *w, uint16_t slot)
{
    w->group = w->len;
    w->in_group = true;
    le16_store(payload(w) + w->len, slot);
    le16_store(payload(w) + w->len + 2, 0);
    w->len += GROUP_HEADER_BYTES;
}

int keyfile_add(struct keyfile_writer *w, uint16_t slot, uint64_t state)
{
    CHECK(slot < KEY_SLOTS && keystate_valid(state, false));
    CHECK(w->keys == 0 || ascends(w->slot, w->state, slot, state));
    if (w->len + GROUP_HEADER_BYTES + KEYSTATE_BYTES > KEYFILE_PAYLOAD_BYTES) {
        const int err = write_block(w, 0);
        if (err != 0)
            return err;
    }
    if (!w->in_group || slot != w->slot)
        group_begin(w, slot);
    uint8_t *count = payload(w) + w->group + 2;
    le16_store(count, (uint16_t)(le16_load(count) + 1));
    keystate_store(payload(w) + w->len, state);
    w->len += KEYSTATE_BYTES;
    w->slot = slot;
    w->state = state;
    w->keys++;
    w->keys_ttl += keystate_has_ttl(state);
    return 0;
}

/* `path` without its last part. */
static int sync_dir_of(const char *path)
{
    char dir[KEYFILE_PATH_BYTES];

    (void)snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL)
        return file_sync_dir(".");
    *slash = '\0';
    return file_sync_dir(dir);
}

int keyfile_finish(struct keyfile_writer *w)
{
    char tmp[KEYFILE_PATH_BYTES + 8];
    int err = 0;

    tmp_path(w->path, tmp);
    if (w->len != 0)
        err = write_block(w, 0);
    le64_store(payload(w), w->keys);
    le64_store(payload(w) + 8, w->keys_ttl);
    w->len = LAST_BYTES;
    if (err == 0)
        err = write_block(w, BLOCK_LAST);
    if (err == 0)
        err = file_sync(w->fd, true);
    if (err == 0)
        err = file_rename(tmp, w->path);
    if (err == 0)
        err = sync_dir_of(w->path);
    keyfile_abort(w);
    return err;
}

void keyfile_abort(struct keyfile_writer *w)
{
    char tmp[KEYFILE_PATH_BYTES + 8];

    if (w->fd < 0)
        return;
    (void)file_close(w->fd);
    w->fd = -1;
    mem_free(w->block);
    w->block = NULL;
    /* Not there any more after a rename. */
    tmp_path(w->path, tmp);
    IGNORE_RESULT(file_unlink(tmp));
}

void keyfile_remove(const char *path)
{
    char tmp[KEYFILE_PATH_BYTES + 8];

    tmp_path(path, tmp);
    IGNORE_RESULT(file_unlink(tmp)); /* Neither need be there. */
    IGNORE_RESULT(file_unlink(path));
}

/* --- reading --- */

static int read_header(struct keyfile_reader *r)
{
    uint8_t header[KEYFILE_HEADER_BYTES];

    int err = file_size(r->fd, &r->size);
    if (err == 0)
        err = file_read_full(r->fd, header, sizeof(header), 0);
    if (err == -ERR_TRUNCATED)
        return -ERR_CORRUPT;
    if (err != 0)
        return err;
    if (memcmp(header, magic, sizeof(magic)) != 0)
        return -ERR_FORMAT;
    if (le64_load(header + 56) != sum64(header, 56))
        return -ERR_CORRUPT;
    if (le32_load(header + 8) != VERSION)
        return -ERR_FORMAT;
    r->head = (struct keyfile_head){.id = le64_load(header + 16),
                                    .base = le64_load(header + 24),
                                    .covered_lsn = le64_load(header + 32),
                                    .written_ms = le64_load(header + 40)};
    return 0;
}

int keyfile_open(struct keyfile_reader *r, const char *path)
{
    *r = (struct keyfile_reader){.offset = KEYFILE_HEADER_BYTES};
    r->fd = file_open(path, FILE_READ);
    if (r->fd < 0) {
        const int err = r->fd;
        r->fd = -1;
        return err;
    }
    r->block = mem_alloc(KEYFILE_PAYLOAD_BYTES);
    const int err = read_header(r);
    if (err != 0)
        keyfile_close(r);
    return err;
}

/* 1: an ordinary block; 0: the last. */
static int read_block(struct keyfile_reader *r)
{
    uint8_t header[BLOCK_HEADER_BYTES];

    int err = file_read_full(r->fd, header, sizeof(header), r->offset);
    const uint32_t word = err == 0 ? le32_load(header) : 0;
    const size_t len = word & ~BLOCK_LAST;
    if (err == 0 && (len == 0 || len > KEYFILE_PAYLOAD_BYTES || le32_load(header + 4) != 0))
        return -ERR_CORRUPT;
    if (err == 0)
        err = file_read_full(r->fd, r->block, len, r->offset + sizeof(header));
    if (err != 0)
        return err == -ERR_TRUNCATED ? -ERR_CORRUPT : err;
    if (le64_load(header + 8) != block_sum(&r->head, r->block, len, r->offset))
        return -ERR_CORRUPT;
    r->rest = bytes_of(r->block, len);
    r->offset += sizeof(header) + len;
    return (word & BLOCK_LAST) == 0;
}

/* The counts are right, and nothing follows. */
static int check_last(const struct keyfile_reader *r)
{
    const uint8_t *at = r->rest.ptr;

    if (r->rest.len != LAST_BYTES || r->offset != r->size)
        return -ERR_CORRUPT;
    return le64_load(at) == r->keys && le64_load(at + 8) == r->keys_ttl ? 0 : -ERR_CORRUPT;
}

static bool group_valid(struct keyfile_reader *r, const struct keyfile_group *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        const uint64_t state = keystate_load(g->states + (size_t)i * KEYSTATE_BYTES);
        if (!keystate_valid(state, false) ||
            (r->any && !ascends(r->slot, r->state, g->slot, state)))
            return false;
        r->any = true;
        r->slot = g->slot;
        r->state = state;
        r->keys_ttl += keystate_has_ttl(state);
    }
    r->keys += g->count;
    return true;
}

int keyfile_next(struct keyfile_reader *r, struct keyfile_group *out)
{
    struct bytes states;

    if (r->rest.len == 0) {
        const int step = read_block(r);
        if (step < 0)
            return step;
        if (step == 0) {
            const int err = check_last(r);
            r->rest = bytes_of(NULL, 0);
            return err;
        }
    }
    uint16_t slot, count;
    if (le16_get(&r->rest, &slot) != 0 || le16_get(&r->rest, &count) != 0 || count == 0 ||
        slot >= KEY_SLOTS || !bytes_take(&r->rest, (size_t)count * KEYSTATE_BYTES, &states))
        return -ERR_CORRUPT;
    *out = (struct keyfile_group){.slot = slot, .count = count, .states = states.ptr};
    return group_valid(r, out) ? 1 : -ERR_CORRUPT;
}

void keyfile_close(struct keyfile_reader *r)
{
    if (r->fd < 0)
        return;
    (void)file_close(r->fd);
    r->fd = -1;
    mem_free(r->block);
    r->block = NULL;
}
