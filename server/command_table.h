/*
 * The entries of commands.def as constant data, and the words that they are written in. For
 * command.c and command_table.c only.
 */
#ifndef TIERRA_SERVER_COMMAND_TABLE_H
#define TIERRA_SERVER_COMMAND_TABLE_H

#include <stdint.h>

#include "server/command.h"

/* A test of the table alone has no handlers. */
#ifdef COMMANDS_WITHOUT_HANDLERS
#define COMMAND_HANDLER(handler) NULL
#else
#define COMMAND_HANDLER(handler) handler
#endif

/* clang-format off */
/* Each list ends with an entry that is not counted, so that none is empty. */
#define KEY(...)  {__VA_ARGS__}
#define KEYS(...) {__VA_ARGS__, {.flags = 0}}
#define NO_KEYS   {{.flags = 0}}
#define DOC(...)  {__VA_ARGS__}

#define ENTRY(ident, text, handler, arity_, flags_, acl_, class_)         \
    {                                                                     \
        .fn = (handler),                                                  \
        .name = (text),                                                   \
        .flags = (flags_),                                                \
        .acl = (acl_),                                                    \
        .arity = (arity_),                                                \
        .class = (class_),                                                \
        .key_specs_count = ARRAY_COUNT(keys_of_##ident) - 1,              \
        .key_specs = keys_of_##ident,                                     \
        .doc = &doc_of_##ident,                                           \
    },
/* clang-format on */

/*
 * The entries, in the order of their ids; what is derived (id, parent, flags and categories that
 * follow from others, key positions) is not filled in.
 */
const struct cmd *command_entries(uint32_t *out_count);

#endif
