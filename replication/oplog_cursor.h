/*
 * Reading a log from outside: by tools, and by what ships ops to peers.
 *
 * A cursor opens the segment files itself and never writes; it follows a log that another thread or
 * process appends to. It needs no lock: a record counts only if its sum is right, and a segment
 * that was recycled under the reader no longer has its number in its header. One thread at a time
 * per cursor, any thread. Calls block on the disk.
 */
#ifndef TIERRA_REPLICATION_OPLOG_CURSOR_H
#define TIERRA_REPLICATION_OPLOG_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "replication/oplog_mark.h"
#include "replication/oplog_segment.h"

struct oplog_cursor;

enum oplog_cursor_result {
    OPLOG_CURSOR_RECORD = 0,
    OPLOG_CURSOR_END = 1, /* No further record by now. */
};

/*
 * A cursor whose first record will be `lsn` (at least 1), or the first after a gap that an operator
 * accepted. 0; -ERR_NOT_FOUND: older than the log's first segment; -ENOMEM; -errno. Reads the
 * segment up to `lsn` with the first oplog_cursor_next.
 */
MUST_USE int oplog_cursor_open(const char *dir, uint64_t lsn, struct oplog_cursor **out);

/* NULL is allowed. */
void oplog_cursor_close(struct oplog_cursor *cursor);

/*
 * The next record if its LSN is at most `limit_lsn` (the durable position, or UINT64_MAX for all
 * that is written): OPLOG_CURSOR_RECORD, its payload valid until the next call; OPLOG_CURSOR_END:
 * ask again later; -ERR_NOT_FOUND: trimmed under the reader; -ERR_CORRUPT; -ENOMEM; -errno.
 */
MUST_USE int oplog_cursor_next(struct oplog_cursor *cursor, uint64_t limit_lsn,
                               struct oplog_record *out);

/* The LSN of the next record. */
uint64_t oplog_cursor_lsn(const struct oplog_cursor *cursor);
/* Segment number and offset of the next record: for messages. */
uint64_t oplog_cursor_segment(const struct oplog_cursor *cursor);
uint64_t oplog_cursor_offset(const struct oplog_cursor *cursor);

/* --- looking at all of a log, in use or not --- */

enum oplog_segment_state {
    OPLOG_SEGMENT_OK,
    OPLOG_SEGMENT_SPARE,   /* Allocated, not used yet. */
    OPLOG_SEGMENT_TORN,    /* The last one: its records end in something that is none. */
    OPLOG_SEGMENT_DAMAGED, /* A bad header or record, or not what its successor says. */
    OPLOG_SEGMENT_MISSING, /* No such file, though its neighbours are there. */
};

struct oplog_segment_info {
    uint64_t number;
    enum oplog_segment_state state;
    struct segment_header header; /* Zeros if there is none. */
    uint64_t file_bytes;
    uint64_t records_count; /* The following only if the records were read. */
    uint64_t last_lsn;
    uint64_t end; /* Where the records end; the place of the damage. */
};

struct oplog_summary {
    struct mark mark; /* Zeros if there is none. */
    int mark_err;     /* Why not: 0 or an error. */
    uint64_t first_lsn;
    uint64_t last_lsn; /* 0: no record. */
    uint64_t segments_count;
    uint64_t bad_count; /* Segments damaged or missing. */
    uint64_t bytes;
    bool lost; /* Ends before the watermark. */
};

typedef void (*oplog_segment_fn)(void *ctx, const struct oplog_segment_info *info);

/*
 * Goes through the segments in order; with `records` it also reads and checks every record and the
 * chain. Never writes and takes no lock. In a log that is being written the end may look torn.
 * 0 (the findings are in the outputs), -ENOMEM or -errno. `fn` may be NULL.
 */
MUST_USE int oplog_inspect(const char *dir, bool records, struct oplog_summary *out,
                           oplog_segment_fn fn, void *ctx);

#endif
