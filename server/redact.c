/* What others must not see of a command; redact.h. */
#include "server/redact.h"

#include "server/command.h"
#include "server/config.h"

/* HELLO 3 AUTH name password, with SETNAME name before or behind it. */
static bool hello_secret(uint32_t argc, const struct bytes *argv, uint32_t index)
{
    for (uint32_t i = 2; i < argc && i < index;) {
        const uint32_t values = bytes_eq_nocase(argv[i], "auth") ? 2 : 1;

        if (values == 2 && index <= i + 2)
            return true;
        i += 1 + values;
    }
    return false;
}

/* MIGRATE with AUTH password, or AUTH2 name password. */
static bool migrate_secret(uint32_t argc, const struct bytes *argv, uint32_t index)
{
    for (uint32_t i = 6; i < argc && i < index; i++) {
        uint32_t values = 0;

        if (bytes_eq_nocase(argv[i], "keys"))
            return false;
        if (bytes_eq_nocase(argv[i], "auth"))
            values = 1;
        else if (bytes_eq_nocase(argv[i], "auth2"))
            values = 2;
        if (index <= i + values)
            return true;
        i += values;
    }
    return false;
}

/* Passwords of Redis's that are no options here: they are sent all the same. */
static bool is_foreign_secret(struct bytes name)
{
    static const char *const names[] = {"masterauth", "tls-key-file-pass",
                                        "tls-client-key-file-pass"};

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (bytes_eq_nocase(name, names[i]))
            return true;
    }
    return false;
}

static bool config_secret(const struct bytes *argv, uint32_t index)
{
    enum config_id id;

    if (index < 3 || index % 2 == 0)
        return false;
    if (config_find(argv[index - 1], &id))
        return (config_flags(id) & CONFIG_SENSITIVE) != 0;
    return is_foreign_secret(argv[index - 1]);
}

bool redact_arg(const struct cmd *cmd, uint32_t argc, const struct bytes *argv, uint32_t index)
{
    switch (cmd->id) {
    case CMD_ID_auth:
        return index >= 1;
    case CMD_ID_acl_setuser:
        return index >= 2;
    case CMD_ID_hello:
        return hello_secret(argc, argv, index);
    case CMD_ID_migrate:
        return migrate_secret(argc, argv, index);
    case CMD_ID_config_set:
        return config_secret(argv, index);
    default:
        return false;
    }
}
