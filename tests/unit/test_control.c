/*
 * Control, node by node, on a network that delivers at once: who is let in, what is refused and
 * with which words, what is waited for, and what the operator is shown.
 */
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
    (void)ctx;
    assert_true(event->reason < CONTROL_WHY_END);
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

static int unlink_from(struct world *w, unsigned at, unsigned victim, bool force)
{
    const struct bytes name = bytes_cstr(names[victim]);

    buf_clear(&w->text);
    return control_force_unlink(w->nodes[at].control, &name, 1, force, &w->text);
}

static void expect_says(struct bytes text, const char *part)
{
    if (memmem(text.ptr, text.len, part, strlen(part)) == NULL)
        fail_msg("\"%.*s\" does not say \"%s\"", (int)text.len, (const char *)text.ptr, part);
}

static void expect_refused(struct world *w, unsigned index, enum control_reason reason,
                           const char *part)
{
    const struct control_status status = status_of(w, index);

    expect_u64(status.state, CONTROL_SEEKING);
    expect_u64(status.refused, reason);
    expect_says(bytes_cstr(status.refused_text), part);
}

/* --- joining --- */

static void the_first_founds_and_the_others_join(void **state)
{
    struct world *w = *state;

    form(w, 3);
    const struct membership *m = control_members(w->nodes[1].control);
    expect_u64(m->count, 3);
    expect_u64(m->epoch, 5); /* Founded, two added, two activated. */
    expect_str(m->nickname, "group");
    expect_u64(control_members(w->nodes[2].control)->sum, m->sum);
}

static void a_joining_member_does_not_write(void **state)
{
    struct world *w = *state;

    start(w, 0);
    start(w, 1);
    run(w, 10000);
    expect_u64(status_of(w, 1).state, CONTROL_JOINING);
    assert_false(control_may_write(w->nodes[1].control));
}

static void a_restart_goes_on_where_it_was(void **state)
{
    struct world *w = *state;

    form(w, 2);
    const uint64_t epoch = status_of(w, 1).epoch;
    stop(&w->nodes[1]);
    start(w, 1);
    run(w, 3000);
    expect_u64(status_of(w, 1).state, CONTROL_ACTIVE);
    expect_u64(status_of(w, 1).epoch, epoch);
    expect_u64(control_members(w->nodes[0].control)->count, 2);
}

static void a_sixth_member_is_refused(void **state)
{
    struct world *w = *state;

    form(w, 5);
    start(w, 5);
    run(w, 10000);
    expect_refused(w, 5, CONTROL_WHY_FULL, "has 5 members, no more are possible: unlink one first");
}

static void differences_of_the_configuration_are_listed(void **state)
{
    struct world *w = *state;

    form(w, 1);
    struct control_options options = options_of(w, 1);
    options.config.maxmemory_bytes = 99;
    options.config.tls = true;
    start_with(w, 1, &options);
    run(w, 5000);
    expect_refused(w, 1, CONTROL_WHY_CONFIG, "maxmemory is 99 here and 1 in the group; tls is on");
}

static void a_node_with_data_is_refused(void **state)
{
    struct world *w = *state;

    form(w, 1);
    struct control_options options = options_of(w, 1);
    options.holds_data = true;
    start_with(w, 1, &options);
    run(w, 5000);
    expect_refused(w, 1, CONTROL_WHY_NOT_EMPTY, "only an empty, new node");
}

static void a_founder_with_data_founds_nothing(void **state)
{
    struct world *w = *state;
    struct control_options options = options_of(w, 0);

    options.holds_data = true;
    start_with(w, 0, &options);
    run(w, 10000);
    expect_refused(w, 0, CONTROL_WHY_NOT_EMPTY, "only an empty, new node");
}

static void another_group_is_refused(void **state)
{
    struct world *w = *state;

    form(w, 1);
    struct control_options options = options_of(w, 1);
    options.nickname = "other";
    start_with(w, 1, &options);
    run(w, 5000);
    expect_refused(w, 1, CONTROL_WHY_GROUP, "this is group group, not other");
}

