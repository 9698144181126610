/* Names and places of connections. */
#include "server/session.h"

#include <string.h>

#include "engine/base/mem.h"

#include "server/conn.h"

bool session_name_ok(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < '!' || name.ptr[i] > '~')
            return false;
    }
    return true;
}

bool session_is_local(const struct conn *c)
{
    return c->local || strncmp(c->addr, "127.", 4) == 0 || strncmp(c->addr, "[::1]", 5) == 0;
}

void session_set_name(struct conn *c, struct bytes name)
{
    mem_free(c->name);
    c->name = NULL;
    if (name.len == 0)
        return;
    c->name = mem_alloc(name.len + 1);
    memcpy(c->name, name.ptr, name.len);
    c->name[name.len] = '\0';
}
