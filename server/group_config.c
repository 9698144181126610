/* The directives of a replication group. */
#include "server/group_config.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"

#include "server/config.h"

/* What kind of node it is: all members are of the same. */
#define SKU "tierra"

bool group_configured(const struct config *cfg)
{
    return cfg->group_nickname[0] != '\0';
}

/* Without a group the directives of one would be ignored in silence. */
static int check_alone(const struct config *cfg, char *why, size_t why_len)
{
    const char *given = cfg->member_name[0] != '\0'         ? "member-name"
                        : cfg->linked_databases[0] != '\0'  ? "linked-databases"
                        : cfg->group_secret_file[0] != '\0' ? "group-secret-file"
                        : cfg->group_bind[0] != '\0'        ? "group-bind"
                                                            : NULL;

    if (given == NULL)
        return 0;
    (void)snprintf(why, why_len,
                   "%s is set, but group-nickname is not: set it to join a replication group, or "
                   "remove %s",
                   given, given);
    return -ERR_CONFIG;
}

static int check_present(const struct config *cfg, char *why, size_t why_len)
{
    const char *missing = cfg->member_name[0] == '\0'         ? "member-name NAME"
                          : cfg->linked_databases[0] == '\0'  ? "linked-databases NAME=HOST:PORT..."
                          : cfg->group_secret_file[0] == '\0' ? "group-secret-file FILE"
                                                              : NULL;

    if (missing != NULL) {
        (void)snprintf(why, why_len, "group-nickname %s also needs %s", cfg->group_nickname,
                       missing);
        return -ERR_CONFIG;
    }
    if (!membership_name_valid(bytes_cstr(cfg->group_nickname))) {
        (void)snprintf(why, why_len,
                       "group-nickname %.100s: a name has 1 to 60 letters, digits and single "
                       "hyphens",
                       cfg->group_nickname);
        return -ERR_CONFIG;
    }
    return 0;
}

/* What a group needs of the rest of the configuration. */
static int check_others(const struct config *cfg, char *why, size_t why_len)
{
    const char *what = NULL;

    if (cfg->maxmemory_policy != POLICY_NOEVICTION)
        what = "maxmemory-policy must be noeviction: a key that one member evicts would be missing "
               "everywhere";
    else if (cfg->appendfsync == APPENDFSYNC_NO)
        what = "appendfsync must be everysec or always: only what is durable here is shipped";
    if (what == NULL)
        return 0;
    (void)snprintf(why, why_len, "in replication group %s %s", cfg->group_nickname, what);
    return -ERR_CONFIG;
}

static void read_linked(const struct config *cfg, struct group_config *out)
{
    struct bytes rest = bytes_cstr(cfg->linked_databases);

    /* Each word was checked when it was set. */
    while (rest.len != 0 && out->linked_count < MEMBERS_MAX) {
        const size_t len = bytes_find_u8(rest, ' ');
        struct config_linked *entry = &out->linked[out->linked_count];

        if (config_linked_parse(bytes_of(rest.ptr, len), entry)) {
            if (strcmp(entry->name, cfg->member_name) == 0)
                out->own = out->linked_count;
            out->linked_count++;
        }
        rest = bytes_from(rest, len == rest.len ? len : len + 1);
    }
}

int group_config_read(const struct config *cfg, struct group_config *out, char *why, size_t why_len)
{
    *out = (struct group_config){.own = MEMBERS_MAX};
    if (!group_configured(cfg))
        return check_alone(cfg, why, why_len);
    int err = check_present(cfg, why, why_len);
    if (err == 0)
        err = check_others(cfg, why, why_len);
    if (err != 0)
        return err;
    read_linked(cfg, out);
    if (out->own != MEMBERS_MAX)
        return 0;
    (void)snprintf(why, why_len,
                   "member-name %.100s is not in linked-databases \"%s\": name every member, this "
                   "node included",
                   cfg->member_name, cfg->linked_databases);
    return -ERR_CONFIG;
}

void group_config_control(const struct config *cfg, const struct group_config *g, unsigned shards,
                          struct control_options *out)
{
    struct membership_config *config = &out->config;

    *out = (struct control_options){
        .nickname = cfg->group_nickname, .name = cfg->member_name, .linked_count = g->linked_count};
    for (unsigned i = 0; i < g->linked_count; i++)
        out->linked[i] = (struct control_linked){g->linked[i].name, g->linked[i].address};
    config->maxmemory_bytes = cfg->maxmemory;
    config->maxflash_bytes = cfg->maxflash;
    config->shards = (uint16_t)shards;
    (void)snprintf(config->sku, sizeof(config->sku), SKU);
    (void)snprintf(config->eviction, sizeof(config->eviction), "%s",
                   config_enum_name(cfg, CONFIG_ID_maxmemory_policy));
    (void)snprintf(config->clustering, sizeof(config->clustering), "%s",
                   config_enum_name(cfg, CONFIG_ID_clustering_policy));
}
