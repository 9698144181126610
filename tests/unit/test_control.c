/*
 * Control, node by node: who is let in, what is refused and with which words, leaving, flushing,
 * and what the operator is shown.
 */
#include "tests/unit/test_control_fixture.h"

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
    /* Another node, elsewhere, with the name of a member. */
    struct control_options options = options_of(w, 2);
    options.name = names[1];
    options.linked[1] = (struct control_linked){names[1], addresses[2]};
    options.linked_count = 2;
    start_with(w, 2, &options);
    run(w, 8000);
    expect_refused(w, 2, CONTROL_WHY_NAME,
                   "in use by another member: choose another, or unlink that member first");
    expect_u64(status_of(w, 1).state, CONTROL_ACTIVE);
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
    const struct CMUnitTest tests[] = {
        CONTROL_TEST(the_first_founds_and_the_others_join),
        CONTROL_TEST(a_joining_member_does_not_write),
        CONTROL_TEST(a_restart_goes_on_where_it_was),
        CONTROL_TEST(a_sixth_member_is_refused),
        CONTROL_TEST(differences_of_the_configuration_are_listed),
        CONTROL_TEST(a_node_with_data_is_refused),
        CONTROL_TEST(a_founder_with_data_founds_nothing),
        CONTROL_TEST(another_group_is_refused),
        CONTROL_TEST(a_name_in_use_is_refused),
        CONTROL_TEST(another_protocol_version_is_refused),
        CONTROL_TEST(a_member_leaves_when_all_have_what_it_has),
        CONTROL_TEST(who_has_said_where_it_ends_never_writes_again),
        CONTROL_TEST(the_last_member_cannot_leave),
        CONTROL_TEST(a_flush_reaches_everybody_and_wants_to_be_confirmed),
        CONTROL_TEST(a_flush_is_on_disk_before_it_is_said),
        CONTROL_TEST(flush_epochs_do_not_go_beyond_what_shards_count),
        CONTROL_TEST(links_are_shown_as_they_are),
        CONTROL_TEST(damaged_state_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
