/*
 * Segment files: encoding and decoding, and a reader with a bounded window.
 */
#include "replication/oplog_segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/io/file.h"

#define RECORD_FLAGS      0x80u
#define HEADER_SUM_OFFSET (SEGMENT_HEADER_BYTES - 8u)
#define HEADER_USED_BYTES 72u
/* Bytes 28 .. 31 of a record without the origin: flags, and two zeros. */
#define RECORD_MARK_MASK 0xffffff00u
#define RECORD_MARK      ((uint32_t)RECORD_FLAGS << 8)

static const uint8_t header_magic[8] = {'T', 'I', 'E', 'R', 'R', 'A', 'L', 'G'};

STATIC_ASSERT(SEGMENT_RECORD_HEADER_BYTES % SEGMENT_RECORD_ALIGN == 0);
STATIC_ASSERT(SEGMENT_HEADER_BYTES % SEGMENT_RECORD_ALIGN == 0);

/* --- encoding --- */

void segment_header_encode(const struct segment_header *header, uint8_t out[SEGMENT_HEADER_BYTES])
{
    memset(out, 0, SEGMENT_HEADER_BYTES);
    memcpy(out, header_magic, sizeof(header_magic));
    le32_store(out + 8, SEGMENT_VERSION);
    le32_store(out + 12, header->flags);
    le64_store(out + 16, header->log_id);
    le64_store(out + 24, header->number);
    le64_store(out + 32, header->first_lsn);
    le64_store(out + 40, header->prev_last_lsn);
    le64_store(out + 48, header->prev_end);
    le64_store(out + 56, header->prev_chain);
    le64_store(out + 64, header->created_ms);
    le64_store(out + HEADER_SUM_OFFSET, sum64(out, HEADER_SUM_OFFSET));
}

static bool all_zero(const uint8_t *ptr, size_t len)
{
    /* Comparing the bytes with themselves shifted by one is memcmp's speed. */
    return len == 0 || (ptr[0] == 0 && memcmp(ptr, ptr + 1, len - 1) == 0);
}

/* Sums protect against damage, these against a writer that was wrong. */
static bool header_sane(const struct segment_header *h)
{
    const bool gap = (h->flags & SEGMENT_FLAG_GAP) != 0;

    if (h->number == 0 || h->first_lsn == 0 || h->prev_last_lsn >= h->first_lsn)
        return false;
    if (!gap && h->prev_last_lsn + 1 != h->first_lsn)
        return false;
    return h->prev_end == 0 ||
           (h->prev_end >= SEGMENT_HEADER_BYTES && h->prev_end % SEGMENT_RECORD_ALIGN == 0);
}

int segment_header_decode(const uint8_t block[SEGMENT_HEADER_BYTES], struct segment_header *out)
{
    if (all_zero(block, SEGMENT_HEADER_BYTES))
        return -ERR_NOT_FOUND;
    if (memcmp(block, header_magic, sizeof(header_magic)) != 0)
        return -ERR_CORRUPT;
    if (le64_load(block + HEADER_SUM_OFFSET) != sum64(block, HEADER_SUM_OFFSET))
        return -ERR_CORRUPT;
    if (le32_load(block + 8) != SEGMENT_VERSION)
        return -ERR_FORMAT;

    const struct segment_header h = {
        .flags = le32_load(block + 12),
        .log_id = le64_load(block + 16),
        .number = le64_load(block + 24),
        .first_lsn = le64_load(block + 32),
        .prev_last_lsn = le64_load(block + 40),
        .prev_end = le64_load(block + 48),
        .prev_chain = le64_load(block + 56),
        .created_ms = le64_load(block + 64),
    };
    if ((h.flags & ~SEGMENT_FLAG_GAP) != 0)
        return -ERR_FORMAT;
    if (!header_sane(&h) ||
        !all_zero(block + HEADER_USED_BYTES, HEADER_SUM_OFFSET - HEADER_USED_BYTES))
        return -ERR_CORRUPT;
    *out = h;
    return 0;
}

uint64_t segment_seed(uint64_t log_id, uint64_t number)
{
    uint8_t bytes[8];

    le64_store(bytes, number);
    return sum64_seed(bytes, sizeof(bytes), log_id);
}

