/*
 * Segment files and the watermark: encoding, decoding, reading.
 */
#include "engine/base/le.h"

#include "replication/oplog_mark.h"

#include "tests/unit/test_oplog_fixture.h"

static const struct segment_header sample_header = {
    .log_id = 0x1122334455667788u,
    .number = 7,
    .first_lsn = 1000,
    .prev_last_lsn = 999,
    .prev_end = 8192,
    .prev_chain = 0xaabbccddeeff0011u,
    .created_ms = 1700000000000,
};

static void a_header_is_what_its_description_says(void **state)
{
    uint8_t block[SEGMENT_HEADER_BYTES];

    (void)state;
    segment_header_encode(&sample_header, block);

    expect_bytes(bytes_of(block, 8), BYTES_LIT("TIERRALG"));
    expect_u64(le32_load(block + 8), 1);
    expect_u64(le32_load(block + 12), 0);
    expect_u64(le64_load(block + 16), sample_header.log_id);
    expect_u64(le64_load(block + 24), 7);
    expect_u64(le64_load(block + 32), 1000);
    expect_u64(le64_load(block + 40), 999);
    expect_u64(le64_load(block + 48), 8192);
    expect_u64(le64_load(block + 56), sample_header.prev_chain);
    expect_u64(le64_load(block + 64), sample_header.created_ms);
    expect_u64(le64_load(block + 4088), sum64(block, 4088));

    struct segment_header back;
    uint8_t again[SEGMENT_HEADER_BYTES];
    expect_i64(segment_header_decode(block, &back), 0);
    segment_header_encode(&back, again);
    assert_memory_equal(again, block, sizeof(again));
}

static void every_damaged_bit_of_a_header_is_refused(void **state)
{
    uint8_t block[SEGMENT_HEADER_BYTES];
    struct segment_header out;

    (void)state;
    segment_header_encode(&sample_header, block);
    for (size_t bit = 0; bit < sizeof(block) * 8; bit++) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        expect_i64(segment_header_decode(block, &out), -ERR_CORRUPT);
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    memset(block, 0, sizeof(block));
    expect_i64(segment_header_decode(block, &out), -ERR_NOT_FOUND);
}

static void a_header_that_makes_no_sense_is_refused(void **state)
{
    uint8_t block[SEGMENT_HEADER_BYTES];
    struct segment_header out;
    struct segment_header h = sample_header;

    (void)state;
    h.prev_last_lsn = 998;
    segment_header_encode(&h, block);
    expect_i64(segment_header_decode(block, &out), -ERR_CORRUPT);
    h.flags = SEGMENT_FLAG_GAP;
    segment_header_encode(&h, block);
    expect_i64(segment_header_decode(block, &out), 0);
    h.flags = 0x80;
    segment_header_encode(&h, block);
    expect_i64(segment_header_decode(block, &out), -ERR_FORMAT);
    h = sample_header;
    h.prev_end = 4097;
    segment_header_encode(&h, block);
    expect_i64(segment_header_decode(block, &out), -ERR_CORRUPT);
}

/* A record of `len` bytes at `at`; returns its size. */
static size_t put(uint8_t *at, uint64_t lsn, size_t len, uint64_t durable_lsn)
{
    memset(at + SEGMENT_RECORD_HEADER_BYTES, 'p', len);
    const struct oplog_record record = {
        .lsn = lsn,
        .seq = lsn + 5,
        .origin = 3,
        .durable_lsn = durable_lsn,
        .payload = bytes_of(at + SEGMENT_RECORD_HEADER_BYTES, len),
    };
    (void)segment_record_encode(at, segment_seed(1, 1), &record);
    return segment_record_bytes(len);
}

static void a_record_is_what_its_description_says(void **state)
{
    uint8_t at[64];
    uint8_t number[8] = {1};

    (void)state;
    memset(at, 0xff, sizeof(at));
    expect_u64(put(at, 0x100000009u, 5, 0x100000002u), 40);

    expect_u64(le64_load(at), sum64(at + 8, 32) ^ sum64_seed(number, 8, 1));
    expect_u64(le32_load(at + 8), 5);
    expect_u64(le32_load(at + 12), 7);
    expect_u64(le64_load(at + 16), 0x10000000eu);
    expect_u64(le32_load(at + 24), 9);
    expect_u64(at[28], 3);
    expect_u64(at[29], 0x80);
    expect_u64(at[30] | at[31], 0);
    expect_bytes(bytes_of(at + 32, 8), BYTES_LIT("ppppp\0\0\0"));
    expect_u64(at[40], 0xff);
}

