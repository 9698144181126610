/* What the other commands of tierra-inspect use of the log's. */
#ifndef TIERRA_TOOLS_INSPECT_INSPECT_OPLOG_H
#define TIERRA_TOOLS_INSPECT_INSPECT_OPLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct batch;
struct inspect;
struct inspect_shard;
struct op;
struct oplog_record;
struct out;
struct problems;

/* Which ops to print. */
struct cat {
    uint64_t from;
    uint64_t to;
    uint64_t left; /* Ops still to be printed. */
    bool has_key;
    struct bytes key;
};

/* Prints the ops of a shard's log. Returns an enum inspect_exit. */
MUST_USE int inspect_cat(struct inspect *in, const struct inspect_shard *sh, struct cat *cat);

void inspect_print_op(struct out *out, uint32_t shard, const struct oplog_record *record,
                      const struct batch *batch, const struct op *op);

/* Verifies the log; `sh->store` NULL: without regard to it. Returns an enum inspect_exit. */
MUST_USE int inspect_check_log(struct inspect *in, const struct inspect_shard *sh,
                               struct problems *problems, uint64_t *out_records);

#endif
