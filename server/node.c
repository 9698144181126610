/* The node: inventory, start and end. node.h gives the order; budgets are in node_budget.c. */
#include "server/node.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/num.h"
#include "engine/base/rng.h"

#include "engine/io/file.h"
#include "engine/io/pool.h"

#include "server/acl.h"
#include "server/acl_file.h"
#include "server/cluster.h"
#include "server/command.h"
#include "server/config.h"
#include "server/config_hooks.h"
#include "server/datadir.h"
#include "server/group_node.h"
#include "server/group_refuse.h"
#include "server/listen.h"
#include "server/shard.h"

#define LOCK_FILE            "LOCK"
#define PATH_ROOM            4200
#define BLOCK_CACHE_SHARE    8 /* Of maxmemory. */
#define BLOCK_CACHE_DEFAULT  (64u << 20)
#define BLOCK_CACHE_MAX      (1u << 30)
#define MEMTABLE_SHARE       8
#define MEMTABLE_FLASH_SHARE 16 /* Of maxflash, at most. */
#define MEMTABLE_DEFAULT     (128u << 20)
#define MEMTABLE_MIN         (1u << 20)
#define MEMTABLE_MAX         (512u << 20)

static int exit_code(int err)
{
    switch (-err) {
    case ERR_BUSY:
        return NODE_EXIT_BUSY;
    case ERR_CORRUPT:
    case ERR_LOST:
    case ERR_FORMAT:
    case ERR_POISON:
    case ERR_TRUNCATED:
    case ERR_UNSUPPORTED:
        return NODE_EXIT_DATA;
    case ERR_CONFIG:
    case ENOSYS:
    case EPERM:
        return NODE_EXIT_CONFIG;
    default:
        return NODE_EXIT_DISK;
    }
}

/* --- the data directory --- */

static int format_write(const char *path, const struct datadir_format *f)
{
    char text[DATADIR_FORMAT_BYTES];

    return file_write_atomic(path, bytes_of(text, datadir_format_print(text, f)));
}

static int format_check(struct node *node, const struct datadir_format *f, const char *path,
                        char *why, size_t why_len)
{
    if (f->version != DATADIR_FORMAT_VERSION) {
        (void)snprintf(why, why_len,
                       "%s: data of format %" PRIu64 ", this program reads format %d; use the "
                       "version of Tierra that wrote it",
                       path, f->version, DATADIR_FORMAT_VERSION);
        return -ERR_FORMAT;
    }
    if (f->shards == 0 || f->shards > NODE_SHARDS_MAX ||
        (node->cfg->shards != 0 && (uint64_t)node->cfg->shards != f->shards)) {
        (void)snprintf(why, why_len,
                       "%s: the data has %" PRIu64 " shards and the configuration asks for %" PRId64
                       "; the number is fixed when a data directory is created: set shards to "
                       "%" PRIu64 " or 0, or use another dir",
                       path, f->shards, node->cfg->shards, f->shards);
        return -ERR_FORMAT;
    }
    return 0;
}

/* Policy `none` is one shard, where every command with several keys works. */
static int policy_check(const struct node *node, uint64_t shards, const char *path, char *why,
                        size_t why_len)
{
    if (shards <= 1 || node->cfg->clustering_policy != CLUSTERING_NONE)
        return cluster_check(node->cfg, (uint32_t)shards, why, why_len);
    (void)snprintf(why, why_len,
                   "%s: clustering-policy %s has one shard, not %" PRIu64
                   "; set clustering-policy enterprise or oss",
                   path, config_enum_name(node->cfg, CONFIG_ID_clustering_policy), shards);
    return -ERR_CONFIG;
}

static uint32_t shards_wanted(const struct node *node)
{
    if (node->cfg->shards != 0)
        return (uint32_t)node->cfg->shards;
    return node->cfg->clustering_policy != CLUSTERING_NONE ? thread_cpu_count() : 1;
}

/* A budget that nothing can work in is refused before anything is touched. */
static int budget_check(const struct config *cfg, uint64_t shards, char *why, size_t why_len)
{
    char reason[NODE_BUDGET_WHY_BYTES];

    if (node_budget_ok(cfg->maxmemory, (uint32_t)shards, reason, sizeof(reason)))
        return 0;
    (void)snprintf(why, why_len, "maxmemory %" PRIu64 " is too small: %s", cfg->maxmemory, reason);
    return -ERR_CONFIG;
}