static void a_name_in_use_is_refused(void **state)
{
    struct world *w = *state;

    form(w, 2);
    /* Its disk was lost: it is another node with the same name. */
    stop(&w->nodes[1]);
    buf_clear(&w->nodes[1].disk);
    struct control_options options = options_of(w, 1);
    options.seed = 4711;
    start_with(w, 1, &options);
    run(w, 5000);
    expect_refused(w, 1, CONTROL_WHY_NAME,
                   "in use by another member: choose another, or unlink that member first");
}

static void another_protocol_version_is_refused(void **state)
{
    struct world *w = *state;
    struct control_msg msg;
    struct buf out;

    form(w, 1);
    buf_init(&out, CONTROL_MSG_BYTES_MAX);
    memset(&msg, 0, sizeof(msg));
    msg.kind = CONTROL_HELLO;
    msg.incarnation = 4711;
    assert_int_equal(control_msg_encode(&msg, &out), 0);
    out.ptr[4]++;
    assert_true(list_empty(&w->letters));
    control_receive(w->nodes[0].control, addresses[1], buf_bytes(&out));
    assert_true(list_empty(&w->letters)); /* Damaged: its sum is wrong. */
    le64_store(out.ptr + 8, sum64_seed(out.ptr + 16, out.len - 16, le64_load(out.ptr)));
    control_receive(w->nodes[0].control, addresses[1], buf_bytes(&out));
    assert_false(list_empty(&w->letters));
    struct letter *letter = LIST_ITEM(w->letters.head.next, struct letter, link);
    assert_int_equal(control_msg_decode(bytes_of(letter->bytes, letter->len), &msg), 0);
    expect_u64(msg.kind, CONTROL_REFUSE);
    expect_u64(msg.reason, CONTROL_WHY_VERSION);
    expect_str(msg.text, "speaks protocol version 1: upgrade the older node");
    buf_deinit(&out);
}

/* --- unlinking --- */

static void the_end_is_the_highest_that_any_survivor_has(void **state)
{
    struct world *w = *state;

    form(w, 3);
    const uint8_t victim = status_of(w, 2).origin;
    w->nodes[0].seq[victim - 1] = 10;
    w->nodes[1].seq[victim - 1] = 12;
    w->down = 1u << 2;
    assert_int_equal(unlink_from(w, 0, 2, false), 0);
    run(w, 5000);
    const struct membership *m = control_members(w->nodes[1].control);
    expect_u64(m->at[victim - 1].state, MEMBERSHIP_SEALED);
    expect_u64(m->at[victim - 1].sealed_seq[0], 12);
    expect_u64(m->forks_count, 1);
}

static void the_unlinked_fences_itself_and_is_not_let_in_again(void **state)
{
    struct world *w = *state;

    form(w, 3);
    w->down = 1u << 2;
    assert_int_equal(unlink_from(w, 0, 2, false), 0);
    run(w, 5000);
    assert_true(control_may_write(w->nodes[2].control));
    w->down = 0;
    run(w, 3000);
    expect_u64(status_of(w, 2).state, CONTROL_UNLINKED);
    assert_false(control_may_write(w->nodes[2].control));
    buf_clear(&w->text);
    assert_int_equal(control_flush(w->nodes[2].control, true, &w->text), -ERR_REFUSED);
    expect_says(buf_bytes(&w->text), "must be deleted and recreated");
    /* Also after a restart. */
    stop(&w->nodes[2]);
    start(w, 2);
    run(w, 3000);
    expect_u64(status_of(w, 2).state, CONTROL_UNLINKED);
    /* Recreated, it is let in under its name with a new number. */
    stop(&w->nodes[2]);
    buf_clear(&w->nodes[2].disk);
    struct control_options options = options_of(w, 2);
    options.seed = 4711;
    start_with(w, 2, &options);
    run(w, 10000);
    expect_u64(status_of(w, 2).state, CONTROL_JOINING);
    expect_u64(status_of(w, 2).origin, 4);
}

