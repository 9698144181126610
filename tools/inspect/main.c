/*
 * tierra-inspect: options and commands.
 *
 * Exit codes: 0 clean, 1 damage, 2 usage, 3 cannot read.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"

#include "tools/inspect/inspect.h"

#define VALUE_BYTES_DEFAULT 256

static const struct {
    const char *name;
    int (*run)(struct inspect *in, int argc, char **argv);
} commands[] = {
    {"shards", inspect_cmd_shards}, {"key", inspect_cmd_key},     {"keys", inspect_cmd_keys},
    {"oplog", inspect_cmd_oplog},   {"store", inspect_cmd_store}, {"verify", inspect_cmd_verify},
};

static void print_help(void)
{
    puts("Usage: tierra-inspect [OPTION...] COMMAND [ARGUMENT...]\n"
         "\n"
         "Reads a data directory of tierra-server, whether the server runs or not, and never\n"
         "changes anything in it. Of a running server it sees what is on flash.\n"
         "\n"
         "  --dir DIR      data directory (.)\n"
         "  --shard N      only this shard\n"
         "  --json         one JSON object per line\n"
         "  --bytes N      bytes shown of one key or value (256)\n"
         "  --help\n"
         "\n"
         "Commands:\n"
         "  shards [--quick]             keys, bytes and positions of each shard\n"
         "  key NAME [--elements N] [--log]\n"
         "                               all that flash holds of a key: rows, tags, siblings,\n"
         "                               expiry, the first N elements, its log records\n"
         "  keys [--largest N] [--pattern GLOB] [--type TYPE]\n"
         "                               keys with their sizes; histograms\n"
         "  oplog ls                     segments\n"
         "  oplog cat [--from LSN] [--to LSN] [--key NAME] [--limit N]\n"
         "  oplog verify                 headers, chain, checksums, watermark\n"
         "  store [--files]              levels and table files\n"
         "  verify [--deep]              everything: each block and row, counts, the log. With\n"
         "                               --deep every row is also read by its key\n"
         "\n"
         "Bytes of keys and values are printed with \\xNN for what is not printable ASCII; NAME\n"
         "is taken as it is. Exit status: 0 clean, 1 damage, 2 usage, 3 cannot read.");
}

static int run(struct inspect *in, int argc, char **argv)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        if (strcmp(argv[0], commands[i].name) != 0)
            continue;
        const int code = inspect_open(in);
        if (code != INSPECT_OK)
            return code;
        optind = 0; /* Starts getopt anew, for the options of the command. */
        return commands[i].run(in, argc, argv);
    }
    return inspect_usage("unknown command %s", argv[0]);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'}, {"shard", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},      {"bytes", required_argument, NULL, 'b'},
        {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0},
    };
    struct inspect in = {.dir = ".", .shard = -1, .now_ms = clock_wall_ms()};
    uint64_t number, bytes_max = VALUE_BYTES_DEFAULT;
    bool json = false;
    int c;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
    while ((c = getopt_long(argc, argv, "+d:s:jb:h", options, NULL)) != -1) {
        if (c == 'h') {
            print_help();
            return INSPECT_OK;
        }
        if (c == 'd')
            in.dir = optarg;
        else if (c == 'j')
            json = true;
        else if (c == 's' && inspect_number("--shard", optarg, &number) && number < UINT32_MAX)
            in.shard = (int64_t)number;
        else if (c != 'b' || !inspect_number("--bytes", optarg, &bytes_max))
            return INSPECT_USAGE;
    }
    if (optind >= argc)
        return inspect_usage("which command?");
    out_init(&in.out, stdout, json, bytes_max);
    const int code = run(&in, argc - optind, argv + optind);
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        inspect_say("cannot write the output");
        return inspect_worse(code, INSPECT_UNREADABLE);
    }
    return code;
}
