/* Control, node by node: members that are unlinked, by the majority or by force. */
#include "tests/unit/test_control_fixture.h"

static int unlink_from(struct world *w, unsigned at, unsigned victim, bool force)
{
    const struct bytes name = bytes_cstr(names[victim]);

    buf_clear(&w->text);
    return control_force_unlink(w->nodes[at].control, &name, 1, force, &w->text);
}

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
    struct control_status status = status_of(w, 0);
    expect_u64(status.apart,
               membership_bit(status_of(w, 2).origin) | membership_bit(status_of(w, 3).origin));
    expect_says(bytes_cstr(status.apart_text), " n2");
    expect_says(bytes_cstr(status.apart_text), " n3");
    status = status_of(w, 3);
    expect_says(bytes_cstr(status.apart_text), " n0");
    expect_says(bytes_cstr(status.apart_text), " n1");
    /* Deleted, the others are forgotten after a while. */
    w->down = 1u << 2 | 1u << 3;
    run(w, CONTROL_APART_MS);
    status = status_of(w, 1);
    expect_u64(status.apart, 0);
    assert_string_equal(status.apart_text, "");
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

/* --- members that take a new incarnation --- */

static void lose_disk(struct world *w, unsigned at, uint64_t seed)
{
    stop(&w->nodes[at]);
    buf_clear(&w->nodes[at].disk);
    struct control_options options = options_of(w, at);
    options.seed = seed;
    start_with(w, at, &options);
}

/* It is in under its name, and its old incarnation is over at `end`. */
static void expect_replaced(struct world *w, unsigned at, uint8_t old, uint64_t end)
{
    const struct membership *m = control_members(w->nodes[0].control);

    expect_u64(m->at[old - 1].state, MEMBERSHIP_SEALED);
    expect_u64(m->at[old - 1].sealed_seq[0], end);
    const uint8_t origin = status_of(w, at).origin;
    assert_true(origin != 0 && origin != old && membership_live(&m->at[origin - 1]));
    expect_str(m->at[origin - 1].name, names[at]);
}

static void a_member_that_lost_its_disk_takes_its_place_anew(void **state)
{
    struct world *w = *state;

    form(w, 3);
    const uint8_t old = status_of(w, 2).origin;
    w->nodes[0].seq[old - 1] = 10;
    w->nodes[1].seq[old - 1] = 12;
    lose_disk(w, 2, 4711);
    run(w, CONTROL_SILENT_MS / 2);
    expect_u64(status_of(w, 2).state, CONTROL_SEEKING);
    run(w, 15000);
    expect_replaced(w, 2, old, 12);
    expect_u64(control_members(w->nodes[0].control)->forks_count, 1);
}

/* A survivor that has just started has heard of nobody: that is no silence yet. */
static void a_start_counts_the_silence_of_others_anew(void **state)
{
    struct world *w = *state;

    form(w, 3);
    const uint8_t old = status_of(w, 2).origin;
    for (unsigned i = 0; i < 2; i++)
        stop(&w->nodes[i]);
    lose_disk(w, 2, 4711);
    for (unsigned i = 0; i < 2; i++)
        start(w, i);
    run(w, CONTROL_SILENT_MS - 500);
    expect_u64(control_members(w->nodes[0].control)->at[old - 1].state, MEMBERSHIP_ACTIVE);
    expect_u64(w->nodes[0].control->want_unlink | w->nodes[1].control->want_unlink, 0);
    run(w, 15000);
    expect_replaced(w, 2, old, 0);
}

/* Whoever is not in our epoch yet is not silent. */
static void a_member_of_another_epoch_keeps_its_place(void **state)
{
    struct world *w = *state;
    struct control_msg msg;

    form(w, 3);
    const uint8_t old = status_of(w, 2).origin;
    control_msg_begin(w->nodes[2].control, &msg, CONTROL_HELLO);
    msg.epoch--;
    lose_disk(w, 2, 4711);
    for (unsigned i = 0; i < 20; i++) {
        tell(w, 2, 0, &msg);
        tell(w, 2, 1, &msg);
        run(w, 500);
        expect_u64(w->nodes[0].control->want_unlink | w->nodes[1].control->want_unlink, 0);
    }
    expect_u64(status_of(w, 2).refused, CONTROL_WHY_REPLACED);
    expect_u64(control_members(w->nodes[0].control)->at[old - 1].state, MEMBERSHIP_ACTIVE);
}

