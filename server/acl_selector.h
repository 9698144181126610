/*
 * One selector of a user: its rules, and its copies. For acl_user.c and what writes users down.
 */
#ifndef TIERRA_SERVER_ACL_SELECTOR_H
#define TIERRA_SERVER_ACL_SELECTOR_H

#include "server/acl_user.h"

/* As isspace of the C locale; a zero byte counts, too. */
static inline bool acl_is_space(uint8_t c)
{
    return c == ' ' || c == '\0' || (c >= '\t' && c <= '\r');
}

/* ASCII letters without case. */
static inline bool acl_same_word(struct bytes a, struct bytes b)
{
    bool same = a.len == b.len;

    for (size_t i = 0; same && i < a.len; i++)
        same = ascii_lower(a.ptr[i]) == ascii_lower(b.ptr[i]);
    return same;
}

/* --- items --- */

/* Copies the text. Valid until the next change. */
struct acl_item *acl_items_add(struct acl_items *items, struct bytes text);
/* NULL: it is not there. */
struct acl_item *acl_items_find(const struct acl_items *items, struct bytes text);
/* False: it was not there. */
bool acl_items_remove(struct acl_items *items, struct bytes text);
void acl_items_copy(struct acl_items *to, const struct acl_items *from);
/* Empties it. */
void acl_items_deinit(struct acl_items *items);

static inline struct bytes acl_item_text(const struct acl_item *item)
{
    return bytes_of(item->ptr, item->len);
}

/* --- selectors --- */

MUST_USE struct acl_selector *acl_selector_create(const struct acl_env *env);
MUST_USE struct acl_selector *acl_selector_copy(const struct acl_selector *s);
void acl_selector_destroy(struct acl_selector *s); /* NULL is allowed. */

/* Commands, keys and channels. */
void acl_selector_allow_all(struct acl_selector *s);
bool acl_selector_allows_all(const struct acl_selector *s);

/* A rule that is not of the user as a whole; not empty. After a fault nothing changed. */
MUST_USE enum acl_fault acl_selector_rule(struct acl_selector *s, const struct acl_env *env,
                                          struct bytes rule);

/* "+@all" and "-@all": all bits, and no first arguments. */
void acl_selector_set_all(struct acl_selector *s, bool allow);
/* A command with its subcommands. */
void acl_selector_set(struct acl_selector *s, const struct command_table *commands,
                      const struct cmd *cmd, bool allow);
/* All commands of a category (a bit of enum cmd_acl). */
void acl_selector_set_category(struct acl_selector *s, const struct command_table *commands,
                               uint32_t category, bool allow);

#endif
