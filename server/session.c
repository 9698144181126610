/* Users and names of connections. */
#include "server/session.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/shard.h"

/* Every byte of the longer one is looked at, whatever differs. */
static bool equal_slowly(struct bytes a, struct bytes b)
{
    uint8_t diff = a.len != b.len;
    const size_t len = size_max(a.len, b.len);

    for (size_t i = 0; i < len; i++) {
        const uint8_t x = a.len == 0 ? 0 : a.ptr[i % a.len];
        const uint8_t y = b.len == 0 ? 0 : b.ptr[i % b.len];
        diff |= (uint8_t)(x ^ y);
    }
    return diff == 0;
}

bool session_auth(struct conn *c, struct bytes user, struct bytes password)
{
    const char *pass = c->sh->cfg->requirepass;
    const bool user_ok = equal_slowly(user, BYTES_LIT("default"));
    const bool pass_ok = pass[0] == '\0' || equal_slowly(password, bytes_cstr(pass));

    if (!user_ok || !pass_ok)
        return false;
    c->authenticated = true;
    return true;
}

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
