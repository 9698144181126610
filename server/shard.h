/*
 * One shard: a thread with its reactor, keyspace, op log and connections.
 *
 * What happens in a turn of the loop, in this order:
 *
 *     completions   received bytes run commands (conn, dispatch); reads come back (keyspace)
 *     turn hook     1. waiting commands are tried again
 *                   2. the log submits one write for all ops of the turn (oplog_turn_end)
 *                   3. replies leave, or are held until the log is durable
 *                   4. housekeeping in bounded slices: flush, demotion, expiry
 *
 * Everything here belongs to the shard's thread, once it runs.
 */
#ifndef TIERRA_SERVER_SHARD_H
#define TIERRA_SERVER_SHARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "engine/base/list.h"
#include "engine/base/rng.h"

#include "engine/io/mailbox.h"
#include "engine/io/pool.h"
#include "engine/io/reactor.h"
#include "engine/io/thread.h"
#include "engine/space/keyspace.h"
#include "engine/space/pace.h"

#include "replication/mutate.h"
#include "replication/oplog.h"

#include "server/client_room.h"
#include "server/command.h"
#include "server/conn.h"
#include "server/eviction.h"
#include "server/flash.h"
#include "server/forward.h"
#include "server/group_shard.h"
#include "server/mend.h"
#include "server/migrate.h"
#include "server/popahead.h"
#include "server/request.h"
#include "server/save.h"
#include "server/shard_store.h"
#include "server/shortage.h"
#include "server/stats.h"
#include "server/window.h"

struct acl_log;
struct acl_users;
struct blocked_table;
struct config;
struct group_shard;
struct node;
struct notify;
struct pubsub;
struct store;
struct tracking;

struct shard {
    uint32_t id;
    struct node *node;
    const struct config *cfg;
    const struct command_table *commands;
    struct reactor *reactor;
    struct mailbox mailbox;
    struct store *store;
    struct pool *maintainer;
    struct keyspace *ks;
    struct oplog *log;
    struct mut *mut;
    size_t input_bytes_max;    /* What may wait behind a parked command of one connection. */
    struct group_shard *group; /* NULL: the node stands alone. */
    struct rng rng;

    bool fenced;           /* The log is, and who waited for it has been told. */
    uint32_t streams_shut; /* Streams, and keys of MIGRATE, that hold writers back. */
    uint64_t streams_seq;  /* Counts the streams that began, and the writers held back. */
    struct list conns;
    struct list turn_conns;        /* Have replies to send at the end of this turn. */
    struct list held_conns;        /* Have replies that wait for the log. */
    struct list retry_conns;       /* Have a command to try again at the end of this turn. */
    struct migrate_shard migrates; /* Keys on their way to other nodes. */
    struct list streams;           /* Replies that are sent while they are read (stream.h). */
    struct conn *flush_conn;       /* Whose FLUSHALL waits until it can be done; NULL: none's. */
    struct pop_ahead pop_ahead;
    struct scan_places *scan_places; /* Of walks over sorted sets on flash; NULL until one. */
    uint32_t conns_count;
    _Atomic uint32_t conns_given; /* Those, and the ones on their way here from the listener. */
    struct client_room room;      /* What they take. */

    struct forward_shard forward;   /* Commands from and to other shards. */
    struct config *own_cfg;         /* What `cfg` is, unless it is the node's. */
    _Atomic uint64_t config_number; /* Which one. */

    /* Set by this thread at the end of a turn, if there are several shards; any thread reads. */
    struct {
        _Atomic uint64_t keys;
        _Atomic uint64_t bytes;
        _Atomic uint64_t changes;
        _Atomic uint64_t progress;        /* node_progress */
        _Atomic uint64_t hot_bytes;       /* What demotion could free, and */
        _Atomic uint64_t writing;         /* 0, or rows wait for the store or are on their way. */
        _Atomic uint64_t appended;        /* Bytes, to the log. */
        _Atomic uint64_t clients_bytes;   /* client_room.h, if there is a limit; */
        _Atomic uint64_t clients_largest; /* likewise. */
        _Atomic uint64_t stored_ms;       /* By the timer: what was dirty then is stored. */
        /* By the timer (flash.c). */
        _Atomic uint64_t table_bytes;
        _Atomic uint64_t trimmable_bytes; /* Of the log, once the store has what it holds. */
        _Atomic uint64_t pending_bytes;   /* Will become tables. */
        _Atomic uint64_t compacting;      /* 0, or the tables are being rewritten. */
    } published;

