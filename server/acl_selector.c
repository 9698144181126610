/* The rules of a selector; acl_selector.h. */
#include "server/acl_selector.h"

#include "engine/base/check.h"
#include "engine/base/mem.h"

/* --- items --- */

struct acl_item *acl_items_add(struct acl_items *items, struct bytes text)
{
    if (items->count == items->cap) {
        items->cap = items->cap == 0 ? 4 : items->cap * 2;
        items->item = mem_realloc(items->item, items->cap * sizeof(*items->item));
    }
    struct acl_item *item = &items->item[items->count++];
    *item = (struct acl_item){.ptr = mem_alloc(size_max(text.len, 1)), .len = text.len};
    if (text.len != 0)
        memcpy(item->ptr, text.ptr, text.len);
    return item;
}

struct acl_item *acl_items_find(const struct acl_items *items, struct bytes text)
{
    for (uint32_t i = 0; i < items->count; i++) {
        if (bytes_eq(acl_item_text(&items->item[i]), text))
            return &items->item[i];
    }
    return NULL;
}

static void remove_at(struct acl_items *items, uint32_t index)
{
    mem_free(items->item[index].ptr);
    items->count--;
    memmove(&items->item[index], &items->item[index + 1],
            (items->count - index) * sizeof(*items->item));
}

bool acl_items_remove(struct acl_items *items, struct bytes text)
{
    const struct acl_item *found = acl_items_find(items, text);

    if (found == NULL)
        return false;
    remove_at(items, (uint32_t)(found - items->item));
    return true;
}

void acl_items_copy(struct acl_items *to, const struct acl_items *from)
{
    for (uint32_t i = 0; i < from->count; i++) {
        const struct acl_item *item = &from->item[i];
        struct acl_item *copy = acl_items_add(to, acl_item_text(item));
        copy->cmd = item->cmd;
        copy->access = item->access;
    }
}

void acl_items_deinit(struct acl_items *items)
{
    for (uint32_t i = 0; i < items->count; i++)
        mem_free(items->item[i].ptr);
    mem_free(items->item);
    *items = (struct acl_items){0};
}

/* --- life --- */

struct acl_selector *acl_selector_create(const struct acl_env *env)
{
    struct acl_selector *s = mem_zalloc(sizeof(*s));

    s->all_channels = env->all_channels;
    return s;
}

struct acl_selector *acl_selector_copy(const struct acl_selector *s)
{
    struct acl_selector *copy = mem_alloc(sizeof(*copy));

    *copy = *s;
    copy->keys = copy->channels = copy->first_args = (struct acl_items){0};
    acl_items_copy(&copy->keys, &s->keys);
    acl_items_copy(&copy->channels, &s->channels);
    acl_items_copy(&copy->first_args, &s->first_args);
    return copy;
}

void acl_selector_destroy(struct acl_selector *s)
{
    if (s == NULL)
        return;
    acl_items_deinit(&s->keys);
    acl_items_deinit(&s->channels);
    acl_items_deinit(&s->first_args);
    mem_free(s);
}

static void set_keys(struct acl_selector *s, bool all)
{
    s->all_keys = all;
    acl_items_deinit(&s->keys);
}

static void set_channels(struct acl_selector *s, bool all)
{
    s->all_channels = all;
    acl_items_deinit(&s->channels);
}

void acl_selector_allow_all(struct acl_selector *s)
{
    acl_selector_set_all(s, true);
    set_keys(s, true);
    set_channels(s, true);
}

bool acl_selector_allows_all(const struct acl_selector *s)
{
    for (unsigned id = 0; id < CMD_IDS_COUNT; id++) {
        if (!acl_allows_id(s, (uint16_t)id))
            return false;
    }
    return s->all_keys && s->all_channels;
}

/* --- commands --- */

static void set_bit(struct acl_selector *s, uint16_t id, bool allow)
{
    const uint64_t bit = UINT64_C(1) << (id % 64);

    if (allow)
        s->allowed[id / 64] |= bit;
    else
        s->allowed[id / 64] &= ~bit;
}

void acl_selector_set_all(struct acl_selector *s, bool allow)
{
    memset(s->allowed, allow ? 0xff : 0, sizeof(s->allowed));
    s->future = allow;
    acl_items_deinit(&s->first_args);
}

void acl_selector_set(struct acl_selector *s, const struct command_table *commands,
                      const struct cmd *cmd, bool allow)
{
    set_bit(s, cmd->id, allow);
    for (uint32_t i = s->first_args.count; i > 0; i--) {
        if (s->first_args.item[i - 1].cmd == cmd->id)
            remove_at(&s->first_args, i - 1);
    }
    if ((cmd->flags & CMD_CONTAINER) == 0)
        return;
    for (uint32_t i = 0; i < command_count(commands); i++) {
        const struct cmd *sub = command_at(commands, i);
        if (sub->parent == cmd->id)
            set_bit(s, sub->id, allow);
    }
}

void acl_selector_set_category(struct acl_selector *s, const struct command_table *commands,
                               uint32_t category, bool allow)
{
    for (uint32_t i = 0; i < command_count(commands); i++) {
        const struct cmd *cmd = command_at(commands, i);
        if ((cmd->acl & category) != 0)
            acl_selector_set(s, commands, cmd, allow);
    }
}

/* "config|get", "select|0": `name` has a bar. */
static enum acl_fault allow_part(struct acl_selector *s, const struct acl_env *env,
                                 struct bytes name)
{
    size_t bar = name.len - 1;