/* Members and nodes that stand alone keep different rows, and what a node has is its group's. */
static int group_check(const struct node *node, const struct datadir_format *f, const char *path,
                       char *why, size_t why_len)
{
    const char *wanted = node->cfg->group_nickname;

    if (strcmp(f->group, wanted) == 0)
        return 0;
    if (f->group[0] == '\0')
        (void)snprintf(why, why_len,
                       "%s: this node has run standalone; a member of replication group %s begins "
                       "with an empty dir and gets its data from the others",
                       path, wanted);
    else if (wanted[0] == '\0')
        (void)snprintf(why, why_len,
                       "%s: the data is that of a member of replication group %s; set "
                       "group-nickname %s, or use another dir",
                       path, f->group, f->group);
    else
        (void)snprintf(why, why_len,
                       "%s: the data is that of a member of replication group %s, and "
                       "group-nickname says %s; use another dir",
                       path, f->group, wanted);
    return -ERR_CONFIG;
}

/* A new directory. Where only this file is missing, another seed would make the data unreadable. */
static int format_create(struct node *node, const char *path, struct datadir_format *out, char *why,
                         size_t why_len)
{
    char shard[PATH_ROOM];
    struct rng rng;

    (void)snprintf(shard, sizeof(shard), "%s/" DATADIR_SHARD, node->dir, 0u);
    if (access(shard, F_OK) == 0) {
        (void)snprintf(why, why_len,
                       "%s is missing, but %s is there: restore the file, or use another dir", path,
                       shard);
        return -ERR_FORMAT;
    }
    *out =
        (struct datadir_format){.version = DATADIR_FORMAT_VERSION, .shards = shards_wanted(node)};
    int err = policy_check(node, out->shards, "shards", why, why_len);
    if (err == 0)
        err = budget_check(node->cfg, out->shards, why, why_len);
    if (err != 0)
        return err;
    (void)snprintf(out->group, sizeof(out->group), "%s", node->cfg->group_nickname);
    err = rng_seed_from_os(&rng);
    if (err == 0) {
        out->seed = rng_u64(&rng);
        err = format_write(path, out);
    }
    if (err != 0)
        (void)snprintf(why, why_len, "cannot write %s: %s", path, err_str(err));
    return err;
}

static int format_open(struct node *node, char *why, size_t why_len)
{
    char path[PATH_ROOM];
    struct buf text;
    struct datadir_format f = {0};

    (void)snprintf(path, sizeof(path), "%s/" DATADIR_FORMAT_FILE, node->dir);
    buf_init(&text, 4096);
    int err = file_read_all(path, &text);
    if (err == -ENOENT) {
        err = format_create(node, path, &f, why, why_len);
    } else if (err == 0) {
        err = datadir_format_parse(buf_bytes(&text), &f) ? 0 : -ERR_FORMAT;
        if (err != 0)
            (void)snprintf(why, why_len, "%s: not a file of Tierra; is dir right?", path);
        else
            err = format_check(node, &f, path, why, why_len);
        if (err == 0)
            err = group_check(node, &f, path, why, why_len);
        if (err == 0)
            err = policy_check(node, f.shards, path, why, why_len);
        if (err == 0)
            err = budget_check(node->cfg, f.shards, why, why_len);
    } else {
        (void)snprintf(why, why_len, "cannot read %s: %s", path, err_str(err));
    }
    buf_deinit(&text);
    node->shards_count = (uint32_t)f.shards;
    node->hash_seed = f.seed;
    return err;
}

static int dir_open(struct node *node, char *why, size_t why_len)
{
    char path[PATH_ROOM];

    int err = file_mkdir(node->cfg->dir);
    if (err == 0 && realpath(node->cfg->dir, node->dir) == NULL)
        err = -errno;
    if (err != 0) {
        (void)snprintf(why, why_len, "cannot use dir %s: %s", node->cfg->dir, err_str(err));
        return err;
    }
    (void)snprintf(path, sizeof(path), "%s/" LOCK_FILE, node->dir);
    node->lock_fd = file_lock(path);
    if (node->lock_fd < 0) {
        err = node->lock_fd;
        if (err == -ERR_BUSY)
            (void)snprintf(why, why_len,
                           "dir %s is in use by another process; stop it or use another dir",
                           node->dir);
        else
            (void)snprintf(why, why_len, "cannot lock %s: %s", path, err_str(err));
        return err;
    }
    return format_open(node, why, why_len);
}

/* --- sizes --- */

