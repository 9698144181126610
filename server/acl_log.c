/* The ACL log; acl_log.h. */
#include "server/acl_log.h"

#include <string.h>

#include "engine/base/mem.h"

/* Entries that are looked at for one that is alike. */
#define ALIKE_ENTRIES_MAX 10
/* No longer ago than this. */
#define ALIKE_MS_MAX 60000
/* Of the description of a client. */
#define CLIENT_BYTES_MAX 65536u

struct acl_log {
    struct list entries; /* The newest first. */
    uint64_t count;
};

struct acl_log *acl_log_create(void)
{
    struct acl_log *log = mem_zalloc(sizeof(*log));

    list_init(&log->entries);
    return log;
}

static void drop(struct acl_log *log, struct acl_log_entry *e)
{
    list_remove(&e->link);
    buf_deinit(&e->client);
    mem_free(e);
    log->count--;
}

void acl_log_reset(struct acl_log *log)
{
    while (!list_empty(&log->entries))
        drop(log, LIST_ITEM(list_first(&log->entries), struct acl_log_entry, link));
}

void acl_log_destroy(struct acl_log *log)
{
    if (log == NULL)
        return;
    acl_log_reset(log);
    mem_free(log);
}

static struct bytes cut(struct bytes text)
{
    return bytes_of(text.ptr, size_min(text.len, ACL_LOG_OBJECT_BYTES_MAX));
}

static bool alike(const struct acl_log_entry *a, const struct acl_log_entry *b)
{
    const uint64_t apart = a->at_ms > b->at_ms ? a->at_ms - b->at_ms : b->at_ms - a->at_ms;

    return a->reason == b->reason && a->multi == b->multi && apart <= ALIKE_MS_MAX &&
           bytes_eq(a->object, cut(b->object)) && bytes_eq(a->user, cut(b->user));
}

static struct acl_log_entry *find(const struct acl_log *log, const struct acl_log_entry *like)
{
    int looked = 0;

    LIST_FOR_EACH(link, &log->entries) {
        struct acl_log_entry *e = LIST_ITEM(link, struct acl_log_entry, link);
        if (looked++ == ALIKE_ENTRIES_MAX)
            break;
        if (alike(e, like))
            return e;
    }
    return NULL;
}

/* One block: the entry and its texts. */
static struct acl_log_entry *create(const struct acl_log_entry *from)
{
    const struct bytes object = cut(from->object);
    const struct bytes user = cut(from->user);
    struct acl_log_entry *e = mem_zalloc(sizeof(*e) + object.len + user.len);
    uint8_t *text = (uint8_t *)(e + 1);

    e->reason = from->reason;
    e->multi = from->multi;
    if (object.len != 0)
        memcpy(text, object.ptr, object.len);
    if (user.len != 0)
        memcpy(text + object.len, user.ptr, user.len);
    e->object = bytes_of(text, object.len);
    e->user = bytes_of(text + object.len, user.len);
    buf_init(&e->client, CLIENT_BYTES_MAX);
    return e;
}

void acl_log_add(struct acl_log *log, const struct acl_log_entry *e, struct bytes client,
                 uint64_t entries_max)
{
    struct acl_log_entry *entry = find(log, e);

    if (entry != NULL) {
        list_remove(&entry->link);
    } else {
        entry = create(e);
        log->count++;
    }
    entry->count++;
    entry->at_ms = e->at_ms;
    entry->number = e->number;
    buf_clear(&entry->client);
    IGNORE_RESULT(buf_append_bytes(&entry->client, client)); /* Left out if it is too long. */
    list_push_front(&log->entries, &entry->link);
    while (log->count > entries_max && !list_empty(&log->entries))
        drop(log, LIST_ITEM(list_last(&log->entries), struct acl_log_entry, link));
}

uint64_t acl_log_count(const struct acl_log *log)
{
    return log->count;
}

void acl_log_each(const struct acl_log *log, uint64_t count,
                  void (*fn)(void *ctx, const struct acl_log_entry *e), void *ctx)
{
    LIST_FOR_EACH(link, &log->entries) {
        if (count-- == 0)
            break;
        fn(ctx, LIST_ITEM(link, struct acl_log_entry, link));
    }
}
