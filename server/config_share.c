/* A changed configuration for all shards; config_share.h tells how. */
#include "server/config_share.h"

#include "engine/base/mem.h"

#include "engine/io/mailbox.h"

#include "server/acl.h"
#include "server/config.h"
#include "server/config_hooks.h"
#include "server/node.h"
#include "server/shard.h"

struct config_mail {
    struct mail mail;
    struct shard *sh;
    struct config *cfg;
    struct acl_users *users;
    uint64_t number;
};

static void on_config(struct mail *mail)
{
    struct config_mail *m = container_of(mail, struct config_mail, mail);
    struct shard *sh = m->sh;

    config_destroy(sh->own_cfg);
    sh->cfg = sh->own_cfg = m->cfg;
    acl_follow(sh, m->users);
    if (!sh->finished)
        config_follow_shard(sh);
    atomic_store(&sh->config_number, m->number);
    mem_free(m);
}

uint64_t config_share(struct node *node)
{
    const uint64_t number = ++node->config_number;

    for (uint32_t i = 1; i < node->shards_count; i++) {
        struct config_mail *m = mem_alloc(sizeof(*m));
        *m = (struct config_mail){.mail = {.fn = on_config},
                                  .sh = node->shards[i],
                                  .cfg = config_clone(node->cfg),
                                  .users = acl_users_ref(node->users),
                                  .number = number};
        mailbox_post(&node->shards[i]->mailbox, &m->mail);
    }
    return number;
}

bool config_shared(const struct node *node, uint64_t number)
{
    for (uint32_t i = 1; i < node->shards_count; i++) {
        if (atomic_load(&node->shards[i]->config_number) < number)
            return false;
    }
    return true;
}
