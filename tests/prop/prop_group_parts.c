/*
 * Parts of strings in chunks (STRING with BITS or CHUNK) that come to keys which are cold, or hot:
 * what is read for them, what shows, and what is left in the end.
 */

#include "engine/space/coll.h"
#include "engine/space/group.h"
#include "engine/space/strval.h"
#include "engine/value/op.h"
#include "engine/value/row_chunk.h"

#include "replication/apply.h"
#include "replication/mutate_impl.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/prop/prop_group_steps.h"

#define LONG_BYTES 20000u

struct remote {
    struct prop_member *to;
    uint64_t seqs[NET_MEMBERS_MAX + 1]; /* By origin. */
    struct buf out;
};

/* Time of ops made by hand. */
static struct tag tag_at(unsigned time, uint8_t origin)
{
    return tag_of(((uint64_t)1 << 20) + time, origin);
}

static void remote_open(struct remote *r, struct net *n)
{
    *r = (struct remote){.to = &n->member[NET_MEMBERS_MAX - 1]};
    *n = (struct net){0};
    net_open(n, NET_MEMBERS_MAX);
    buf_init(&r->out, UINT32_MAX);
}

static void remote_close(struct remote *r, struct net *n)
{
    buf_deinit(&r->out);
    net_close(n);
}

/* A batch of `origin` at `time` that has seen another one's up to `seen`. */
static void remote_ops(struct remote *r, struct tag tag, struct tag seen, struct op *ops,
                       unsigned count)
{
    struct vv vv;
    uint64_t lsn;

    vv_init(&vv);
    if (!tag_is_none(seen))
        assert_int_equal(vv_raise(&vv, seen), 0);
    for (unsigned i = 0; i < count; i++)
        ops[i].key = steps_text("k");
    const struct bytes batch = steps_batch(&r->out, tag, ++r->seqs[tag.origin], &vv, ops, count);
    assert_int_equal(apply_remote(r->to->mut, batch, &lsn), APPLY_DONE);
    member_turn(r->to);
}

static void remote_long_set(struct remote *r, struct tag tag, struct tag seen)
{
    static const uint8_t zeros[LONG_BYTES];
    struct op op = {.kind = OP_SET, .value = bytes_of(zeros, sizeof(zeros))};

    remote_ops(r, tag, seen, &op, 1);
}

/* One bit. */
static void remote_bit(struct remote *r, struct tag tag, struct tag seen, struct tag generation,
                       uint64_t at, uint64_t at_ms)
{
    struct op ops[] = {
        {.kind = OP_STRING, .generation = generation, .len = LONG_BYTES, .expire_at_ms = at_ms},
        {.kind = OP_BITS, .generation = generation, .at = at, .bits_count = 1, .bits = 1},
    };

    remote_ops(r, tag, seen, ops, 2);
}

static void collect_all(struct prop_member *m)
{
    struct vv stable;

    for (unsigned i = 0; i < 3; i++) {
        member_cover(m, &stable);
        member_collect(m, &stable, UINT64_MAX, m->now_ms);
        member_settle(m);
    }
}

static void expect_settled(struct prop_member *m, uint64_t keys)
{
    assert_int_equal(ks_group_unsettled(m->ks), 0);
    assert_int_equal(ks_count(m->ks), keys);
}

static void bits_of_cold_strings_read_nothing(void **state)
{
    static struct net n;
    struct remote r;
    const struct tag none = {0}, generation = tag_at(1, 1);
    const uint64_t at_ms = 1000000000000;
    struct op image = {
        .kind = OP_CHUNK, .generation = generation, .at = 3, .value = steps_text("a")};
    struct op expire = {.kind = OP_EXPIRE,
                        .target_type = VT_STRING,
                        .target = tag_at(19, 1),
                        .expire_at_ms = at_ms};

    (void)state;
    remote_open(&r, &n);
    remote_long_set(&r, generation, none);
    steps_write_back(r.to);
    member_settle(r.to);
    collect_all(r.to);
    /* It was a string that began anew: the first part is looked at once more. */
    remote_bit(&r, tag_at(2, 1), none, generation, 7, 0);
    member_settle(r.to);
    collect_all(r.to);
    const uint64_t reads = ks_metrics(r.to->ks)->row_reads;
    for (unsigned i = 3; i < 20; i++) {
        remote_bit(&r, tag_at(i, 1), none, generation, i * 1000, 0);
        expect_settled(r.to, 1);
        if (i % 3 == 0)
            steps_write_back(r.to);
    }
    remote_ops(&r, tag_at(25, 2), tag_at(19, 1), &expire, 1);
    remote_bit(&r, tag_at(26, 1), tag_at(25, 2), generation, 8, at_ms);
    expect_settled(r.to, 1);
    remote_ops(&r, tag_at(30, 1), none, &image, 1);
    steps_write_back(r.to);
    assert_int_equal(ks_metrics(r.to->ks)->row_reads, reads);
    assert_int_equal(ks_count_hot(r.to->ks), 0);
    remote_close(&r, &n);
}

