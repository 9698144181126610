/* Templates and the requests made from them; the header has the picture. */
#include "bench/load/bench_request.h"

#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#define ELEMENT_PREFIX        "elem:"
#define SCORE_DIGITS          6
#define SCORE_END             1000000
#define TEMPLATE_BYTES_MAX    (4u << 20)
#define ARGUMENT_HEAD_BYTES   32 /* "$" length CR LF .. CR LF */
#define LOAD_COMMAND_BYTES    (64u << 10)
#define LOAD_ELEMENTS_LIMIT   128
#define COUNTER_START         "100"
#define RNG_STREAM_MULTIPLIER UINT64_C(0x9e3779b97f4a7c15)

enum hole {
    HOLE_NONE,
    HOLE_KEY,
    HOLE_FIELD,
    HOLE_SCORE,
    HOLE_VALUE, /* A whole argument, after the text. */
};

struct bench_segment {
    uint32_t text_at;
    uint32_t text_len;
    uint32_t digits_end; /* Where the digits of the hole end, from the start of the text. */
    uint8_t hole;
};

/* A template under construction. */
struct compiler {
    const struct bench_options *options;
    struct buf text;
    struct bench_segment *segments;
    size_t segment_count;
    size_t segment_start;
    size_t values;
    enum bench_family family;
};

/* What is appended is bounded by the options: the buffer's limit is never reached. */
static void add_text(struct compiler *c, const void *ptr, size_t len)
{
    CHECK(buf_append(&c->text, ptr, len) == 0);
}

static void add_argument_head(struct compiler *c, size_t len)
{
    CHECK(buf_printf(&c->text, "$%zu\r\n", len) == 0);
}

static void add_argument(struct compiler *c, const char *text)
{
    add_argument_head(c, strlen(text));
    add_text(c, text, strlen(text));
    add_text(c, "\r\n", 2);
}

static void add_number(struct compiler *c, uint64_t number)
{
    char text[NUM_I64_BYTES];

    num_print_u64(text, number);
    add_argument(c, text);
}

static void end_segment(struct compiler *c, enum hole hole, size_t digits_end)
{
    c->segments[c->segment_count++] = (struct bench_segment){
        .text_at = (uint32_t)c->segment_start,
        .text_len = (uint32_t)(c->text.len - c->segment_start),
        .digits_end = (uint32_t)(digits_end - c->segment_start),
        .hole = (uint8_t)hole,
    };
    c->segment_start = c->text.len;
}

/* An argument of `prefix` and zeros, `len` bytes in all, whose digits are a hole. */
static void add_digits(struct compiler *c, const char *prefix, size_t len, enum hole hole)
{
    add_argument_head(c, len);
    add_text(c, prefix, strlen(prefix));
    for (size_t i = strlen(prefix); i < len; i++)
        add_text(c, "0", 1);
    const size_t digits_end = c->text.len;
    add_text(c, "\r\n", 2);
    end_segment(c, hole, digits_end);
}

static void key_prefix(const struct bench_options *options, enum bench_family family,
                       char out[BENCH_KEY_BYTES_MAX + 1])
{
    const size_t len = strlen(options->key_prefix);
    const char letter = bench_family_letter(family);

    memcpy(out, options->key_prefix, len);
    out[len] = letter;
    out[len + (letter != 0)] = '\0';
}

static void add_key(struct compiler *c)
{
    char prefix[BENCH_KEY_BYTES_MAX + 1];

    key_prefix(c->options, c->family, prefix);
    add_digits(c, prefix, c->options->key_bytes, HOLE_KEY);
}

static void add_value(struct compiler *c)
{
    c->values++;
    end_segment(c, HOLE_VALUE, c->text.len);
}

/* The arguments that one letter of struct bench_op_info stands for. */
static void add_arguments(struct compiler *c, char letter)
{
    switch (letter) {
    case 'k':
        add_key(c);
        break;
    case 'K':
        for (uint32_t i = 0; i < c->options->multi; i++)
            add_key(c);
        break;
    case 'P':
        for (uint32_t i = 0; i < c->options->multi; i++) {
            add_key(c);
            add_value(c);
        }
        break;
    case 'v':
        add_value(c);
        break;
    case 'f':
        add_digits(c, ELEMENT_PREFIX, BENCH_ELEMENT_BYTES, HOLE_FIELD);
        break;
    case 's':
        add_digits(c, "", SCORE_DIGITS, HOLE_SCORE);
        break;
    case '1':
        add_argument(c, "1");
        break;
    case 't':
        add_number(c, c->options->ttl_s);
        break;
    case 'r':
        add_argument(c, "0");
        add_number(c, c->options->range - 1);
        break;
    default:
        UNREACHABLE();
    }
}

static size_t count_arguments(const struct bench_options *options, const char *args)
{
    size_t count = 1;

    for (; *args != '\0'; args++)
        count += *args == 'K'   ? options->multi
                 : *args == 'P' ? 2 * (size_t)options->multi
                 : *args == 'r' ? 2
                                : 1;
    return count;
}

