/*
 * The table is written out four times from the same entries: the handlers' declarations, the key
 * specifications, the documentation, and the commands that point to them.
 */
#include "server/command_table.h"

#include <stddef.h>

/* clang-format off */
#ifndef COMMANDS_WITHOUT_HANDLERS
#define X(ident, name, handler, arity, flags, acl, class, keys, doc) \
    void handler(struct request *rq);
#include "server/commands.def"
#undef X
#endif

#define CONTAINER(ident, name, arity, flags, acl, class, keys, doc) \
    static const struct cmd_key_spec keys_of_##ident[] = keys;
#define X(ident, name, handler, arity, flags, acl, class, keys, doc) \
    static const struct cmd_key_spec keys_of_##ident[] = keys;
#include "server/commands.def"
#undef X
#undef CONTAINER

#define CONTAINER(ident, name, arity, flags, acl, class, keys, doc) \
    static const struct cmd_doc doc_of_##ident = doc;
#define X(ident, name, handler, arity, flags, acl, class, keys, doc) \
    static const struct cmd_doc doc_of_##ident = doc;
#include "server/commands.def"
#undef X
#undef CONTAINER

#define CONTAINER(ident, name, arity, flags, acl, class, keys, doc) \
    ENTRY(ident, name, NULL, arity, flags, acl, class)
#define X(ident, name, handler, arity, flags, acl, class, keys, doc) \
    ENTRY(ident, name, COMMAND_HANDLER(handler), arity, flags, acl, class)
static const struct cmd entries[] = {
#include "server/commands.def"
    {.name = NULL}, /* Not counted. */
};
#undef X
#undef CONTAINER
/* clang-format on */

STATIC_ASSERT(ARRAY_COUNT(entries) == CMD_IDS_COUNT + 1);

const struct cmd *command_entries(uint32_t *out_count)
{
    *out_count = CMD_IDS_COUNT;
    return entries;
}