static void records_of_every_length_come_back(void **state)
{
    uint8_t at[512];

    (void)state;
    for (size_t len = 0; len < 300; len++) {
        struct oplog_record out;
        size_t bytes = 0;
        const size_t size = put(at, 77, len, 70);
        expect_u64(size % 8, 0);
        for (size_t have = 0; have < size; have += 8) {
            expect_i64(
                segment_record_decode(bytes_of(at, have), segment_seed(1, 1), 77, &out, &bytes),
                -ERR_TRUNCATED);
            expect_u64(bytes, have < 32 ? 32 : size);
        }
        expect_i64(
            segment_record_decode(bytes_of(at, sizeof(at)), segment_seed(1, 1), 77, &out, &bytes),
            0);
        expect_u64(bytes, size);
        expect_u64(out.lsn, 77);
        expect_u64(out.seq, 82);
        expect_u64(out.origin, 3);
        expect_u64(out.durable_lsn, 70);
        expect_u64(out.payload.len, len);
    }
}

static void every_damaged_bit_of_a_record_is_refused(void **state)
{
    uint8_t at[128];
    struct oplog_record out;
    size_t bytes;

    (void)state;
    memset(at, 0, sizeof(at));
    const size_t size = put(at, 77, 21, 70);
    for (size_t bit = 0; bit < size * 8; bit++) {
        at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        const int err =
            segment_record_decode(bytes_of(at, sizeof(at)), segment_seed(1, 1), 77, &out, &bytes);
        /* A length that reaches beyond the bytes at hand asks for more of them. */
        assert_true(err == -ERR_CORRUPT || (err == -ERR_TRUNCATED && bit / 64 == 1));
        at[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_record_of_another_segment_or_place_is_refused(void **state)
{
    uint8_t at[128];
    struct oplog_record out;
    size_t bytes;

    (void)state;
    (void)put(at, 77, 21, 70);
    const struct bytes data = bytes_of(at, sizeof(at));
    expect_i64(segment_record_decode(data, segment_seed(1, 2), 77, &out, &bytes), -ERR_CORRUPT);
    expect_i64(segment_record_decode(data, segment_seed(2, 1), 77, &out, &bytes), -ERR_CORRUPT);
    expect_i64(segment_record_decode(data, segment_seed(1, 1), 78, &out, &bytes), -ERR_CORRUPT);
    memset(at, 0, sizeof(at));
    expect_i64(segment_record_decode(data, segment_seed(1, 1), 77, &out, &bytes), -ERR_NOT_FOUND);
}

static void a_lag_beyond_its_field_claims_nothing(void **state)
{
    uint8_t at[64];
    struct oplog_record out;
    size_t bytes;

    (void)state;
    (void)put(at, UINT64_C(1) << 40, 1, 5);
    expect_i64(segment_record_decode(bytes_of(at, sizeof(at)), segment_seed(1, 1),
                                     UINT64_C(1) << 40, &out, &bytes),
               0);
    expect_u64(out.durable_lsn, 0);
}

static void names_are_numbers(void **state)
{
    char name[SEGMENT_NAME_BYTES];
    uint64_t number = 0;

    (void)state;
    segment_name(0xabc, name);
    expect_str(name, "0000000000000abc.log");
    assert_true(segment_name_parse(name, &number));
    expect_u64(number, 0xabc);
    assert_false(segment_name_parse("0000000000000000.log", &number));
    assert_false(segment_name_parse("000000000000abc.log", &number));
    assert_false(segment_name_parse("0000000000000ABC.log", &number));
    assert_false(segment_name_parse("0000000000000abc.log2", &number));
    assert_false(segment_name_parse("spare.tmp", &number));
    assert_false(segment_name_parse("", &number));
}

/* --- reader --- */

struct file_fx {
    char *root;
    char *path;
    int fd;
};

static int setup(void **state)
{
    struct file_fx *fx = mem_zalloc(sizeof(*fx));

    fx->root = tmpdir_create();
    fx->path = tmpdir_path(fx->root, "segment");
    fx->fd = file_open(fx->path, FILE_READ | FILE_WRITE | FILE_CREATE);
    assert_true(fx->fd >= 0);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct file_fx *fx = *state;

    (void)file_close(fx->fd);
    mem_free(fx->path);
    tmpdir_remove(fx->root);
    mem_free(fx);
    return 0;
}

static const struct segment_header first_header = {.log_id = 1, .number = 1, .first_lsn = 1};

static void the_reader_finds_records_longer_than_its_window(void **state)
{
    struct file_fx *fx = *state;
    static const size_t lens[] = {
        0, 10, SEGMENT_WINDOW_BYTES - 40, SEGMENT_WINDOW_BYTES * 3, 7, SEGMENT_WINDOW_BYTES, 100};
    uint8_t *at = mem_alloc(SEGMENT_WINDOW_BYTES * 3 + 64);
    struct segment_reader reader;
    struct oplog_record record;
    uint64_t offset = SEGMENT_HEADER_BYTES;

    for (size_t i = 0; i < ARRAY_COUNT(lens); i++) {
        const size_t size = put(at, i + 1, lens[i], 0);
        expect_i64(file_write_full(fx->fd, at, size, offset), 0);
        offset += size;
    }
    mem_free(at);

    segment_reader_init(&reader, fx->fd, &first_header);
    for (size_t i = 0; i < ARRAY_COUNT(lens); i++) {
        expect_i64(segment_reader_next(&reader, &record), 0);
        expect_u64(record.lsn, i + 1);
        expect_u64(record.payload.len, lens[i]);
    }
    expect_i64(segment_reader_next(&reader, &record), -ERR_NOT_FOUND);
    expect_u64(reader.offset, offset);
    /* It may be asked again, and then sees what was added. */
    uint8_t more[64];
    expect_i64(file_write_full(fx->fd, more, put(more, 8, 9, 0), offset), 0);
    expect_i64(segment_reader_next(&reader, &record), 0);
    expect_u64(record.lsn, 8);
    segment_reader_deinit(&reader);
}

static void a_length_beyond_the_file_allocates_nothing(void **state)
{
    struct file_fx *fx = *state;
    struct segment_reader reader;
    struct oplog_record record;
    uint8_t at[64];

    (void)put(at, 1, 8, 0);
    le32_store(at + 8, UINT32_MAX - 64);
    expect_i64(file_write_full(fx->fd, at, sizeof(at), SEGMENT_HEADER_BYTES), 0);
    segment_reader_init(&reader, fx->fd, &first_header);

    expect_i64(segment_reader_next(&reader, &record), -ERR_CORRUPT);
    assert_true(reader.window_cap <= SEGMENT_WINDOW_BYTES);
    segment_reader_deinit(&reader);
}

static void a_survey_finds_what_stands_beyond_a_hole(void **state)
{
    struct file_fx *fx = *state;
    struct segment_reader reader;
    struct segment_survey survey;
    struct oplog_record record;
    uint8_t zeros[64] = {0};
    uint64_t offsets[201];
    uint8_t at[256];

    offsets[0] = SEGMENT_HEADER_BYTES;
    for (uint64_t i = 0; i < 200; i++) {
        const size_t size = put(at, i + 1, (size_t)(i * 13 % 200), i < 150 ? 0 : 40);
        expect_i64(file_write_full(fx->fd, at, size, offsets[i]), 0);
        offsets[i + 1] = offsets[i] + size;
    }
    expect_i64(file_write_full(fx->fd, zeros, 32, offsets[100]), 0);
    expect_i64(file_write_full(fx->fd, zeros, 32, offsets[120]), 0);

    segment_reader_init(&reader, fx->fd, &first_header);
    while (segment_reader_next(&reader, &record) == 0)
        continue;
    expect_u64(reader.next_lsn, 101);
    expect_i64(segment_reader_survey(&reader, &survey), 0);
    expect_u64(survey.records_count, 98);
    expect_u64(survey.first_offset, offsets[101]);
    expect_u64(survey.first_lsn, 102);
    expect_u64(survey.last_lsn, 200);
    expect_u64(survey.durable_lsn, 40);
    segment_reader_skip(&reader, survey.first_offset, survey.first_lsn);
    expect_i64(segment_reader_next(&reader, &record), 0);
    expect_u64(record.lsn, 102);
    segment_reader_deinit(&reader);
}

/* --- the watermark --- */

static void the_newer_good_slot_of_the_watermark_counts(void **state)
{
    struct file_fx *fx = *state;
    struct mark mark = {.log_id = 9};
    struct mark back;

    expect_i64(mark_read(fx->fd, &back), -ERR_NOT_FOUND);
    for (uint64_t lsn = 1; lsn < 6; lsn++) {
        mark.durable_lsn = lsn * 10;
        expect_i64(mark_write_sync(fx->fd, &mark), 0);
        expect_i64(mark_read(fx->fd, &back), 0);
        expect_u64(back.durable_lsn, lsn * 10);
        expect_u64(back.log_id, 9);
    }
    expect_u64(back.count, 5);
    /* Without the newer one the older one counts; without both, none. */
    expect_i64(file_write_full(fx->fd, "x", 1, MARK_SLOT_STEP + 33), 0);
    expect_i64(mark_read(fx->fd, &back), 0);
    expect_u64(back.durable_lsn, 40);
    expect_i64(file_write_full(fx->fd, "x", 1, 33), 0);
    expect_i64(mark_read(fx->fd, &back), -ERR_CORRUPT);
}

#define WITH_FILE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_what_its_description_says),
        cmocka_unit_test(every_damaged_bit_of_a_header_is_refused),
        cmocka_unit_test(a_header_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_record_is_what_its_description_says),
        cmocka_unit_test(records_of_every_length_come_back),
        cmocka_unit_test(every_damaged_bit_of_a_record_is_refused),
        cmocka_unit_test(a_record_of_another_segment_or_place_is_refused),
        cmocka_unit_test(a_lag_beyond_its_field_claims_nothing),
        cmocka_unit_test(names_are_numbers),
        WITH_FILE(the_reader_finds_records_longer_than_its_window),
        WITH_FILE(a_length_beyond_the_file_allocates_nothing),
        WITH_FILE(a_survey_finds_what_stands_beyond_a_hole),
        WITH_FILE(the_newer_good_slot_of_the_watermark_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