    while (name.ptr[bar] != '|')
        bar--;
    const struct cmd *cmd = command_lookup_full(env->commands, bytes_of(name.ptr, bar));
    const struct bytes arg = bytes_from(name, bar + 1);
    if (cmd == NULL)
        return ACL_FAULT_UNKNOWN;
    if (cmd->parent != CMD_NONE)
        return ACL_FAULT_FIRST_ARG;
    if (arg.len == 0)
        return ACL_FAULT_SYNTAX;
    if ((cmd->flags & CMD_CONTAINER) != 0) {
        cmd = command_lookup_sub(env->commands, cmd, arg);
        if (cmd == NULL)
            return ACL_FAULT_UNKNOWN;
        acl_selector_set(s, env->commands, cmd, true);
        return ACL_FAULT_NONE;
    }
    for (uint32_t i = 0; i < arg.len; i++) {
        if (acl_is_space(arg.ptr[i]))
            return ACL_FAULT_SYNTAX; /* It could not be written down. */
    }
    for (uint32_t i = 0; i < s->first_args.count; i++) {
        const struct acl_item *item = &s->first_args.item[i];
        if (item->cmd == cmd->id && acl_same_word(acl_item_text(item), arg))
            return ACL_FAULT_NONE;
    }
    acl_items_add(&s->first_args, arg)->cmd = cmd->id;
    return ACL_FAULT_NONE;
}

static enum acl_fault command_rule(struct acl_selector *s, const struct acl_env *env,
                                   struct bytes rule)
{
    const bool allow = rule.ptr[0] == '+';
    const struct bytes name = bytes_from(rule, 1);

    if (name.len != 0 && name.ptr[0] == '@') {
        const uint32_t category = command_acl_category(bytes_from(name, 1));
        if (category == 0)
            return ACL_FAULT_UNKNOWN;
        acl_selector_set_category(s, env->commands, category, allow);
        return ACL_FAULT_NONE;
    }
    if (allow && bytes_find_u8(name, '|') != name.len)
        return allow_part(s, env, name);
    const struct cmd *cmd = command_lookup_full(env->commands, name);
    if (cmd == NULL)
        return ACL_FAULT_UNKNOWN;
    acl_selector_set(s, env->commands, cmd, allow);
    return ACL_FAULT_NONE;
}

/* --- patterns --- */

static bool pattern_ok(struct bytes pattern)
{
    for (size_t i = 0; i < pattern.len; i++) {
        if (acl_is_space(pattern.ptr[i]))
            return false;
    }
    return true;
}

/* "%R~", "%W~", "%RW~": what stands behind it, too. As in Redis the tilde may be missing at the end
 * of the rule. */
static bool parse_access(struct bytes rule, uint8_t *out_access, struct bytes *out_pattern)
{
    uint8_t access = 0;
    size_t i = 1;

    for (; i < rule.len && rule.ptr[i] != '~'; i++) {
        const uint8_t c = ascii_lower(rule.ptr[i]);
        const uint8_t bit = c == 'r' ? ACL_KEY_READ : c == 'w' ? ACL_KEY_WRITE : 0;
        if (bit == 0 || (access & bit) != 0)
            return false;
        access |= bit;
    }
    *out_access = access;
    *out_pattern = bytes_from(rule, size_min(i + 1, rule.len));
    return access != 0;
}

static enum acl_fault key_rule(struct acl_selector *s, struct bytes rule)
{
    struct bytes pattern = bytes_from(rule, 1);
    uint8_t access = ACL_KEY_ALL;

    if (s->all_keys)
        return ACL_FAULT_KEYS;
    if ((rule.ptr[0] == '%' && !parse_access(rule, &access, &pattern)) || !pattern_ok(pattern))
        return ACL_FAULT_SYNTAX;
    struct acl_item *item = acl_items_find(&s->keys, pattern);
    if (item == NULL)
        item = acl_items_add(&s->keys, pattern);
    item->access |= access;
    return ACL_FAULT_NONE;
}

static enum acl_fault channel_rule(struct acl_selector *s, struct bytes rule)
{
    const struct bytes pattern = bytes_from(rule, 1);

    if (s->all_channels)
        return ACL_FAULT_CHANNELS;
    if (!pattern_ok(pattern))
        return ACL_FAULT_SYNTAX;
    if (acl_items_find(&s->channels, pattern) == NULL)
        (void)acl_items_add(&s->channels, pattern);
    return ACL_FAULT_NONE;
}

static bool is(struct bytes rule, const char *word, const char *same)
{
    return bytes_eq_nocase(rule, word) || (same != NULL && bytes_eq_nocase(rule, same));
}

enum acl_fault acl_selector_rule(struct acl_selector *s, const struct acl_env *env,
                                 struct bytes rule)
{
    if (rule.len == 0)
        return ACL_FAULT_SYNTAX;
    if (is(rule, "allkeys", "~*"))
        set_keys(s, true);
    else if (is(rule, "resetkeys", NULL))
        set_keys(s, false);
    else if (is(rule, "allchannels", "&*"))
        set_channels(s, true);
    else if (is(rule, "resetchannels", NULL))
        set_channels(s, false);
    else if (is(rule, "allcommands", "+@all"))
        acl_selector_set_all(s, true);
    else if (is(rule, "nocommands", "-@all"))
        acl_selector_set_all(s, false);
    else if (rule.ptr[0] == '~' || rule.ptr[0] == '%')
        return key_rule(s, rule);
    else if (rule.ptr[0] == '&')
        return channel_rule(s, rule);
    else if (rule.ptr[0] == '+' || rule.ptr[0] == '-')
        return command_rule(s, env, rule);
    else
        return ACL_FAULT_SYNTAX;
    return ACL_FAULT_NONE;
}
