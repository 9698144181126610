/* The hooks of CONFIG SET; config_hooks.h tells which options need one. */
#include "server/config_hooks.h"

#include <sys/resource.h>

#include "server/acl.h"
#include "server/config.h"
#include "server/listen.h"
#include "server/node.h"
#include "server/shard.h"

/* Files of the process besides the sockets of clients: tables, log segments, pipes. */
#define FILES_RESERVED 512

enum log_level config_log_level(const struct config *cfg)
{
    switch (cfg->loglevel) {
    case LOGLEVEL_DEBUG:
        return LOG_LEVEL_DEBUG;
    case LOGLEVEL_VERBOSE:
        return LOG_LEVEL_INFO;
    case LOGLEVEL_WARNING:
        return LOG_LEVEL_WARN;
    default:
        return LOG_LEVEL_NOTICE;
    }
}

enum oplog_policy config_sync_policy(const struct config *cfg)
{
    switch (cfg->appendfsync) {
    case APPENDFSYNC_ALWAYS:
        return OPLOG_SYNC_ALWAYS;
    case APPENDFSYNC_NO:
        return OPLOG_SYNC_NO;
    default:
        return OPLOG_SYNC_EVERYSEC;
    }
}

static bool apply_appendfsync(void *ctx, const struct config *cfg, const char **out_reason)
{
    const struct node *node = ctx;

    (void)out_reason;
    /* This is the thread of shard 0; the others get the change with their copy of it all. */
    oplog_set_policy(node->shards[0]->log, config_sync_policy(cfg));
    return true;
}

void config_follow_shard(struct shard *sh)
{
    oplog_set_policy(sh->log, config_sync_policy(sh->cfg));
    client_room_follow(sh);
    shard_follow_limits(sh);
}

/* --- budgets --- */

static bool apply_budget(void *ctx, const struct config *cfg, const char **out_reason)
{
    struct node *node = ctx;

    (void)cfg;
    (void)out_reason;
    /* Measured at once, so that the commands that follow are judged by the new limits. */
    node->budget.measured_at_ms = 0;
    node_measure(node, reactor_now_ms(node->shards[0]->reactor));
    return true;
}

static bool apply_maxmemory(void *ctx, const struct config *cfg, const char **out_reason)
{
    const struct node *node = ctx;
    char why[NODE_BUDGET_WHY_BYTES];

    if (!node_budget_ok(cfg->maxmemory, node->shards_count, why, sizeof(why)))
        LOG_WARN("config", "maxmemory is too small, writes are refused: %s", why);
    client_room_follow(node->shards[0]);
    return apply_budget(ctx, cfg, out_reason);
}

/* At once here; the timers of the other shards look. */
static bool apply_eviction(void *ctx, const struct config *cfg, const char **out_reason)
{
    const struct node *node = ctx;

    (void)cfg;
    (void)out_reason;
    evict_follow(node->shards[0]);
    return true;
}

/* --- clients --- */

static bool apply_clients_room(void *ctx, const struct config *cfg, const char **out_reason)
{
    const struct node *node = ctx;

    (void)cfg;
    (void)out_reason;
    client_room_follow(node->shards[0]);
    return true;
}

static bool apply_requirepass(void *ctx, const struct config *cfg, const char **out_reason)
{
    struct node *node = ctx;

    if (acl_set_requirepass(node, cfg->requirepass))
        return true;
    *out_reason = acl_fault_text(ACL_FAULT_NO_SHA256);
    return false;
}

static bool apply_client_limits(void *ctx, const struct config *cfg, const char **out_reason)
{
    const struct node *node = ctx;

    (void)cfg;
    (void)out_reason;
    shard_follow_limits(node->shards[0]);
    return true;
}

static bool apply_maxclients(void *ctx, const struct config *cfg, const char **out_reason)
{
    struct rlimit limit;
    const struct node *node = ctx;
    const rlim_t need = (rlim_t)cfg->maxclients + FILES_RESERVED + node->listeners_count;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need)
        return true;
    limit.rlim_cur = need;
    if (need <= limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return true;
    *out_reason = "The operating system is not able to handle the specified number of clients; "
                  "raise its limit of open files";
    return false;
}

static bool apply_listen(void *ctx, const struct config *cfg, const char **out_reason)
{
    struct node *node = ctx;
    char why[512];

    (void)cfg;
    listen_close(node);
    if (listen_open(node, why, sizeof(why)) == 0)
        return true;
    LOG_WARN("config", "%s", why);
    listen_close(node);
    *out_reason = "Unable to listen on this port. Check server logs.";
    return false;
}

static bool apply_loglevel(void *ctx, const struct config *cfg, const char **out_reason)
{
    (void)ctx;
    (void)out_reason;
    log_set_level(config_log_level(cfg));
    return true;
}

void config_hooks_register(struct node *node)
{
    node->cfg->users_now = (struct config_users_now){.print = acl_print_directives, .ctx = node};
    static const struct {
        enum config_id id;
        config_hook_fn apply;
    } hooks[] = {
        {CONFIG_ID_appendfsync, apply_appendfsync},
        {CONFIG_ID_maxmemory, apply_maxmemory},
        {CONFIG_ID_maxflash, apply_budget},
        {CONFIG_ID_replication_oom_threshold_percent, apply_budget},
        {CONFIG_ID_maxmemory_policy, apply_eviction},
        {CONFIG_ID_lfu_log_factor, apply_eviction},
        {CONFIG_ID_lfu_decay_time, apply_eviction},
        {CONFIG_ID_requirepass, apply_requirepass},
        {CONFIG_ID_client_output_buffer_limit, apply_client_limits},
        {CONFIG_ID_client_query_buffer_limit, apply_client_limits},
        {CONFIG_ID_maxmemory_clients, apply_clients_room},
        {CONFIG_ID_maxclients, apply_maxclients},
        {CONFIG_ID_port, apply_listen},
        {CONFIG_ID_bind, apply_listen},
        {CONFIG_ID_loglevel, apply_loglevel},
    };

    for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++)
        config_hook(node->cfg, hooks[i].id,
                    (struct config_hook){.apply = hooks[i].apply, .ctx = node});
}
