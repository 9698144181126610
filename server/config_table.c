/*
 * config.def as constant data, and the search for names.
 */
#include "server/config_table.h"

#include "engine/base/check.h"

/* A typo differs from what was meant in a few letters; a name has less than this. */
#define DISTANCE_MAX 3
#define NAME_MAX     63

#define WORD(constant, name) name,
static const char *const config_words_maxmemory_policy[] = {CONFIG_MAXMEMORY_POLICY(WORD) NULL};
static const char *const config_words_appendfsync[] = {CONFIG_APPENDFSYNC(WORD) NULL};
static const char *const config_words_loglevel[] = {CONFIG_LOGLEVEL(WORD) NULL};
static const char *const config_words_clustering[] = {CONFIG_CLUSTERING(WORD) NULL};
static const char *const config_words_endpoint[] = {CONFIG_ENDPOINT(WORD) NULL};
static const char *const config_words_io_backend[] = {CONFIG_IO_BACKEND(WORD) NULL};
static const char *const config_words_allowed[] = {CONFIG_ALLOWED(WORD) NULL};
static const char *const config_words_sanitize[] = {CONFIG_SANITIZE(WORD) NULL};
static const char *const config_words_channels[] = {CONFIG_CHANNELS(WORD) NULL};
static const char *const config_words_oom_score[] = {CONFIG_OOM_SCORE(WORD) NULL};
static const char *const config_words_diskless_load[] = {CONFIG_DISKLESS_LOAD(WORD) NULL};
static const char *const config_words_shutdown[] = {CONFIG_SHUTDOWN(WORD) NULL};
#undef WORD

/* clang-format off */
#define X(ident, name_, kind_, def_, min_, max_, words_, flags_, help_) \
    {                                                                   \
        .name = (name_),                                                \
        .def = (def_),                                                  \
        .help = (help_),                                                \
        .words = (words_),                                              \
        .min = (min_),                                                  \
        .max = (max_),                                                  \
        .offset = offsetof(struct config, ident),                       \
        .kind = CONFIG_KIND_##kind_,                                    \
        .flags = (flags_),                                              \
    },
#define ALIAS(name, ident)
static const struct config_option options[] = {
#include "server/config.def"
};
#undef ALIAS
#undef X

struct alias {
    const char *name;
    enum config_id id;
};

#define X(ident, name, kind, def, min, max, words, flags, help)
#define ALIAS(name, ident) {name, CONFIG_ID_##ident},
static const struct alias aliases[] = {
#include "server/config.def"
};
#undef ALIAS
#undef X
/* clang-format on */

STATIC_ASSERT(ARRAY_COUNT(options) == CONFIG_IDS_COUNT);

const struct config_option *config_option(enum config_id id)
{
    CHECK(id < CONFIG_IDS_COUNT);
    return &options[id];
}

const char *config_next_alias(enum config_id id, size_t *at)
{
    while (*at < ARRAY_COUNT(aliases)) {
        const struct alias *alias = &aliases[(*at)++];
        if (alias->id == id)
            return alias->name;
    }
    return NULL;
}

const char *config_find_name(struct bytes name, enum config_id *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        if (bytes_eq_nocase(name, options[i].name)) {
            *out = (enum config_id)i;
            return options[i].name;
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(aliases); i++) {
        if (bytes_eq_nocase(name, aliases[i].name)) {
            *out = aliases[i].id;
            return aliases[i].name;
        }
    }
    return NULL;
}

bool config_find(struct bytes name, enum config_id *out)
{
    return config_find_name(name, out) != NULL;
}

/* How many bytes must be inserted, removed or changed (Levenshtein), in any case. */
static size_t distance(struct bytes a, struct bytes b)
{
    size_t row[NAME_MAX + 1];

    CHECK(a.len <= NAME_MAX && b.len <= NAME_MAX);
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            const bool same = ascii_lower(a.ptr[i - 1]) == ascii_lower(b.ptr[j - 1]);
            const size_t change = diagonal + (same ? 0 : 1);
            diagonal = row[j];
            row[j] = size_min(change, size_min(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.len];
}

const char *config_nearest(struct bytes name)
{
    const char *nearest = NULL;
    size_t least = DISTANCE_MAX + 1;

    if (name.len > NAME_MAX)
        return NULL;
    for (size_t i = 0; i < ARRAY_COUNT(options) + ARRAY_COUNT(aliases); i++) {
        const char *known =
            i < ARRAY_COUNT(options) ? options[i].name : aliases[i - ARRAY_COUNT(options)].name;
        const size_t d = distance(name, bytes_cstr(known));
        /* A name of few letters is near everything. */
        if (d < least && d * 3 <= strlen(known)) {
            least = d;
            nearest = known;
        }
    }
    return nearest;
}