static struct row_view view_of_key(struct prop_member *m)
{
    const struct ks_key key = member_key("k");
    struct row_view view;

    assert_int_equal(row_view(ks_group_key_row(m->ks, &key), 0, &view), 0);
    return view;
}

/*
 * A time that a node without peers, or a former build, has given a value in chunks: it shows, and
 * the first change here makes it one of the generation. Not where the string stands before a hash:
 * a part takes away that there is one, and its elements would be left.
 */
static void a_time_of_a_value_becomes_one_of_its_generation(void **state)
{
    static struct net n;
    const struct ks_key key = member_key("k");
    const struct tag none = {0}, generation = tag_at(1, 1);
    const uint64_t at_ms = 1000000000000;

    (void)state;
    for (unsigned what = 0; what < 5; what++) {
        struct op hash = {.kind = OP_ELEM_SET, .type = VT_HASH, .sub = steps_text("f")};
        const bool lost = what > 2;
        struct remote r;

        remote_open(&r, &n);
        struct prop_member *to = r.to;
        if (lost)
            remote_ops(&r, tag_at(1, 2), none, &hash, 1);
        remote_long_set(&r, generation, none);
        remote_bit(&r, tag_at(2, 1), none, generation, 1000, at_ms);
        steps_settle_cold(to);
        member_need(to, &key, 1);
        assert_true(view_of_key(to).target_type == VT_STRING);
        assert_true(view_of_key(to).expire_at_ms == at_ms);
        mut_begin(to->mut, to->now_ms);
        if (what == 0)
            assert_int_equal(mut_string_bits(to->mut, &key, 7, 1, 1), 0);
        else
            mut_expire(to->mut, &key, what % 2 == 1 ? 0 : at_ms + 1);
        (void)mut_end(to->mut);
        member_turn(to);
        const struct row_view view = view_of_key(to);
        assert_true(lost || (view.target_type == VT_CHUNKED && tag_eq(view.target, generation)));
        assert_true(view.expire_at_ms == (what == 0 ? at_ms : what % 2 == 1 ? 0 : at_ms + 1));
        assert_true(row_asserts_type(ks_group_key_row(to->ks, &key)) == lost);
        /* A part of which the maker has seen nothing of that leaves it. */
        remote_bit(&r, tag_at(3, 1), none, generation, 2000, 0);
        assert_true(lost || view_of_key(to).expire_at_ms == view.expire_at_ms);
        remote_close(&r, &n);
    }
}

/* A probe of a string reads its key row, and no more than one of its chunks. */
static void a_probe_reads_no_chunks(void **state)
{
    static struct net n;
    struct remote r;
    const struct tag none = {0}, generation = tag_at(1, 1);

    (void)state;
    remote_open(&r, &n);
    remote_long_set(&r, generation, none);
    steps_write_back(r.to);
    for (unsigned i = 2; i < 10; i++) {
        const uint64_t before = ks_group_metrics(r.to->ks)->read_bytes;
        remote_bit(&r, tag_at(i, 1), none, generation, i * 1000, 0);
        member_settle(r.to);
        steps_write_back(r.to);
        member_settle(r.to);
        expect_settled(r.to, 1);
        assert_true(ks_group_metrics(r.to->ks)->read_bytes - before < 4 * ROW_CHUNK_BYTES);
    }
    assert_true(ks_group_metrics(r.to->ks)->probes != 0);
    remote_close(&r, &n);
}

/*
 * 3 has set v, 1 a long string later; 2 deletes that and has not seen v, which shows then. A part
 * of the long string by one who has seen both, and not the DEL, takes v away and is none itself.
 */
