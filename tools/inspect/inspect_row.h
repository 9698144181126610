/* Printing all that a row holds. */
#ifndef TIERRA_TOOLS_INSPECT_INSPECT_ROW_H
#define TIERRA_TOOLS_INSPECT_INSPECT_ROW_H

#include <stdint.h>

#include "engine/base/bytes.h"

#include "engine/value/row.h"

struct out;
struct row_explain_under;

/* Fields of the record under way: what the row shows at `now_ms`. */
void row_print_view(struct out *out, struct bytes row, uint64_t now_ms);

/* One record per part of a GENERAL row, and why it won or lost; nothing for the simple forms. */
void row_print_parts(struct out *out, struct bytes row, const struct row_explain_under *under);

#endif
