/* PING, INFO and the process beside the load. */
#include "bench/load/bench_server.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#define INFO_BYTES_MAX (1u << 20)

static void copy_text(char *out, size_t size, struct bytes text)
{
    const size_t len = size_min(text.len, size - 1);

    memcpy(out, text.ptr, len);
    out[len] = '\0';
}

/* One line, without its end. `*tiering` is the section's, and changes with its heading. */
static void parse_line(struct bytes line, bool *tiering, struct bench_info *out)
{
    char heading[BENCH_INFO_NAME_BYTES];

    if (line.len > 0 && line.ptr[0] == '#') {
        copy_text(heading, sizeof(heading), line);
        *tiering = strcasestr(heading, "tiering") != NULL;
        return;
    }
    const size_t colon = bytes_find_u8(line, ':');
    if (colon == line.len || out->count == BENCH_INFO_FIELDS_MAX)
        return;
    struct bench_info_field *field = &out->fields[out->count++];
    copy_text(field->name, sizeof(field->name), bytes_of(line.ptr, colon));
    copy_text(field->text, sizeof(field->text), bytes_from(line, colon + 1));
    field->tiering = *tiering;
}

void bench_info_parse(struct bytes text, struct bench_info *out)
{
    bool tiering = false;

    out->count = 0;
    while (text.len > 0) {
        const size_t end = bytes_find_u8(text, '\n');
        struct bytes line = bytes_of(text.ptr, end);
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        parse_line(line, &tiering, out);
        text = bytes_from(text, size_min(end + 1, text.len));
    }
}

const char *bench_info_text(const struct bench_info *info, const char *name)
{
    for (size_t i = 0; i < info->count; i++) {
        if (strcmp(info->fields[i].name, name) == 0)
            return info->fields[i].text;
    }
    return NULL;
}

bool bench_info_number(const struct bench_info *info, const char *name, double *out)
{
    const char *text = bench_info_text(info, name);

    return text != NULL && num_parse_double(bytes_cstr(text), out);
}

bool bench_info_interesting(const struct bench_info_field *field)
{
    static const char *const names[] = {
        "keyspace_hits",         "keyspace_misses",        "expired_keys",  "evicted_keys",
        "used_memory",           "used_memory_rss",        "used_cpu_user", "used_cpu_sys",
        "total_reads_processed", "total_writes_processed",
    };

    if (field->tiering)
        return true;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(field->name, names[i]) == 0)
            return true;
    }
    return false;
}

static int read_info(int fd, struct bench_info *out, struct bench_error *error)
{
    static const char *const command[] = {"INFO", "all"};
    struct buf text;

    buf_init(&text, INFO_BYTES_MAX);
    const int err = bench_call(fd, command, ARRAY_COUNT(command), &text, error);
    if (err == 0)
        bench_info_parse(buf_bytes(&text), out);
    buf_deinit(&text);
    return err;
}

/* From INFO, if the server has it: what it is, and its process id if that was asked for. */
static void identify(struct bench_server *server, const struct bench_options *options)
{
    struct bench_info *info = mem_zalloc(sizeof(*info));
    struct bench_error ignored;
    double pid;

    server->pid = options->server_pid > 0 ? options->server_pid : 0;
    if (read_info(server->fd, info, &ignored) == 0) {
        const char *redis = bench_info_text(info, "redis_version");
        const char *tierra = bench_info_text(info, "tierra_version");
        snprintf(server->version, sizeof(server->version), "%s %s",
                 tierra != NULL ? "tierra" : "redis",
                 tierra != NULL  ? tierra
                 : redis != NULL ? redis
                                 : "?");
        if (options->server_pid == BENCH_PID_AUTO && bench_info_number(info, "process_id", &pid))
            server->pid = (int)pid;
    }
    mem_free(info);
}

int bench_server_open(struct bench_server *server, const struct bench_options *options,
                      struct bench_error *error)
{
    static const char *const ping[] = {"PING"};
    struct bench_proc proc;
    int err;

    *server = (struct bench_server){.fd = bench_connect(options, error)};
    if (server->fd < 0)
        return server->fd;
    err = bench_call(server->fd, ping, ARRAY_COUNT(ping), NULL, error);
    if (err == 0)
        identify(server, options);
    if (err == 0 && options->server_pid != 0) {
        err = server->pid == 0 ? -ERR_NOT_FOUND : bench_proc_read(server->pid, &proc);
        if (err != 0)
            snprintf(error->text, sizeof(error->text), "process of the server: %s", err_str(err));
    }
    if (err != 0)
        bench_server_close(server);
    return err;
}

void bench_server_close(struct bench_server *server)
{
    if (server->fd >= 0)
        close(server->fd);
    server->fd = -1;
}

void bench_server_sample(const struct bench_server *server, const struct bench_options *options,
                         struct bench_sample *out)
{
    struct bench_error ignored;

    out->has_proc = server->pid != 0 && bench_proc_read(server->pid, &out->proc) == 0;
    out->has_info = options->hit_stats && read_info(server->fd, &out->info, &ignored) == 0;
}
