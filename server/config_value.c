/*
 * Values of options: one parser and one printer per kind. Error texts are those of Redis 7.0.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "server/config_linked.h"
#include "server/config_table.h"
#include "server/words.h"

/* Longest value of one option. */
#define VALUE_BYTES_MAX (64u * 1024)
/* Longest number with its unit. */
#define NUMBER_BYTES_MAX 32
/* Addresses to listen on. */
#define BIND_WORDS_MAX 16

static const char *const limit_names[CONFIG_LIMITS_COUNT] = {"normal", "slave", "pubsub"};

static const struct {
    char letter;
    int flag;
} event_letters[] = {
    /* In the order in which they are printed. */
    {'A', EVENT_ALL},      {'g', EVENT_GENERIC},  {'$', EVENT_STRING}, {'l', EVENT_LIST},
    {'s', EVENT_SET},      {'h', EVENT_HASH},     {'z', EVENT_ZSET},   {'x', EVENT_EXPIRED},
    {'e', EVENT_EVICTED},  {'t', EVENT_STREAM},   {'d', EVENT_MODULE}, {'n', EVENT_NEW},
    {'K', EVENT_KEYSPACE}, {'E', EVENT_KEYEVENT}, {'m', EVENT_MISS},
};

int config_fail(struct config_error *err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    return -ERR_CONFIG;
}

static bool is_text(const struct config_option *opt)
{
    return opt->kind >= CONFIG_KIND_TEXT;
}

/* --- Parsers: `words` are at most CONFIG_WORDS_MAX --- */

typedef int (*parse_fn)(const struct config_option *opt, const struct bytes *words, size_t count,
                        union config_value *value, struct config_error *err);

/* Replaces the text of the value. */
static void set_text(union config_value *value, struct bytes text)
{
    char *copy = mem_alloc(text.len + 1);

    if (text.len != 0)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    mem_free(value->s);
    value->s = copy;
}

/* The words, separated by one blank. */
static int set_words(union config_value *value, const struct bytes *words, size_t count,
                     struct config_error *err)
{
    struct buf text;
    int failed = 0;

    buf_init(&text, VALUE_BYTES_MAX);
    for (size_t i = 0; i < count && failed == 0; i++) {
        if (i > 0)
            failed = buf_append_u8(&text, ' ');
        if (failed == 0)
            failed = buf_append_bytes(&text, words[i]);
    }
    if (failed == 0)
        set_text(value, buf_bytes(&text));
    buf_deinit(&text);
    return failed == 0 ? 0 : config_fail(err, "argument is too long");
}

static int parse_bool(const struct config_option *opt UNUSED, const struct bytes *words,
                      size_t count UNUSED, union config_value *value, struct config_error *err)
{
    const bool yes = bytes_eq_nocase(words[0], "yes");

    if (!yes && !bytes_eq_nocase(words[0], "no"))
        return config_fail(err, "argument must be 'yes' or 'no'");
    value->b = yes;
    return 0;
}

static int check_bounds(const struct config_option *opt, int64_t number, struct config_error *err)
{
    if (number >= opt->min && number <= opt->max)
        return 0;
    if (opt->kind == CONFIG_KIND_OCTAL)
        return config_fail(err, "argument must be between %" PRIo64 " and %" PRIo64 " inclusive",
                           (uint64_t)opt->min, (uint64_t)opt->max);
    if (opt->kind == CONFIG_KIND_PERCENT && number < 0)
        return config_fail(err, "percentage argument must be less or equal to %" PRId64, -opt->min);
    return config_fail(err, "argument must be between %" PRId64 " and %" PRId64 " inclusive",
                       opt->min, opt->max);
}

static int parse_int(const struct config_option *opt, const struct bytes *words,
                     size_t count UNUSED, union config_value *value, struct config_error *err)
{
    int64_t number;

    if (!num_parse_i64(words[0], &number))
        return config_fail(err, "argument couldn't be parsed into an integer");
    if (check_bounds(opt, number, err) != 0)
        return -ERR_CONFIG;
    value->i = number;
    return 0;
}

