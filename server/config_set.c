/*
 * CONFIG SET: all pairs or none, in four steps: parse all values; put them into the config; ask
 * every owner; let every owner take it. A refusal at any step undoes the ones before. An option may
 * stand twice, by its name and by an alias: the last counts.
 */
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "server/config.h"
#include "server/config_table.h"

/* As much of a client's text as an error repeats. */
#define ECHO_BYTES_MAX 896
/* Redis takes other numbers for hz, too, and keeps these. */
#define HZ_MIN 1
#define HZ_MAX 500

struct change {
    enum config_id id;
    const char *name; /* The option's, or the alias by which it was asked for. */
    const struct config_option *opt;
    union config_value value; /* New; while it is in the config, what was there before. */
    bool same;                /* The value is the one that is there already. */
};

/* `name`: as it was sent, if nothing but the name matters; else in our spelling. */
static int set_fail(struct config_error *err, struct bytes name, const char *reason)
{
    return config_fail(err, "CONFIG SET failed (possibly related to argument '%.*s')%s%s",
                       (int)name.len, (const char *)name.ptr, reason == NULL ? "" : " - ",
                       reason == NULL ? "" : reason);
}

/* Puts the reason in `err` into the frame of CONFIG SET. */
static int set_fail_reason(struct config_error *err, const char *name)
{
    char reason[CONFIG_ERROR_BYTES];

    memcpy(reason, err->text, sizeof(reason));
    reason[CONFIG_ERROR_BYTES - 128] = '\0'; /* Room for the frame. */
    return set_fail(err, bytes_cstr(name), reason);
}

static bool protected_allowed(const struct config *cfg, bool local)
{
    return cfg->enable_protected_configs == ALLOWED_YES ||
           (cfg->enable_protected_configs == ALLOWED_LOCAL && local);
}

/* Finds the options; `changes` get their ids. */
static int find_options(const struct config *cfg, const struct bytes *pairs, size_t count,
                        bool local, struct change *changes, struct config_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct bytes name = pairs[2 * i];
        struct change *change = &changes[i];

        change->name = config_find_name(name, &change->id);
        if (change->name == NULL)
            return config_fail(err, "Unknown option or number of arguments for CONFIG SET - '%.*s'",
                               (int)size_min(name.len, ECHO_BYTES_MAX), (const char *)name.ptr);
        change->opt = config_option(change->id);
        if ((change->opt->flags & CONFIG_FROZEN) != 0)
            return set_fail(err, name, "can't set immutable config");
        if ((change->opt->flags & CONFIG_PROTECTED) != 0 && !protected_allowed(cfg, local))
            return set_fail(err, name, "can't set protected config");
        for (size_t k = 0; k < i; k++) {
            if (changes[k].name == change->name)
                return set_fail(err, name, "duplicate parameter");
        }
    }
    return 0;
}

static int parse_values(const struct config *cfg, const struct bytes *pairs, size_t count,
                        struct change *changes, struct config_error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct change *change = &changes[i];
        const union config_value now = config_value_of(cfg, change->opt);

        change->value = config_value_copy(cfg, change->opt);
        if (config_value_parse_text(change->opt, pairs[2 * i + 1], &change->value, err) != 0)
            return set_fail_reason(err, change->name);
        if (change->id == CONFIG_ID_hz)
            change->value.i = i64_min(i64_max(change->value.i, HZ_MIN), HZ_MAX);
        change->same = config_value_eq(change->opt, &change->value, &now);
        if ((change->opt->flags & CONFIG_START) != 0 && !change->same)
            return set_fail(err, pairs[2 * i], "can't set immutable config");
    }
    return 0;
}

static void exchange(struct config *cfg, struct change *change)
{
    const union config_value value = config_value_copy(cfg, change->opt);

    config_value_store(cfg, change->opt, &change->value);
    change->value = value;
}

/* The new values go into the config, the old ones into the changes. */
static void put(struct config *cfg, struct change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        exchange(cfg, &changes[i]);
}

/* And back: the last first, for what stands twice. */
static void put_back(struct config *cfg, struct change *changes, size_t count)
{
    for (size_t i = count; i > 0; i--)
        exchange(cfg, &changes[i - 1]);
}

/* Asks the owners, then lets them take the values. The values are in the config. */
static int apply(struct config *cfg, struct change *changes, size_t count, struct config_error *err)
{
    const char *reason = NULL;
    size_t i;

    for (i = 0; i < count; i++) {
        const struct config_hook *hook = &cfg->hook[changes[i].id];
        if (!changes[i].same && hook->validate != NULL && !hook->validate(hook->ctx, cfg, &reason))
            break;
    }
    if (i < count) {
        put_back(cfg, changes, count);
        return set_fail(err, bytes_cstr(changes[i].name), reason);
    }
    for (i = 0; i < count; i++) {
        const struct config_hook *hook = &cfg->hook[changes[i].id];
        if (!changes[i].same && hook->apply != NULL && !hook->apply(hook->ctx, cfg, &reason))
            break;
    }
    if (i == count)
        return 0;
    put_back(cfg, changes, count);
    /* The one that failed too: it may have given up what it had, as a listening socket. */
    for (size_t k = 0; k <= i; k++) {
        const struct config_hook *hook = &cfg->hook[changes[k].id];
        const char *ignored = NULL;
        if (!changes[k].same && hook->apply != NULL)
            CHECK(hook->apply(hook->ctx, cfg, &ignored) || changes[k].id == changes[i].id);
    }
    return set_fail(err, bytes_cstr(changes[i].name), reason);
}

static int set_all(struct config *cfg, const struct bytes *pairs, size_t count,
                   struct change *changes, struct config_error *err)
{
    if (parse_values(cfg, pairs, count, changes, err) != 0)
        return -ERR_CONFIG;
    put(cfg, changes, count);
    return apply(cfg, changes, count, err);
}

static void free_changes(struct change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (changes[i].opt != NULL)
            config_value_free(changes[i].opt, &changes[i].value);
    }
    mem_free(changes);
}

int config_set(struct config *cfg, const struct bytes *pairs, size_t count, bool local,
               struct config_error *err)
{
    if (count == 0 || count > CONFIG_SET_PAIRS_MAX)
        return config_fail(err, "wrong number of arguments for 'config|set' command");
    struct change *changes = mem_zalloc_array(count, sizeof(*changes));
    int failed = find_options(cfg, pairs, count, local, changes, err);

    if (failed == 0)
        failed = set_all(cfg, pairs, count, changes, err);
    free_changes(changes, count);
    return failed;
}

int config_set_one(struct config *cfg, enum config_id id, struct bytes value,
                   struct config_error *err)
{
    const struct bytes pair[] = {bytes_cstr(config_name(id)), value};
    struct change *change = mem_zalloc_array(1, sizeof(*change));

    change->id = id;
    change->name = config_name(id);
    change->opt = config_option(id);
    const int failed = set_all(cfg, pair, 1, change, err);
    free_changes(change, 1);
    return failed;
}
