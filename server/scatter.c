/* Commands for several shards; scatter.h tells. */
#include "server/scatter.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "server/acl_log.h"
#include "server/command.h"
#include "server/config.h"
#include "server/conn.h"
#include "server/forward.h"
#include "server/join.h"
#include "server/node.h"
#include "server/resp.h"
#include "server/route.h"
#include "server/shard.h"

/* What SLOWLOG GET shows unless it is told. */
#define SLOWLOG_GET_DEFAULT 10

void scatter_one(struct conn *c, const struct resp_cmd *rc, uint32_t owner)
{
    forward_put(c, forward_slot_add(c, NULL), 0, owner, rc->argc, rc->argv);
}

/* --- keys of several shards --- */

/* One shard's share of the arguments. */
struct share {
    struct bytes *argv;
    uint32_t argc;
    uint32_t part; /* Valid if there are any. */
};

static enum join_kind keys_kind(const struct cmd *cmd)
{
    switch (cmd->id) {
    case CMD_ID_mget:
        return JOIN_PLACE;
    case CMD_ID_mset:
        return JOIN_FIRST;
    default:
        return JOIN_SUM;
    }
}

static uint32_t owner_of(const struct conn *c, struct bytes key)
{
    return route_shard_of(key_slot(key), c->sh->node->shards_count);
}

/* Counts each shard's arguments, then gives each its part number and room. */
static uint32_t share_out(const struct conn *c, const struct resp_cmd *rc, uint32_t step,
                          struct share *shares)
{
    uint32_t parts = 0;

    for (uint32_t i = 1; i + step <= rc->argc; i += step)
        shares[owner_of(c, rc->argv[i])].argc += step;
    for (uint32_t s = 0; s < c->sh->node->shards_count; s++) {
        if (shares[s].argc == 0)
            continue;
        shares[s].argv = mem_zalloc_array(shares[s].argc + 1, sizeof(*shares[s].argv));
        shares[s].argv[0] = rc->argv[0];
        shares[s].argc = 1;
        shares[s].part = parts++;
    }
    return parts;
}

void scatter_keys(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    const uint32_t n = c->sh->node->shards_count;
    const uint32_t step = (uint32_t)cmd->key_step;
    struct share *shares = mem_zalloc_array(n, sizeof(*shares));
    struct join *join = join_create(keys_kind(cmd), share_out(c, rc, step, shares));

    for (uint32_t i = 1; i + step <= rc->argc; i += step) {
        struct share *s = &shares[owner_of(c, rc->argv[i])];
        for (uint32_t k = 0; k < step; k++)
            s->argv[s->argc++] = rc->argv[i + k];
        if (keys_kind(cmd) == JOIN_PLACE)
            join_place(join, s->part);
    }
    struct forward_slot *slot = forward_slot_add(c, join);
    for (uint32_t s = 0; s < n; s++) {
        if (shares[s].argc != 0)
            forward_put(c, slot, shares[s].part, s, shares[s].argc, shares[s].argv);
        mem_free(shares[s].argv);
    }
    mem_free(shares);
}

void scatter_migrate(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    const uint32_t n = c->sh->node->shards_count;
    struct share *shares = mem_zalloc_array(n, sizeof(*shares));
    struct cmd_keys *keys = &c->sh->keys;
    uint32_t parts = 0;

    CHECK(command_keys(cmd, rc->argc, rc->argv, keys) == 0 && keys->count != 0); /* As before. */
    const uint32_t first = keys->key[0].pos;
    for (uint32_t i = first; i < rc->argc; i++) {
        struct share *s = &shares[owner_of(c, rc->argv[i])];
        if (s->argv == NULL) {
            s->argv = mem_zalloc_array(rc->argc, sizeof(*s->argv));
            memcpy(s->argv, rc->argv, first * sizeof(*s->argv));
            s->argc = first;
            s->part = parts++;
        }
        s->argv[s->argc++] = rc->argv[i];
    }
    struct forward_slot *slot = forward_slot_add(c, join_create(JOIN_OK, parts));
    for (uint32_t s = 0; s < n; s++) {
        if (shares[s].argc != 0)
            forward_put(c, slot, shares[s].part, s, shares[s].argc, shares[s].argv);
        mem_free(shares[s].argv);
    }
    mem_free(shares);
}

/* --- all shards --- */

static struct join *join_acl_log(const struct conn *c, const struct resp_cmd *rc)
{
    int64_t count = ACL_LOG_SHOWN_DEFAULT;

    /* RESET; and what is no number, an error of every part. */
    if (rc->argc == 3 && !num_parse_i64(rc->argv[2], &count))
        return join_create(JOIN_FIRST, c->sh->node->shards_count);
    struct join *join = join_create(JOIN_STAMPED, c->sh->node->shards_count);
    join_limit(join, u64_min((uint64_t)i64_max(count, 0), (uint64_t)c->sh->cfg->acllog_max_len));
    return join;
}

static struct join *join_of(const struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    const uint32_t n = c->sh->node->shards_count;
    struct join *join;
    int64_t count = SLOWLOG_GET_DEFAULT;

    switch (cmd->id) {
    case CMD_ID_dbsize:
    case CMD_ID_client_unblock:
    case CMD_ID_publish:
    case CMD_ID_spublish:
    case CMD_ID_pubsub_numpat:
        return join_create(JOIN_SUM, n);
    case CMD_ID_pubsub_channels:
    case CMD_ID_pubsub_shardchannels:
        return join_create(JOIN_UNION, n);
    case CMD_ID_pubsub_numsub:
    case CMD_ID_pubsub_shardnumsub:
        return join_create(JOIN_SUMS, n);
    case CMD_ID_keys:
        return join_create(JOIN_ARRAY, n);
    case CMD_ID_client_list:
        return join_create(JOIN_LINES, n);
    case CMD_ID_client_kill:
        return join_create(rc->argc == 3 ? JOIN_ANY : JOIN_SUM, n);
    case CMD_ID_latency_reset:
        return join_create(JOIN_MAX, n);
    case CMD_ID_slowlog_len:
        join = join_create(JOIN_SUM, n);
        join_limit(join, (uint64_t)c->sh->cfg->slowlog_max_len);
        return join;
    case CMD_ID_acl_log:
        return join_acl_log(c, rc);
    case CMD_ID_slowlog_get:
        join = join_create(JOIN_NEWEST, n);
        /* A bad count is an error of every part. */
        if (rc->argc == 3 && !num_parse_i64(rc->argv[2], &count))
            count = 0;
        join_limit(join, u64_min(count < 0 ? UINT64_MAX : (uint64_t)count,
                                 (uint64_t)c->sh->cfg->slowlog_max_len));
        return join;
    default:
        return join_create(JOIN_FIRST, n);
    }
}

void scatter_all(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    struct forward_slot *slot = forward_slot_add(c, join_of(c, cmd, rc));

    for (uint32_t s = 0; s < c->sh->node->shards_count; s++)
        forward_put(c, slot, s, s, rc->argc, rc->argv);
}