static int parse_octal(const struct config_option *opt, const struct bytes *words,
                       size_t count UNUSED, union config_value *value, struct config_error *err)
{
    int64_t number = 0;

    for (size_t i = 0; i < words[0].len; i++) {
        const uint8_t c = words[0].ptr[i];
        if (c < '0' || c > '7' || number > INT32_MAX)
            return config_fail(err, "argument couldn't be parsed as an octal number");
        number = number * 8 + (c - '0');
    }
    if (check_bounds(opt, number, err) != 0)
        return -ERR_CONFIG;
    value->i = number;
    return 0;
}

/* "64mb" */
static bool parse_memory(struct bytes word, uint64_t *out)
{
    char text[NUMBER_BYTES_MAX];

    if (word.len >= sizeof(text))
        return false;
    if (word.len != 0)
        memcpy(text, word.ptr, word.len);
    text[word.len] = '\0';
    return strlen(text) == word.len && num_parse_memory(text, out);
}

static int parse_size(const struct config_option *opt, const struct bytes *words,
                      size_t count UNUSED, union config_value *value, struct config_error *err)
{
    uint64_t number;

    if (!parse_memory(words[0], &number))
        return config_fail(err, "argument must be a memory value");
    if (check_bounds(opt, number > INT64_MAX ? -1 : (int64_t)number, err) != 0)
        return -ERR_CONFIG;
    value->u = number;
    return 0;
}

static int parse_percent(const struct config_option *opt, const struct bytes *words,
                         size_t count UNUSED, union config_value *value, struct config_error *err)
{
    const struct bytes word = words[0];
    uint64_t bytes_count;
    int64_t number;

    if (parse_memory(word, &bytes_count) && bytes_count <= INT64_MAX)
        number = (int64_t)bytes_count;
    else if (word.len > 1 && word.ptr[word.len - 1] == '%' &&
             num_parse_i64(bytes_of(word.ptr, word.len - 1), &number) && number >= 0)
        number = -number;
    else
        return config_fail(err, "argument must be a memory or percent value");
    if (check_bounds(opt, number, err) != 0)
        return -ERR_CONFIG;
    value->i = number;
    return 0;
}

/* The index of a word of the option, or -1 and the error that lists them. */
static int word_index(const struct config_option *opt, struct bytes word, struct config_error *err)
{
    size_t len = 0;

    for (int i = 0; opt->words[i] != NULL; i++) {
        if (bytes_eq_nocase(word, opt->words[i]))
            return i;
    }
    (void)config_fail(err, "argument(s) must be one of the following: ");
    for (int i = 0; opt->words[i] != NULL; i++) {
        len = strlen(err->text);
        (void)snprintf(err->text + len, sizeof(err->text) - len, "%s%s", i == 0 ? "" : ", ",
                       opt->words[i]);
    }
    return -1;
}

static int parse_enum(const struct config_option *opt, const struct bytes *words,
                      size_t count UNUSED, union config_value *value, struct config_error *err)
{
    const int index = word_index(opt, words[0], err);

    if (index < 0)
        return -ERR_CONFIG;
    value->e = index;
    return 0;
}

/* Words of shutdown-on-sig*: the first stands for none of the others. */
static int parse_bits(const struct config_option *opt, const struct bytes *words, size_t count,
                      union config_value *value, struct config_error *err)
{
    int bits = 0;

    if (count == 0) {
        (void)word_index(opt, bytes_of(NULL, 0), err);
        return -ERR_CONFIG;
    }
    for (size_t i = 0; i < count; i++) {
        const int index = word_index(opt, words[i], err);
        if (index < 0)
            return -ERR_CONFIG;
        bits |= index == 0 ? 0 : 1 << index;
    }
    if ((bits & (1 << SHUTDOWN_SAVE)) != 0 && (bits & (1 << SHUTDOWN_NOSAVE)) != 0)
        return config_fail(err, "shutdown options SAVE and NOSAVE can't be used simultaneously");
    value->e = bits;
    return 0;
}

