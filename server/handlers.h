/*
 * The handlers of all commands that are built in, declared from the command table.
 */
#ifndef TIERRA_SERVER_HANDLERS_H
#define TIERRA_SERVER_HANDLERS_H

struct request;

/* clang-format off */
#define X(ident, name, handler, arity, flags, acl, class, keys, doc) \
    void handler(struct request *rq);
#include "server/commands.def"
#undef X
/* clang-format on */

#endif
