/* The sum of a key; row_sum.h tells what is summed. */
#include "engine/value/row_sum.h"

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/num.h"
#include "engine/base/sum.h"

#include "engine/value/op.h"
#include "engine/value/row_chunk.h"
#include "engine/value/rowkey.h"

void row_sum_init(struct row_sum *s, uint64_t at_ms)
{
    s->at_ms = at_ms;
    s->alive = false;
    buf_init(&s->settled, UINT32_MAX);
    buf_init(&s->clipped, UINT32_MAX);
}

void row_sum_deinit(struct row_sum *s)
{
    buf_deinit(&s->settled);
    buf_deinit(&s->clipped);
}

static uint64_t text_sum(const struct row_view *view, uint64_t seed)
{
    char text[ROW_TEXT_BYTES];
    const struct bytes value = row_text(view, text);

    return sum64_seed(value.ptr, value.len, seed);
}

/* A row that was only ever made of operands still has its contexts. */
static int settle(struct row_sum *s, struct bytes *row)
{
    if (row->len == 0 || row->ptr[0] != ROW_GENERAL)
        return 0;
    buf_clear(&s->settled);
    const int err = row_settle(*row, &s->settled);
    if (err == 0)
        *row = buf_bytes(&s->settled);
    return err;
}

int row_sum_key(struct row_sum *s, struct bytes name, struct bytes row)
{
    s->alive = false;
    s->content = 0;
    s->elements = 0;
    int err = settle(s, &row);
    if (err == 0)
        err = row_view(row, s->at_ms, &s->view);
    if (err == 0)
        err = row_clear(row, &s->clear);
    if (err != 0 || !s->view.present)
        return err;
    s->alive = true;
    s->has_clear = !vv_empty(&s->clear);
    s->name = sum64(name.ptr, name.len);
    if (s->view.type == VT_STRING && s->view.kind != ROW_KIND_CHUNKS)
        s->content = text_sum(&s->view, 0);
    s->view.value = bytes_of(NULL, 0);
    return 0;
}

/* A chunk of the generation that shows, up to the length of the string. */
static int add_chunk(struct row_sum *s, struct bytes sub, struct bytes row)
{
    uint8_t image[ROW_CHUNK_BYTES];
    struct tag tag;
    size_t len;

    if (sub.len != ROW_CHUNK_SUB_BYTES)
        return -ERR_CORRUPT;
    const int err = row_chunk_read(row, s->view.generation, image, &len, &tag);
    const uint64_t at = (uint64_t)be32_load(sub.ptr) * ROW_CHUNK_BYTES;
    if (err != 0 || at >= s->view.count)
        return err;
    len = (size_t)u64_min(len, s->view.count - at);
    while (len != 0 && image[len - 1] == 0)
        len--;
    if (len != 0)
        s->content += sum64_seed(image, len, sum64_seed(sub.ptr, sub.len, ROWKEY_KIND_CHUNK));
    return 0;
}

/* The row without what removals of the key have seen. */
static int clip(struct row_sum *s, struct bytes *row)
{
    if (!s->has_clear || row->len == 0)
        return 0;
    buf_clear(&s->clipped);
    const int err = row_clip(*row, &s->clear, &s->clipped);
    if (err == 0)
        *row = buf_bytes(&s->clipped);
    return err;
}

static int add_elem(struct row_sum *s, uint8_t kind, struct bytes sub, struct bytes row)
{
    const uint64_t seed = sum64_seed(sub.ptr, sub.len, kind);
    struct row_view view;
    uint8_t bytes[ROW_SCORE_BYTES];
    double score;

    int err = settle(s, &row);
    if (err == 0)
        err = clip(s, &row);
    if (err == 0)
        err = row_view(row, 0, &view);
    if (err != 0 || !view.present)
        return err;
    if (kind == ROWKEY_KIND_ZSET) {
        err = row_score(row, &score);
        if (err != 0)
            return err;
        row_score_store(bytes, score);
        s->content += sum64_seed(bytes, sizeof(bytes), seed);
    } else {
        s->content += text_sum(&view, seed);
    }
    s->elements++;
    return 0;
}

int row_sum_elem(struct row_sum *s, uint8_t kind, struct bytes sub, struct bytes row)
{
    if (!s->alive)
        return 0;
    if (s->view.type == VT_STRING)
        return s->view.kind == ROW_KIND_CHUNKS && kind == ROWKEY_KIND_CHUNK ? add_chunk(s, sub, row)
                                                                            : 0;
    return kind == op_row_kind(s->view.type) ? add_elem(s, kind, sub, row) : 0;
}

uint64_t row_sum_end(const struct row_sum *s)
{
    uint8_t bytes[8 + 1 + 8 + 8 + 8];

    if (!s->alive || (s->view.type != VT_STRING && s->elements == 0))
        return 0;
    le64_store(bytes, s->name);
    bytes[8] = s->view.type;
    le64_store(bytes + 9, s->view.expire_at_ms);
    /* Of a string in chunks: its length. */
    le64_store(bytes + 17, s->view.kind == ROW_KIND_CHUNKS ? s->view.count : s->elements);
    le64_store(bytes + 25, s->content);
    return sum64(bytes, sizeof(bytes));
}
