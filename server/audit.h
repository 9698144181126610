/*
 * Lines of the log that say who did what to the node: `audit` is their subsystem.
 */
#ifndef TIERRA_SERVER_AUDIT_H
#define TIERRA_SERVER_AUDIT_H

#include "engine/base/bytes.h"

struct conn;

/*
 * `what`: the command, in upper case. `about`: whom or what it concerns, cut at 128 bytes and
 * without control characters; may be empty. `outcome`: "ok", "denied", ...
 */
void audit_note(const struct conn *c, const char *what, struct bytes about, const char *outcome);

#endif
