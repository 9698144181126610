/*
 * CONFIG GET, SET, REWRITE and HELP as replies. `argc`, `argv`: the whole call, arity checked.
 */
#ifndef TIERRA_SERVER_CONFIG_REPLY_H
#define TIERRA_SERVER_CONFIG_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct config;
struct reply;

void config_reply_get(struct reply *r, const struct config *cfg, uint32_t argc,
                      const struct bytes *argv);
/* `local`: the client is on this machine. */
void config_reply_set(struct reply *r, struct config *cfg, bool local, uint32_t argc,
                      const struct bytes *argv);
/* Blocks on the disk. */
void config_reply_rewrite(struct reply *r, const struct config *cfg);
void config_reply_help(struct reply *r);

#endif