static void one_of_two_that_lost_its_disk_needs_no_word(void **state)
{
    struct world *w = *state;

    form(w, 2);
    const uint8_t old = status_of(w, 1).origin;
    lose_disk(w, 1, 4711);
    run(w, 15000);
    expect_replaced(w, 1, old, 0);
    expect_u64(control_members(w->nodes[0].control)->forks_count, 2);
}

static void a_lost_disk_waits_for_another_that_cannot_be_reached(void **state)
{
    struct world *w = *state;

    form(w, 4);
    const uint8_t old = status_of(w, 3).origin;
    w->down = 1u << 2;
    lose_disk(w, 3, 4711);
    run(w, 15000);
    expect_u64(status_of(w, 3).refused, CONTROL_WHY_REPLACED);
    expect_u64(control_members(w->nodes[0].control)->at[old - 1].state, MEMBERSHIP_ACTIVE);
    expect_says(bytes_cstr(status_of(w, 0).waits_text), "waits for n2");
    assert_int_equal(unlink_from(w, 0, 2, true), 0);
    run(w, 15000);
    expect_replaced(w, 3, old, 0);
}

static void an_older_copy_retires_and_is_told_when_it_is_over(void **state)
{
    struct world *w = *state;

    form(w, 3);
    const uint8_t old = status_of(w, 2).origin;
    w->nodes[1].seq[old - 1] = 7;
    w->down = 1u << 0 | 1u << 1;
    control_retire(w->nodes[2].control);
    run(w, 2000);
    expect_u64(status_of(w, 2).state, CONTROL_RETIRING);
    assert_false(control_may_write(w->nodes[2].control));
    assert_false(control_retired(w->nodes[2].control));
    buf_clear(&w->text);
    assert_int_equal(control_flush(w->nodes[2].control, true, &w->text), -ERR_REFUSED);
    expect_says(buf_bytes(&w->text), "older copy");
    /* Also after a restart. */
    stop(&w->nodes[2]);
    start(w, 2);
    run(w, 1000);
    expect_u64(status_of(w, 2).state, CONTROL_RETIRING);
    w->down = 0;
    run(w, 10000);
    assert_true(control_retired(w->nodes[2].control));
    lose_disk(w, 2, 4711); /* What the server does then. */
    run(w, 10000);
    expect_replaced(w, 2, old, 7);
}

static void of_two_that_retire_neither_ends_the_other(void **state)
{
    struct world *w = *state;

    form(w, 2);
    control_retire(w->nodes[0].control);
    control_retire(w->nodes[1].control);
    run(w, 20000);
    for (unsigned i = 0; i < 2; i++) {
        expect_u64(status_of(w, i).state, CONTROL_RETIRING);
        assert_false(control_retired(w->nodes[i].control));
        expect_u64(control_members(w->nodes[i].control)->epoch,
                   control_members(w->nodes[0].control)->epoch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL_TEST(the_end_is_the_highest_that_any_survivor_has),
        CONTROL_TEST(the_unlinked_fences_itself_and_is_not_let_in_again),
        CONTROL_TEST(an_unreachable_survivor_is_named_and_can_be_unlinked_as_well),
        CONTROL_TEST(without_a_majority_the_word_is_needed),
        CONTROL_TEST(two_that_force_each_other_out_refuse_each_other),
        CONTROL_TEST(two_that_force_the_same_out_stay_together),
        CONTROL_TEST(force_is_for_one_time_only),
        CONTROL_TEST(force_is_for_those_it_was_given_for),
        CONTROL_TEST(nobody_takes_over_what_somebody_works_on),
        CONTROL_TEST(what_is_accepted_by_force_says_whom_it_unlinks),
        CONTROL_TEST(what_a_node_began_another_finishes),
        CONTROL_TEST(commands_that_make_no_sense_are_refused),
        CONTROL_TEST(a_member_that_lost_its_disk_takes_its_place_anew),
        CONTROL_TEST(a_start_counts_the_silence_of_others_anew),
        CONTROL_TEST(a_member_of_another_epoch_keeps_its_place),
        CONTROL_TEST(one_of_two_that_lost_its_disk_needs_no_word),
        CONTROL_TEST(a_lost_disk_waits_for_another_that_cannot_be_reached),
        CONTROL_TEST(an_older_copy_retires_and_is_told_when_it_is_over),
        CONTROL_TEST(of_two_that_retire_neither_ends_the_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