static int parse_events(const struct config_option *opt UNUSED, const struct bytes *words,
                        size_t count UNUSED, union config_value *value, struct config_error *err)
{
    int flags = 0;

    for (size_t i = 0; i < words[0].len; i++) {
        size_t k = 0;
        while (k < ARRAY_COUNT(event_letters) &&
               (uint8_t)event_letters[k].letter != words[0].ptr[i])
            k++;
        if (k == ARRAY_COUNT(event_letters))
            return config_fail(err, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        flags |= event_letters[k].flag;
    }
    value->e = flags;
    return 0;
}

static int limit_class(struct bytes word)
{
    for (int i = 0; i < CONFIG_LIMITS_COUNT; i++) {
        if (bytes_eq_nocase(word, limit_names[i]))
            return i;
    }
    return bytes_eq_nocase(word, "replica") ? CONFIG_LIMIT_REPLICA : -1;
}

static int parse_limits(const struct config_option *opt UNUSED, const struct bytes *words,
                        size_t count, union config_value *value, struct config_error *err)
{
    struct config_limits limits = value->limits;

    if (count % 4 != 0)
        return config_fail(err, "Wrong number of arguments in buffer limit configuration.");
    for (size_t i = 0; i < count; i += 4) {
        const int class = limit_class(words[i]);
        struct config_limit limit;

        if (class < 0)
            return config_fail(err, "Invalid client class specified in buffer limit "
                                    "configuration.");
        if (!parse_memory(words[i + 1], &limit.hard_bytes) ||
            !parse_memory(words[i + 2], &limit.soft_bytes) ||
            !num_parse_i64(words[i + 3], &limit.soft_seconds) || limit.soft_seconds < 0)
            return config_fail(err, "Error in hard, soft or soft_seconds setting in buffer limit "
                                    "configuration.");
        limits.class[class] = limit;
    }
    value->limits = limits;
    return 0;
}

static int parse_text(const struct config_option *opt UNUSED, const struct bytes *words,
                      size_t count UNUSED, union config_value *value, struct config_error *err)
{
    if (words[0].len > VALUE_BYTES_MAX)
        return config_fail(err, "argument is too long");
    set_text(value, words[0]);
    return 0;
}

/* How many bytes of `text`, which starts with '{', are a variable of the title. 0: of none. */
static size_t title_variable(struct bytes text, bool *shows)
{
    /* What the first two stand for may be nothing. */
    static const char *const names[] = {"title",    "server-mode", "listen-addr", "port",
                                        "tls-port", "config-file", "unixsocket"};
    const size_t end = bytes_find_u8(text, '}');

    for (size_t i = 0; end != text.len && i < ARRAY_COUNT(names); i++) {
        if (bytes_eq(bytes_of(text.ptr + 1, end - 1), bytes_cstr(names[i]))) {
            *shows |= i > 1;
            return end + 1;
        }
    }
    return 0;
}

/* Of a process: text with {variables}, "{{" for a brace, and not all of it nothing or blanks. */
static int parse_title(const struct config_option *opt, const struct bytes *words, size_t count,
                       union config_value *value, struct config_error *err)
{
    const struct bytes text = words[0];
    bool shows = false;
    bool valid = true;

    for (size_t i = 0; i < text.len && valid;) {
        size_t len = 1;
        if (text.ptr[i] != '{') {
            shows |= text.ptr[i] != ' ';
        } else if (i + 1 < text.len && text.ptr[i + 1] == '{') {
            shows = true;
            len = 2;
        } else {
            len = title_variable(bytes_from(text, i), &shows);
            valid = len != 0;
        }
        i += len;
    }
    if (!valid || !shows)
        return config_fail(err, "template format is invalid or contains unknown variables");
    return parse_text(opt, words, count, value, err);
}

static int parse_words(const struct config_option *opt UNUSED, const struct bytes *words,
                       size_t count, union config_value *value, struct config_error *err)
{
    if (count > BIND_WORDS_MAX)
        return config_fail(err, "Too many bind addresses specified.");
    return set_words(value, words, count, err);
}

static int parse_linked(const struct config_option *opt UNUSED, const struct bytes *words,
                        size_t count, union config_value *value, struct config_error *err)
{
    struct config_linked linked[MEMBERS_MAX];

    if (count > MEMBERS_MAX)
        return config_fail(err, "a replication group has at most %d members", MEMBERS_MAX);
    for (size_t i = 0; i < count && words[i].len != 0; i++) {
        if (!config_linked_parse(words[i], &linked[i]))
            return config_fail(err, "must be NAME=HOST:PORT for each member; a name has 1 to 60 "
                                    "letters, digits and single hyphens, a port is 1 to 65535");
        for (size_t k = 0; k < i; k++) {
            if (strcmp(linked[k].name, linked[i].name) == 0 ||
                strcmp(linked[k].address, linked[i].address) == 0)
                return config_fail(err, "names a member or an address twice");
        }
    }
    return set_words(value, words, count, err);
}

static int parse_save(const struct config_option *opt UNUSED, const struct bytes *words,
                      size_t count, union config_value *value, struct config_error *err)
{
    for (size_t i = 0; i < count; i++) {
        int64_t number;
        if (count % 2 != 0 || !num_parse_i64(words[i], &number) || number < (i % 2 == 0 ? 1 : 0))
            return config_fail(err, "Invalid save parameters");
    }
    return set_words(value, words, count, err);
}

static int parse_pctiles(const struct config_option *opt, const struct bytes *words, size_t count,
                         union config_value *value, struct config_error *err)
{
    for (size_t i = 0; i < count; i++) {
        double number;
        if (!num_parse_double(words[i], &number))
            return config_fail(err, "Invalid %s parameters", opt->name);
        if (!(number >= (double)opt->min && number <= (double)opt->max))
            return config_fail(err, "%s parameters should sit between [0.0,100.0]", opt->name);
    }
    return set_words(value, words, count, err);
}

static int parse_scores(const struct config_option *opt, const struct bytes *words, size_t count,
                        union config_value *value, struct config_error *err)
{
    if (count != 3)
        return config_fail(err, "wrong number of arguments");
    for (size_t i = 0; i < count; i++) {
        int64_t number;
        if (!num_parse_i64(words[i], &number) || number < opt->min || number > opt->max)
            return config_fail(err,
                               "Invalid %s, elements must be between %" PRId64 " and %" PRId64 ".",
                               opt->name, opt->min, opt->max);
    }
    return set_words(value, words, count, err);
}

static int parse_fixed(const struct config_option *opt, const struct bytes *words,
                       size_t count UNUSED, union config_value *value, struct config_error *err)
{
    if (!bytes_eq_nocase(words[0], opt->def))
        return config_fail(err, "only '%s' is supported: %s", opt->def, opt->help);
    set_text(value, bytes_cstr(opt->def));
    return 0;
}

static const parse_fn parsers[CONFIG_KINDS_COUNT] = {
    [CONFIG_KIND_BOOL] = parse_bool,       [CONFIG_KIND_INT] = parse_int,
    [CONFIG_KIND_OCTAL] = parse_octal,     [CONFIG_KIND_SIZE] = parse_size,
    [CONFIG_KIND_PERCENT] = parse_percent, [CONFIG_KIND_ENUM] = parse_enum,
    [CONFIG_KIND_BITS] = parse_bits,       [CONFIG_KIND_EVENTS] = parse_events,
    [CONFIG_KIND_LIMITS] = parse_limits,   [CONFIG_KIND_TEXT] = parse_text,
    [CONFIG_KIND_TITLE] = parse_title,     [CONFIG_KIND_WORDS] = parse_words,
    [CONFIG_KIND_LINKED] = parse_linked,   [CONFIG_KIND_SAVE] = parse_save,
    [CONFIG_KIND_PCTILES] = parse_pctiles, [CONFIG_KIND_SCORES] = parse_scores,
    [CONFIG_KIND_FIXED] = parse_fixed,
};

static int parse_checked(const struct config_option *opt, const struct bytes *words, size_t count,
                         union config_value *value, struct config_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_find_u8(words[i], '\0') != words[i].len)
            return config_fail(err, "argument contains a zero byte");
    }
    return parsers[opt->kind](opt, words, count, value, err);
}