static uint32_t record_lag(const struct oplog_record *record)
{
    const uint64_t lag = record->lsn - record->durable_lsn;

    return lag > UINT32_MAX ? UINT32_MAX : (uint32_t)lag;
}

uint64_t segment_record_encode(uint8_t *at, uint64_t seed, const struct oplog_record *record)
{
    const size_t len = record->payload.len;
    const size_t bytes = segment_record_bytes(len);

    CHECK(len <= UINT32_MAX);
    CHECK(record->durable_lsn < record->lsn);
    le32_store(at + 8, (uint32_t)len);
    le32_store(at + 12, record_lag(record));
    le64_store(at + 16, record->seq);
    le32_store(at + 24, (uint32_t)record->lsn);
    le32_store(at + 28, RECORD_MARK | record->origin);
    memset(at + SEGMENT_RECORD_HEADER_BYTES + len, 0, bytes - SEGMENT_RECORD_HEADER_BYTES - len);
    const uint64_t sum = sum64(at + 8, bytes - 8) ^ seed;
    le64_store(at, sum);
    return sum;
}

/* `at` has a record header; 0 if it cannot be one, else the size of the whole record. */
static size_t record_size(const uint8_t *at)
{
    if ((le32_load(at + 28) & RECORD_MARK_MASK) != RECORD_MARK)
        return 0;
    return segment_record_bytes(le32_load(at + 8));
}

int segment_record_decode(struct bytes data, uint64_t seed, uint64_t lsn, struct oplog_record *out,
                          size_t *out_bytes)
{
    const uint8_t *at = data.ptr;

    if (data.len < SEGMENT_RECORD_HEADER_BYTES) {
        *out_bytes = SEGMENT_RECORD_HEADER_BYTES;
        return -ERR_TRUNCATED;
    }
    const size_t bytes = record_size(at);
    if (bytes == 0)
        return all_zero(at, SEGMENT_RECORD_HEADER_BYTES) ? -ERR_NOT_FOUND : -ERR_CORRUPT;
    if (le32_load(at + 24) != (uint32_t)lsn)
        return -ERR_CORRUPT;
    if (data.len < bytes) {
        *out_bytes = bytes;
        return -ERR_TRUNCATED;
    }
    if (le64_load(at) != (sum64(at + 8, bytes - 8) ^ seed))
        return -ERR_CORRUPT;
    const uint32_t lag = le32_load(at + 12);
    if (lag == 0 || (lag != UINT32_MAX && lag > lsn))
        return -ERR_CORRUPT;

    out->lsn = lsn;
    out->seq = le64_load(at + 16);
    out->payload = bytes_of(at + SEGMENT_RECORD_HEADER_BYTES, le32_load(at + 8));
    /* A lag that did not fit says nothing. */
    out->durable_lsn = lag == UINT32_MAX ? 0 : lsn - lag;
    out->origin = at[28];
    *out_bytes = bytes;
    return 0;
}

/* --- files --- */