static void an_unreachable_survivor_is_named_and_can_be_unlinked_as_well(void **state)
{
    struct world *w = *state;
    struct control_peer peer;

    form(w, 5);
    w->down = 1u << 3 | 1u << 4;
    assert_int_equal(unlink_from(w, 0, 3, false), 0);
    run(w, 12000);
    const struct control_status status = status_of(w, 0);
    expect_says(bytes_cstr(status.waits_text), "waits for n4");
    expect_says(bytes_cstr(status.waits_text), "can be unlinked as well");
    assert_true(control_peer(w->nodes[0].control, status_of(w, 3).origin, &peer));
    expect_str(control_link_state_str(peer.state), "UnlinkFailed");
    expect_says(bytes_cstr(peer.error), "waits for n4");

    assert_int_equal(unlink_from(w, 0, 4, false), 0);
    run(w, 8000);
    expect_u64(membership_set_count(membership_live_set(control_members(w->nodes[1].control))), 3);
    expect_str(status_of(w, 0).waits_text, "");
}

static void without_a_majority_the_word_is_needed(void **state)
{
    struct world *w = *state;

    form(w, 2);
    w->down = 1u << 1;
    assert_int_equal(unlink_from(w, 0, 1, false), -ERR_REFUSED);
    expect_says(buf_bytes(&w->text), "FORCE");
    run(w, 3000);
    expect_u64(control_members(w->nodes[0].control)->forks_count, 1);
    assert_int_equal(unlink_from(w, 0, 1, true), 0);
    run(w, 3000);
    expect_u64(control_members(w->nodes[0].control)->forks_count, 2);
    assert_true(control_may_write(w->nodes[0].control));
}

static void two_that_force_each_other_out_refuse_each_other(void **state)
{
    struct world *w = *state;
    struct control_peer peer;

    form(w, 4);
    w->down = 1u << 2 | 1u << 3;
    assert_int_equal(unlink_from(w, 0, 2, false), 0);
    assert_int_equal(unlink_from(w, 0, 3, true), 0);
    run(w, 5000);
    expect_u64(control_members(w->nodes[1].control)->forks_count, 2);
    w->down = 1u << 0 | 1u << 1;
    assert_int_equal(unlink_from(w, 2, 0, true), 0);
    assert_int_equal(unlink_from(w, 2, 1, true), 0);
    run(w, 5000);
    w->down = 0;
    run(w, 5000);
    for (unsigned i = 0; i < 4; i++) {
        expect_u64(status_of(w, i).state, CONTROL_ACTIVE);
        assert_int_equal(membership_compare(control_members(w->nodes[0].control),
                                            control_members(w->nodes[i].control)),
                         i < 2 ? MEMBERSHIP_SAME : MEMBERSHIP_FORKED);
    }
    assert_false(control_peer(w->nodes[0].control, status_of(w, 2).origin, &peer));
}

static void two_that_force_the_same_out_stay_together(void **state)
{
    struct world *w = *state;

    form(w, 4);
    w->down = 1u << 2 | 1u << 3;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(unlink_from(w, i, 2, true), 0);
        assert_int_equal(unlink_from(w, i, 3, true), 0);
    }
    run(w, 10000);
    const struct membership *m = control_members(w->nodes[0].control);
    expect_u64(m->forks_count, 2);
    expect_u64(membership_set_count(membership_live_set(m)), 2);
    assert_int_equal(membership_compare(m, control_members(w->nodes[1].control)), MEMBERSHIP_SAME);
}

static void force_is_for_one_time_only(void **state)
{
    struct world *w = *state;

    form(w, 3);
    w->down = 1u << 2;
    assert_int_equal(unlink_from(w, 0, 2, true), 0); /* Not needed: the majority stays. */
    run(w, 5000);
    expect_u64(control_members(w->nodes[0].control)->forks_count, 1);
    assert_int_equal(unlink_from(w, 0, 1, false), -ERR_REFUSED);
}

static void force_is_for_those_it_was_given_for(void **state)
{
    struct world *w = *state;

    form(w, 4);
    w->down = 1u << 2 | 1u << 3;
    assert_int_equal(unlink_from(w, 0, 2, true), 0); /* Waits for n3. */
    run(w, 2000);
    assert_int_equal(unlink_from(w, 0, 3, false), -ERR_REFUSED);
    expect_says(buf_bytes(&w->text), "FORCE");
    assert_int_equal(unlink_from(w, 0, 2, false), 0);
    assert_int_equal(unlink_from(w, 0, 3, true), 0);
    assert_int_equal(unlink_from(w, 0, 3, false), 0); /* Said already. */
    run(w, 3000);
    expect_u64(control_members(w->nodes[1].control)->forks_count, 2);
}

