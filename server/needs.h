/*
 * What a command needs to be in DRAM before it can run: of each key what the command table says
 * (cmd_need), from its existence alone to all of it. What is not there is asked for, and the
 * connection waits. Shard thread.
 */
#ifndef TIERRA_SERVER_NEEDS_H
#define TIERRA_SERVER_NEEDS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct conn;
struct dispatch_plan;

/*
 * True if everything is there; else the connection waits, or (*err != 0) a row cannot be read
 * (-ERR_CORRUPT, -ERR_CLOSED, -errno), or what is needed does not fit into memory (-ERR_LIMIT,
 * -ENOMEM).
 */
MUST_USE bool needs_resident(struct conn *c, const struct dispatch_plan *plan, uint32_t argc,
                             const struct bytes *argv, int *err);

/* Starts the reads; nobody waits for them. */
void needs_ahead(struct conn *c, const struct dispatch_plan *plan, uint32_t argc,
                 const struct bytes *argv);

#endif
