/*
 * The watermark of an op log: a witness, outside the segments, of how far the log was durable.
 *
 * After each sync the shard writes the LSN that is now durable to a file beside the segments,
 * without syncing it. The mark can only be older than the truth, so that it costs no sync and never
 * raises a false alarm; a log that ends below its mark has lost records.
 *
 * The file "watermark" has two slots, at 0 and 4096 (no write can tear both), of 64 bytes,
 * little-endian:
 *
 *     0   8  magic "TIERRAWM"
 *     8   4  version, 1
 *     12  4  zero
 *     16  8  log_id, as in the segments
 *     24  8  count: rises by one per write; an even one goes to slot 0, an odd one to slot 1; the
 *            higher of the good slots counts
 *     32  8  durable_lsn
 *     40  8  accepted_lsn: records up to here may be missing or damaged; an operator knows
 *     48  8  zero
 *     56  8  sum64 of bytes 0 .. 55
 *
 * It is created, and synced, before the first segment: segments without it are incomplete.
 */
#ifndef TIERRA_REPLICATION_OPLOG_MARK_H
#define TIERRA_REPLICATION_OPLOG_MARK_H

#include <stdint.h>

#include "engine/base/attr.h"

#define MARK_FILE_NAME  "watermark"
#define MARK_SLOT_BYTES 64u
#define MARK_SLOT_STEP  4096u

struct mark {
    uint64_t log_id;
    uint64_t count;
    uint64_t durable_lsn;
    uint64_t accepted_lsn;
};

void mark_encode(const struct mark *mark, uint8_t out[MARK_SLOT_BYTES]);

/* 0; -ERR_CORRUPT; -ERR_FORMAT: another version. */
MUST_USE int mark_decode(const uint8_t slot[MARK_SLOT_BYTES], struct mark *out);

static inline uint64_t mark_offset(const struct mark *mark)
{
    return (mark->count & 1) * MARK_SLOT_STEP;
}

/*
 * Reads the newer good slot. 0; -ERR_NOT_FOUND: an empty file; -ERR_CORRUPT: no good slot;
 * -ERR_FORMAT; -errno.
 */
MUST_USE int mark_read(int fd, struct mark *out);

/* Counts up, writes the slot and syncs the file. Blocks. 0 or -errno. */
MUST_USE int mark_write_sync(int fd, struct mark *mark);

#endif
