/*
 * The watermark file: two slots, written in turn.
 */
#include "replication/oplog_mark.h"

#include <stdbool.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/sum.h"

#include "engine/io/file.h"

#define MARK_VERSION    1u
#define MARK_SUM_OFFSET 56u

static const uint8_t mark_magic[8] = {'T', 'I', 'E', 'R', 'R', 'A', 'W', 'M'};

void mark_encode(const struct mark *mark, uint8_t out[MARK_SLOT_BYTES])
{
    memset(out, 0, MARK_SLOT_BYTES);
    memcpy(out, mark_magic, sizeof(mark_magic));
    le32_store(out + 8, MARK_VERSION);
    le64_store(out + 16, mark->log_id);
    le64_store(out + 24, mark->count);
    le64_store(out + 32, mark->durable_lsn);
    le64_store(out + 40, mark->accepted_lsn);
    le64_store(out + MARK_SUM_OFFSET, sum64(out, MARK_SUM_OFFSET));
}

int mark_decode(const uint8_t slot[MARK_SLOT_BYTES], struct mark *out)
{
    if (memcmp(slot, mark_magic, sizeof(mark_magic)) != 0)
        return -ERR_CORRUPT;
    if (le64_load(slot + MARK_SUM_OFFSET) != sum64(slot, MARK_SUM_OFFSET))
        return -ERR_CORRUPT;
    if (le32_load(slot + 8) != MARK_VERSION)
        return -ERR_FORMAT;
    *out = (struct mark){
        .log_id = le64_load(slot + 16),
        .count = le64_load(slot + 24),
        .durable_lsn = le64_load(slot + 32),
        .accepted_lsn = le64_load(slot + 40),
    };
    return 0;
}

int mark_read(int fd, struct mark *out)
{
    int result = -ERR_NOT_FOUND;
    bool good = false;

    for (unsigned i = 0; i < 2; i++) {
        uint8_t slot[MARK_SLOT_BYTES];
        struct mark mark = {0};
        size_t len;
        int err = file_read_some(fd, slot, sizeof(slot), (uint64_t)i * MARK_SLOT_STEP, &len);
        if (err != 0)
            return err;
        if (len == 0)
            continue;
        err = len < sizeof(slot) ? -ERR_CORRUPT : mark_decode(slot, &mark);
        if (err != 0) {
            result = err;
            continue;
        }
        if (!good || mark.count > out->count)
            *out = mark;
        good = true;
    }
    return good ? 0 : result;
}

int mark_write_sync(int fd, struct mark *mark)
{
    uint8_t slot[MARK_SLOT_BYTES];

    mark->count++;
    mark_encode(mark, slot);
    const int err = file_write_full(fd, slot, sizeof(slot), mark_offset(mark));
    return err != 0 ? err : file_sync(fd, false);
}