/* Compiles one operation; returns the most bytes a request of it can have. */
static size_t compile(const struct bench_options *options, enum bench_op op,
                      struct bench_template *out)
{
    const struct bench_op_info *info = bench_op_info(op);
    const size_t argument_count = count_arguments(options, info->args);
    struct compiler c = {
        .options = options,
        .segments = mem_zalloc_array(argument_count + 1, sizeof(struct bench_segment)),
        .family = bench_op_generic(op) ? options->generic_family : info->family,
    };

    buf_init(&c.text, TEMPLATE_BYTES_MAX);
    CHECK(buf_printf(&c.text, "*%zu\r\n", argument_count) == 0);
    add_argument(&c, info->verb);
    for (const char *letter = info->args; *letter != '\0'; letter++)
        add_arguments(&c, *letter);
    end_segment(&c, HOLE_NONE, c.text.len);

    size_t text_len;
    out->text = buf_take(&c.text, &text_len);
    out->segments = c.segments;
    out->segment_count = c.segment_count;
    return text_len + c.values * (bench_size_max(&options->value_size) + ARGUMENT_HEAD_BYTES);
}

static size_t load_bytes_max(const struct bench_plan *plan)
{
    const size_t element = BENCH_ELEMENT_BYTES + bench_size_max(&plan->options->value_size) +
                           2 * (size_t)ARGUMENT_HEAD_BYTES;

    return BENCH_KEY_BYTES_MAX + 3 * (size_t)ARGUMENT_HEAD_BYTES +
           element * (size_t)plan->load_elements_max;
}

void bench_plan_init(struct bench_plan *plan, const struct bench_options *options)
{
    const uint64_t element = BENCH_ELEMENT_BYTES + bench_size_max(&options->value_size);
    const uint64_t elements_max = u64_min(LOAD_COMMAND_BYTES / element, LOAD_ELEMENTS_LIMIT);

    *plan = (struct bench_plan){
        .options = options,
        .load_elements_max = u64_max(1, u64_min(elements_max, options->fields)),
    };
    bench_value_pool_init(&plan->pool, options->seed, options->value_random, options->verify);
    plan->request_bytes_max = load_bytes_max(plan);
    for (size_t i = 0; i < options->mix.count; i++) {
        const enum bench_op op = options->mix.ops[i];
        const size_t bytes = compile(options, op, &plan->templates[op]);
        plan->request_bytes_max = size_max(plan->request_bytes_max, bytes);
    }
}

void bench_plan_deinit(struct bench_plan *plan)
{
    for (size_t i = 0; i < BENCH_OP_COUNT; i++) {
        mem_free(plan->templates[i].segments);
        mem_free(plan->templates[i].text);
    }
    bench_value_pool_deinit(&plan->pool);
}

void bench_gen_init(struct bench_gen *gen, const struct bench_plan *plan, uint32_t worker,
                    _Atomic uint64_t *latest)
{
    const struct bench_options *options = plan->options;
    const struct bench_dist_worker who = {
        .index = worker,
        .count = options->threads,
        .latest = latest,
    };

    gen->plan = plan;
    rng_seed(&gen->rng, options->seed + (worker + 1) * RNG_STREAM_MULTIPLIER);
    bench_dist_init(&gen->keys, &options->key_dist, options->keys, &who);
    bench_dist_init(&gen->fields, &options->field_dist, options->fields, &who);
}

enum bench_op bench_gen_op(struct bench_gen *gen)
{
    const struct bench_mix *mix = &gen->plan->options->mix;
    size_t i = 0;

    if (mix->count > 1) {
        const uint64_t at = rng_below(&gen->rng, mix->weight_ends[mix->count - 1]);
        while (at >= mix->weight_ends[i])
            i++;
    }
    return mix->ops[i];
}

/* Decimal digits of `number` ending before `end`, over zeros that are there already. */
static void put_digits(uint8_t *end, uint64_t number)
{
    while (number != 0) {
        *--end = (uint8_t)('0' + number % 10);
        number /= 10;
    }
}

static uint8_t *put_line_end(uint8_t *at)
{
    at[0] = '\r';
    at[1] = '\n';
    return at + 2;
}

static uint8_t *put_head(uint8_t *at, char type, uint64_t number)
{
    char text[NUM_I64_BYTES];
    const size_t len = num_print_u64(text, number);

    *at++ = (uint8_t)type;
    memcpy(at, text, len);
    return put_line_end(at + len);
}

static uint8_t *put_value(struct bench_gen *gen, uint64_t owner, uint8_t *at)
{
    const uint32_t len = bench_size_next(&gen->plan->options->value_size, &gen->rng);

    at = put_head(at, '$', len);
    bench_value_write(&gen->plan->pool, &gen->rng, owner, at, len);
    return put_line_end(at + len);
}

