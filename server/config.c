/*
 * The life of a configuration, and reading it.
 */
#include "server/config.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "server/config_table.h"
#include "server/glob.h"

/* Longest line about a directive without effect. */
#define NOTICE_BYTES 256
/* A value as text. */
#define PRINT_BYTES_MAX (1u << 20)

/* The default as a value. */
static union config_value default_value(const struct config_option *opt)
{
    union config_value value = {.limits.class = {{0}}};
    struct config_error err;

    CHECK(config_value_parse_text(opt, bytes_cstr(opt->def), &value, &err) == 0);
    return value;
}

struct config *config_create(void)
{
    struct config *cfg = mem_zalloc(sizeof(*cfg));

    for (unsigned i = 0; i < CONFIG_IDS_COUNT; i++) {
        const struct config_option *opt = config_option((enum config_id)i);
        union config_value value = default_value(opt);
        config_value_store(cfg, opt, &value);
    }
    return cfg;
}

struct config *config_clone(const struct config *cfg)
{
    struct config *clone = mem_zalloc(sizeof(*clone));

    for (unsigned i = 0; i < CONFIG_IDS_COUNT; i++) {
        const struct config_option *opt = config_option((enum config_id)i);
        union config_value value = config_value_copy(cfg, opt);
        config_value_store(clone, opt, &value);
    }
    if (cfg->file != NULL) {
        const size_t len = strlen(cfg->file) + 1;
        clone->file = mem_alloc(len);
        memcpy(clone->file, cfg->file, len);
    }
    memcpy(clone->given, cfg->given, sizeof(clone->given));
    return clone;
}

void config_destroy(struct config *cfg)
{
    if (cfg == NULL)
        return;
    for (unsigned i = 0; i < CONFIG_IDS_COUNT; i++) {
        const struct config_option *opt = config_option((enum config_id)i);
        union config_value value = config_value_of(cfg, opt);
        config_value_free(opt, &value);
    }
    config_users_deinit(&cfg->users);
    mem_free(cfg->file);
    mem_free(cfg);
}

const char *config_name(enum config_id id)
{
    return config_option(id)->name;
}

const char *config_help(enum config_id id)
{
    return config_option(id)->help;
}

unsigned config_flags(enum config_id id)
{
    return config_option(id)->flags;
}

bool config_is_default(const struct config *cfg, enum config_id id)
{
    const struct config_option *opt = config_option(id);
    union config_value def = default_value(opt);
    const union config_value value = config_value_of(cfg, opt);
    const bool same = config_value_eq(opt, &def, &value);

    config_value_free(opt, &def);
    return same;
}

const char *config_enum_name(const struct config *cfg, enum config_id id)
{
    const struct config_option *opt = config_option(id);

    CHECK(opt->kind == CONFIG_KIND_ENUM);
    return opt->words[config_value_of(cfg, opt).e];
}

void config_hook(struct config *cfg, enum config_id id, struct config_hook hook)
{
    CHECK(id < CONFIG_IDS_COUNT);
    cfg->hook[id] = hook;
}

int config_print(const struct config *cfg, enum config_id id, struct buf *out)
{
    const struct config_option *opt = config_option(id);
    const union config_value value = config_value_of(cfg, opt);

    return config_value_print(opt, &value, out);
}

/* True if one of the patterns asks for the name: hidden ones only by their full name. */
static bool asked_for(const char *name, unsigned flags, const struct bytes *patterns, size_t count)
{
    const bool hidden = (flags & CONFIG_HIDDEN) != 0;

    for (size_t i = 0; i < count; i++) {
        if (bytes_eq_nocase(patterns[i], name))
            return true;
        if (!hidden && glob_match(patterns[i], bytes_cstr(name), true))
            return true;
    }
    return false;
}

void config_get(const struct config *cfg, const struct bytes *patterns, size_t count,
                config_found_fn found, void *ctx)
{
    struct buf value;

    buf_init(&value, PRINT_BYTES_MAX);
    for (unsigned i = 0; i < CONFIG_IDS_COUNT; i++) {
        const enum config_id id = (enum config_id)i;
        const struct config_option *opt = config_option(id);
        size_t at = 0;

        for (const char *name = opt->name; name != NULL; name = config_next_alias(id, &at)) {
            if (!asked_for(name, opt->flags, patterns, count))
                continue;
            buf_clear(&value);
            /* Within the limit by construction; without memory the value is cut. */
            IGNORE_RESULT(config_print(cfg, id, &value));
            found(ctx, name, buf_bytes(&value));
        }
    }
    buf_deinit(&value);
}

void config_notices(const struct config *cfg, void (*notice)(void *ctx, const char *text),
                    void *ctx)
{
    for (unsigned i = 0; i < CONFIG_IDS_COUNT; i++) {
        const struct config_option *opt = config_option((enum config_id)i);
        char text[NOTICE_BYTES];

        if ((opt->flags & CONFIG_INERT) == 0 || cfg->given[i] == 0 ||
            config_is_default(cfg, (enum config_id)i))
            continue;
        (void)snprintf(text, sizeof(text), "directive has no effect here name=%s%s%s", opt->name,
                       opt->help[0] == '\0' ? "" : " why=", opt->help);
        notice(ctx, text);
    }
}
