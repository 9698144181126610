/* The small text files of a data directory. */
#include "server/datadir.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/num.h"

/* The line of a member, up to its end; without one nothing is taken. */
static bool take_group(struct bytes *in, char out[MEMBERSHIP_NICKNAME_BYTES])
{
    static const char before[] = "\ngroup ";
    struct bytes name;

    out[0] = '\0';
    if (!bytes_starts(*in, bytes_cstr(before)))
        return true;
    const struct bytes rest = bytes_from(*in, sizeof(before) - 1);
    name = bytes_of(rest.ptr, bytes_find_u8(rest, '\n'));
    if (!membership_name_valid(name))
        return false;
    memcpy(out, name.ptr, name.len);
    out[name.len] = '\0';
    *in = bytes_from(rest, name.len);
    return true;
}

bool datadir_format_parse(struct bytes text, struct datadir_format *out)
{
    struct datadir_format f = {0};

    if (!num_take_u64(&text, "tierra-format ", 10, &f.version) ||
        !num_take_u64(&text, "\nshards ", 10, &f.shards) ||
        !num_take_u64(&text, "\nseed ", 16, &f.seed) || !take_group(&text, f.group) ||
        !bytes_eq(text, BYTES_LIT("\n")))
        return false;
    *out = f;
    return true;
}

size_t datadir_format_print(char out[DATADIR_FORMAT_BYTES], const struct datadir_format *format)
{
    const int len = snprintf(
        out, DATADIR_FORMAT_BYTES,
        "tierra-format %" PRIu64 "\nshards %" PRIu64 "\nseed %016" PRIx64 "%s%s\n", format->version,
        format->shards, format->seed, format->group[0] != '\0' ? "\ngroup " : "", format->group);

    CHECK(len > 0 && len < DATADIR_FORMAT_BYTES);
    return (size_t)len;
}

/* The 40 digits of an id, and the end of its line. */
static bool take_id(struct bytes *in, char out[DATADIR_ID_DIGITS + 1])
{
    if (in->len <= DATADIR_ID_DIGITS || in->ptr[DATADIR_ID_DIGITS] != '\n')
        return false;
    for (size_t i = 0; i < DATADIR_ID_DIGITS; i++) {
        const char c = (char)in->ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        out[i] = c;
    }
    out[DATADIR_ID_DIGITS] = '\0';
    *in = bytes_from(*in, DATADIR_ID_DIGITS + 1);
    return true;
}

static bool take_ids(struct bytes in, struct datadir_ids *out)
{
    static const char head[] = "tierra-cluster 1\n";
    uint64_t number;

    if (!bytes_starts(in, bytes_cstr(head)))
        return false;
    in = bytes_from(in, sizeof(head) - 1);
    for (out->count = 0; in.len != 0; out->count++) {
        if (out->count == DATADIR_IDS_MAX || !num_take_u64(&in, "shard ", 10, &number) ||
            number != out->count || in.len == 0 || in.ptr[0] != ' ')
            return false;
        in = bytes_from(in, 1);
        if (!take_id(&in, out->id[out->count]))
            return false;
    }
    return true;
}

bool datadir_ids_parse(struct bytes text, struct datadir_ids *out)
{
    struct datadir_ids ids = {0};

    if (!take_ids(text, &ids))
        return false;
    *out = ids;
    return true;
}

size_t datadir_ids_print(char out[DATADIR_IDS_BYTES], const struct datadir_ids *ids)
{
    int len = snprintf(out, DATADIR_IDS_BYTES, "tierra-cluster 1\n");

    for (uint32_t i = 0; i < ids->count; i++) {
        len += snprintf(out + len, DATADIR_IDS_BYTES - (size_t)len, "shard %u %s\n", i, ids->id[i]);
        CHECK(len > 0 && len < DATADIR_IDS_BYTES);
    }
    return (size_t)len;
}

bool datadir_number(struct bytes name, const char *before, uint64_t *out)
{
    return num_take_u64(&name, before, 10, out);
}

bool datadir_current_parse(struct bytes text, uint64_t *out)
{
    uint64_t number;

    if (!num_take_u64(&text, "store-", 10, &number) || !bytes_eq(text, BYTES_LIT("\n")))
        return false;
    *out = number;
    return true;
}

size_t datadir_current_print(char out[DATADIR_CURRENT_BYTES], uint64_t number)
{
    const int len = snprintf(out, DATADIR_CURRENT_BYTES, DATADIR_STORE "\n", number);

    CHECK(len > 0 && len < DATADIR_CURRENT_BYTES);
    return (size_t)len;
}
