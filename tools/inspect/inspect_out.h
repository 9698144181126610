/*
 * What tierra-inspect prints: records of named fields.
 *
 * Without --json a record is one line, "segment number=1 state=ok", or a block with one field per
 * line. With --json each record is one line with one JSON object, its kind in the field "record":
 * a stream, so that no output is too large for memory. Bytes of users are printed as ASCII, with
 * \xNN for what is not printable and for the backslash and the quote, in both forms.
 */
#ifndef TIERRA_TOOLS_INSPECT_INSPECT_OUT_H
#define TIERRA_TOOLS_INSPECT_INSPECT_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/tag.h"
#include "engine/value/vv.h"

struct out {
    FILE *file;
    json_t *object; /* Of the record under way; NULL in text. */
    size_t bytes_max;
    bool json;
    bool block;
};

enum out_style {
    OUT_LINE,
    OUT_BLOCK,
};

/* `bytes_max`: of one value of users; more is cut, and said. */
void out_init(struct out *out, FILE *file, bool json, size_t bytes_max);

void out_begin(struct out *out, const char *record, enum out_style style);
void out_end(struct out *out);

/* Text of our own; quoted if it has blanks. */
void out_text(struct out *out, const char *name, const char *value);
void out_format(struct out *out, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);
void out_u64(struct out *out, const char *name, uint64_t value);
void out_i64(struct out *out, const char *name, int64_t value);
void out_double(struct out *out, const char *name, double value);
void out_bool(struct out *out, const char *name, bool value);
void out_hex(struct out *out, const char *name, uint64_t value);
/* Of users. */
void out_bytes(struct out *out, const char *name, struct bytes value);
/* "2024-05-06T07:08:09.123Z+5@1": time, logical counter, origin. */
void out_tag(struct out *out, const char *name, struct tag tag);
void out_vv(struct out *out, const char *name, const struct vv *vv);
/* Milliseconds since 1970, as a date. */
void out_time(struct out *out, const char *name, uint64_t ms);

#endif