size_t node_memtable_bytes(const struct node *node)
{
    uint64_t bytes = node->cfg->store_memtable_bytes;

    if (bytes == 0)
        bytes =
            node->cfg->maxmemory == 0 ? MEMTABLE_DEFAULT : node->cfg->maxmemory / MEMTABLE_SHARE;
    if (node->cfg->maxflash != 0)
        bytes = u64_min(bytes, node->cfg->maxflash / MEMTABLE_FLASH_SHARE);
    bytes = u64_min(u64_max(bytes / node->shards_count, MEMTABLE_MIN), MEMTABLE_MAX);
    return (size_t)bytes;
}

static size_t block_cache_bytes(const struct node *node)
{
    uint64_t bytes = node->cfg->store_block_cache;

    if (bytes == 0)
        bytes = node->cfg->maxmemory == 0
                    ? BLOCK_CACHE_DEFAULT
                    : u64_min(node->cfg->maxmemory / BLOCK_CACHE_SHARE, BLOCK_CACHE_MAX);
    return (size_t)bytes;
}

/* --- start --- */

static int make_run_id(struct node *node)
{
    struct rng rng;

    const int err = rng_seed_from_os(&rng);
    if (err != 0)
        return err;
    for (size_t i = 0; i < sizeof(node->run_id) - 1; i++)
        node->run_id[i] = "0123456789abcdef"[rng_below(&rng, 16)];
    return 0;
}

static int open_shards(struct node *node, char *why, size_t why_len)
{
    char dir[PATH_ROOM];

    for (uint32_t i = 0; i < node->shards_count; i++) {
        (void)snprintf(dir, sizeof(dir), "%s/" DATADIR_SHARD, node->dir, i);
        const struct shard_options options = {.id = i,
                                              .node = node,
                                              .cfg = node->cfg,
                                              .commands = node->commands,
                                              .readers = node->readers,
                                              .dir = dir,
                                              .seed = node->hash_seed};
        const int err = shard_open(&options, &node->shards[i], why, why_len);
        if (err != 0)
            return err;
    }
    return 0;
}

int node_open(struct config *cfg, struct node **out, char *why, size_t why_len)
{
    struct node *node = mem_zalloc(sizeof(*node));

    *out = node;
    node->cfg = cfg;
    node->lock_fd = -1;
    node->started_ms = clock_wall_ms();
    save_init(&node->save, node->started_ms / 1000);
    node->commands = command_table_create();
    struct group_config linked;
    int err = budget_check(cfg, 1, why, why_len);
    if (err == 0)
        err = group_config_read(cfg, &linked, why, why_len);
    if (err != 0)
        return NODE_EXIT_CONFIG;
    if (acl_open(node, why, why_len) != 0)
        return NODE_EXIT_CONFIG;
    err = make_run_id(node);
    if (err != 0) {
        (void)snprintf(why, why_len, "no random numbers from the kernel: %s", err_str(err));
        return exit_code(err);
    }
    err = dir_open(node, why, why_len);
    if (err != 0)
        return exit_code(err);
    const struct pool_options readers = {
        .name = "reader", .threads = (uint32_t)cfg->reader_threads, .nice = NODE_READER_NICE};
    err = pool_create(&readers, &node->readers);
    if (err != 0) {
        (void)snprintf(why, why_len, "cannot start reader-threads: %s", err_str(err));
        return NODE_EXIT_CONFIG;
    }
    acl_file_init(node);
    node->cache = store_cache_create(block_cache_bytes(node));
    node_set_limits(node);
    listen_init(node);
    err = cluster_open(node, why, why_len);
    if (err == 0)
        err = group_open(node, &node->group, why, why_len);
    if (err == 0)
        err = open_shards(node, why, why_len);
    if (err != 0)
        return exit_code(err);
    for (uint32_t i = 0; i < node->shards_count; i++)
        flash_publish(node->shards[i]);
    err = flash_open(node);
    if (err != 0) {
        (void)snprintf(why, why_len, "cannot measure %s: %s", node->dir, err_str(err));
        return exit_code(err);
    }
    node_budget_init(node);
    node_measure(node, 0);
    for (uint32_t i = 0; i < node->shards_count; i++)
        node_press(node->shards[i]);
    node->budget.allocated_at_start = node->budget.mem.allocated;
    config_hooks_register(node);
    cluster_hooks(node);
    if (node->group != NULL)
        group_refuse_hooks(node);
    return NODE_EXIT_OK;
}

