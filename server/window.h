/*
 * The next commands of one input, parsed and looked up together before the first of them runs.
 *
 * That way the keys of a pipeline are hashed once, and what they will read from the key table comes
 * into the cache side by side (engine/space/ahead.h). Only commands that are all there take part;
 * the rest is the parser's and is parsed when its turn comes.
 *
 * The same is done across connections that send one command at a time: of the inputs that the
 * reactor announces, those that are one whole command are parsed, planned and looked up together,
 * and wait here until their connection's on_data comes for them.
 *
 * One per shard. The commands of one input are run through and forgotten within one call of conn's
 * on_data, the announced ones until the next announcement.
 */
#ifndef TIERRA_SERVER_WINDOW_H
#define TIERRA_SERVER_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/io/reactor.h"
#include "engine/space/ahead.h"

#include "server/dispatch.h"
#include "server/resp.h"

struct conn;
struct shard;

/* Commands looked at together: enough to keep the memory busy, few enough to stay in the cache. */
#define WINDOW_COMMANDS KS_AHEAD_MAX
/* Longer ones are left to the parser. */
#define WINDOW_ARGS_MAX 32

/* An announced input that is one command. */
struct window_next {
    const struct conn *conn;
    const uint8_t *ptr;
    struct resp_cmd cmd;
    struct dispatch_plan plan;
};

struct window {
    struct window_next next[REACTOR_AHEAD_MAX]; /* In the order in which they will come. */
    uint32_t next_at;
    uint32_t next_count;
    struct resp_cmd cmds[WINDOW_COMMANDS];
    struct dispatch_plan plans[WINDOW_COMMANDS];
    struct ks_ahead ahead[WINDOW_COMMANDS]; /* Scratch. */
    bool busy; /* A connection runs it; another that is resumed meanwhile does without. */
};

void window_init(struct window *w);
void window_deinit(struct window *w);

/* Parses and plans the first commands of `in`; returns how many. */
MUST_USE uint32_t window_fill(struct shard *sh, struct resp_parser *parser,
                              const struct resp_limits *limits, struct bytes in);

/* The reactor's announcement: reactor_ahead_fn, `ctx` is the shard. */
void window_announced(void *ctx, const struct reactor_ahead *ahead, uint32_t n);

/* What was announced of this very input, or NULL. */
const struct window_next *window_take(struct window *w, const struct conn *c, struct bytes in);

#endif
