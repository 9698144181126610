/*
 * Configuration files and the command line.
 *
 * A file is lines of words; `include` (which takes wildcards) reads other files at its place. Files
 * that are being read are a stack of frames, each with the text that is left of it. Options of
 * the command line are written out as lines and read the same way, after the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "server/config.h"
#include "server/config_table.h"
#include "server/words.h"

/* As much of a line as an error repeats. */
#define ECHO_BYTES_MAX 160
/* Files read in all: an include that matches many, of files that do the same. */
#define FILES_MAX 1024

struct frame {
    char *name;        /* For errors. */
    uint8_t *text;     /* Owned; NULL if it is the caller's. */
    struct bytes left; /* From the next line on. */
    unsigned line;     /* Of the line last taken. */
};

struct loader {
    struct config *cfg;
    struct config_error *err;
    struct frame frames[CONFIG_INCLUDE_DEPTH_MAX];
    size_t depth;
    size_t files_count;
    bool save_seen;    /* The first `save` replaces the default, the next ones add. */
    struct bytes line; /* The current one. */
};

/* Directives of Redis 7.0 that configure what is not there. */
static const struct {
    const char *name;
    const char *why;
} refused[] = {
    {"rename-command", "use ACLs to forbid commands"},
    {"loadmodule", "there are no modules"},
    {"sentinel", "this is no sentinel"},
    {"masterauth", "members of a group replicate to each other"},
    {"masteruser", "members of a group replicate to each other"},
};

/* Names that Redis accepts and ignores. */
static const char *const ignored[] = {
    "list-max-ziplist-entries",
    "list-max-ziplist-value",
    "lua-replicate-commands",
};

/* --- Errors: "file:line: 'the line': reason" --- */

static int load_fail(struct loader *l, const char *reason)
{
    char why[CONFIG_ERROR_BYTES];
    char place[ECHO_BYTES_MAX * 2] = "";
    const struct bytes word = bytes_of(l->line.ptr, bytes_find_u8(l->line, ' '));
    size_t len = size_min(l->line.len, ECHO_BYTES_MAX);
    enum config_id id;

    (void)snprintf(why, sizeof(why), "%s", reason); /* It may be err->text itself. */
    if (l->depth > 0) {
        const struct frame *frame = &l->frames[l->depth - 1];
        if (frame->text != NULL)
            (void)snprintf(place, sizeof(place), "%s:%u: ", frame->name, frame->line);
        else
            (void)snprintf(place, sizeof(place), "%s: ", frame->name);
    }
    if (bytes_eq_nocase(word, "user") ||
        (config_find(word, &id) && (config_flags(id) & CONFIG_SENSITIVE) != 0))
        len = word.len;
    return config_fail(l->err, "%s'%.*s': %s", place, (int)len, (const char *)l->line.ptr, why);
}

static int load_fail_errno(struct loader *l, const char *path, int error)
{
    char reason[CONFIG_ERROR_BYTES];

    (void)snprintf(reason, sizeof(reason), "can't read '%s': %s", path, err_str(error));
    if (l->depth == 0)
        return config_fail(l->err, "%s", reason);
    return load_fail(l, reason);
}

/* --- Files --- */

/* All of a file. Returns 0 or an error. */
static MUST_USE int read_file(const char *path, struct buf *out)
{
    int err = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return -errno;
    for (;;) {
        err = buf_reserve(out, 4096);
        if (err != 0)
            break;
        const ssize_t n = read(fd, buf_end(out), out->cap - out->len);
        if (n < 0) {
            err = -errno;
            break;
        }
        if (n == 0)
            break;
        buf_commit(out, (size_t)n);
    }
    (void)close(fd); /* It was only read. */
    return err;
}

static struct frame *push_frame(struct loader *l, const char *name, struct bytes text)
{
    struct frame *frame = &l->frames[l->depth];

    CHECK(l->depth < CONFIG_INCLUDE_DEPTH_MAX);
    *frame = (struct frame){.name = mem_strdup(name), .left = text};
    l->depth++;
    return frame;
}

static void pop_frame(struct loader *l)
{
    struct frame *frame = &l->frames[--l->depth];

    mem_free(frame->name);
    mem_free(frame->text);
}

static int push_file(struct loader *l, const char *path)
{
    struct buf text;
    size_t len;

    if (l->depth == CONFIG_INCLUDE_DEPTH_MAX || ++l->files_count > FILES_MAX)
        return load_fail(l, "too many files include each other");
    buf_init(&text, CONFIG_FILE_BYTES_MAX);
    int failed = read_file(path, &text);
    if (failed == 0)
        failed = buf_reserve(&text, 1); /* So that an empty file has a text too. */
    if (failed != 0) {
        buf_deinit(&text);
        return load_fail_errno(l, path, failed);
    }
    uint8_t *ptr = buf_take(&text, &len);
    push_frame(l, path, bytes_of(ptr, len))->text = ptr;
    return 0;
}

