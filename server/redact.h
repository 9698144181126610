/*
 * Arguments that nobody else may see: passwords. Who keeps or shows commands (SLOWLOG) asks here.
 */
#ifndef TIERRA_SERVER_REDACT_H
#define TIERRA_SERVER_REDACT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct cmd;

/* What stands in the place of such an argument. */
#define REDACTED "(redacted)"

/* As Redis: AUTH, AUTH within HELLO, ACL SETUSER, CONFIG SET of what is sensitive. */
bool redact_arg(const struct cmd *cmd, uint32_t argc, const struct bytes *argv, uint32_t index);

#endif