static void a_part_may_leave_nothing(void **state)
{
    static struct net n;
    struct remote r;
    const struct tag none = {0}, v = tag_at(1, 3), generation = tag_at(2, 1);

    (void)state;
    for (unsigned when = 0; when < 16; when++) {
        struct op set = {.kind = OP_SET, .value = steps_text("v")};
        struct op del = {.kind = OP_DEL};
        remote_open(&r, &n);
        remote_ops(&r, v, none, &set, 1);
        if ((when & 1) != 0)
            steps_settle_cold(r.to);
        remote_long_set(&r, generation, none);
        if ((when & 2) != 0)
            steps_settle_cold(r.to);
        remote_ops(&r, tag_at(3, 2), generation, &del, 1);
        if ((when & 4) != 0) {
            steps_settle_cold(r.to);
            expect_settled(r.to, 1);
        }
        if ((when & 8) != 0) {
            member_close(r.to);
            member_open(r.to);
        }
        remote_bit(&r, tag_at(4, 1), v, generation, 7, 0);
        steps_settle_cold(r.to);
        expect_settled(r.to, 0);
        remote_close(&r, &n);
    }
}

/* Every chunk of the resident string is what its row holds. */
static void expect_chunks(const struct coll *coll)
{
    uint8_t sub[ROW_CHUNK_SUB_BYTES];
    uint8_t image[ROW_CHUNK_BYTES], shown[ROW_CHUNK_BYTES];
    struct tag tag;

    for (uint32_t i = 0; i * ROW_CHUNK_BYTES < LONG_BYTES; i++) {
        size_t len;
        be32_store(sub, i);
        const struct bytes row = ks_group_elem_row(coll, bytes_of(sub, sizeof(sub)));
        memset(image, 0, sizeof(image));
        assert_int_equal(row_chunk_read(row, coll->generation, image, &len, &tag), 0);
        strval_copy(coll, (uint64_t)i * ROW_CHUNK_BYTES, shown, sizeof(shown));
        assert_memory_equal(shown, image, sizeof(shown));
    }
}

/* Some bits, or an image, by one who has seen all but perhaps what another one did last. */
static void remote_part(struct remote *r, struct rng *rng, unsigned time, struct tag generation)
{
    static uint8_t image[ROW_CHUNK_BYTES];
    const struct tag tag = tag_at(time, (uint8_t)(1 + rng_below(rng, 3)));
    const bool all = rng_below(rng, 3) != 0;
    const struct tag seen = tag_of(tag.hlc - 1, (uint8_t)(1 + tag.origin % 3));
    struct op ops[] = {
        {.kind = OP_STRING, .generation = generation, .len = LONG_BYTES},
        {.kind = OP_BITS,
         .generation = generation,
         .at = rng_below(rng, 2) == 0 ? rng_below(rng, 100) + 8100
                                      : rng_below(rng, 8 * LONG_BYTES - 64),
         .bits_count = (uint8_t)(1 + rng_below(rng, 64))},
    };

    ops[1].bits = rng_u64(rng) >> (64 - ops[1].bits_count);
    if (rng_below(rng, 10) == 0) {
        memset(image, (int)time, sizeof(image));
        ops[1] = (struct op){.kind = OP_CHUNK,
                             .generation = generation,
                             .at = rng_below(rng, 3),
                             .value = bytes_of(image, sizeof(image))};
    }
    const uint64_t known = vv_get(&r->to->mut->vv, seen.origin);
    remote_ops(r, tag, all && known != 0 ? tag_of(known, seen.origin) : (struct tag){0}, ops, 2);
}

static void hot_strings_show_what_their_rows_hold(void **state)
{
    static struct net n;
    const struct ks_key key = member_key("k");
    const struct tag none = {0};
    struct remote r;
    struct rng rng;
    struct tag generation = tag_at(1, 1);

    (void)state;
    seed_rng(&rng, 1);
    remote_open(&r, &n);
    remote_long_set(&r, generation, none);
    for (unsigned time = 2; time < 2000; time++) {
        member_need(r.to, &key, 1);
        if (rng_below(&rng, 400) == 0) {
            generation = tag_at(time, (uint8_t)(1 + rng_below(&rng, 3)));
            remote_long_set(&r, generation, none);
        } else {
            remote_part(&r, &rng, time, generation);
        }
        if (rng_below(&rng, 50) == 0)
            steps_settle_cold(r.to);
        member_need(r.to, &key, 1);
        const struct obj *obj = ks_get(r.to->ks, &key, 0);
        assert_non_null(obj);
        assert_true(obj_is_chunked(obj));
        expect_chunks(obj_coll(obj));
    }
    assert_true(ks_group_metrics(r.to->ks)->operands_hot > 1000);
    remote_close(&r, &n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_of_cold_strings_read_nothing),
        cmocka_unit_test(a_time_of_a_value_becomes_one_of_its_generation),
        cmocka_unit_test(a_probe_reads_no_chunks),
        cmocka_unit_test(hot_strings_show_what_their_rows_hold),
        cmocka_unit_test(a_part_may_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
