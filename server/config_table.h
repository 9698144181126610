/*
 * The option table as data, and the values of options apart from a struct config: parsed, printed,
 * compared. For the config_*.c files only.
 */
#ifndef TIERRA_SERVER_CONFIG_TABLE_H
#define TIERRA_SERVER_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "server/config.h"

enum config_kind {
    CONFIG_KIND_BOOL,
    CONFIG_KIND_INT,
    CONFIG_KIND_OCTAL,
    CONFIG_KIND_SIZE,
    CONFIG_KIND_PERCENT,
    CONFIG_KIND_ENUM,
    CONFIG_KIND_BITS,
    CONFIG_KIND_EVENTS,
    CONFIG_KIND_LIMITS,
    /* From here on the value is a text of its own. */
    CONFIG_KIND_TEXT,
    CONFIG_KIND_TITLE,
    CONFIG_KIND_WORDS,
    CONFIG_KIND_LINKED,
    CONFIG_KIND_SAVE,
    CONFIG_KIND_PCTILES,
    CONFIG_KIND_SCORES,
    CONFIG_KIND_FIXED,
    CONFIG_KINDS_COUNT
};

struct config_option {
    const char *name;
    const char *def;
    const char *help;
    const char *const *words; /* Of ENUM and BITS, up to NULL. */
    int64_t min;
    int64_t max;
    size_t offset; /* Of the field in struct config. */
    enum config_kind kind;
    unsigned flags;
};

union config_value {
    bool b;
    int64_t i;
    uint64_t u;
    int e;
    char *s; /* Owned. */
    struct config_limits limits;
};

const struct config_option *config_option(enum config_id id);

/* The aliases of an option: NULL after the last. `*at` starts as 0. */
const char *config_next_alias(enum config_id id, size_t *at);
/* By name or alias, any case: the one of the two that it was, in our spelling; NULL: none. */
MUST_USE const char *config_find_name(struct bytes name, enum config_id *out);

/* The known name that is most like `name`, or NULL if none is. */
const char *config_nearest(struct bytes name);

/*
 * The value that the words stand for. `*value` holds the current one, which options of several
 * parts change in part; afterwards it holds the new one, to be released by config_value_free.
 * Returns 0, or -ERR_CONFIG with a reason, and the value is as it was.
 */
MUST_USE int config_value_parse(const struct config_option *opt, const struct bytes *words,
                                size_t count, union config_value *value, struct config_error *err);

/*
 * The same from one text: options of several words split it at blanks, or as a line of a file if
 * it has quotes.
 */
MUST_USE int config_value_parse_text(const struct config_option *opt, struct bytes text,
                                     union config_value *value, struct config_error *err);

/* As config_value_parse takes it. Returns 0 or -ENOMEM. */
MUST_USE int config_value_print(const struct config_option *opt, const union config_value *value,
                                struct buf *out);

bool config_value_eq(const struct config_option *opt, const union config_value *a,
                     const union config_value *b);
void config_value_free(const struct config_option *opt, union config_value *value);

/* The value of the field: texts stay the config's. */
union config_value config_value_of(const struct config *cfg, const struct config_option *opt);
/* A copy that outlives a change of the field. */
union config_value config_value_copy(const struct config *cfg, const struct config_option *opt);
/* Moves the value into the field. */
void config_value_store(struct config *cfg, const struct config_option *opt,
                        union config_value *take_value);

/* The reason of an error. Returns -ERR_CONFIG. */
int config_fail(struct config_error *err, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