/* `include path`: of several matches the first is read first, so it is pushed last. */
static int load_include(struct loader *l, struct bytes pattern)
{
    glob_t found = {.gl_pathc = 0};
    char path[PATH_MAX];
    int failed = 0;

    if (pattern.len >= sizeof(path))
        return load_fail(l, "path is too long");
    memcpy(path, pattern.ptr, pattern.len);
    path[pattern.len] = '\0';
    if (strpbrk(path, "*?[") == NULL)
        return push_file(l, path);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nothing else runs while the configuration is read. */
    if (glob(path, 0, NULL, &found) == 0) {
        for (size_t i = found.gl_pathc; i > 0 && failed == 0; i--)
            failed = push_file(l, found.gl_pathv[i - 1]);
    }
    globfree(&found);
    return failed;
}

/* --- Lines --- */

static int load_option(struct loader *l, enum config_id id, const struct bytes *words, size_t count)
{
    const struct config_option *opt = config_option(id);
    union config_value value = config_value_copy(l->cfg, opt);
    union config_value old = config_value_copy(l->cfg, opt);
    int failed = config_value_parse(opt, words, count, &value, l->err);

    if (failed == 0 && id == CONFIG_ID_save && l->save_seen && value.s[0] != '\0' &&
        old.s[0] != '\0') {
        struct buf both;
        buf_init(&both, CONFIG_FILE_BYTES_MAX);
        failed = buf_printf(&both, "%s %s", old.s, value.s);
        if (failed == 0)
            failed = config_value_parse_text(opt, buf_bytes(&both), &value, l->err);
        buf_deinit(&both);
    }
    config_value_free(opt, &old);
    if (failed != 0) {
        config_value_free(opt, &value);
        return load_fail(l, l->err->text);
    }
    l->save_seen |= id == CONFIG_ID_save;
    l->cfg->given[id] = 1;
    config_value_store(l->cfg, opt, &value);
    return 0;
}

static int load_unknown(struct loader *l, struct bytes name)
{
    char reason[CONFIG_ERROR_BYTES];

    for (size_t i = 0; i < ARRAY_COUNT(ignored); i++) {
        if (bytes_eq_nocase(name, ignored[i]))
            return 0;
    }
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        if (!bytes_eq_nocase(name, refused[i].name))
            continue;
        (void)snprintf(reason, sizeof(reason), "directive is not supported: %s", refused[i].why);
        return load_fail(l, reason);
    }
    const char *nearest = config_nearest(name);
    if (nearest == NULL)
        return load_fail(l, "unknown directive");
    (void)snprintf(reason, sizeof(reason), "unknown directive, did you mean '%s'?", nearest);
    return load_fail(l, reason);
}

/* `user name rules...` */
static int load_user(struct loader *l, const struct bytes *words, size_t count)
{
    char place[ECHO_BYTES_MAX * 2];
    const struct frame *frame = &l->frames[l->depth - 1];

    if (count == 0)
        return load_fail(l, "wrong number of arguments");
    if (frame->text != NULL)
        (void)snprintf(place, sizeof(place), "%s:%u", frame->name, frame->line);
    else
        (void)snprintf(place, sizeof(place), "%s", frame->name);
    if (config_users_add(&l->cfg->users, place, words, (uint32_t)count))
        return 0;
    return load_fail(l, "Duplicate user found. A user can only be defined once in config files");
}

/* A line cut into words, the directive first; its blanks are trimmed. */
static int load_words(struct loader *l, const struct bytes *words, size_t count)
{
    enum config_id id;

    if (config_find(words[0], &id))
        return load_option(l, id, words + 1, count - 1);
    if (bytes_eq_nocase(words[0], "user"))
        return load_user(l, words + 1, count - 1);
    if (bytes_eq_nocase(words[0], "include"))
        return count == 2 ? load_include(l, words[1]) : load_fail(l, "wrong number of arguments");
    return load_unknown(l, words[0]);
}

