/*
 * Fuzz target: the request parser. The first byte chooses the limits and how the rest is cut.
 * Properties: the stream gives the same commands and the same error whole and in pieces; the
 * arguments lie within the input; a command written anew parses to itself.
 */
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "server/resp.h"

#include "tests/fuzz/fuzz.h"

#define OUT_BYTES_MAX (1u << 24)

static void put(struct buf *out, const void *ptr, size_t len)
{
    CHECK(buf_append(out, ptr, len) == 0);
}

/* The command as protocol. */
static void put_command(struct buf *out, const struct resp_cmd *cmd)
{
    CHECK(buf_printf(out, "*%u\r\n", cmd->argc) == 0);
    for (uint32_t i = 0; i < cmd->argc; i++) {
        CHECK(buf_printf(out, "$%zu\r\n", cmd->argv[i].len) == 0);
        put(out, cmd->argv[i].ptr, cmd->argv[i].len);
        put(out, "\r\n", 2);
    }
}

/*
 * Parses `in`, of which `step` bytes more are there each time; all at once if it is 0. Each time
 * they lie in a block of their own, of their exact size.
 */
static enum resp_result parse(struct bytes in, size_t step, const struct resp_limits *limits,
                              struct buf *out)
{
    struct resp_parser p;
    struct resp_cmd cmd;
    enum resp_result result = RESP_MORE;
    size_t start = 0;
    size_t end = step == 0 ? in.len : 0;

    resp_parser_init(&p);
    resp_cmd_init(&cmd);
    for (;;) {
        uint8_t *piece = mem_alloc(end - start);
        if (end != start)
            memcpy(piece, in.ptr + start, end - start);
        result = resp_parse(&p, limits, bytes_of(piece, end - start), &cmd);
        CHECK(cmd.consumed <= end - start);
        if (result == RESP_READY) {
            CHECK(cmd.argc > 0);
            CHECK(cmd.consumed > 0);
            put_command(out, &cmd);
        }
        mem_free(piece);
        start += cmd.consumed;
        if (result == RESP_ERROR || result == RESP_HTTP || (result == RESP_MORE && end == in.len))
            break;
        if (result == RESP_MORE)
            end = size_min(end + step, in.len);
    }
    if (result == RESP_ERROR)
        put(out, cmd.error, strlen(cmd.error));
    resp_cmd_deinit(&cmd);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct resp_limits limits = {
        .bulk_bytes_max = 1u << 20,
        .args_max = 1024,
        .unauthenticated = (data[0] & 0x80) != 0,
    };
    const struct resp_limits open = {.bulk_bytes_max = UINT32_MAX, .args_max = RESP_ARGS_MAX};
    const struct bytes in = bytes_of(data + 1, size - 1);
    struct buf whole;
    struct buf pieces;
    struct buf again;

    buf_init(&whole, OUT_BYTES_MAX);
    buf_init(&pieces, OUT_BYTES_MAX);
    buf_init(&again, OUT_BYTES_MAX);
    const enum resp_result result = parse(in, 0, &limits, &whole);
    CHECK(parse(in, 1u + (data[0] & 0x7f), &limits, &pieces) == result);
    CHECK(bytes_eq(buf_bytes(&whole), buf_bytes(&pieces)));
    if (result == RESP_MORE) {
        CHECK(parse(buf_bytes(&whole), 0, &open, &again) == RESP_MORE);
        CHECK(bytes_eq(buf_bytes(&whole), buf_bytes(&again)));
    }
    buf_deinit(&whole);
    buf_deinit(&pieces);
    buf_deinit(&again);
    return 0;
}