/* Whose ballot the others have promised last. */
static void expect_proposer(struct world *w, unsigned count, uint8_t origin)
{
    for (unsigned i = 0; i < count; i++)
        expect_u64(w->nodes[i].control->stored.slots[CONTROL_ORDINARY].promised.origin, origin);
}

static void nobody_takes_over_what_somebody_works_on(void **state)
{
    struct world *w = *state;

    form(w, 5);
    w->down = 1u << 3 | 1u << 4;
    assert_int_equal(unlink_from(w, 0, 3, false), 0); /* Waits for n4. */
    for (unsigned i = 0; i < 40; i++) {
        run(w, 500);
        expect_proposer(w, 3, status_of(w, 0).origin);
    }
}

static void what_a_node_began_another_finishes(void **state)
{
    struct world *w = *state;

    form(w, 4);
    w->down = 1u << 3;
    assert_int_equal(unlink_from(w, 0, 3, false), 0);
    /* Its promise reaches the disk and the others hear of it; then it is gone. */
    for (unsigned i = 0; i < 3; i++)
        answer(&w->nodes[0]);
    for (unsigned i = 0; i < 2 && !list_empty(&w->letters); i++)
        deliver(w);
    stop(&w->nodes[0]);
    run(w, 3000);
    expect_u64(membership_set_count(membership_live_set(control_members(w->nodes[1].control))), 4);
    start(w, 0); /* It remembers nothing of the command. */
    run(w, 20000);
    expect_u64(membership_set_count(membership_live_set(control_members(w->nodes[1].control))), 3);
}

/* A message of the agreement from one node to another, as if it had come now. */
static void tell(struct world *w, unsigned from, unsigned to, struct control_msg *msg)
{
    struct buf out;

    buf_init(&out, CONTROL_MSG_BYTES_MAX);
    msg->ballot.origin = status_of(w, from).origin;
    assert_int_equal(control_msg_encode(msg, &out), 0);
    control_receive(w->nodes[to].control, addresses[from], buf_bytes(&out));
    buf_deinit(&out);
}

/* The next epoch, by force, without one of the members. */
static void make_value(struct world *w, unsigned without, struct buf *out)
{
    struct membership *m = mem_zalloc(sizeof(*m));
    static const uint64_t seqs[1] = {7};

    membership_copy(m, control_members(w->nodes[0].control));
    membership_next(m);
    membership_seal(m, status_of(w, without).origin, MEMBERSHIP_SEALED, seqs);
    membership_fork(m, 99);
    assert_int_equal(membership_encode(m, out), 0);
    mem_free(m);
}

/* A node that missed the PREPARE may still be told of the value. */
static void what_is_accepted_by_force_says_whom_it_unlinks(void **state)
{
    struct world *w = *state;
    struct control_msg msg;
    struct buf value;

    form(w, 4);
    const membership_set old = membership_bit(status_of(w, 2).origin);
    const membership_set new = membership_bit(status_of(w, 3).origin);
    buf_init(&value, MEMBERSHIP_BYTES_MAX);
    make_value(w, 3, &value);
    control_msg_begin(w->nodes[0].control, &msg, CONTROL_PREPARE);
    msg.mode = CONTROL_BY_FORCE;
    msg.ballot.round = 1;
    msg.set = old;
    tell(w, 0, 1, &msg);
    expect_u64(status_of(w, 1).unlinking, old);
    msg.kind = CONTROL_ACCEPT;
    msg.ballot.round = 2;
    msg.value = buf_bytes(&value);
    tell(w, 0, 1, &msg);
    expect_u64(status_of(w, 1).unlinking, new);
    assert_true((w->nodes[1].freeze & new) != 0);
    buf_deinit(&value);
}

static void commands_that_make_no_sense_are_refused(void **state)
{
    struct world *w = *state;
    const struct bytes nobody = BYTES_LIT("nobody");

    form(w, 2);
    assert_int_equal(control_force_unlink(w->nodes[0].control, &nobody, 1, false, &w->text),
                     -ERR_NOT_FOUND);
    expect_says(buf_bytes(&w->text), "no member is named nobody");
    assert_int_equal(unlink_from(w, 0, 0, true), -ERR_REFUSED);
    expect_says(buf_bytes(&w->text), "use LEAVE");
}

