/* INFO: which sections, in which order; info.h tells what they hold. */
#include "server/info.h"

#include "engine/base/attr.h"

enum {
    SECTION_DEFAULT = 1 << 0,
    SECTION_ALL = 1 << 1
};

static const struct section {
    const char *name;
    const char *other_name; /* Or NULL. */
    info_section_fn write;
    unsigned in;
} sections[] = {
    {"server", NULL, info_server, SECTION_DEFAULT | SECTION_ALL},
    {"clients", NULL, info_clients, SECTION_DEFAULT | SECTION_ALL},
    {"memory", NULL, info_memory, SECTION_DEFAULT | SECTION_ALL},
    {"persistence", NULL, info_persistence, SECTION_DEFAULT | SECTION_ALL},
    {"stats", NULL, info_stats, SECTION_DEFAULT | SECTION_ALL},
    {"replication", NULL, info_replication, SECTION_DEFAULT | SECTION_ALL},
    {"cpu", NULL, info_cpu, SECTION_DEFAULT | SECTION_ALL},
    {"modules", "module_list", info_modules, SECTION_DEFAULT | SECTION_ALL},
    {"commandstats", NULL, info_commandstats, SECTION_ALL},
    {"errorstats", NULL, info_errorstats, SECTION_DEFAULT | SECTION_ALL},
    {"latencystats", NULL, info_latencystats, SECTION_ALL},
    {"cluster", NULL, info_cluster, SECTION_DEFAULT | SECTION_ALL},
    {"keyspace", NULL, info_keyspace, SECTION_DEFAULT | SECTION_ALL},
    {"tiering", NULL, info_tiering, SECTION_DEFAULT | SECTION_ALL},
    {"replgroup", NULL, info_replgroup, SECTION_DEFAULT | SECTION_ALL},
};

static bool wanted(const struct section *s, uint32_t argc, const struct bytes *argv)
{
    if (argc == 0)
        return (s->in & SECTION_DEFAULT) != 0;
    for (uint32_t i = 0; i < argc; i++) {
        if ((bytes_eq_nocase(argv[i], "default") && (s->in & SECTION_DEFAULT) != 0) ||
            bytes_eq_nocase(argv[i], "all") || bytes_eq_nocase(argv[i], "everything") ||
            bytes_eq_nocase(argv[i], s->name) ||
            (s->other_name != NULL && bytes_eq_nocase(argv[i], s->other_name)))
            return true;
    }
    return false;
}

void info_write(const struct shard *sh, const struct figures *f, uint32_t argc,
                const struct bytes *argv, struct buf *out)
{
    const size_t start = out->len;

    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (!wanted(&sections[i], argc, argv))
            continue;
        if (out->len != start)
            INFO_PRINT(out, "\r\n");
        sections[i].write(sh, f, out);
    }
}
