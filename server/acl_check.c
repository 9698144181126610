/* What a user may run; acl_check.h. */
#include "server/acl_check.h"

#include <errno.h>

#include "server/acl_selector.h"
#include "server/glob.h"

#define CHANNEL_FLAGS (CMD_PUBLISHES | CMD_SUBSCRIBES | CMD_SUBSCRIBES_PATTERNS)

/* One call, and its keys, which are looked for once however many selectors there are. */
struct call {
    const struct cmd *cmd;
    uint32_t argc;
    const struct bytes *argv;
    struct cmd_keys *keys;
    bool keys_known;
    bool keys_failed;
};

/* --- commands --- */

static bool command_ok(const struct acl_selector *s, const struct call *call)
{
    const struct cmd *cmd = call->cmd;

    if (acl_allows_id(s, cmd->id) || (cmd->flags & CMD_NO_AUTH) != 0)
        return true;
    for (uint32_t i = 0; call->argc > 1 && i < s->first_args.count; i++) {
        const struct acl_item *item = &s->first_args.item[i];
        if (item->cmd == cmd->id && acl_same_word(acl_item_text(item), call->argv[1]))
            return true;
    }
    return false;
}

/* --- keys --- */

static uint8_t access_of(uint16_t key_flags)
{
    uint8_t access = 0;

    if ((key_flags & KEY_ACCESS) != 0)
        access |= ACL_KEY_READ;
    if ((key_flags & (KEY_INSERT | KEY_DELETE | KEY_UPDATE)) != 0)
        access |= ACL_KEY_WRITE;
    return access;
}

/* One pattern must allow all of the access. */
static bool key_ok(const struct acl_selector *s, struct bytes key, uint8_t access)
{
    for (uint32_t i = 0; i < s->keys.count; i++) {
        const struct acl_item *item = &s->keys.item[i];
        if ((item->access & access) == access && glob_match(acl_item_text(item), key, false))
            return true;
    }
    return false;
}

static void find_keys(struct call *call)
{
    if (call->keys_known)
        return;
    call->keys_known = true;
    call->keys->count = 0;
    if (call->cmd->key_specs_count != 0)
        call->keys_failed = command_keys(call->cmd, call->argc, call->argv, call->keys) == -ENOMEM;
}

/* The argument that may not be touched; 0: all may. */
static uint32_t denied_key(const struct acl_selector *s, struct call *call)
{
    if (s->all_keys)
        return 0;
    find_keys(call);
    if (call->keys_failed)
        return call->argc - 1; /* Nobody knows: no. */
    for (uint32_t i = 0; i < call->keys->count; i++) {
        const struct cmd_key *key = &call->keys->key[i];
        if (!key_ok(s, call->argv[key->pos], access_of(key->flags)))
            return key->pos;
    }
    return 0;
}

/* --- channels --- */

static bool channel_ok(const struct acl_selector *s, struct bytes name, bool pattern)
{
    if (s->all_channels)
        return true;
    for (uint32_t i = 0; i < s->channels.count; i++) {
        const struct bytes own = acl_item_text(&s->channels.item[i]);
        if (pattern ? bytes_eq(own, name) : glob_match(own, name, false))
            return true;
    }
    return false;
}

static uint32_t denied_channel(const struct acl_selector *s, const struct call *call)
{
    const uint32_t flags = call->cmd->flags & CHANNEL_FLAGS;
    const uint32_t end = flags == CMD_PUBLISHES ? 2 : call->argc;

    if (flags == 0)
        return 0;
    for (uint32_t i = 1; i < end; i++) {
        if (!channel_ok(s, call->argv[i], flags == CMD_SUBSCRIBES_PATTERNS))
            return i;
    }
    return 0;
}

/* --- the call --- */

static struct acl_verdict selector_check(const struct acl_selector *s, struct call *call)
{
    struct acl_verdict v = {.result = ACL_DENIED_CMD};

    if (!command_ok(s, call))
        return v;
    v.arg = denied_key(s, call);
    if (v.arg != 0) {
        v.result = ACL_DENIED_KEY;
        return v;
    }
    v.arg = denied_channel(s, call);
    v.result = v.arg != 0 ? ACL_DENIED_CHANNEL : ACL_OK;
    return v;
}

struct acl_verdict acl_check(const struct acl_user *u, const struct cmd *cmd, uint32_t argc,
                             const struct bytes *argv, struct cmd_keys *keys)
{
    struct call call = {.cmd = cmd, .argc = argc, .argv = argv, .keys = keys};
    struct acl_verdict worst = {.result = ACL_DENIED_CMD};

    for (uint32_t i = 0; i < u->selectors_count; i++) {
        const struct acl_verdict v = selector_check(u->selectors[i], &call);
        if (v.result == ACL_OK)
            return v;
        if (v.result > worst.result || (v.result == worst.result && v.arg > worst.arg))
            worst = v;
    }
    return worst;
}

static bool reads_all(const struct acl_selector *s)
{
    const struct acl_item *item = acl_items_find(&s->keys, BYTES_LIT("*"));

    return s->all_keys || (item != NULL && (item->access & ACL_KEY_READ) != 0);
}

bool acl_reads_all_keys(const struct acl_user *u, const struct cmd *cmd, uint32_t argc,
                        const struct bytes *argv, struct cmd_keys *keys)
{
    struct call call = {.cmd = cmd, .argc = argc, .argv = argv, .keys = keys};

    for (uint32_t i = 0; i < u->selectors_count; i++) {
        if (reads_all(u->selectors[i]) && selector_check(u->selectors[i], &call).result == ACL_OK)
            return true;
    }
    return false;
}

bool acl_channel_ok(const struct acl_user *u, struct bytes name, bool pattern)
{
    for (uint32_t i = 0; i < u->selectors_count; i++) {
        if (channel_ok(u->selectors[i], name, pattern))
            return true;
    }
    return false;
}

bool acl_channels_lost(const struct acl_user *before, const struct acl_user *after)
{
    for (uint32_t i = 0; i < after->selectors_count; i++) {
        if (after->selectors[i]->all_channels)
            return false;
    }
    for (uint32_t i = 0; i < before->selectors_count; i++) {
        const struct acl_selector *s = before->selectors[i];
        if (s->all_channels)
            return true;
        for (uint32_t k = 0; k < s->channels.count; k++) {
            /* As a pattern: it must be there byte for byte. */
            if (!acl_channel_ok(after, acl_item_text(&s->channels.item[k]), true))
                return true;
        }
    }
    return false;
}