    struct reply_env reply_env;
    struct window window;      /* Commands of one input that are about to run. */
    struct resp_cmd ahead_cmd; /* Scratch of the look-ahead. */
    struct cmd_keys keys;      /* Scratch of the dispatcher. */
    struct shard_stats stats;
    struct slowlog *slowlog;
    struct acl_users *users; /* Those that hold here (acl.h). */
    struct acl_log *acl_log;
    struct latency *latency;
    struct watch_table *watches;
    struct pubsub *pubsub;
    struct notify *notify;
    struct tracking *tracking;
    struct list monitors; /* Those of this shard (monitor.h). */
    _Atomic uint32_t monitors_count;
    _Atomic bool monitor_lost;
    _Atomic uint64_t monitor_backlog;
    struct conn *current;          /* Whose command runs; NULL: nobody's. */
    struct blocked_table *blocked; /* Who waits for keys: BLPOP and its relatives. */

    /* Write-back and trim; look_after_log tells. Positions and bytes of the log. */
    uint64_t noted_lsn;
    uint64_t covered_lsn;
    uint64_t covered_bytes;
    uint64_t covered_bytes_before;
    uint64_t log_bytes_since_covered;
    uint64_t persisted_lsn;
    uint64_t persisted_found;  /* The maintenance thread's, while persisted_busy, */
    struct buf persisted_note; /* and what stands with it. */
    struct pool_class persisted_class;
    struct pool_class log_class; /* Segments of the log are made and deleted there. */
    struct pool_job persisted_job;
    bool persisted_busy;
    struct save_shard save;
    struct flash_relief relief;
    struct mend mend;
    struct pace pace;        /* Of the writers of this shard. */
    uint64_t demote_cleaned; /* Demotion found nothing then: until so many batches are written, */
    uint64_t demote_idle_ms; /* or time has passed it rests. */
    uint64_t progress_seen;  /* Demotions and batches, */
    uint64_t progress_at_ms; /* and when they became more, or memory sufficed. Monotonic. */
    uint64_t stuck_at_ms;    /* At the limit with too little left to free since; 0: not so. */
    uint64_t stuck_excess;   /* What was too much then. */
    struct evict evict;
    struct shortage_stored stored;
    uint64_t changes_seen;
    uint64_t busy_at_ms; /* Monotonic: the last timer that saw a change. */

    char dir[4200];
    char log_dir[4300];
    uint64_t store_number;
    struct shard_next_store next_store;
    struct pool_class retire_class; /* Closes and deletes what FLUSHALL has replaced. */
    struct pool_job retire_job;
    struct store *kept; /* Delta resync: ours, while a peer's rows come to `store`. NULL: none. */
    uint64_t kept_number;
    struct store *retired; /* NULL: none. */
    struct store *retired_too;
    uint64_t retired_number;
    uint64_t retired_too_number;
    int retired_err;  /* The job's. */
    bool store_first; /* CURRENT is not written yet: the shard is being made. */
    struct reactor_timer cron;
    uint64_t cron_count;
    struct thread thread;
    uint64_t pause_until_ms; /* CLIENT PAUSE; monotonic, 0: none. */
    struct mail unpaused;    /* It has ended (shard_expire_soon); `fn` is NULL unless posted. */
    uint64_t expired_reads;  /* Those of the keyspace that were looked after. */
    bool pause_all;          /* All commands, not writes only. */
    bool no_active_expire;   /* DEBUG SET-ACTIVE-EXPIRE 0. */
    bool reclaims;           /* What changes had expired, or goes with all others. */
    bool routes;             /* Several shards, or their rules: clustering-policy. */
    bool cluster;            /* It is a node of a cluster: clustering-policy oss (cluster.h). */
    bool unblocking;         /* unblock_serve is on the stack. */
    bool stopping;
    bool flushing; /* FLUSHALL waits: nothing new may be started on the store. */
    bool finished; /* shard_close need not wait for anything any more. */
    int finish_err;
};

/* --- used by connections --- */

struct resp_limits shard_resp_limits(const struct shard *sh, const struct conn *c);
size_t shard_query_bytes_max(const struct shard *sh);
/* Sets input_bytes_max by maxmemory and the number of connections. */
void shard_set_input_bytes_max(struct shard *sh);
size_t shard_output_bytes_max(const struct shard *sh);
/* The limits of clients' buffers have changed. */
void shard_follow_limits(struct shard *sh);
/* The longest string that a command may make. */
uint64_t shard_bulk_bytes_max(const struct shard *sh);
const char *shard_unixsocket(const struct shard *sh);
void shard_format_addr(const struct sockaddr_storage *addr, char *out, size_t out_len);