/* --- leaving, flushing, links --- */

static void a_member_leaves_when_all_have_what_it_has(void **state)
{
    static const uint64_t seqs[1] = {33};
    struct world *w = *state;

    form(w, 3);
    const uint8_t origin = status_of(w, 1).origin;
    assert_int_equal(control_leave(w->nodes[1].control, &w->text), 0);
    assert_int_equal(control_leave(w->nodes[1].control, &w->text), 0);
    expect_u64(w->nodes[1].drains, 1);
    assert_false(control_may_write(w->nodes[1].control));
    run(w, 5000);
    expect_u64(status_of(w, 1).state, CONTROL_LEAVING);
    control_drained(w->nodes[1].control, seqs);
    run(w, 5000);
    expect_u64(status_of(w, 1).state, CONTROL_LEFT);
    const struct membership *m = control_members(w->nodes[0].control);
    expect_u64(m->at[origin - 1].state, MEMBERSHIP_LEFT);
    expect_u64(m->at[origin - 1].sealed_seq[0], 33);
}

static void who_has_said_where_it_ends_never_writes_again(void **state)
{
    static const uint64_t seqs[1] = {33};
    struct world *w = *state;

    form(w, 3);
    assert_int_equal(control_leave(w->nodes[1].control, &w->text), 0);
    w->down = 1u << 0 | 1u << 2;
    control_drained(w->nodes[1].control, seqs);
    answer(&w->nodes[1]);
    stop(&w->nodes[1]);
    start(w, 1);
    assert_false(control_may_write(w->nodes[1].control));
    expect_u64(status_of(w, 1).state, CONTROL_LEAVING);
    expect_u64(w->nodes[1].drains, 2); /* Whoever came meanwhile needs it too. */
}

static void the_last_member_cannot_leave(void **state)
{
    struct world *w = *state;

    form(w, 1);
    assert_int_equal(control_leave(w->nodes[0].control, &w->text), -ERR_REFUSED);
    expect_says(buf_bytes(&w->text), "delete the node");
}

static void a_flush_reaches_everybody_and_wants_to_be_confirmed(void **state)
{
    struct world *w = *state;

    form(w, 3);
    assert_int_equal(control_flush(w->nodes[1].control, false, &w->text), -ERR_REFUSED);
    assert_int_equal(control_flush(w->nodes[1].control, true, &w->text), 0);
    assert_int_equal(control_flush(w->nodes[0].control, true, &w->text), 0);
    w->down = 1u << 2;
    run(w, 2000);
    expect_u64(w->nodes[0].flush_epoch, 1); /* At the same time: the same one. */
    expect_u64(w->nodes[1].flush_epoch, 1);
    expect_u64(w->nodes[2].flush_epoch, 0);
    w->down = 0;
    run(w, 2000);
    expect_u64(w->nodes[2].flush_epoch, 1);
}

/* The flush epoch of the last message on its way. */
static uint64_t epoch_on_the_way(struct world *w)
{
    struct control_msg msg;

    assert_false(list_empty(&w->letters));
    const struct letter *letter = LIST_ITEM(w->letters.head.prev, struct letter, link);
    assert_int_equal(control_msg_decode(bytes_of(letter->bytes, letter->len), &msg), 0);
    return msg.flush_epoch;
}

static void a_flush_is_on_disk_before_it_is_said(void **state)
{
    struct world *w = *state;

    form(w, 2);
    assert_int_equal(control_flush(w->nodes[0].control, true, &w->text), 0);
    w->now += CONTROL_HELLO_MS;
    control_tick(w->nodes[0].control, w->now);
    expect_u64(epoch_on_the_way(w), 0);
    answer(&w->nodes[0]);
    expect_u64(w->nodes[0].flush_epoch, 1);
    control_tick(w->nodes[0].control, w->now); /* At once, not with the next greeting. */
    expect_u64(epoch_on_the_way(w), 1);
}

