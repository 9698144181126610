/*
 * The line of CLIENT LIST about a connection; cmd_client.c writes it.
 */
#ifndef TIERRA_SERVER_CLIENT_LINE_H
#define TIERRA_SERVER_CLIENT_LINE_H

#include <stdint.h>

struct buf;
struct conn;

/* One line. Names are cut at it. */
#define CLIENT_LINE_BYTES_MAX 65536u

/*
 * Appends it with its end of line. `self`: the connection that asks; its arguments are there to be
 * counted. What does not fit is left out.
 */
void client_line(const struct conn *c, const struct conn *self, uint64_t now_ms, struct buf *out);

#endif