static int load_line(struct loader *l)
{
    struct bytes words[CONFIG_WORDS_MAX];
    uint8_t *copy = words_quoted(l->line) ? mem_alloc(l->line.len) : NULL;
    uint8_t *scratch = copy;
    size_t count = 0;
    size_t at = 0;
    int found = 1;

    while (found > 0 && count < CONFIG_WORDS_MAX) {
        found = words_next(l->line, &at, &scratch, &words[count]);
        count += found > 0;
    }
    int failed = 0;
    if (found < 0)
        failed = load_fail(l, "Unbalanced quotes in configuration line");
    else if (found > 0)
        failed = load_fail(l, "too many arguments");
    else if (count > 0)
        failed = load_words(l, words, count);
    mem_free(copy);
    return failed;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next line of the frame, without blanks around it; false at the end. */
static bool next_line(struct frame *frame, struct bytes *out)
{
    if (frame->left.len == 0)
        return false;
    const size_t len = bytes_find_u8(frame->left, '\n');
    struct bytes line = bytes_of(frame->left.ptr, len);
    frame->left = bytes_from(frame->left, size_min(len + 1, frame->left.len));
    frame->line++;
    while (line.len > 0 && is_blank(line.ptr[0]))
        line = bytes_from(line, 1);
    while (line.len > 0 && is_blank(line.ptr[line.len - 1]))
        line.len--;
    *out = line;
    return true;
}

/* Reads all frames to their ends. */
static int load_frames(struct loader *l)
{
    int failed = 0;

    while (l->depth > 0 && failed == 0) {
        if (!next_line(&l->frames[l->depth - 1], &l->line))
            pop_frame(l);
        else if (l->line.len > 0 && l->line.ptr[0] != '#')
            failed = load_line(l);
    }
    while (l->depth > 0)
        pop_frame(l);
    return failed;
}

static int load_text(struct loader *l, const char *name, struct bytes text)
{
    (void)push_frame(l, name, text); /* The text stays the caller's. */
    return load_frames(l);
}

static int load_file(struct loader *l, const char *path)
{
    const int failed = push_file(l, path);

    return failed != 0 ? failed : load_frames(l);
}

/* --- The command line --- */

/* True for an option that may stand without a value: `--save` empties it. */
static bool may_be_empty(const char *option)
{
    return bytes_eq_nocase(bytes_cstr(option), "save");
}

static bool is_option(const char *arg)
{
    return arg[0] == '-' && arg[1] == '-';
}

/*
 * The arguments as lines. The first argument behind an option is a value whatever it looks like;
 * "--port 6380" may be one argument.
 */
static int options_text(int argc, const char *const *argv, struct buf *out,
                        struct config_error *err)
{
    bool has_value = true; /* The option last seen. */
    int failed = 0;

    for (int i = 0; i < argc && failed == 0; i++) {
        const char *arg = argv[i];
        if (!has_value || !is_option(arg)) {
            if (out->len == 0)
                return config_fail(err, "command line: '%s': options start with --", arg);
            failed = buf_append_u8(out, ' ');
            if (failed == 0)
                failed = words_quote(out, bytes_cstr(arg));
            has_value = true;
            continue;
        }
        const char *name = arg + 2;
        if (strchr(name, '\n') != NULL || name[0] == '\0')
            return config_fail(err, "command line: '%s': not the name of an option", arg);
        has_value = strpbrk(name, " \t") != NULL;
        failed = buf_printf(out, "%s%s", out->len == 0 ? "" : "\n", name);
        if (failed == 0 && may_be_empty(name) && (i + 1 == argc || is_option(argv[i + 1]))) {
            failed = buf_printf(out, " \"\"");
            has_value = true;
        }
    }
    return failed == 0 ? 0 : config_fail(err, "command line: too long");
}

static int load_options(struct loader *l, int argc, const char *const *argv)
{
    struct buf text;

    buf_init(&text, CONFIG_FILE_BYTES_MAX);
    int failed = options_text(argc, argv, &text, l->err);
    if (failed == 0)
        failed = load_text(l, "command line", buf_bytes(&text));
    buf_deinit(&text);
    return failed;
}

/* --- What callers use --- */

/* Makes `dir` absolute, so that it means the same later. */
static int resolve_dir(struct loader *l)
{
    char cwd[PATH_MAX];
    char *dir = l->cfg->dir;

    if (dir[0] == '/')
        return 0;
    if (getcwd(cwd, sizeof(cwd)) == NULL)
        return config_fail(l->err, "can't tell the current directory: %s", err_str(-errno));
    while (dir[0] == '.' && (dir[1] == '/' || dir[1] == '\0'))
        dir += dir[1] == '/' ? 2 : 1;
    const size_t size = strlen(cwd) + strlen(dir) + 2;
    char *path = mem_alloc(size);
    (void)snprintf(path, size, "%s%s%s", cwd, dir[0] == '\0' || cwd[1] == '\0' ? "" : "/", dir);
    mem_free(l->cfg->dir);
    l->cfg->dir = path;
    return 0;
}

int config_load(struct config *cfg, int argc, const char *const *argv, struct config_error *err)
{
    struct loader l = {.cfg = cfg, .err = err};
    int failed = 0;
    int from = 0;

    if (argc > 0 && argv[0][0] != '-') {
        char path[PATH_MAX];
        failed = load_file(&l, argv[0]);
        if (failed == 0 && realpath(argv[0], path) == NULL)
            failed = load_fail_errno(&l, argv[0], -errno);
        if (failed == 0) {
            mem_free(cfg->file);
            cfg->file = mem_strdup(path);
        }
        from = 1;
    }
    if (failed == 0 && argc > from)
        failed = load_options(&l, argc - from, argv + from);
    return failed != 0 ? failed : resolve_dir(&l);
}

int config_load_file(struct config *cfg, const char *path, struct config_error *err)
{
    struct loader l = {.cfg = cfg, .err = err};

    return load_file(&l, path);
}

int config_load_text(struct config *cfg, const char *name, struct bytes text,
                     struct config_error *err)
{
    struct loader l = {.cfg = cfg, .err = err};

    return load_text(&l, name, text);
}