static void flush_epochs_do_not_go_beyond_what_shards_count(void **state)
{
    struct world *w = *state;
    struct control_msg msg;
    struct buf out;

    form(w, 2);
    control_msg_begin(w->nodes[1].control, &msg, CONTROL_HELLO);
    buf_init(&out, CONTROL_MSG_BYTES_MAX);
    msg.flush_epoch = MEMBERSHIP_FLUSH_MAX + UINT64_C(1);
    assert_int_equal(control_msg_encode(&msg, &out), 0);
    assert_int_equal(control_msg_decode(buf_bytes(&out), &msg), -ERR_CORRUPT);
    msg.flush_epoch = MEMBERSHIP_FLUSH_MAX;
    assert_int_equal(control_msg_encode(&msg, &out), 0);
    control_receive(w->nodes[0].control, addresses[1], buf_bytes(&out));
    answer(&w->nodes[0]);
    expect_u64(w->nodes[0].flush_epoch, MEMBERSHIP_FLUSH_MAX);
    assert_int_equal(control_flush(w->nodes[0].control, true, &w->text), -ERR_REFUSED);
    expect_says(buf_bytes(&w->text), "flush epochs are used up");
    buf_deinit(&out);
}

static void links_are_shown_as_they_are(void **state)
{
    struct world *w = *state;
    struct control_peer peer;

    form(w, 2);
    struct control *control = w->nodes[0].control;
    const uint8_t origin = status_of(w, 1).origin;
    control_link(control, origin, true, NULL);
    assert_true(control_peer(control, origin, &peer));
    expect_str(control_link_state_str(peer.state), "Linked");
    const uint64_t since = w->now;
    control_link(control, origin, false, "connection refused");
    assert_true(control_peer(control, origin, &peer));
    expect_str(control_link_state_str(peer.state), "Linking");
    run(w, 11000);
    assert_true(control_peer(control, origin, &peer));
    expect_str(control_link_state_str(peer.state), "LinkFailed");
    expect_str(peer.error, "connection refused");
    assert_true(peer.since_ms <= since);
    assert_false(control_peer(control, status_of(w, 0).origin, &peer));
}

static void damaged_state_is_refused(void **state)
{
    struct world *w = *state;
    struct control *control;

    form(w, 1);
    stop(&w->nodes[0]);
    w->nodes[0].disk.ptr[40] ^= 1;
    const struct control_options options = options_of(w, 0);
    assert_int_equal(control_create(&options, &host, &w->nodes[0], &control), -ERR_CORRUPT);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_first_founds_and_the_others_join),
        CASE(a_joining_member_does_not_write),
        CASE(a_restart_goes_on_where_it_was),
        CASE(a_sixth_member_is_refused),
        CASE(differences_of_the_configuration_are_listed),
        CASE(a_node_with_data_is_refused),
        CASE(a_founder_with_data_founds_nothing),
        CASE(another_group_is_refused),
        CASE(a_name_in_use_is_refused),
        CASE(another_protocol_version_is_refused),
        CASE(the_end_is_the_highest_that_any_survivor_has),
        CASE(the_unlinked_fences_itself_and_is_not_let_in_again),
        CASE(an_unreachable_survivor_is_named_and_can_be_unlinked_as_well),
        CASE(without_a_majority_the_word_is_needed),
        CASE(two_that_force_each_other_out_refuse_each_other),
        CASE(two_that_force_the_same_out_stay_together),
        CASE(force_is_for_one_time_only),
        CASE(force_is_for_those_it_was_given_for),
        CASE(nobody_takes_over_what_somebody_works_on),
        CASE(what_is_accepted_by_force_says_whom_it_unlinks),
        CASE(what_a_node_began_another_finishes),
        CASE(commands_that_make_no_sense_are_refused),
        CASE(a_member_leaves_when_all_have_what_it_has),
        CASE(who_has_said_where_it_ends_never_writes_again),
        CASE(the_last_member_cannot_leave),
        CASE(a_flush_reaches_everybody_and_wants_to_be_confirmed),
        CASE(a_flush_is_on_disk_before_it_is_said),
        CASE(flush_epochs_do_not_go_beyond_what_shards_count),
        CASE(links_are_shown_as_they_are),
        CASE(damaged_state_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
