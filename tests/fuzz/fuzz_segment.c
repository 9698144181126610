/*
 * Fuzz target: segment files of the op log. The first byte chooses:
 *
 *   0  the rest is a header block: what is accepted encodes to the same bytes.
 *   1  the rest is what stands behind a header: the reader and the survey end, stay within the
 * file, and each record that comes back encodes to the bytes that it was read from. 2  the rest is
 * a recipe: a good segment of some records, then damage done to it. Only records that were written
 * come back, in order, up to the first damaged one; what the survey counts beyond was written, too.
 *   3  the rest is a slot of the watermark.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/io/file.h"

#include "replication/oplog_mark.h"
#include "replication/oplog_segment.h"

#include "tests/fuzz/fuzz.h"

#define RECORDS_MAX    32u
#define RECORD_LEN_MAX 255u
#define RECIPE_BYTES   (RECORDS_MAX * (RECORD_LEN_MAX + 40u))
#define FIRST_LSN      5u

static const struct segment_header header = {
    .log_id = 77, .number = 1, .first_lsn = FIRST_LSN, .prev_last_lsn = FIRST_LSN - 1};

static void fuzz_header(struct bytes in)
{
    uint8_t block[SEGMENT_HEADER_BYTES] = {0};
    uint8_t again[SEGMENT_HEADER_BYTES];
    struct segment_header out;

    if (in.len != 0)
        memcpy(block, in.ptr, size_min(in.len, sizeof(block)));
    /* Past the sum, which no mutation finds. */
    if (in.len < sizeof(block))
        le64_store(block + sizeof(block) - 8, sum64(block, sizeof(block) - 8));
    if (segment_header_decode(block, &out) != 0)
        return;
    segment_header_encode(&out, again);
    CHECK(memcmp(again, block, sizeof(block)) == 0);
}

static void fuzz_mark(struct bytes in)
{
    uint8_t slot[MARK_SLOT_BYTES] = {0};
    struct mark mark;

    if (in.len != 0)
        memcpy(slot, in.ptr, size_min(in.len, sizeof(slot)));
    if (in.len < sizeof(slot))
        le64_store(slot + sizeof(slot) - 8, sum64(slot, sizeof(slot) - 8));
    if (mark_decode(slot, &mark) == 0)
        CHECK(mark_offset(&mark) <= MARK_SLOT_STEP);
}

static int make_file(struct bytes records)
{
    const int fd = memfd_create("segment", MFD_CLOEXEC);

    CHECK(fd >= 0);
    CHECK(file_write_full(fd, records.ptr, records.len, SEGMENT_HEADER_BYTES) == 0);
    return fd;
}

static void check_record(struct bytes records, const struct oplog_record *record, uint64_t offset)
{
    uint8_t again[SEGMENT_RECORD_HEADER_BYTES + RECORD_LEN_MAX + SEGMENT_RECORD_ALIGN];
    const size_t at = (size_t)(offset - SEGMENT_HEADER_BYTES);
    const size_t bytes = segment_record_bytes(record->payload.len);

    CHECK(at + bytes <= records.len);
    CHECK(bytes_eq(record->payload,
                   bytes_of(records.ptr + at + SEGMENT_RECORD_HEADER_BYTES, record->payload.len)));
    if (record->payload.len > RECORD_LEN_MAX)
        return;
    memcpy(again + SEGMENT_RECORD_HEADER_BYTES, record->payload.ptr, record->payload.len);
    (void)segment_record_encode(again, segment_seed(header.log_id, header.number), record);
    /* A lag that did not fit is written back as another. */
    if (le32_load(records.ptr + at + 12) != UINT32_MAX)
        CHECK(memcmp(again, records.ptr + at, bytes) == 0);
}

/* Reads all; returns the number of records before the first that is not good. */
static uint64_t read_all(struct bytes records, struct segment_survey *survey)
{
    const int fd = make_file(records);
    struct segment_reader reader;
    struct oplog_record record;
    uint64_t count = 0;
    uint64_t offset;
    int err;

    segment_reader_init(&reader, fd, &header);
    for (;;) {
        offset = reader.offset;
        err = segment_reader_next(&reader, &record);
        if (err != 0)
            break;
        CHECK(record.lsn == FIRST_LSN + count);
        CHECK(reader.offset > offset);
        check_record(records, &record, offset);
        count++;
    }
    CHECK(err == -ERR_NOT_FOUND || err == -ERR_CORRUPT);
    CHECK(reader.offset == offset);
    CHECK(segment_reader_survey(&reader, survey) == 0);
    if (survey->records_count != 0) {
        segment_reader_skip(&reader, survey->first_offset, survey->first_lsn);
        CHECK(segment_reader_next(&reader, &record) == 0);
        CHECK(record.lsn > FIRST_LSN + count);
    }
    segment_reader_deinit(&reader);
    CHECK(close(fd) == 0);
    return count;
}

struct recipe {
    uint8_t bytes[RECIPE_BYTES];
    size_t len;
    size_t ends[RECORDS_MAX];
    size_t count;
};

static void recipe_make(struct recipe *r, struct bytes *in)
{
    uint8_t count = 0;
    uint8_t len = 0;

    if (u8_get(in, &count) != 0)
        return;
    for (size_t i = 0; i < count % RECORDS_MAX && u8_get(in, &len) == 0; i++) {
        uint8_t *at = r->bytes + r->len;
        memset(at + SEGMENT_RECORD_HEADER_BYTES, (int)i, len);
        const struct oplog_record record = {
            .lsn = FIRST_LSN + i,
            .durable_lsn = len % 2 == 0 ? 0 : FIRST_LSN - 1 + i,
            .payload = bytes_of(at + SEGMENT_RECORD_HEADER_BYTES, len),
        };
        (void)segment_record_encode(at, segment_seed(header.log_id, header.number), &record);
        r->len += segment_record_bytes(len);
        r->ends[r->count++] = r->len;
    }
}

static void fuzz_recipe(struct bytes in)
{
    struct recipe r = {.len = 0};
    struct segment_survey survey;
    size_t damaged = SIZE_MAX;
    uint16_t at;
    uint8_t value;

    recipe_make(&r, &in);
    while (r.len != 0 && le16_get(&in, &at) == 0 && u8_get(&in, &value) == 0) {
        uint8_t *byte = &r.bytes[at % r.len];
        if (*byte != value)
            damaged = size_min(damaged, at % r.len);
        *byte = value;
    }
    uint64_t whole = 0;
    while (whole < r.count && r.ends[whole] <= damaged)
        whole++;
    const uint64_t got = read_all(bytes_of(r.bytes, r.len), &survey);
    /* Damage may have been undone. */
    CHECK(got >= whole);
    CHECK(got + survey.records_count <= r.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    struct segment_survey survey;
    uint8_t mode = 0;

    if (u8_get(&in, &mode) != 0)
        return 0;
    switch (mode % 4) {
    case 0:
        fuzz_header(in);
        break;
    case 1:
        (void)read_all(in, &survey);
        break;
    case 2:
        fuzz_recipe(in);
        break;
    default:
        fuzz_mark(in);
        break;
    }
    return 0;
}
