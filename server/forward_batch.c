/*
 * A command in a batch, integers little-endian:
 *
 *     u32 argc | argc times u32 length | the arguments, one behind the other
 */
#include "server/forward_batch.h"

#include <string.h>

#include "engine/base/le.h"
#include "engine/base/mem.h"

int forward_batch_put(struct forward_batch *b, struct forward_slot *slot, uint32_t part,
                      bool tracks, uint32_t argc, const struct bytes *argv)
{
    size_t len = 4 + 4 * (size_t)argc;

    for (uint32_t i = 0; i < argc; i++)
        len += argv[i].len;
    const int err = buf_reserve(&b->bytes, len);
    if (err != 0)
        return err;
    if (b->count == b->cap) {
        b->cap = b->cap == 0 ? 16 : b->cap * 2;
        b->items = mem_realloc(b->items, b->cap * sizeof(*b->items));
    }
    b->items[b->count++] = (struct forward_item){.slot = slot, .part = part, .tracks = tracks};
    uint8_t *p = buf_end(&b->bytes);
    le32_store(p, argc);
    p += 4;
    for (uint32_t i = 0; i < argc; i++, p += 4)
        le32_store(p, (uint32_t)argv[i].len);
    for (uint32_t i = 0; i < argc; i++) {
        if (argv[i].len != 0)
            memcpy(p, argv[i].ptr, argv[i].len);
        p += argv[i].len;
    }
    buf_commit(&b->bytes, len);
    return 0;
}

void forward_batch_get(const struct forward_batch *b, size_t pos, struct resp_cmd *out)
{
    const uint8_t *p = b->bytes.ptr + pos;
    const uint32_t argc = le32_load(p);
    const uint8_t *arg = p + 4 + 4 * (size_t)argc;

    if (argc > out->argv_cap) {
        out->argv = mem_realloc(out->argv, argc * sizeof(*out->argv));
        out->argv_cap = argc;
    }
    out->argc = argc;
    for (uint32_t i = 0; i < argc; i++) {
        out->argv[i] = bytes_of(arg, le32_load(p + 4 + 4 * (size_t)i));
        arg += out->argv[i].len;
    }
    out->consumed = (size_t)(arg - p);
}

void forward_batch_clear(struct forward_batch *b)
{
    b->count = 0;
    if (b->bytes.cap > FORWARD_KEEP_BYTES)
        buf_deinit(&b->bytes);
    else
        buf_clear(&b->bytes);
}

void forward_batch_deinit(struct forward_batch *b)
{
    buf_deinit(&b->bytes);
    mem_free(b->items);
}
