/*
 * Commands on their way to another shard, as bytes in one buffer. One thread at a time.
 */
#ifndef TIERRA_SERVER_FORWARD_BATCH_H
#define TIERRA_SERVER_FORWARD_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "server/resp.h"

struct forward_slot;

/* A buffer above this is given back when it is empty. Bytes. */
#define FORWARD_KEEP_BYTES (64u << 10)

/* One command of a message. */
struct forward_item {
    struct forward_slot *slot; /* Home's. */
    uint32_t part;
    bool tracks; /* What it reads is remembered for the client. */
    size_t end;  /* Of its reply in the agent's output: the owner's. */
};

/* Commands with their items. The owner of the struct has called buf_init. */
struct forward_batch {
    struct buf bytes;
    struct forward_item *items;
    uint32_t count;
    uint32_t cap;
};

/* Copies the arguments. Returns 0, or -errno if the buffer's limit is reached. */
MUST_USE int forward_batch_put(struct forward_batch *b, struct forward_slot *slot, uint32_t part,
                               bool tracks, uint32_t argc, const struct bytes *argv);

/* The command at `pos`; the arguments are slices of the batch. */
void forward_batch_get(const struct forward_batch *b, size_t pos, struct resp_cmd *out);

void forward_batch_clear(struct forward_batch *b);
void forward_batch_deinit(struct forward_batch *b);

#endif
