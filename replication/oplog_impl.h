/*
 * Inside of the op log: what oplog.c, oplog_commit.c, oplog_space.c and oplog_recover.c share.
 * Nobody else includes this.
 *
 *                     append                            write                        sync
 *     fill (buffer) --------> tail_offset, next_lsn    flight (buffer) -> written -> durable
 *       run 0: rest of segment n                         one request at a time
 *       run 1: start of segment n + 1 (after a rotation)
 *
 * Records get their place (segment, offset) when they are committed to the buffer, because their
 * sums depend on it. A buffer therefore consists of one run of bytes per segment, at most two.
 * Buffers are aligned to blocks in memory as the file is, and begin with what was already written
 * of a block that is not full: so a run can also be written in whole blocks, past the page cache.
 */
#ifndef TIERRA_REPLICATION_OPLOG_IMPL_H
#define TIERRA_REPLICATION_OPLOG_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/hist.h"

#include "engine/io/mailbox.h"
#include "engine/io/pool.h"
#include "engine/io/reactor.h"

#include "replication/oplog.h"
#include "replication/oplog_mark.h"
#include "replication/oplog_segment.h"

/* The unit of direct writes. */
#define OPLOG_BLOCK_BYTES 4096u
/* A buffer starts with this and is shrunk to it when it was much larger. */
#define OPLOG_BUFFER_BYTES_MIN (256u << 10)
/* Up to this a buffer doubles when it grows; beyond it grows by a quarter, or by one long record.
 */
#define OPLOG_BUFFER_BYTES_DOUBLE (16u << 20)
/* A buffer above this is given back when this many flights in a row used little of it. */
#define OPLOG_BUFFER_BYTES_KEEP    (4u << 20)
#define OPLOG_BUFFER_LARGE_FLIGHTS 64u
/* Allocated and recycled segments that wait for use: trims come in bursts. */
#define OPLOG_SPARES_MAX 4u
/* How long after a failure a spare is tried again. */
#define OPLOG_SPARE_RETRY_MS 1000u
#define OPLOG_WHY_BYTES      256u
#define OPLOG_SPARE_TMP      "spare.tmp"

STATIC_ASSERT(SEGMENT_HEADER_BYTES % OPLOG_BLOCK_BYTES == 0);

/* Text for the operator: one line, cut to fit. */
struct oplog_why {
    char *text;
    size_t len;
};

/* A segment that records are or will be written to. */
struct oplog_file {
    int fd; /* -1: none. */
    int direct_fd;
    uint64_t number;
    uint64_t bytes; /* As allocated. */
};

/* A segment with a header: what is known of it. */
struct oplog_seg {
    uint64_t number;
    uint64_t first_lsn;
    uint64_t last_lsn; /* first_lsn - 1: empty. Of the tail: not kept up to date. */
    uint64_t bytes;    /* On flash, as allocated. */
};

struct oplog_segs {
    struct oplog_seg *ptr;
    size_t count;
    size_t cap;
};

/* Bytes for one segment. */
struct oplog_run {
    struct oplog_file file;
    uint64_t offset; /* In the file, of the first byte. */
    size_t start;    /* In the buffer, likewise; equal to offset modulo a block. */
    size_t bytes;
    uint64_t last_lsn;
};

struct oplog_buf {
    uint8_t *ptr; /* Aligned to a block. */
    size_t cap;
    size_t len; /* The end of the last run. */
    struct oplog_run runs[2];
    size_t runs_count;
    uint32_t large_count;         /* Flights in a row that used little of it. */
    struct segment_header header; /* Of the segment of runs[1]. */
};

enum oplog_job_kind {
    OPLOG_JOB_CREATE,
    OPLOG_JOB_RECYCLE,
    OPLOG_JOB_DELETE,
};

/* Blocking work on segment files, on a thread of the pool; one at a time per log. */
struct oplog_job {
    struct pool_job job;
    struct oplog *log;
    enum oplog_job_kind kind;
    const char *dir;
    uint64_t from; /* Number of the segment to recycle or delete. */
    uint64_t to;   /* Number of the spare that it makes. */
    uint64_t bytes;
    bool direct;           /* Also open it for direct writes. */
    bool zero;             /* Write zeros, so that later synced writes need no metadata. */
    _Atomic bool hurry;    /* Stop writing zeros. */
    int result;            /* 0 or -errno. */
    struct oplog_file out; /* The spare. */
};

struct oplog {
    struct oplog_options options;
    struct reactor *reactor;
    uint64_t id;
    int lock_fd;
    int mark_fd;
    enum oplog_policy policy;
    enum oplog_method method;