/* As of the end of its last turn; any thread. */
uint64_t shard_keys(const struct shard *sh);

/* The connection's memory is about to be freed. */
void shard_conn_gone(struct shard *sh, struct conn *c);

/* conn_resume(c) at the end of this turn. */
void shard_retry_next_turn(struct shard *sh, struct conn *c);

/*
 * One connection's commands in one go, from when it began: if those that ran have taken too long,
 * the others have their turn first. Costs no look at the clock: each command's end is accounted.
 */
uint64_t shard_go_begin(const struct shard *sh);
bool shard_go_is_long(const struct shard *sh, uint64_t began_ns);

/* CLIENT PAUSE: commands wait until then. Longer and stricter than what holds already, or none. */
void shard_pause(struct shard *sh, uint64_t until_ms, bool all);
void shard_unpause(struct shard *sh);
bool shard_paused(const struct shard *sh);

/* Connections with a command that waits for CLIENT PAUSE. */
uint64_t shard_postponed_count(const struct shard *sh);

/* conn_resume(c) after `delay_ms`. */
void shard_retry_after(struct shard *sh, struct conn *c, uint32_t delay_ms);

/*
 * What counts as now for expiries and tags: milliseconds since 1970. In a group it is never behind
 * the peers', and the wall clock counts only as far as it is believed.
 */
static inline uint64_t shard_now_ms(const struct shard *sh)
{
    return likely(sh->group == NULL) ? reactor_wall_ms(sh->reactor)
                                     : mut_now_ms(sh->mut, group_shard_clock_ms(sh->group));
}

/* --- life; called by the node --- */

struct shard_options {
    uint32_t id;
    struct node *node;
    const struct config *cfg;
    const struct command_table *commands;
    struct pool *readers;
    const char *dir; /* Of the shard, exists. */
    uint64_t seed;   /* Of the key hash. */
};

/*
 * Opens the store and the log, replays what the store lacks. Blocks. After an error `why` tells
 * the operator what is wrong.
 */
MUST_USE int shard_open(const struct shard_options *options, struct shard **out, char *why,
                        size_t why_len);

/* Runs the loop in its own thread, or in this one. */
MUST_USE int shard_start(struct shard *sh);
void shard_run(struct shard *sh);

/* Ends the loop after the present turn. Any thread. */
void shard_stop(struct shard *sh);

/*
 * The loop has ended: closes the connections, waits until no shard has any, and brings everything
 * to the store. On the thread that ran the loop.
 */
void shard_finish(struct shard *sh);

/* Waits for the end of its thread; NULL, or one that has none, is allowed. */
void shard_join(struct shard *sh);

/* After shard_join and shard_finish. */
MUST_USE int shard_close(struct shard *sh);

enum shard_flush {
    SHARD_FLUSH_DONE,
    SHARD_FLUSH_WAIT,
    SHARD_FLUSH_FAILED
};

/*
 * For a group that is emptied: a new store with `lsn` and `covered` as its covered position takes
 * the place of the old. -ERR_BUSY: call again in the next turn.
 */
MUST_USE int shard_flush_group(struct shard *sh, uint64_t lsn, struct bytes covered,
                               struct store **out);

struct shard_aside {
    struct store *fresh;
    struct store *kept;
};

/*
 * Delta resync (shard_store.h): 0; -ERR_BUSY: call again in the next turn; the error of the disk.
 * `covered` stands with the covered position of the new store, at `lsn`.
 */
MUST_USE int shard_set_aside(struct shard *sh, uint64_t lsn, struct bytes covered,
                             struct shard_aside *out);
MUST_USE int shard_keep_new(struct shard *sh);

/* Removes all keys. WAIT: call again in the next turn. `must`: it cannot wait (EXEC). */
enum shard_flush shard_flush_all(struct shard *sh, bool must, char *why, size_t why_len);

/* Whether that would be done at once; else what it has to wait for is being ended. */
MUST_USE bool shard_flush_ready(struct shard *sh);

/* Who asked for it (flush_conn) does so no more. No effect if it was done. */
void shard_flush_cancel(struct shard *sh);

/* Lets the write-back know that the rows are those of the log's position now. */
void shard_note_position(struct shard *sh);

/* Looks, in the background, how far the store would be after a crash now. */
void shard_look_persisted(struct shard *sh);

/* The store's merge callback: the join of rows. Any thread. */
int shard_merge_rows(void *ctx, struct bytes key, struct bytes existing,
                     const struct bytes *operands, size_t n, struct buf *out);

/* A new connection for this shard: from the listener, shard 0's thread. */
void shard_accept(struct shard *sh, int fd, bool local);

#endif
