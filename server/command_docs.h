/*
 * Replies of COMMAND and its subcommands, written from the command table in the shapes of Redis
 * 7.0.15, RESP2 and RESP3. `argc`, `argv`: the whole call.
 */
#ifndef TIERRA_SERVER_COMMAND_DOCS_H
#define TIERRA_SERVER_COMMAND_DOCS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct command_table;
struct reply;

/* COMMAND, COMMAND INFO [name...]: `argc` 1 and 2 list everything. */
void command_reply_info(struct reply *r, const struct command_table *table, uint32_t argc,
                        const struct bytes *argv);
/* COMMAND DOCS [name...] */
void command_reply_docs(struct reply *r, const struct command_table *table, uint32_t argc,
                        const struct bytes *argv);
/* COMMAND COUNT */
void command_reply_count(struct reply *r, const struct command_table *table);
/* COMMAND LIST [FILTERBY MODULE name|ACLCAT category|PATTERN pattern] */
void command_reply_list(struct reply *r, const struct command_table *table, uint32_t argc,
                        const struct bytes *argv);
/* COMMAND GETKEYS call..., COMMAND GETKEYSANDFLAGS call... */
void command_reply_getkeys(struct reply *r, const struct command_table *table, uint32_t argc,
                           const struct bytes *argv, bool with_flags);
/* COMMAND HELP */
void command_reply_help(struct reply *r);

#endif
