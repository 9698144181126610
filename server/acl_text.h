/*
 * Users as text: what ACL LIST and GETUSER show, and what files keep.
 *
 * The rules that a user was given are not kept. They are found again from its bits: "+@all" or
 * "-@all" first, by whether commands to come are allowed; then the categories that bring the bits
 * nearest to those of the user, one by one; then the commands that still differ. As in Redis, whose
 * order of single commands is that of a hash table, and here that of the command table.
 */
#ifndef TIERRA_SERVER_ACL_TEXT_H
#define TIERRA_SERVER_ACL_TEXT_H

#include "engine/base/attr.h"
#include "engine/base/buf.h"

#include "server/acl_user.h"

/* They return 0 or the error of the buffer. */

/* "-@all +@read -get" */
MUST_USE int acl_print_commands(const struct acl_selector *s, const struct command_table *commands,
                                struct buf *out);
/* "~a %R~b" */
MUST_USE int acl_print_keys(const struct acl_selector *s, struct buf *out);
/* "&a &b" */
MUST_USE int acl_print_channels(const struct acl_selector *s, struct buf *out);
/* 64 hexadecimal digits. */
MUST_USE int acl_print_hash(const struct acl_item *password, struct buf *out);

/* Calls `fn` for each flag of the user: "on", "nopass", ... */
typedef void (*acl_flag_fn)(void *ctx, const char *flag);
void acl_each_flag(const struct acl_user *u, acl_flag_fn fn, void *ctx);

/* "user alice on #1f.. ~* resetchannels -@all +get (~b &* +@all)", as rules that make it again. */
MUST_USE int acl_print_user(const struct acl_user *u, const struct command_table *commands,
                            struct buf *out);

#endif
