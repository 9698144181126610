/*
 * What a connection is besides its bytes: who uses it, and what it is called.
 */
#ifndef TIERRA_SERVER_SESSION_H
#define TIERRA_SERVER_SESSION_H

#include <stdbool.h>

#include "engine/base/bytes.h"

struct conn;

/* The Redis version whose commands and replies we have; clients decide by it. */
#define SESSION_REDIS_VERSION "7.0.15"

/* A name for CLIENT SETNAME: printable, no blank. */
bool session_name_ok(struct bytes name);

/* The client is on this machine. */
bool session_is_local(const struct conn *c);

/* Empty: no name. */
void session_set_name(struct conn *c, struct bytes name);

#endif
