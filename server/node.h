/*
 * The node: builds everything from the configuration, in order, and takes it down in the opposite
 * order. This is the inventory of the program.
 *
 *     data directory: lock, format file -> pools -> shards (store, log, replay) -> listeners -> run
 *
 * The node also keeps the budgets: how much DRAM and flash the process uses, and from that whether
 * clients may grow the data (dispatch.c asks node_growth).
 */
#ifndef TIERRA_SERVER_NODE_H
#define TIERRA_SERVER_NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/mem.h"

#include "engine/io/pool.h"
#include "engine/io/reactor.h"
#include "engine/store/store.h"

#include "server/flash.h"
#include "server/save.h"
#include "server/shortage.h"

struct acl_file_job;
struct acl_users;
struct cluster;
struct command_table;
struct config;
struct group;
struct pool;
struct shard;
struct store_cache;

#define NODE_SHARDS_MAX 256
/*
 * Steps of nice below the shards: of the threads that read from flash, whose number would else
 * leave a shard its part of a CPU only, and of those that write, flush and compact.
 */
#define NODE_READER_NICE     3u
#define NODE_MAINTAINER_NICE 10u
/* Code and libraries alone take 15 MB of the resident set. */
#define NODE_MAXMEMORY_MIN (16u << 20)
/* Of several shards, each beside these: stores, logs and buffers, and some keys (README.md). */
#define NODE_MAXMEMORY_SHARD (8u << 20)
/* Room for what node_budget_ok says. */
#define NODE_BUDGET_WHY_BYTES 160

/* What ends the program, told apart for service managers. */
enum node_exit {
    NODE_EXIT_OK = 0,
    NODE_EXIT_CONFIG = 2, /* Configuration or command line. */
    NODE_EXIT_DATA = 3,   /* Data directory: damaged, of another format, of another shard count. */
    NODE_EXIT_DISK = 4,   /* Disk: full, read or write error. */
    NODE_EXIT_PORT = 5,   /* Address or port in use, or not allowed. */
    NODE_EXIT_BUSY = 6    /* Data directory in use by another process. */
};

/* What the end brings to the store; the op log has all of it, and the next start replays the rest.
 */
enum node_end {
    NODE_END_NOT_YET = 0,
    NODE_END_BOUNDED, /* What goes within shutdown-timeout. */
    NODE_END_ALL,
    NODE_END_NOTHING,
    NODE_END_AT_ONCE /* Nothing, and the process exits when all logs are closed. */
};

/* What was measured last, and the limits that it is held against; shard 0 sets, any thread reads.
 */
struct node_limits {
    _Atomic uint64_t maxmemory; /* 0: none. Never less than what the process needs without data. */
    _Atomic uint64_t starved;   /* Not 0: the directive asks for less than that. */
    _Atomic uint64_t early;     /* Write-back starts if much is dirty. */
    _Atomic uint64_t soft;      /* Demotion starts. */
    _Atomic uint64_t cold;      /* Not 0: `early` and `soft` are 0 (DEBUG COLD). */
    _Atomic uint64_t hard;      /* Nothing that grows is let through. */
    _Atomic uint64_t used;      /* By the process. */
    _Atomic uint64_t shard_bytes; /* Of these, by all keyspaces. */
    _Atomic uint64_t maxflash;    /* 0: none. */
};