/* Fills the hole of a segment whose text starts at `text`; returns where the number's text is. */
static struct bytes fill_digits(struct bench_gen *gen, const struct bench_segment *segment,
                                bool write, uint8_t *text)
{
    uint8_t *end = text + segment->digits_end;

    switch ((enum hole)segment->hole) {
    case HOLE_KEY:
        put_digits(end, write ? bench_dist_next_write(&gen->keys, &gen->rng)
                              : bench_dist_next(&gen->keys, &gen->rng));
        return bytes_of(end - gen->plan->options->key_bytes, gen->plan->options->key_bytes);
    case HOLE_FIELD:
        put_digits(end, write ? bench_dist_next_write(&gen->fields, &gen->rng)
                              : bench_dist_next(&gen->fields, &gen->rng));
        return bytes_of(end - BENCH_ELEMENT_BYTES, BENCH_ELEMENT_BYTES);
    case HOLE_SCORE:
        put_digits(end, rng_below(&gen->rng, SCORE_END));
        break;
    case HOLE_NONE:
    case HOLE_VALUE:
        break;
    }
    return bytes_of(NULL, 0);
}

size_t bench_gen_build(struct bench_gen *gen, enum bench_op op, uint8_t *out, uint64_t *owners)
{
    const struct bench_template *template = &gen->plan->templates[op];
    const bool write = bench_op_info(op)->write;
    const bool verify = gen->plan->pool.verify;
    uint8_t *at = out;
    uint64_t owner = 0;
    size_t owner_count = 0;

    for (size_t i = 0; i < template->segment_count; i++) {
        const struct bench_segment *segment = &template->segments[i];
        memcpy(at, template->text + segment->text_at, segment->text_len);
        const struct bytes name = fill_digits(gen, segment, write, at);
        at += segment->text_len;
        if (segment->hole == HOLE_VALUE)
            at = put_value(gen, owner, at);
        if (!verify || name.len == 0)
            continue;
        if (segment->hole == HOLE_KEY) {
            owner = bench_value_owner(name);
            owner_count++;
        } else {
            owner = bench_value_owner_field(owner, name);
        }
        if (owners != NULL)
            owners[owner_count - 1] = owner;
    }
    return (size_t)(at - out);
}

static uint8_t *put_argument(uint8_t *at, const char *text)
{
    const size_t len = strlen(text);

    at = put_head(at, '$', len);
    memcpy(at, text, len); /* NOLINT(bugprone-not-null-terminated-result): it is a part. */
    return put_line_end(at + len);
}

static uint8_t *put_name(uint8_t *at, const char *prefix, uint64_t number, size_t len)
{
    const size_t prefix_len = strlen(prefix);

    at = put_head(at, '$', len);
    memcpy(at, prefix, prefix_len); /* NOLINT(bugprone-not-null-terminated-result): as above. */
    memset(at + prefix_len, '0', len - prefix_len);
    put_digits(at + len, number);
    return put_line_end(at + len);
}

static uint8_t *put_score(struct bench_gen *gen, uint8_t *at)
{
    return put_name(at, "", rng_below(&gen->rng, SCORE_END), SCORE_DIGITS);
}

/* One element of a collection, with what the family's command wants beside it. */
static uint8_t *put_element(struct bench_gen *gen, enum bench_family family, uint64_t element,
                            uint64_t key_owner, uint8_t *at)
{
    const bool named = family != BENCH_FAMILY_LIST;
    uint64_t owner = key_owner;

    if (family == BENCH_FAMILY_ZSET)
        at = put_score(gen, at);
    if (named) {
        at = put_name(at, ELEMENT_PREFIX, element, BENCH_ELEMENT_BYTES);
        const struct bytes name = bytes_of(at - 2 - BENCH_ELEMENT_BYTES, BENCH_ELEMENT_BYTES);
        owner = bench_value_owner_field(key_owner, name);
    }
    if (family == BENCH_FAMILY_HASH || family == BENCH_FAMILY_LIST)
        at = put_value(gen, owner, at);
    if (family == BENCH_FAMILY_TALLY)
        at = put_argument(at, COUNTER_START);
    return at;
}

static uint64_t arguments_per_element(enum bench_family family)
{
    return family == BENCH_FAMILY_HASH || family == BENCH_FAMILY_TALLY ||
                   family == BENCH_FAMILY_ZSET
               ? 2
               : 1;
}

size_t bench_gen_build_load(struct bench_gen *gen, const struct bench_load_item *item, uint8_t *out)
{
    const struct bench_options *options = gen->plan->options;
    char prefix[BENCH_KEY_BYTES_MAX + 1];
    uint8_t *at = out;

    CHECK(item->count <= gen->plan->load_elements_max);
    key_prefix(options, item->family, prefix);
    at = put_head(at, '*', 2 + item->count * arguments_per_element(item->family));
    at = put_argument(at, bench_family_load_verb(item->family));
    at = put_name(at, prefix, item->key, options->key_bytes);
    const struct bytes key = bytes_of(at - 2 - options->key_bytes, options->key_bytes);
    const uint64_t owner = bench_value_owner(key);

    if (item->family == BENCH_FAMILY_STRING)
        at = put_value(gen, owner, at);
    else if (item->family == BENCH_FAMILY_COUNTER)
        at = put_argument(at, COUNTER_START);
    for (uint64_t i = 0; item->family > BENCH_FAMILY_COUNTER && i < item->count; i++)
        at = put_element(gen, item->family, item->first + i, owner, at);
    return (size_t)(at - out);
}
