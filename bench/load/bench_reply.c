/*
 * The skipping reply parser; the header explains it.
 *
 * States: the type byte, the line after it (digits, or text up to CR), the LF, the content of a
 * bulk, its CR and LF.
 */
#include "bench/load/bench_reply.h"

#include <string.h>

#include "engine/base/err.h"

enum state {
    STATE_TYPE,
    STATE_SIGN_OR_DIGIT,
    STATE_DIGITS,
    STATE_TEXT,
    STATE_LINE_LF,
    STATE_BULK,
    STATE_BULK_CR,
    STATE_BULK_LF,
};

/* Where the parser stands in the input. */
struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

void bench_reply_init(struct bench_reply *reply, bench_reply_sink_fn sink, void *ctx)
{
    *reply = (struct bench_reply){
        .state = STATE_TYPE,
        .outermost = true,
        .pending = 1,
        .sink = sink,
        .sink_ctx = ctx,
    };
}

/* The former reply is complete: forget it. The text of its error need not be wiped. */
static void begin(struct bench_reply *reply)
{
    reply->outermost = true;
    reply->pending = 1;
    reply->bulk_index = 0;
    reply->info.nil = false;
    reply->info.nils = 0;
    reply->info.text_len = 0;
}

static int on_type(struct bench_reply *reply, uint8_t type)
{
    if (reply->pending == 0)
        begin(reply);
    reply->line_type = type;
    reply->line_len = 0;
    reply->number = 0;
    reply->negative = false;
    if (reply->outermost)
        reply->info.type = type;
    switch (type) {
    case '+':
    case '-':
        reply->state = STATE_TEXT;
        return 0;
    case ':':
    case '$':
    case '*':
        reply->state = STATE_SIGN_OR_DIGIT;
        return 0;
    default:
        return -ERR_PROTOCOL;
    }
}

static int on_digit(struct bench_reply *reply, uint8_t c)
{
    if (c >= '0' && c <= '9') {
        /* 19 digits never overflow 64 bits. */
        if (++reply->line_len > 19)
            return -ERR_PROTOCOL;
        reply->number = reply->number * 10 + (uint64_t)(c - '0');
        reply->state = STATE_DIGITS;
        return 0;
    }
    if (c == '\r' && reply->state == STATE_DIGITS) {
        reply->state = STATE_LINE_LF;
        return 0;
    }
    if (c == '-' && reply->state == STATE_SIGN_OR_DIGIT && !reply->negative) {
        reply->negative = true;
        return 0;
    }
    return -ERR_PROTOCOL;
}

/* Text up to CR, in one step per piece of input. */
static int on_text(struct bench_reply *reply, struct cursor *in)
{
    const size_t len = (size_t)(in->end - in->at);
    const uint8_t *cr = memchr(in->at, '\r', len);
    const size_t text_len = cr == NULL ? len : (size_t)(cr - in->at);
    struct bench_reply_info *info = &reply->info;

    if (reply->outermost && reply->line_type == '-') {
        const size_t n = size_min(text_len, sizeof(info->text) - info->text_len);
        memcpy(info->text + info->text_len, in->at, n);
        info->text_len += n;
    }
    reply->line_len += (uint32_t)size_min(text_len, BENCH_REPLY_LINE_MAX + 1);
    if (reply->line_len > BENCH_REPLY_LINE_MAX)
        return -ERR_PROTOCOL;
    in->at += text_len;
    if (cr != NULL) {
        in->at++;
        reply->state = STATE_LINE_LF;
    }
    return 0;
}

static void emit(struct bench_reply *reply, const uint8_t *ptr, size_t len)
{
    if (reply->sink == NULL)
        return;
    const struct bench_reply_piece piece = {
        .bulk = reply->bulk_index,
        .ptr = ptr,
        .len = len,
        .first = reply->bulk_left == reply->bulk_bytes,
        .last = reply->bulk_left == len,
    };
    reply->sink(reply->sink_ctx, &piece);
}

/* A bulk's length is known. */
static int open_bulk(struct bench_reply *reply)
{
    if (reply->negative) {
        if (reply->number != 1)
            return -ERR_PROTOCOL;
        if (reply->outermost)
            reply->info.nil = true;
        else
            reply->info.nils++;
        reply->bulk_index++;
        reply->pending--;
        return 0;
    }
    if (reply->number > BENCH_REPLY_BULK_MAX)
        return -ERR_PROTOCOL;
    reply->bulk_bytes = reply->number;
    reply->bulk_left = reply->number;
    reply->state = STATE_BULK;
    if (reply->number == 0) {
        emit(reply, NULL, 0);
        reply->state = STATE_BULK_CR;
    }
    return 0;
}

static int open_array(struct bench_reply *reply)
{
    if (reply->negative) {
        if (reply->number != 1)
            return -ERR_PROTOCOL;
        if (reply->outermost)
            reply->info.nil = true;
        reply->pending--;
        return 0;
    }
    if (reply->number > BENCH_REPLY_ITEMS_MAX ||
        reply->pending > BENCH_REPLY_ITEMS_MAX - reply->number)
        return -ERR_PROTOCOL;
    reply->pending += reply->number - 1;
    return 0;
}

/* The header line of a value is complete. */
static int on_line(struct bench_reply *reply)
{
    int err = 0;

    reply->state = STATE_TYPE;
    if (reply->outermost)
        reply->info.number = reply->negative ? -(int64_t)reply->number : (int64_t)reply->number;
    if (reply->line_type == '$')
        err = open_bulk(reply);
    else if (reply->line_type == '*')
        err = open_array(reply);
    else
        reply->pending--;
    reply->outermost = false;
    return err;
}

static void on_bulk(struct bench_reply *reply, struct cursor *in)
{
    const uint64_t n = u64_min(reply->bulk_left, (uint64_t)(in->end - in->at));

    emit(reply, in->at, (size_t)n);
    reply->bulk_left -= n;
    in->at += n;
    if (reply->bulk_left == 0)
        reply->state = STATE_BULK_CR;
}

/* One step of the states that take exactly one byte. */
static int on_byte(struct bench_reply *reply, uint8_t c)
{
    switch ((enum state)reply->state) {
    case STATE_TYPE:
        return on_type(reply, c);
    case STATE_SIGN_OR_DIGIT:
    case STATE_DIGITS:
        return on_digit(reply, c);
    case STATE_LINE_LF:
        return c == '\n' ? on_line(reply) : -ERR_PROTOCOL;
    case STATE_BULK_CR:
        reply->state = STATE_BULK_LF;
        return c == '\r' ? 0 : -ERR_PROTOCOL;
    case STATE_BULK_LF:
        reply->state = STATE_TYPE;
        reply->bulk_index++;
        reply->pending--;
        return c == '\n' ? 0 : -ERR_PROTOCOL;
    case STATE_TEXT:
    case STATE_BULK:
        break;
    }
    return -ERR_PROTOCOL;
}

int bench_reply_feed(struct bench_reply *reply, const uint8_t *data, size_t len, size_t *out_used)
{
    struct cursor in = {.at = data, .end = data + len};

    while (in.at < in.end) {
        int err = 0;
        if (reply->state == STATE_TEXT)
            err = on_text(reply, &in);
        else if (reply->state == STATE_BULK)
            on_bulk(reply, &in);
        else
            err = on_byte(reply, *in.at++);
        if (unlikely(err != 0))
            return err;
        if (reply->pending == 0 && reply->state == STATE_TYPE) {
            *out_used = (size_t)(in.at - data);
            return BENCH_REPLY_DONE;
        }
    }
    *out_used = len;
    return BENCH_REPLY_MORE;
}
