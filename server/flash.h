/*
 * The flash budget: how much of the disk the data directory takes, and what follows from it.
 *
 *     0 ................ tight ............ full ........... maxflash
 *      free               give back, evict   refuse growth    the reserve
 *
 * What counts is everything below the data directory as the file system counts it: tables, files
 * that RocksDB no longer needs but has not deleted, logs with their spare segments, checkpoints; a
 * table that a checkpoint shares by a hard link counts once. A thread of the reader pool walks the
 * directory; between two walks what was appended to the logs since is added, twice, as it will be
 * in a table too, and always what is in memory and will become tables: write buffers, dirty rows.
 * The reserve (replication-oom-threshold-percent) is not for growth by clients.
 *
 * The free space of the file system is looked at with every walk: growth is refused while there is
 * still room for what has been accepted already: the write buffers, the next segments of the logs,
 * a compaction. So neither RocksDB nor a log meets the end of the disk. Peers' writes end there,
 * too, but may use the reserve of maxflash. A resync keeps the own rows beside those of a peer
 * until it is complete: it may go beyond maxflash for that time, and is begun only if the disk has
 * room for all tables once more.
 *
 * Giving flash back (relief): rows are written back without delay and the write buffers flushed, so
 * that the logs can be trimmed; when enough rows were deleted or overwritten since the last time,
 * the tables are compacted, which is what removes them.
 *
 * Eviction looks at what would be left after a relief: without the part of the logs that can be
 * trimmed. Evicted keys give nothing back at once: until the store has their deletes, a relief has
 * followed and no compaction runs any more, their bytes count as if they were free already.
 *
 * Thread: shard 0's, but for what is said to be any.
 */
#ifndef TIERRA_SERVER_FLASH_H
#define TIERRA_SERVER_FLASH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "engine/io/pool.h"

struct node;
struct shard;

enum flash_level {
    FLASH_FREE,
    FLASH_TIGHT,
    FLASH_UNSURE, /* Perhaps full: growth waits for the walk that is under way. */
    FLASH_FULL
};

/* What one walk found. */
struct flash_walk {
    uint64_t tree_bytes;
    uint64_t free_bytes; /* Of the file system. */
    int err;
};

struct flash {
    struct node *node;
    struct pool_class cls;
    struct pool_job job;
    struct flash_walk walk; /* The job's while it is under way. */
    uint64_t walk_at_ms;    /* When the last one began; */
    uint64_t walk_appended; /* bytes appended to the logs by then; */
    uint64_t walk_pending;  /* bytes in memory that will become tables. */
    bool walking;
    bool walk_quiet;     /* No compaction ran when it began; then */
    uint64_t walk_gone;  /* so many evicted bytes had been given back. */
    uint64_t tree_bytes; /* Of the last walk that ended, with */
    uint64_t appended;   /* the other figures of its begin. */
    uint64_t pending;
    uint64_t disk_free;
    _Atomic uint64_t used;       /* As of now; any thread reads. */
    uint64_t disk_need;          /* Growth is refused when less is free. */
    uint64_t relieved_before;    /* When the walk before found it quiet. */
    _Atomic uint64_t evicted;    /* Bytes evicted and perhaps not given back yet; any thread. */
    _Atomic uint64_t trimmable;  /* Of the logs, once the store has what they hold. */
    _Atomic uint64_t relieved;   /* Of these, given back but for compaction; any thread. */
    _Atomic uint64_t disk_spare; /* Free beyond what is kept free; any thread. */
    _Atomic int level;           /* Any thread reads. */
    _Atomic(const char *) why;   /* Of FLASH_FULL; static text. */
};

/*
 * Relief of one shard: store_flush and compaction on its maintenance thread, when flash is short;
 * and store_flush when the log is long only because what it holds is overwritten again and again:
 * that fills no memtable, so that the store would not become persistent by itself for days.
 */
enum flash_evicted {
    FLASH_EVICTED_NONE,
    FLASH_EVICTED_MARKED,  /* The store may lack their deletes. */
    FLASH_EVICTED_FLUSHED, /* A relief that brings them has begun; */
    FLASH_EVICTED_DONE,    /* has ended. */
};

struct flash_relief {
    struct pool_class cls;
    struct pool_job job;
    bool busy;
    bool compact;          /* Asked of the job. */
    bool log_long;         /* Set by look_after_log: of the log too much waits for the store. */
    uint64_t log_seen;     /* Bytes that had been logged when the store had become */
    uint64_t log_seen_lsn; /* persistent up to here. */
    int err;               /* Of the job. */
    uint64_t began_ms;
    uint64_t evicted;    /* Bytes evicted since the mark; */
    uint64_t marked;     /* those before it, */
    uint64_t marked_lsn; /* deleted up to here. */
    enum flash_evicted stage;
    uint64_t deletes_seen; /* Rows removed and bytes written when the tables were */
    uint64_t bytes_seen;   /* compacted last. */
};

/* Measures for the first time; blocks. The readers' pool and the shards are open. */
MUST_USE int flash_open(struct node *node);

/* From the timer: starts a walk when one is due, and sets the level. */
void flash_measure(struct node *node, uint64_t now_ms);

/* Tells what of the shard counts; the shard's thread, now and then. */
void flash_publish(struct shard *sh);

/* A walk is under way: not a time to end. */
bool flash_walking(const struct node *node);

/* A limit has changed. */
void flash_set_level(struct node *node);

/* Any thread. */
static inline enum flash_level flash_level(const struct flash *f)
{
    return (enum flash_level)atomic_load_explicit(&f->level, memory_order_relaxed);
}

/* Of FLASH_FULL: for the client that is refused. Any thread. */
const char *flash_why(const struct flash *f);

/*
 * Why peers' writes do not fit either, for which replication-oom-threshold-percent is kept; NULL:
 * they do. `aside`: those are rows of a resync. Static text. Any thread.
 */
const char *flash_remote_why(const struct node *node, bool aside);

/* Why no resync may begin; NULL: it may. Static text. Any thread. */
const char *flash_aside_why(const struct node *node);

/* How many bytes of keys should be evicted now; 0: none. Any thread. */
uint64_t flash_excess(const struct node *node);

/* A key of about so many bytes was evicted. The shard's thread. */
void flash_note_evicted(struct shard *sh, uint64_t bytes);

/* Bytes of one log segment, and of a log tail that a restart replays: within maxflash. */
uint64_t flash_segment_bytes(const struct node *node);
uint64_t flash_log_tail_bytes(const struct node *node, uint64_t bytes);

/* Of the shard; the shard's thread. */
void flash_relief_init(struct shard *sh);
void flash_relief_step(struct shard *sh);

#endif
