/* Entries of linked-databases. */
#include "server/config_linked.h"

#include <string.h>

#include "engine/base/num.h"

static void keep(char *into, struct bytes text)
{
    memcpy(into, text.ptr, text.len);
    into[text.len] = '\0';
}

/* The place of the last ':', or the length. */
static size_t last_colon(struct bytes b)
{
    for (size_t i = b.len; i != 0; i--) {
        if (b.ptr[i - 1] == ':')
            return i - 1;
    }
    return b.len;
}

static bool address_ok(struct bytes address)
{
    const size_t colon = last_colon(address);
    const struct bytes host = bytes_of(address.ptr, colon);
    uint64_t port;

    if (colon == 0 || colon == address.len || !membership_address_valid(address) ||
        !num_parse_u64(bytes_from(address, colon + 1), &port) || port == 0 || port > UINT16_MAX)
        return false;
    /* Without brackets it could not be told where an IPv6 address ends. */
    const bool six = bytes_find_u8(host, ':') != host.len || host.ptr[0] == '[';
    return !six || (host.ptr[0] == '[' && host.ptr[host.len - 1] == ']');
}

bool config_linked_parse(struct bytes word, struct config_linked *out)
{
    const size_t at = bytes_find_u8(word, '=');

    if (at == word.len)
        return false;
    const struct bytes name = bytes_of(word.ptr, at), address = bytes_from(word, at + 1);
    if (!membership_name_valid(name) || !address_ok(address))
        return false;
    keep(out->name, name);
    keep(out->address, address);
    return true;
}