    /* Appending. */
    struct oplog_buf *fill;
    struct oplog_buf bufs[2];
    struct oplog_file tail; /* fd -1: the next record starts a segment. */
    uint64_t tail_seed;
    uint64_t tail_offset; /* Of the next record. */
    size_t reserved;      /* Payload bytes; SIZE_MAX: no reservation. */
    uint64_t next_lsn;
    uint64_t last_lsn; /* Of the last record: next_lsn - 1 but for an accepted loss. */
    uint64_t chain;

    /* Writing. */
    struct oplog_buf *flight;     /* NULL: nothing in flight. */
    size_t flight_run;            /* The run being written. */
    struct oplog_file write_file; /* The last segment whose header is durable; fd -1: none. */
    uint64_t headed_number;       /* The highest number whose header is durable. */
    uint64_t written_lsn;
    uint64_t handed_lsn; /* The kernel has it; written_lsn follows in the next turn. */
    uint64_t durable_lsn;
    struct reactor_file_req write_req;
    uint64_t write_at_ns;
    uint8_t *header_block;

    /* Syncing. */
    uint64_t sync_target_lsn;
    uint64_t sync_wanted_lsn; /* Above durable: a sync was asked for. */
    uint64_t sync_later_lsn;  /* The same, asked for after that. */
    uint64_t sync_at_ns;
    struct reactor_file_req sync_req;
    struct reactor_timer sync_timer;

    /* The watermark. */
    struct mark mark;
    struct reactor_file_req mark_req;
    uint8_t mark_slot[MARK_SLOT_BYTES];

    /* Segments. */
    struct oplog_segs segs;  /* With a header, or about to get it; in order. */
    struct oplog_segs trash; /* To be recycled or deleted, in order; bytes 0: it failed before. */
    struct oplog_file spares[OPLOG_SPARES_MAX];
    size_t spares_count;
    struct oplog_job job;
    struct reactor_timer spare_timer;
    uint64_t trash_bytes;

    /* Recovery. */
    uint64_t torn_number; /* A segment whose header is bad, if it holds no records; else 0. */

    struct oplog_metrics metrics;
    struct hist sync_hist;
    char why[OPLOG_WHY_BYTES];

    /* State, in the order of the sections above. */
    bool ready; /* Recovered: takes records. */
    bool fenced;
    bool closing;
    bool tail_empty;     /* No record in it yet. */
    bool flight_written; /* The run being written is written. */
    bool flight_busy;    /* write_req is in use. */
    bool write_synced;   /* It is a synced write. */
    bool sync_busy;
    bool mark_busy;
    bool mark_dirty;
    bool space_low;
    bool job_busy;
    bool loss_accepted; /* At recovery the operator's word was needed. */
};

/* --- oplog.c --- */

/* No write from now on; tells the owner. `err`: -errno. */
void oplog_fence(struct oplog *log, const char *what, int err);

void oplog_say(struct oplog_why why, const char *format, ...) PRINTF_LIKE(2, 3);

static inline void oplog_file_clear(struct oplog_file *file)
{
    *file = (struct oplog_file){.fd = -1, .direct_fd = -1};
}

void oplog_file_close(struct oplog_file *file);

/*
 * A descriptor for direct writes of whole blocks; -1 if the file system has none, or wants larger
 * ones (tried by a read): synced writes then go through the page cache. Blocks.
 */
int oplog_open_direct(const char *path);

/* There is something to write in it. */
static inline bool oplog_buf_used(const struct oplog_buf *buf)
{
    return buf->len > buf->runs[0].start;
}

/* Appended and not yet written, padding included. */
static inline size_t oplog_pending_bytes(const struct oplog *log)
{
    const size_t flight = log->flight == NULL ? 0 : log->flight->len - log->flight->runs[0].start;

    return flight + log->fill->len - log->fill->runs[0].start;
}

/* --- oplog_commit.c --- */

void commit_init(struct oplog *log);
void commit_deinit(struct oplog *log);
/* No request of the log is in the reactor's hands. */
bool commit_idle(const struct oplog *log);
/* Starts the next flight if there is something to write and none is on its way. */
void commit_advance(struct oplog *log);
/* Room for `more` bytes and padding behind the content. Aborts on exhaustion. */
void commit_room(struct oplog_buf *buf, size_t more);
/* The policy changed. */
void commit_policy_changed(struct oplog *log);

/* --- oplog_space.c --- */

/* Starts the next job on segment files if one is due. */
void space_poll(struct oplog *log);
/* Makes a spare at once, blocking; for the start. Failure only sets space_low. */
void space_make_first(struct oplog *log);
/* The number of the next spare to make. */
uint64_t space_next_number(const struct oplog *log);
void space_deinit(struct oplog *log);
void segs_push(struct oplog_segs *segs, const struct oplog_seg *seg);
void segs_pop_front(struct oplog_segs *segs);

/* --- oplog_recover.c --- */

/* Finds the segments and checks their headers; sets segs, spares, mark, id. */
MUST_USE int recover_open(struct oplog *log, struct oplog_why why);

#endif