void segment_name(uint64_t number, char out[SEGMENT_NAME_BYTES])
{
    (void)snprintf(out, SEGMENT_NAME_BYTES, "%016" PRIx64 ".log", number);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool segment_name_parse(const char *name, uint64_t *out_number)
{
    uint64_t number = 0;

    for (size_t i = 0; i < 16; i++) {
        const int digit = hex_digit(name[i]);
        if (digit < 0)
            return false;
        number = number << 4 | (uint64_t)digit;
    }
    if (strcmp(name + 16, ".log") != 0 || number == 0)
        return false;
    *out_number = number;
    return true;
}

char *segment_path(const char *dir, uint64_t number)
{
    const size_t bytes = strlen(dir) + 1 + SEGMENT_NAME_BYTES;
    char *path = mem_alloc(bytes);
    char name[SEGMENT_NAME_BYTES];

    segment_name(number, name);
    (void)snprintf(path, bytes, "%s/%s", dir, name);
    return path;
}

struct number_list {
    uint64_t *ptr;
    size_t count;
    size_t cap;
};

static int list_entry(void *ctx, const char *name)
{
    struct number_list *list = ctx;
    uint64_t number;

    if (!segment_name_parse(name, &number))
        return 0;
    if (list->count == list->cap) {
        const size_t cap = size_max(64, list->cap * 2);
        uint64_t *more = mem_try_realloc(list->ptr, cap * sizeof(*more));
        if (more == NULL)
            return -ENOMEM;
        list->ptr = more;
        list->cap = cap;
    }
    list->ptr[list->count++] = number;
    return 0;
}

int segment_list(const char *dir, uint64_t **out, size_t *out_count)
{
    struct number_list list = {0};
    /* Sorted by name, which is the order of the numbers: all names have the same length. */
    const int err = file_list_dir(dir, list_entry, &list);

    if (err != 0) {
        mem_free(list.ptr);
        return err;
    }
    *out = list.ptr;
    *out_count = list.count;
    return 0;
}

int segment_header_read(int fd, uint64_t number, struct segment_header *out)
{
    uint8_t block[SEGMENT_HEADER_BYTES];
    struct segment_header header;
    size_t len;
    int err = file_read_some(fd, block, sizeof(block), 0, &len);

    if (err != 0)
        return err;
    if (len < sizeof(block))
        return all_zero(block, len) ? -ERR_NOT_FOUND : -ERR_CORRUPT;
    err = segment_header_decode(block, &header);
    if (err != 0)
        return err;
    if (header.number != number)
        return header.number < number ? -ERR_NOT_FOUND : -ERR_CORRUPT;
    *out = header;
    return 0;
}

/* --- reader --- */

void segment_reader_init(struct segment_reader *reader, int fd, const struct segment_header *header)
{
    *reader = (struct segment_reader){
        .fd = fd,
        .seed = segment_seed(header->log_id, header->number),
        .next_lsn = header->first_lsn,
        .chain = header->prev_chain,
        .offset = SEGMENT_HEADER_BYTES,
        .end = UINT64_MAX,
    };
}

void segment_reader_deinit(struct segment_reader *reader)
{
    mem_free(reader->window);
    reader->window = NULL;
    reader->window_cap = 0;
    reader->window_len = 0;
}

/*
 * Makes the window begin at `offset` and hold `need` bytes, fewer only where the readable part of
 * the file ends. 0, -ENOMEM, -errno.
 */
static int window_fill(struct segment_reader *reader, uint64_t offset, size_t need)
{
    const uint64_t window_end = reader->window_offset + reader->window_len;
    size_t have = 0;
    size_t got;

    if (need > reader->window_cap) {
        const size_t cap = size_max(need, SEGMENT_WINDOW_BYTES);
        uint8_t *window = mem_try_realloc(reader->window, cap);
        if (window == NULL)
            return -ENOMEM;
        reader->window = window;
        reader->window_cap = cap;
    }
    if (offset >= reader->window_offset && offset < window_end) {
        have = (size_t)(window_end - offset);
        memmove(reader->window, reader->window + (offset - reader->window_offset), have);
    }
    reader->window_offset = offset;
    reader->window_len = have;

    const uint64_t left = reader->end > offset + have ? reader->end - offset - have : 0;
    const size_t want = (size_t)u64_min(left, reader->window_cap - have);
    const int err = file_read_some(reader->fd, reader->window + have, want, offset + have, &got);
    if (err == 0)
        reader->window_len += got;
    return err;
}

static struct bytes window_from(const struct segment_reader *reader, uint64_t offset)
{
    const uint64_t end = reader->window_offset + reader->window_len;

    if (offset < reader->window_offset || offset >= end)
        return bytes_of(NULL, 0);
    return bytes_of(reader->window + (offset - reader->window_offset), (size_t)(end - offset));
}

/* The file's size bounds what a length in it may make us allocate. */
static int left_at(const struct segment_reader *reader, uint64_t offset, uint64_t *out)
{
    uint64_t size;
    const int err = file_size(reader->fd, &size);

    if (err != 0)
        return err;
    const uint64_t end = u64_min(size, reader->end);
    *out = end > offset ? end - offset : 0;
    return 0;
}

/* Decodes at `offset`, reading as much as that takes. Results as segment_reader_next. */
static int decode_at(struct segment_reader *reader, uint64_t offset, uint64_t lsn,
                     struct oplog_record *out, size_t *out_bytes)
{
    /* At most twice: for the header, then for the whole record. */
    for (;;) {
        const struct bytes data = window_from(reader, offset);
        size_t need = 0;
        uint64_t left = 0;
        int err = segment_record_decode(data, reader->seed, lsn, out, &need);
        if (err != -ERR_TRUNCATED) {
            *out_bytes = need;
            return err;
        }
        err = left_at(reader, offset, &left);
        if (err != 0)
            return err;
        if (left == 0)
            return -ERR_NOT_FOUND;
        if (left < need)
            return -ERR_CORRUPT;
        err = window_fill(reader, offset, need);
        if (err != 0)
            return err;
        if (window_from(reader, offset).len < need)
            return -ERR_CORRUPT; /* The file has just become shorter. */
    }
}

int segment_reader_next(struct segment_reader *reader, struct oplog_record *out)
{
    size_t bytes = 0;
    const bool read_before = window_from(reader, reader->offset).len != 0;
    int err = decode_at(reader, reader->offset, reader->next_lsn, out, &bytes);

    if ((err == -ERR_NOT_FOUND || err == -ERR_CORRUPT) && read_before) {
        /* What the window holds was read before the record was written, perhaps. */
        reader->window_len = 0;
        err = decode_at(reader, reader->offset, reader->next_lsn, out, &bytes);
    }
    if (err != 0) {
        reader->window_len = 0;
        return err;
    }
    reader->chain =
        segment_chain(reader->chain, le64_load(out->payload.ptr - SEGMENT_RECORD_HEADER_BYTES));
    reader->offset += bytes;
    reader->next_lsn++;
    return 0;
}

/*
 * Whether a good record with an LSN above the reader's stands at `offset`, which has a whole
 * record header in the window. 1 and the record; 0; or an error as of decode_at.
 */
static int survey_at(struct segment_reader *reader, uint64_t offset, struct oplog_record *out,
                     size_t *out_bytes)
{
    const uint8_t *at = window_from(reader, offset).ptr;
    const uint32_t ahead = le32_load(at + 24) - (uint32_t)reader->next_lsn;
    uint64_t left = 0;

    if ((le32_load(at + 28) & RECORD_MARK_MASK) != RECORD_MARK)
        return 0;
    /* Each record in between takes at least its header. */
    if (ahead == 0 || ahead > (offset - reader->offset) / SEGMENT_RECORD_HEADER_BYTES)
        return 0;
    int err = left_at(reader, offset, &left);
    if (err != 0)
        return err;
    if (segment_record_bytes(le32_load(at + 8)) > left)
        return 0;
    err = decode_at(reader, offset, reader->next_lsn + ahead, out, out_bytes);
    if (err == -ERR_CORRUPT || err == -ERR_NOT_FOUND)
        return 0;
    return err == 0 ? 1 : err;
}

static void survey_add(struct segment_survey *survey, const struct oplog_record *record,
                       uint64_t offset)
{
    if (survey->records_count++ == 0) {
        survey->first_offset = offset;
        survey->first_lsn = record->lsn;
    }
    survey->last_lsn = u64_max(survey->last_lsn, record->lsn);
    survey->durable_lsn = u64_max(survey->durable_lsn, record->durable_lsn);
}

int segment_reader_survey(struct segment_reader *reader, struct segment_survey *out)
{
    struct segment_survey survey = {0};
    uint64_t offset = reader->offset + SEGMENT_RECORD_ALIGN;
    int err = 0;

    for (;;) {
        struct oplog_record record = {0};
        size_t bytes = SEGMENT_RECORD_ALIGN;
        if (window_from(reader, offset).len < SEGMENT_RECORD_HEADER_BYTES) {
            err = window_fill(reader, offset, SEGMENT_RECORD_HEADER_BYTES);
            if (err != 0 || window_from(reader, offset).len < SEGMENT_RECORD_HEADER_BYTES)
                break;
        }
        const int found = survey_at(reader, offset, &record, &bytes);
        if (found < 0) {
            err = found;
            break;
        }
        if (found > 0)
            survey_add(&survey, &record, offset);
        else
            bytes = SEGMENT_RECORD_ALIGN;
        offset += bytes;
    }
    reader->window_len = 0;
    if (err == 0)
        *out = survey;
    return err;
}

void segment_reader_skip(struct segment_reader *reader, uint64_t offset, uint64_t lsn)
{
    CHECK(offset % SEGMENT_RECORD_ALIGN == 0);
    reader->offset = offset;
    reader->next_lsn = lsn;
    reader->window_len = 0;
}