static inline uint64_t node_limit(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

/* Of shard 0's thread. */
struct node_budget {
    uint64_t rss;
    uint64_t allocated_peak;
    uint64_t allocated_at_start;
    uint64_t rss_peak;
    uint64_t measured_at_ms;
    uint64_t detailed_at_ms; /* The allocator was asked. */
    uint64_t purged_at_ms;
    struct mem_stats mem;
    struct pool_class purge_class;
    struct pool_job purge_job;
    bool purging;
};

struct node_listener {
    struct reactor_listener l;
    struct node *node;
    struct shard *shard; /* Whose clients come there; NULL: those of any. */
    int fd;
    bool local; /* A Unix socket. */
};

struct node {
    struct config *cfg;
    struct command_table *commands;
    struct acl_users *users; /* Shard 0's; the shards have references of their own. */
    uint64_t acl_serial;     /* Of the last user that was made. */
    struct pool_class acl_class;
    struct acl_file_job *acl_job; /* ACL LOAD or SAVE under way; NULL: none. */
    struct group *group;          /* NULL: it stands alone. */
    struct pool *readers;
    struct store_cache *cache;
    struct shard *shards[NODE_SHARDS_MAX];
    uint32_t shards_count;
    struct cluster *cluster; /* NULL: not clustering-policy oss. */
    struct node_listener *listeners;
    uint32_t listeners_max; /* There is room for. */
    uint32_t listeners_count;
    uint64_t config_number; /* Of the last configuration that was given to the shards. */
    uint32_t next_shard;    /* For a new connection: the listener's. */
    struct node_limits limits;
    struct node_budget budget;
    struct flash flash;
    struct shortage shortage;
    _Atomic int end;                 /* enum node_end. */
    bool begins_anew;                /* node_begin_anew; shard 0's thread, and who closes. */
    _Atomic uint32_t logs_closed;    /* Shards whose log is closed, and so synced. */
    _Atomic uint32_t conns_count;    /* Open ones, of all shards. */
    _Atomic uint32_t shards_serving; /* Shards whose connections are not all closed: the end. */
    _Atomic uint64_t next_slow_id;   /* Of SLOWLOG. */
    _Atomic uint64_t next_denial;    /* Of the ACL log. */
    char dir[4096];                  /* Absolute. */
    char run_id[41];                 /* 40 hexadecimal digits, new for each start. */
    uint64_t hash_seed;
    uint64_t started_ms;     /* Wall clock. */
    uint64_t last_client_id; /* The listener's. */
    /* Clients that track by prefixes (tracking.h), of all shards. */
    _Atomic uint32_t bcast_clients;
    _Atomic uint32_t monitors_count;
    struct save save;
    int lock_fd;
};

/*
 * Opens the data directory and all shards; `cfg` is the caller's and must outlive the node. After
 * an error, `why` has one line for the operator, and the result is an enum node_exit.
 */
MUST_USE int node_open(struct config *cfg, struct node **out, char *why, size_t why_len);

/* Listens, prints the ready line, runs until node_stop. Returns an enum node_exit. */
MUST_USE int node_run(struct node *node, char *why, size_t why_len);

/* Ends node_run soon, unless that has been asked for before. Any thread, and signal handlers. */
void node_stop(struct node *node, enum node_end end);

/*
 * Likewise, without writing anything back; then the program is to start again, as a new member of
 * its group. Shard 0's thread.
 */
void node_begin_anew(struct node *node);

/* After node_close: that is so, and no signal has asked for the end meanwhile. */
bool node_begins_anew(const struct node *node);

/*
 * Of a signal handler: the first ends node_run. Another, also after node_stop, cuts the end short:
 * the process exits as soon as all logs are closed, in here if they are.
 */
void node_signal(struct node *node);

/* The log of a shard is closed, and so synced; its thread. After a second signal the last
 * does not return. */
void node_log_closed(struct node *node);

/* Writes back and closes. Returns an enum node_exit. NULL is allowed. */
int node_close(struct node *node);

/* After node_close; signals may come until here. NULL is allowed. */
void node_free(struct node *node);

enum node_growth {
    NODE_GROWTH_OK,
    NODE_GROWTH_SLOW,
    NODE_GROWTH_LATER,
    NODE_GROWTH_WAIT,
    NODE_GROWTH_REFUSED,
    NODE_GROWTH_FAILED
};

/*
 * Whether a client may grow the data by about `bytes` now. SLOW: after `*out_delay_ms`, without
 * asking again. LATER, WAIT: ask again after `*out_delay_ms`; LATER: for as long as it takes,
 * memory is being freed. REFUSED, and WAIT for who is tired of it:
 * `*out_why` tells which budget is spent. FAILED: the store takes no writes, `*out_why` is its
 * error.
 */
enum node_growth node_growth(struct shard *sh, uint64_t bytes, const char **out_why,
                             uint32_t *out_delay_ms);

/*
 * Whether a peer may grow the data by `bytes`: up to replication-oom-threshold-percent beyond what
 * clients may. NULL: it may; else which budget is spent, or the error of the store. `aside`: by
 * rows that a resync puts beside those here. Valid until the next call. The shard's thread.
 */
const char *node_remote_refusal(struct shard *sh, uint64_t bytes, bool aside);

/* Becomes more when the shard frees memory. Its thread. */
uint64_t node_progress(const struct shard *sh);

/* Sets how fast the writers of the shard may go. Once a turn, on the shard's thread. */
void node_pace(struct shard *sh);

/* Much of the shard's DRAM is dirty while DRAM is getting short. */
bool node_wants_flush(const struct shard *sh);

/* Makes ready to measure; the readers' pool and the shards are open. */
void node_budget_init(struct node *node);
/* Whether so many shards can work in it (0: no limit); if not, `why` says what they need. */
MUST_USE bool node_budget_ok(uint64_t maxmemory, uint32_t shards, char *why, size_t why_len);

/* Something of it runs on another thread. */
bool node_budget_busy(const struct node *node);

/* Measures memory, and now and then flash; sets what the shards demote by. From shard 0's timer. */
void node_measure(struct node *node, uint64_t now_ms);

/* Takes the limits from the configuration; shard 0's thread, and before the shards are opened. */
void node_set_limits(struct node *node);

/* Tells the shard's keyspace how short memory is; the shard's thread. */
void node_press(struct shard *sh);

/* How many bytes of DRAM the shards should free now; 0: none. The shard's thread. */
uint64_t node_overshoot(const struct shard *sh);

/* Some client is shown what runs. Any thread. */
static inline bool node_monitored(const struct node *node)
{
    return atomic_load_explicit(&node->monitors_count, memory_order_relaxed) != 0;
}

/* Some client wants to hear of every change of keys with a prefix. Any thread. */
static inline bool node_bcasts(const struct node *node)
{
    return atomic_load_explicit(&node->bcast_clients, memory_order_relaxed) != 0;
}

/* Write buffers of one shard's store. */
size_t node_memtable_bytes(const struct node *node);

/* Sum over the shards, before they run. */
uint64_t node_keys(const struct node *node);

#endif