int config_value_parse_text(const struct config_option *opt, struct bytes text,
                            union config_value *value, struct config_error *err)
{
    struct bytes words[CONFIG_WORDS_MAX];
    uint8_t *copy = NULL;
    size_t count = 0;
    size_t at = 0;
    int found = 1;

    if ((opt->flags & CONFIG_MULTI) == 0)
        return parse_checked(opt, &text, 1, value, err);
    if (words_quoted(text))
        copy = mem_alloc(text.len);
    uint8_t *scratch = copy;
    while (found > 0 && count < CONFIG_WORDS_MAX) {
        found = words_next(text, &at, &scratch, &words[count]);
        count += found > 0;
    }
    const int failed = found < 0   ? config_fail(err, "unbalanced quotes")
                       : found > 0 ? config_fail(err, "too many arguments")
                                   : parse_checked(opt, words, count, value, err);
    mem_free(copy);
    return failed;
}

int config_value_parse(const struct config_option *opt, const struct bytes *words, size_t count,
                       union config_value *value, struct config_error *err)
{
    if (count == 1)
        return config_value_parse_text(opt, words[0], value, err);
    if ((opt->flags & CONFIG_MULTI) == 0)
        return config_fail(err, "wrong number of arguments");
    return parse_checked(opt, words, count, value, err);
}