/* Those of all shards but the first, which is this one. */
static int start_threads(struct node *node, char *why, size_t why_len)
{
    atomic_store(&node->shards_serving, node->shards_count);
    for (uint32_t i = 1; i < node->shards_count; i++) {
        const int err = shard_start(node->shards[i]);
        if (err == 0)
            continue;
        (void)snprintf(why, why_len, "cannot start the thread of shard %u: %s", i, err_str(err));
        /* Those that run wait for each other at their end, and for nobody else. */
        atomic_store(&node->shards_serving, i - 1);
        for (uint32_t k = 1; k < i; k++)
            shard_stop(node->shards[k]);
        return err;
    }
    return 0;
}

int node_run(struct node *node, char *why, size_t why_len)
{
    if (listen_open(node, why, why_len) != 0)
        return NODE_EXIT_PORT;
    if (node->group != NULL && group_start(node->group, why, why_len) != 0) {
        listen_close(node);
        return NODE_EXIT_PORT;
    }
    const uint64_t keys = node_keys(node);
    if (start_threads(node, why, why_len) != 0) {
        listen_close(node);
        return NODE_EXIT_CONFIG;
    }
    LOG_NOTICE(
        "server", "Ready to accept connections port=%" PRId64 " shards=%u io=%s keys=%" PRIu64,
        node->cfg->port, node->shards_count, reactor_backend_name(node->shards[0]->reactor), keys);
    shard_run(node->shards[0]);
    listen_close(node);
    for (uint32_t i = 1; i < node->shards_count; i++)
        shard_stop(node->shards[i]);
    shard_finish(node->shards[0]);
    return NODE_EXIT_OK;
}

/* False: the end had begun before. */
static bool begin_end(struct node *node, enum node_end end)
{
    int none = NODE_END_NOT_YET;

    return atomic_compare_exchange_strong(&node->end, &none, (int)end);
}

void node_stop(struct node *node, enum node_end end)
{
    if (begin_end(node, end))
        shard_stop(node->shards[0]);
}

void node_begin_anew(struct node *node)
{
    if (!begin_end(node, NODE_END_NOTHING))
        return;
    node->begins_anew = true;
    shard_stop(node->shards[0]);
}

bool node_begins_anew(const struct node *node)
{
    return node->begins_anew && atomic_load(&node->end) == NODE_END_NOTHING;
}

/* One sets the end and then looks at the logs, the other the reverse: one of them sees both. */
static void exit_if_at_once(const struct node *node)
{
    if (atomic_load(&node->logs_closed) == node->shards_count &&
        atomic_load(&node->end) == NODE_END_AT_ONCE)
        _exit(NODE_EXIT_OK);
}

void node_signal(struct node *node)
{
    if (begin_end(node, NODE_END_BOUNDED)) {
        shard_stop(node->shards[0]);
        return;
    }
    atomic_store(&node->end, NODE_END_AT_ONCE);
    exit_if_at_once(node);
}

void node_log_closed(struct node *node)
{
    atomic_fetch_add(&node->logs_closed, 1);
    exit_if_at_once(node);
}

int node_close(struct node *node)
{
    int code = NODE_EXIT_OK;

    if (node == NULL)
        return code;
    (void)begin_end(node, NODE_END_BOUNDED); /* If the start failed. */
    /* Up to its end a shard reads what the others have published, and readers wake it. */
    for (uint32_t i = 0; i < node->shards_count; i++)
        shard_join(node->shards[i]);
    for (uint32_t i = 0; i < node->shards_count; i++)
        shard_finish(node->shards[i]);
    pool_destroy(node->readers);
    for (uint32_t i = 0; i < node->shards_count; i++) {
        if (shard_close(node->shards[i]) != 0)
            code = NODE_EXIT_DISK;
    }
    group_destroy(node->group);
    store_cache_destroy(node->cache);
    acl_file_close(node);
    acl_close(node);
    command_table_destroy(node->commands);
    if (node->lock_fd >= 0)
        (void)file_close(node->lock_fd);
    return code;
}

void node_free(struct node *node)
{
    if (node == NULL)
        return;
    mem_free(node->cluster);
    mem_free(node->listeners);
    mem_free(node);
}

uint64_t node_keys(const struct node *node)
{
    uint64_t keys = 0;

    for (uint32_t i = 0; i < node->shards_count; i++)
        keys += ks_count(node->shards[i]->ks);
    return keys;
}
