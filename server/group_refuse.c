/* Commands and settings that are refused in a group. */
#include "server/group_refuse.h"

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "replication/mutate.h"

#include "server/command.h"
#include "server/config.h"
#include "server/node.h"
#include "server/shard.h"

#define NO_SAVE(name)                                                                  \
    name " is not possible in a replication group: durability is that of the op log, " \
         "and a copy of the data is another member"

const char *group_forbids(const struct cmd *cmd)
{
    switch (cmd->id) {
    case CMD_ID_flushall:
        return "FLUSHALL is not possible in a replication group; REPLGROUP FLUSH empties all "
               "members";
    case CMD_ID_flushdb:
        return "FLUSHDB is not possible in a replication group; REPLGROUP FLUSH empties all "
               "members";
    case CMD_ID_save:
        return NO_SAVE("SAVE");
    case CMD_ID_bgsave:
        return NO_SAVE("BGSAVE");
    case CMD_ID_bgrewriteaof:
        return NO_SAVE("BGREWRITEAOF");
    case CMD_ID_swapdb:
        return "SWAPDB is not possible in a replication group: there is database 0 only";
    case CMD_ID_move:
        return "MOVE is not possible in a replication group: there is database 0 only; see "
               "RENAME";
    default:
        return NULL;
    }
}

static const char elem_too_long[] =
    "a field or element of more than 16 MiB is not possible in a replication group: a string may "
    "be longer";
STATIC_ASSERT(MUT_ELEM_BYTES_MAX == 16u << 20);

const char *group_forbids_args(const struct cmd *cmd, uint32_t argc, const struct bytes *argv)
{
    if ((cmd->flags & CMD_DENYOOM) == 0 || (cmd->acl & (ACL_HASH | ACL_LIST)) == 0)
        return NULL;
    for (uint32_t i = 1; i < argc; i++) {
        if (argv[i].len > MUT_ELEM_BYTES_MAX)
            return elem_too_long;
    }
    return NULL;
}

const char *group_forbids_elem(const struct shard *sh, size_t len)
{
    return sh->group != NULL && len > MUT_ELEM_BYTES_MAX ? elem_too_long : NULL;
}

static bool refuse_eviction(void *ctx, const struct config *cfg, const char **out_reason)
{
    (void)ctx;
    if (cfg->maxmemory_policy == POLICY_NOEVICTION)
        return true;
    *out_reason = "in a replication group the policy is noeviction: a key that one member evicts "
                  "would be missing everywhere";
    return false;
}

static bool refuse_no_sync(void *ctx, const struct config *cfg, const char **out_reason)
{
    (void)ctx;
    if (cfg->appendfsync != APPENDFSYNC_NO)
        return true;
    *out_reason = "in a replication group the log is synced: everysec or always";
    return false;
}

static bool refuse_saves(void *ctx, const struct config *cfg, const char **out_reason)
{
    (void)ctx;
    (void)cfg;
    *out_reason = "data persistence is not offered in a replication group: durability is that of "
                  "the op log, see appendfsync";
    return false;
}

void group_refuse_hooks(struct node *node)
{
    static const struct {
        enum config_id id;
        config_hook_fn validate;
    } hooks[] = {
        {CONFIG_ID_maxmemory_policy, refuse_eviction},
        {CONFIG_ID_appendfsync, refuse_no_sync},
        {CONFIG_ID_save, refuse_saves},
        {CONFIG_ID_appendonly, refuse_saves},
    };

    for (size_t i = 0; i < ARRAY_COUNT(hooks); i++) {
        struct config_hook *hook = &node->cfg->hook[hooks[i].id];
        hook->validate = hooks[i].validate;
        hook->ctx = node;
    }
}
