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
