/*
 * All users of the node at one moment.
 *
 * A set never changes: a change makes another one that shares the users which stay the same. Every
 * shard has a reference to the set that holds for it and gets the next one by mail between two
 * turns (config_share.h); a connection has one to its user. Sets and users are counted by atomics
 * and freed by whoever drops the last reference.
 */
#ifndef TIERRA_SERVER_ACL_USERS_H
#define TIERRA_SERVER_ACL_USERS_H

#include "engine/base/attr.h"
#include "engine/base/buf.h"

#include "server/acl_user.h"

/* Users of one node: every change copies the list of them. */
#define ACL_USERS_MAX 16384u

struct acl_users {
    _Atomic uint32_t refs;
    uint32_t count;
    struct acl_user *first;  /* "default": it is always there. */
    struct acl_user *user[]; /* By name. */
};

/* Those that a text or a file makes; a reference of its own to each. */
struct acl_list {
    struct acl_user **user;
    uint32_t count;
    uint32_t cap;
};

void acl_list_add(struct acl_list *list, struct acl_user *take_user);
/* NULL: there is none of that name. */
struct acl_user *acl_list_find(const struct acl_list *list, struct bytes name);
void acl_list_deinit(struct acl_list *list);

/* Takes the users, which are frozen and have different names; "default" is among them. */
MUST_USE struct acl_users *acl_users_create(struct acl_list *take_list);
struct acl_users *acl_users_ref(struct acl_users *users);
void acl_users_unref(struct acl_users *users); /* NULL is allowed. */

/* Borrowed from the set. NULL: there is none. */
struct acl_user *acl_users_find(const struct acl_users *users, struct bytes name);

/* With this one, in the place of the one of that name. NULL: ACL_USERS_MAX are there, and it is not
 * taken. */
MUST_USE struct acl_users *acl_users_with(const struct acl_users *users,
                                          struct acl_user *take_user);
/* Without it; it is there, and not "default". */
MUST_USE struct acl_users *acl_users_without(const struct acl_users *users, struct bytes name);

/* A new connection needs no AUTH. */
static inline bool acl_users_open(const struct acl_users *users)
{
    return users->first->enabled && users->first->nopass;
}

/*
 * An ACL file: a line for each user, "user <name> <rules>", words separated by blanks; empty lines
 * are allowed, and nothing else. Makes the users, with serial 0. Returns 0, or -ERR_CONFIG with all
 * that is wrong in `why`, in one line and in Redis' words; `path`: for it. "default", if it is not
 * there, is made as at the start. Any thread.
 */
MUST_USE int acl_users_parse(const struct acl_env *env, const char *path, struct bytes text,
                             struct acl_users **out, struct buf *why);

/* Numbers them, before anybody else has the set; "default" gets `first_serial`. */
void acl_users_number(struct acl_users *users, uint64_t first_serial, uint64_t *serial);

/* The text of such a file. Returns 0 or the error of the buffer. */
MUST_USE int acl_users_print(const struct acl_users *users, const struct command_table *commands,
                             struct buf *out);

#endif
