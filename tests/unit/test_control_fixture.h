/*
 * What the tests of control share: nodes on a network that delivers at once. Each test program
 * includes this once.
 */
#ifndef TIERRA_TESTS_UNIT_TEST_CONTROL_FIXTURE_H
#define TIERRA_TESTS_UNIT_TEST_CONTROL_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/list.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "replication/group/control_impl.h"

#include "tests/lib/tcase.h"

#define NODES_MAX 7

struct node {
    struct world *world;
    unsigned index;
    struct control *control;
    struct buf disk;
    uint64_t version; /* To be reported as persisted. */
    membership_set freeze;
    uint64_t seq[MEMBERSHIP_EVER_MAX];
    unsigned drains;
    uint64_t flush_epoch;
};

struct letter {
    struct list_link link;
    unsigned from;
    unsigned to;
    size_t len;
    uint8_t bytes[];
};

struct world {
    struct node nodes[NODES_MAX];
    struct list letters;
    unsigned down; /* Bit i: node i is cut off. */
    uint64_t now;
    struct buf text;
};

static const char *const names[NODES_MAX] = {"n0", "n1", "n2", "n3", "n4", "n5", "n6"};
static const char *const addresses[NODES_MAX] = {"a0", "a1", "a2", "a3", "a4", "a5", "a6"};

/* --- the host --- */

static void host_send(void *ctx, const char *address, struct bytes bytes)
{
    struct node *node = ctx;
    const unsigned to = (unsigned)(address[1] - '0');
    struct letter *letter;

    assert_true(to < NODES_MAX);
    if ((node->world->down & (1u << to | 1u << node->index)) != 0)
        return;
    letter = mem_alloc(sizeof(*letter) + bytes.len);
    *letter = (struct letter){.from = node->index, .to = to, .len = bytes.len};
    memcpy(letter->bytes, bytes.ptr, bytes.len);
    list_push_back(&node->world->letters, &letter->link);
}

static void host_persist(void *ctx, uint64_t version, struct bytes bytes)
{
    struct node *node = ctx;

    buf_clear(&node->disk);
    assert_int_equal(buf_append_bytes(&node->disk, bytes), 0);
    node->version = version;
}

static void host_members(void *ctx, const struct membership *members)
{
    (void)ctx;
    assert_true(members->epoch != 0);
}

static void host_freeze(void *ctx, uint8_t origin)
{
    struct node *node = ctx;

    node->freeze |= membership_bit(origin);
}

static void host_drain(void *ctx)
{
    struct node *node = ctx;

    node->drains++;
}

static void host_flush(void *ctx, uint64_t epoch)
{
    struct node *node = ctx;

    node->flush_epoch = epoch;
}

static void host_event(void *ctx, const struct control_event *event)
{
    const struct node *node = ctx;
    struct control_status status;

    assert_true(event->reason < CONTROL_WHY_END);
    if (event->kind != CONTROL_REFUSED)
        return;
    control_status(node->control, &status); /* As the server does, for the text. */
    assert_int_equal(status.refused, event->reason);
    assert_true(status.refused_text[0] != '\0');
}

static const struct control_host host = {.send = host_send,
                                         .persist = host_persist,
                                         .members = host_members,
                                         .freeze = host_freeze,
                                         .drain = host_drain,
                                         .flush = host_flush,
                                         .event = host_event};

/* --- the world --- */

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    list_init(&w->letters);
    buf_init(&w->text, CONTROL_TEXT_BYTES);
    w->now = 1000;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        w->nodes[i].world = w;
        w->nodes[i].index = i;
        buf_init(&w->nodes[i].disk, SIZE_MAX);
    }
    *state = w;
    return 0;
}

static void stop(struct node *node)
{
    control_destroy(node->control);
    node->control = NULL;
    node->version = 0;
    node->freeze = 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    struct list_link *link;

    for (unsigned i = 0; i < NODES_MAX; i++) {
        stop(&w->nodes[i]);
        buf_deinit(&w->nodes[i].disk);
    }
    while ((link = list_pop_front(&w->letters)) != NULL)
        mem_free(LIST_ITEM(link, struct letter, link));
    buf_deinit(&w->text);
    mem_free(w);
    return 0;
}

static struct control_options options_of(struct world *w, unsigned index)
{
    struct control_options options = {.nickname = "group",
                                      .name = names[index],
                                      .linked_count = NODES_MAX,
                                      .config = {.sku = "A250",
                                                 .maxmemory_bytes = 1,
                                                 .maxflash_bytes = 2,
                                                 .eviction = "noeviction",
                                                 .clustering = "none",
                                                 .shards = 1},
                                      .seed = index + 1};

    for (unsigned i = 0; i < NODES_MAX; i++)
        options.linked[i] = (struct control_linked){names[i], addresses[i]};
    options.state = buf_bytes(&w->nodes[index].disk);
    return options;
}

static void start_with(struct world *w, unsigned index, const struct control_options *options)
{
    struct node *node = &w->nodes[index];

    assert_int_equal(control_create(options, &host, node, &node->control), 0);
    control_tick(node->control, w->now);
}

static void start(struct world *w, unsigned index)
{
    const struct control_options options = options_of(w, index);

    start_with(w, index, &options);
}

/* What the disk and the cores of a node answer. */
static void answer(struct node *node)
{
    if (node->version != 0) {
        const uint64_t version = node->version;

        node->version = 0;
        control_persisted(node->control, version);
    }
    for (uint8_t origin = 1; origin <= MEMBERSHIP_EVER_MAX; origin++) {
        if ((node->freeze & membership_bit(origin)) != 0)
            control_frozen(node->control, origin, &node->seq[origin - 1]);
    }
    node->freeze = 0;
}

static void deliver(struct world *w)
{
    struct list_link *link = list_pop_front(&w->letters);
    struct letter *letter = LIST_ITEM(link, struct letter, link);

    if (w->nodes[letter->to].control != NULL &&
        (w->down & (1u << letter->to | 1u << letter->from)) == 0)
        control_receive(w->nodes[letter->to].control, addresses[letter->from],
                        bytes_of(letter->bytes, letter->len));
    mem_free(letter);
}

static void run(struct world *w, uint64_t ms)
{
    for (const uint64_t end = w->now + ms; w->now < end; w->now += 25) {
        for (unsigned i = 0; i < NODES_MAX; i++) {
            if (w->nodes[i].control == NULL)
                continue;
            control_tick(w->nodes[i].control, w->now);
            answer(&w->nodes[i]);
        }
        for (unsigned budget = 10000; !list_empty(&w->letters); budget--) {
            assert_true(budget != 0);
            deliver(w);
        }
    }
}

static struct control_status status_of(struct world *w, unsigned index)
{
    struct control_status status;

    control_status(w->nodes[index].control, &status);
    return status;
}

/* `count` active members, n0 the founder. */
static void form(struct world *w, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        start(w, i);
    run(w, 15000);
    for (unsigned i = 0; i < count; i++)
        control_synced(w->nodes[i].control);
    run(w, 5000);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(status_of(w, i).state, CONTROL_ACTIVE);
        assert_true(control_may_write(w->nodes[i].control));
    }
}

static void expect_says(struct bytes text, const char *part)
{
    if (memmem(text.ptr, text.len, part, strlen(part)) == NULL)
        fail_msg("\"%.*s\" does not say \"%s\"", (int)text.len, (const char *)text.ptr, part);
}

#define CONTROL_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
