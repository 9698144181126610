/*
 * Connections to the server: opening them, and simple blocking calls on one (AUTH, PING, INFO).
 * Errors are explained in a text, because whoever starts a benchmark wants to know why.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_CONNECT_H
#define TIERRA_BENCH_LOAD_BENCH_CONNECT_H

#include <stddef.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"

#include "bench/load/bench_options.h"

#define BENCH_ERROR_TEXT_BYTES 256

struct bench_error {
    char text[BENCH_ERROR_TEXT_BYTES];
};

/*
 * A connected, authenticated, blocking socket, whose calls time out after options->timeout_s.
 * Returns the descriptor, or a negative error explained in `*error`.
 */
MUST_USE int bench_connect(const struct bench_options *options, struct bench_error *error);

/*
 * Sends one command of `count` arguments and waits for its reply, whose bulk strings are appended
 * to `out` (NULL: dropped). Returns 0, or a negative error explained in `*error`; an error reply
 * is one (-ERR_REFUSED).
 */
MUST_USE int bench_call(int fd, const char *const *arguments, size_t count, struct buf *out,
                        struct bench_error *error);

#endif