/* --- Printing --- */

static int print_bits(const struct config_option *opt, int bits, struct buf *out)
{
    int err = bits == 0 ? buf_printf(out, "%s", opt->words[0]) : 0;

    for (int i = 1; opt->words[i] != NULL && err == 0; i++) {
        if ((bits & (1 << i)) == 0)
            continue;
        bits &= ~(1 << i);
        err = buf_printf(out, "%s%s", opt->words[i], bits == 0 ? "" : " ");
    }
    return err;
}

static int print_events(int flags, struct buf *out)
{
    int err = 0;

    for (size_t i = 0; i < ARRAY_COUNT(event_letters) && err == 0; i++) {
        const int flag = event_letters[i].flag;
        if ((flags & flag) != flag)
            continue;
        err = buf_append_u8(out, (uint8_t)event_letters[i].letter);
        /* 'A' stands for its classes, and hides 'n' as in Redis. */
        if (flag == EVENT_ALL)
            flags &= ~(EVENT_ALL | EVENT_NEW);
    }
    return err;
}

static int print_limits(const struct config_limits *limits, struct buf *out)
{
    int err = 0;

    for (int i = 0; i < CONFIG_LIMITS_COUNT && err == 0; i++) {
        const struct config_limit *limit = &limits->class[i];
        err = buf_printf(out, "%s%s %" PRIu64 " %" PRIu64 " %" PRId64, i == 0 ? "" : " ",
                         limit_names[i], limit->hard_bytes, limit->soft_bytes, limit->soft_seconds);
    }
    return err;
}

