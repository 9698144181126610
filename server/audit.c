/* Who did what; audit.h. */
#include "server/audit.h"

#include <string.h>

#include "engine/base/log.h"

#include "server/acl_user.h"
#include "server/conn.h"

#define SHOWN_BYTES_MAX 128

/* A name of a user may hold anything but blanks. */
static void printable(struct bytes in, char out[SHOWN_BYTES_MAX + 1])
{
    size_t len = 0;

    if (in.len != 0)
        memcpy(out, in.ptr, size_min(in.len, SHOWN_BYTES_MAX));
    for (; len < in.len && len < SHOWN_BYTES_MAX; len++) {
        if (out[len] <= ' ' || out[len] > '~')
            out[len] = '?';
    }
    out[len] = '\0';
}

void audit_note(const struct conn *c, const char *what, struct bytes about, const char *outcome)
{
    char shown[SHOWN_BYTES_MAX + 1];
    char by[SHOWN_BYTES_MAX + 1];

    printable(about, shown);
    printable(acl_user_name(c->user), by);
    LOG_NOTICE("audit", "%s%s%s outcome=%s by=%s addr=%s client=%llu", what,
               about.len == 0 ? "" : " of=", shown, outcome, by, c->addr,
               (unsigned long long)c->id);
}
