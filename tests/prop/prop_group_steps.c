/* Steps of schedules at members of a group; prop_group_steps.h tells them. */
#include "tests/prop/prop_group_steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/num.h"

#include "engine/space/coll.h"
#include "engine/space/demote.h"
#include "engine/value/op.h"

#include "replication/mutate_impl.h"

#include "tests/lib/tcase.h"

struct bytes steps_text(const char *word)
{
    return bytes_of(word, strlen(word));
}

int64_t steps_int(const char *word)
{
    int64_t value;

    assert_true(num_parse_i64(steps_text(word), &value));
    return value;
}

static void elem_command(struct prop_member *m, const struct ks_key *key, char **word)
{
    uint8_t score[ROW_SCORE_BYTES];
    int64_t i;
    long double f;
    const char *cmd = word[0];
    const uint8_t type = cmd[0] == 'H' ? VT_HASH : cmd[0] == 'S' ? VT_SET : VT_ZSET;
    struct coll *coll = mut_coll(m->mut, key, type);

    assert_non_null(coll);
    if (strcmp(cmd, "HSET") == 0) {
        (void)mut_elem_set(m->mut, coll, steps_text(word[1]), steps_text(word[2]));
    } else if (strcmp(cmd, "HINCRBY") == 0) {
        assert_int_equal(mut_elem_incr(m->mut, coll, steps_text(word[1]), steps_int(word[2]), &i),
                         0);
    } else if (strcmp(cmd, "SADD") == 0) {
        (void)mut_elem_set(m->mut, coll, steps_text(word[1]), bytes_of(NULL, 0));
    } else if (strcmp(cmd, "ZADD") == 0) {
        row_score_store(score, strtod(word[1], NULL));
        (void)mut_elem_set(m->mut, coll, steps_text(word[2]), bytes_of(score, sizeof(score)));
    } else if (strcmp(cmd, "ZINCRBY") == 0) {
        assert_int_equal(
            mut_elem_incr_float(m->mut, coll, steps_text(word[2]), strtold(word[1], NULL), &f), 0);
    } else if (coll_find(coll, steps_text(word[1])) != NULL) {
        (void)mut_elem_del(m->mut, coll, steps_text(word[1])); /* HDEL, SREM, ZREM */
    }
}

static void list_command(struct prop_member *m, const struct ks_key *key, char **word)
{
    struct listq_at at;
    const char *cmd = word[0];
    struct coll *coll = mut_coll(m->mut, key, VT_LIST);

    assert_non_null(coll);
    if (strcmp(cmd, "LSET") == 0) {
        coll_list_at(coll, strtoull(word[1], NULL, 10), &at);
        mut_list_set(m->mut, coll, &at, steps_text(word[2]));
    } else if (strcmp(cmd, "LINSERT") == 0) {
        struct row_view view;
        for (listq_first(&coll->seq, &at); listq_valid(&at); listq_next(&coll->seq, &at)) {
            assert_int_equal(row_view(at.row, 0, &view), 0);
            if (bytes_eq(view.value, steps_text(word[1])))
                break;
        }
        assert_int_equal(mut_list_insert(m->mut, coll, &at, false, steps_text(word[2])), 0);
    } else if (strcmp(cmd + 1, "PUSH") == 0) {
        mut_list_push(m->mut, coll, steps_text(word[1]), cmd[0] == 'L');
    } else {
        assert_string_equal(cmd + 1, "POP");
        (void)mut_list_pop(m->mut, coll, cmd[0] == 'L');
    }
}

static void command(struct prop_member *m, const struct ks_key *key, char **word)
{
    const char *cmd = word[0];
    int64_t i;

    if (strcmp(cmd, "SET") == 0)
        mut_set(m->mut, key, steps_text(word[1]), 0);
    else if (strcmp(cmd, "DEL") == 0)
        mut_del(m->mut, key);
    else if (strcmp(cmd, "INCRBY") == 0)
        assert_int_equal(mut_incr(m->mut, key, steps_int(word[1]), &i), 0);
    else if (strcmp(cmd, "EXPIRE") == 0)
        mut_expire(m->mut, key, strtoull(word[1], NULL, 10));
    else if (strcmp(cmd, "PERSIST") == 0)
        mut_expire(m->mut, key, 0);
    else if (cmd[0] == 'L' || cmd[0] == 'R')
        list_command(m, key, word);
    else
        elem_command(m, key, word);
}

void steps_commands(struct prop_member *m, const struct ks_key *key, char **word)
{
    const bool whole = strcmp(word[0], "SET") == 0 || strcmp(word[0], "DEL") == 0;

    if (whole)
        member_need_rows(m, key, 1);
    else
        member_need(m, key, 1);
    assert_int_equal(mut_check(m->mut, 4096), 0);
    mut_begin(m->mut, m->now_ms);
    for (char **first = word; *first != NULL; first = word) {
        while (*word != NULL && strcmp(*word, "+") != 0)
            word++;
        if (*word != NULL)
            *word++ = NULL;
        command(m, key, first);
    }
    (void)mut_end(m->mut);
    ks_wait_unpin(&m->wait);
    member_turn(m);
}

void steps_cold(struct prop_member *m)
{
    do {
        member_write_back(m, 1u << 20);
        member_idle(m);
        member_demote(m);
    } while (ks_count_hot(m->ks) != 0);
}

void steps_send(struct net *n, const char *steps)
{
    struct ks_key key = member_key("k");
    char text[64];
    char *word[STEPS_WORDS_MAX + 1] = {NULL}, *save = NULL;

    (void)snprintf(text, sizeof(text), "%s", steps);
    word[0] = strtok_r(text, " ", &save);
    for (unsigned i = 1; i < STEPS_WORDS_MAX && word[i - 1] != NULL; i++)
        word[i] = strtok_r(NULL, " ", &save);
    n->member[0].now_ms += 10;
    steps_commands(&n->member[0], &key, word);
}

struct bytes steps_batch(struct buf *out, struct tag tag, uint64_t seq, const struct vv *seen,
                         const struct op *ops, unsigned count)
{
    buf_clear(out);
    assert_int_equal(buf_reserve(out, BATCH_HEADER_BYTES_MAX), 0);
    buf_commit(out, batch_header_store(buf_end(out), tag, seq, count, seen));
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(buf_reserve(out, op_size(&ops[i])), 0);
        buf_commit(out, op_store(buf_end(out), &ops[i], tag.hlc));
    }
    return buf_bytes(out);
}

void steps_write_back(struct prop_member *m)
{
    member_write_back(m, 1u << 20);
    member_idle(m);
}

void steps_settle_cold(struct prop_member *m)
{
    steps_write_back(m);
    member_settle(m);
    steps_cold(m);
}