int config_value_print(const struct config_option *opt, const union config_value *value,
                       struct buf *out)
{
    switch (opt->kind) {
    case CONFIG_KIND_BOOL:
        return buf_printf(out, "%s", value->b ? "yes" : "no");
    case CONFIG_KIND_INT:
        return buf_printf(out, "%" PRId64, value->i);
    case CONFIG_KIND_OCTAL:
        return buf_printf(out, "%" PRIo64, (uint64_t)value->i);
    case CONFIG_KIND_SIZE:
        return buf_printf(out, "%" PRIu64, value->u);
    case CONFIG_KIND_PERCENT:
        if (value->i < 0)
            return buf_printf(out, "%" PRId64 "%%", -value->i);
        return buf_printf(out, "%" PRId64, value->i);
    case CONFIG_KIND_ENUM:
        return buf_printf(out, "%s", opt->words[value->e]);
    case CONFIG_KIND_BITS:
        return print_bits(opt, value->e, out);
    case CONFIG_KIND_EVENTS:
        return print_events(value->e, out);
    case CONFIG_KIND_LIMITS:
        return print_limits(&value->limits, out);
    case CONFIG_KIND_TEXT:
    case CONFIG_KIND_TITLE:
    case CONFIG_KIND_WORDS:
    case CONFIG_KIND_LINKED:
    case CONFIG_KIND_SAVE:
    case CONFIG_KIND_PCTILES:
    case CONFIG_KIND_SCORES:
    case CONFIG_KIND_FIXED:
        return buf_append_bytes(out, bytes_cstr(value->s));
    case CONFIG_KINDS_COUNT:
        break;
    }
    UNREACHABLE();
}

/* --- Fields --- */

void config_value_free(const struct config_option *opt, union config_value *value)
{
    if (is_text(opt)) {
        mem_free(value->s);
        value->s = NULL;
    }
}

/* The size of the field of an option. */
static size_t field_size(const struct config_option *opt)
{
    switch (opt->kind) {
    case CONFIG_KIND_BOOL:
        return sizeof(bool);
    case CONFIG_KIND_INT:
    case CONFIG_KIND_OCTAL:
    case CONFIG_KIND_PERCENT:
        return sizeof(int64_t);
    case CONFIG_KIND_SIZE:
        return sizeof(uint64_t);
    case CONFIG_KIND_ENUM:
    case CONFIG_KIND_BITS:
    case CONFIG_KIND_EVENTS:
        return sizeof(int);
    case CONFIG_KIND_LIMITS:
        return sizeof(struct config_limits);
    case CONFIG_KIND_TEXT:
    case CONFIG_KIND_TITLE:
    case CONFIG_KIND_WORDS:
    case CONFIG_KIND_LINKED:
    case CONFIG_KIND_SAVE:
    case CONFIG_KIND_PCTILES:
    case CONFIG_KIND_SCORES:
    case CONFIG_KIND_FIXED:
        return sizeof(char *);
    case CONFIG_KINDS_COUNT:
        break;
    }
    UNREACHABLE();
}

bool config_value_eq(const struct config_option *opt, const union config_value *a,
                     const union config_value *b)
{
    if (is_text(opt))
        return strcmp(a->s, b->s) == 0;
    return memcmp(a, b, field_size(opt)) == 0;
}

union config_value config_value_of(const struct config *cfg, const struct config_option *opt)
{
    union config_value value = {.limits.class = {{0}}};

    /* All members of the union start at its start. */
    memcpy(&value, (const char *)cfg + opt->offset, field_size(opt));
    return value;
}

union config_value config_value_copy(const struct config *cfg, const struct config_option *opt)
{
    union config_value value = config_value_of(cfg, opt);

    if (is_text(opt) && value.s != NULL)
        value.s = mem_strdup(value.s);
    return value;
}

void config_value_store(struct config *cfg, const struct config_option *opt,
                        union config_value *take_value)
{
    union config_value old = config_value_of(cfg, opt);

    config_value_free(opt, &old);
    memcpy((char *)cfg + opt->offset, take_value, field_size(opt));
    *take_value = (union config_value){.limits.class = {{0}}};
}
