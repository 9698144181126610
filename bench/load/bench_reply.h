/*
 * A RESP2 reply parser that only skips.
 *
 * A load generator needs of a reply where it ends, whether it is an error, nil or empty, and
 * nothing else; so nothing is stored and bytes may arrive cut anywhere. Nesting needs no stack:
 * `pending` counts the values still to come, an array adds its elements, and the reply is complete
 * at zero. State is a few words, whatever the reply.
 *
 * Whoever wants the content of bulk strings (to verify it) sets a sink, which gets every bulk in
 * one or more pieces while it passes by.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_REPLY_H
#define TIERRA_BENCH_LOAD_BENCH_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"

/* Redis never sends more; beyond it the stream is taken for garbage. Bytes, elements. */
#define BENCH_REPLY_BULK_MAX  (UINT64_C(1) << 32)
#define BENCH_REPLY_ITEMS_MAX (UINT64_C(1) << 32)
#define BENCH_REPLY_LINE_MAX  (64u << 10)
/* As much of the first line of an error as is kept. */
#define BENCH_REPLY_TEXT_MAX 128

/* The outermost value of a complete reply. */
struct bench_reply_info {
    uint8_t type;    /* '+', '-', ':', '$' or '*' */
    bool nil;        /* "$-1" or "*-1" */
    int64_t number;  /* ':' its value; '$' bytes; '*' elements; -1 for nil */
    uint64_t nils;   /* Nil bulks inside an array, at any depth. */
    size_t text_len; /* '-' only: the start of the message, without a terminating zero. */
    char text[BENCH_REPLY_TEXT_MAX];
};

/*
 * A piece of the bulk number `bulk` (from 0, nils counted) of the reply. `first` and `last` tell
 * whether it begins or ends the bulk; an empty bulk is one empty piece.
 */
struct bench_reply_piece {
    uint64_t bulk;
    const uint8_t *ptr;
    size_t len;
    bool first;
    bool last;
};

typedef void (*bench_reply_sink_fn)(void *ctx, const struct bench_reply_piece *piece);

struct bench_reply {
    uint8_t state;
    uint8_t line_type; /* Of the value whose header line is being read. */
    bool negative;
    bool outermost; /* No value of this reply has been completed or opened yet. */
    uint32_t line_len;
    uint64_t number; /* Magnitude read so far. */
    uint64_t pending;
    uint64_t bulk_left; /* Bytes of content still to come. */
    uint64_t bulk_bytes;
    uint64_t bulk_index;
    bench_reply_sink_fn sink; /* May be NULL. */
    void *sink_ctx;
    struct bench_reply_info info;
};

/* Ready for the first byte of a reply; `sink` may be NULL. */
void bench_reply_init(struct bench_reply *reply, bench_reply_sink_fn sink, void *ctx);

enum bench_reply_result {
    BENCH_REPLY_MORE, /* All input used; the reply goes on. */
    BENCH_REPLY_DONE, /* reply->info is valid until the next call. */
};

/*
 * Reads on from `data`, at most to the end of one reply, and sets `*out_used` to the bytes taken.
 * Returns enum bench_reply_result or -ERR_PROTOCOL; after an error the stream cannot be resumed.
 */
MUST_USE int bench_reply_feed(struct bench_reply *reply, const uint8_t *data, size_t len,
                              size_t *out_used);

#endif
