/*
 * tierra-ctl status: what an operator asks first, from one INFO.
 *
 * A field that the node does not have is left out.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "engine/base/num.h"

#include "tools/ctl/ctl.h"

enum unit {
    UNIT_TEXT,
    UNIT_COUNT,
    UNIT_BYTES,
    UNIT_SECONDS,
};

/* Name shown; field of INFO. Blank: a heading. */
static const struct {
    const char *name;
    const char *field;
    enum unit unit;
} fields[] = {
    {"node", NULL, UNIT_TEXT},
    {"version", "tierra_version", UNIT_TEXT},
    {"redis_version", "redis_version", UNIT_TEXT},
    {"uptime", "uptime_in_seconds", UNIT_SECONDS},
    {"shards", "shards", UNIT_COUNT},
    {"clients", "connected_clients", UNIT_COUNT},
    {"commands_per_sec", "instantaneous_ops_per_sec", UNIT_COUNT},
    {"keys", NULL, UNIT_TEXT},
    {"hot", "hot_keys", UNIT_COUNT},
    {"cold", "cold_keys", UNIT_COUNT},
    {"expired", "expired_keys", UNIT_COUNT},
    {"evicted", "evicted_keys", UNIT_COUNT},
    {"commands_from_flash", "flash_hit_ratio", UNIT_TEXT},
    {"memory", NULL, UNIT_TEXT},
    {"used", "used_memory", UNIT_BYTES},
    {"rss", "used_memory_rss", UNIT_BYTES},
    {"maxmemory", "maxmemory", UNIT_BYTES},
    {"overshoot", "budget_overshoot", UNIT_BYTES},
    {"flash", NULL, UNIT_TEXT},
    {"used", "flash_used", UNIT_BYTES},
    {"maxflash", "maxflash", UNIT_BYTES},
    {"store", "sst_bytes", UNIT_BYTES},
    {"log", "log_bytes", UNIT_BYTES},
    {"write_stalled", "write_stalled", UNIT_COUNT},
    {"log", NULL, UNIT_TEXT},
    {"segments", "log_segments", UNIT_COUNT},
    {"applied_lsn", "applied_lsn", UNIT_COUNT},
    {"durable_lsn", "durable_lsn", UNIT_COUNT},
    {"covered_lsn", "covered_lsn", UNIT_COUNT},
    {"persisted_lsn", "persisted_lsn", UNIT_COUNT},
    {"sync_p99_usec", "log_sync_p99_usec", UNIT_TEXT},
    {"errors", NULL, UNIT_TEXT},
    {"error_replies", "total_error_replies", UNIT_COUNT},
    {"store_errors", "store_errors", UNIT_COUNT},
    {"flush_failures", "flush_failures", UNIT_COUNT},
    {"delayed_writers", "delayed_writers", UNIT_COUNT},
    {"refused_writers", "refused_writers", UNIT_COUNT},
};

/* The value of a field in the text of INFO; false if it is not there. */
static bool find(struct bytes info, const char *field, struct bytes *out)
{
    const size_t len = strlen(field);

    while (info.len != 0) {
        const size_t end = bytes_find_u8(info, '\n');
        struct bytes line = bytes_of(info.ptr, end);
        info = bytes_from(info, end == info.len ? end : end + 1);
        if (line.len != 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (line.len > len && memcmp(line.ptr, field, len) == 0 && line.ptr[len] == ':') {
            *out = bytes_from(line, len + 1);
            return true;
        }
    }
    return false;
}

static void print_bytes(uint64_t value)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double scaled = (double)value;
    size_t unit = 0;

    for (; scaled >= 1024 && unit + 1 < ARRAY_COUNT(units); unit++)
        scaled /= 1024;
    (void)printf(unit == 0 ? "%.0f %s" : "%.1f %s", scaled, units[unit]);
}

static void print_seconds(uint64_t s)
{
    if (s >= 86400)
        (void)printf("%" PRIu64 "d ", s / 86400);
    (void)printf("%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64, s / 3600 % 24, s / 60 % 60, s % 60);
}

static void print_value(const char *name, enum unit unit, struct bytes text)
{
    uint64_t value = 0;
    const bool number = num_parse_u64(text, &value);

    (void)printf("  %-20s ", name);
    if (number && unit == UNIT_BYTES && value == 0 && strncmp(name, "max", 3) == 0)
        (void)fputs("no limit", stdout);
    else if (number && unit == UNIT_BYTES)
        print_bytes(value);
    else if (number && unit == UNIT_SECONDS)
        print_seconds(value);
    else
        (void)printf("%.*s", (int)text.len, (const char *)text.ptr);
    (void)fputc('\n', stdout);
}

/* How far the store is behind the log: what a crash now would have to replay. */
static bool lag_of(struct bytes info, uint64_t *out)
{
    struct bytes applied, persisted;
    uint64_t a, p;

    if (!find(info, "applied_lsn", &applied) || !find(info, "persisted_lsn", &persisted) ||
        !num_parse_u64(applied, &a) || !num_parse_u64(persisted, &p))
        return false;
    *out = a - (p < a ? p : a);
    return true;
}

static void print_text(struct bytes info)
{
    struct bytes value;
    uint64_t lag;

    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        if (fields[i].field == NULL)
            (void)puts(fields[i].name);
        else if (find(info, fields[i].field, &value))
            print_value(fields[i].name, fields[i].unit, value);
        if (fields[i].field != NULL && strcmp(fields[i].field, "persisted_lsn") == 0 &&
            lag_of(info, &lag))
            (void)printf("  %-20s %" PRIu64 "\n", "records_to_replay", lag);
    }
}

static void put_json(json_t *into, const char *name, enum unit unit, struct bytes text)
{
    int64_t number;
    double real;
    json_t *value = NULL;

    if (num_parse_i64(text, &number))
        value = json_integer(number);
    else if (unit == UNIT_TEXT && num_parse_double(text, &real))
        value = json_real(real);
    if (value == NULL)
        value = json_stringn((const char *)text.ptr, text.len);
    IGNORE_RESULT(json_object_set_new(into, name, value == NULL ? json_null() : value));
}

static void print_json(struct bytes info)
{
    json_t *root = json_object(), *part = root;
    struct bytes value;
    uint64_t lag;

    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        if (fields[i].field == NULL) {
            part = json_object();
            IGNORE_RESULT(json_object_set_new(root, fields[i].name, part));
        } else if (find(info, fields[i].field, &value)) {
            put_json(part, fields[i].name, fields[i].unit, value);
        }
    }
    if (lag_of(info, &lag))
        IGNORE_RESULT(json_object_set_new(json_object_get(root, "log"), "records_to_replay",
                                          json_integer((json_int_t)lag)));
    (void)json_dumpf(root, stdout, JSON_INDENT(2)); /* main looks at ferror. */
    (void)fputc('\n', stdout);
    json_decref(root);
}

int ctl_status(struct ctl *ctl)
{
    const struct bytes words[] = {BYTES_LIT("INFO"), BYTES_LIT("everything")};
    struct item item;

    if (link_call(&ctl->link, ARRAY_COUNT(words), words) != 0)
        return ctl_say(CTL_UNREACHABLE, "%s", ctl->link.why);
    if (!link_item(&ctl->link, &item) || item.kind != ITEM_BULK)
        return ctl_say(CTL_ERROR, "INFO: %.*s", (int)(item.kind == ITEM_ERROR ? item.text.len : 0),
                       (const char *)item.text.ptr);
    if (ctl->json)
        print_json(item.text);
    else
        print_text(item.text);
    return CTL_OK;
}
