/* Printing replies and bytes. */
#ifndef TIERRA_TOOLS_CTL_CTL_PRINT_H
#define TIERRA_TOOLS_CTL_CTL_PRINT_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/base/bytes.h"

struct link;

/* Printable ASCII as it is, the rest as \xNN, in quotes. */
void print_quoted(FILE *to, struct bytes value);

/*
 * Prints the reply that was read, as redis-cli does on a terminal. `raw`: a bulk string alone is
 * printed as it is. False if it was an error.
 */
bool print_reply(struct link *link, bool raw);

#endif
