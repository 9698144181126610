/*
 * Segment files of the op log: format, encoding, reading.
 *
 * A log is a directory of segment files and a watermark file (oplog_mark.h). A segment is named by
 * its number, 16 hexadecimal digits and ".log"; numbers rise by one. All integers are
 * little-endian; sum64 is XXH3 64-bit with seed 0.
 *
 *     0                4096                                                     file size
 *     | segment header | record | record | ... | record | rest: zeros or leftovers |
 *
 * Segment header, 4096 bytes:
 *
 *     0    8  magic "TIERRALG"
 *     8    4  version, 1
 *     12   4  flags: 1 = gap: an operator accepted that the LSNs between prev_last_lsn and
 *             first_lsn are missing
 *     16   8  log_id: random, the same in all segments of one log
 *     24   8  number, the one in the file's name
 *     32   8  first_lsn: of the first record, whether it is there or not
 *     40   8  prev_last_lsn: of the last record of the predecessor; first_lsn - 1 but for a gap
 *     48   8  prev_end: offset where the predecessor's last record ends; 0 = no predecessor
 *     56   8  prev_chain: running checksum after the predecessor's last record
 *     64   8  created_ms: since 1970
 *     72      zeros
 *     4088 8  sum64 of bytes 0 .. 4087
 *
 * Record, at a multiple of 8:
 *
 *     0    8  sum: sum64 of bytes 8 .. end (padding included) XOR the segment's seed
 *     8    4  len: payload bytes
 *     12   4  lag: lsn - the highest LSN known as durable when the record was made (at most
 *             UINT32_MAX)
 *     16   8  seq: sequence number of the origin
 *     24   4  the low 32 bits of the LSN
 *     28   1  origin
 *     29   1  flags: 0x80 in version 1 (hence a header is never all zeros)
 *     30   2  zeros
 *     32      payload, then zeros up to a multiple of 8
 *
 * The seed of a segment is sum64 of its number (8 bytes) with log_id as the seed of XXH3: what an
 * earlier use of a recycled file left behind never passes as a record. Records have consecutive
 * LSNs from first_lsn on. The running checksum starts as log_id with the first segment of a log
 * and becomes, with each record, sum64 of that record's sum field with the old value as the seed
 * of XXH3; it goes on from segment to segment.
 *
 * The order of writing is what recovery relies on:
 *   1. A file is allocated in advance (a spare): first block all zeros, or, in a recycled file, a
 *      header of a lower number. Its name is durable before it is used.
 *   2. The predecessor is complete and synced before the header is written; the header is synced
 *      before the first record is written. Hence only the last segment that has a header can be
 *      torn, and a segment without a good header holds no records.
 *   3. A log that is opened again never appends to an old segment.
 *
 * How to read a log: sort the segments by number; skip at the end those without a header of their
 * own (spares). Each header must name the predecessor's number - 1, last LSN, end and running
 * checksum. In all segments but the last the records reach exactly to the successor's prev_end. In
 * the last, reading ends at the first place that does not hold a good record with the next LSN. If
 * that LSN is at or below the watermark, or if a good record further on says (lsn - lag) that it
 * was durable, then the log is damaged. If not, it is the torn end of a write that was never
 * synced, whose blocks may have reached the disk in any order; good records beyond it are part of
 * the same and are dropped with it.
 *
 * A record longer than what is left in a segment starts the next one; one that is longer than any
 * segment makes its segment longer. This module knows no open log and is for any thread.
 */
#ifndef TIERRA_REPLICATION_OPLOG_SEGMENT_H
#define TIERRA_REPLICATION_OPLOG_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/le.h"
#include "engine/base/sum.h"

#define SEGMENT_HEADER_BYTES        4096u
#define SEGMENT_RECORD_HEADER_BYTES 32u
#define SEGMENT_RECORD_ALIGN        8u
#define SEGMENT_VERSION             1u
#define SEGMENT_FLAG_GAP            1u
#define SEGMENT_NAME_BYTES          21 /* "0000000000000001.log" and the zero. */

/* One record as a reader sees it. `payload` is borrowed, as the giver says. */
struct oplog_record {
    uint64_t lsn;
    uint64_t seq;
    struct bytes payload;
    uint64_t durable_lsn; /* At least this was durable when the record was made. */
    uint8_t origin;
};

struct segment_header {
    uint64_t log_id;
    uint64_t number;
    uint64_t first_lsn;
    uint64_t prev_last_lsn;
    uint64_t prev_end;
    uint64_t prev_chain;
    uint64_t created_ms;
    uint32_t flags;
};

/* --- encoding --- */

void segment_header_encode(const struct segment_header *header, uint8_t out[SEGMENT_HEADER_BYTES]);

/*
 * 0; -ERR_NOT_FOUND: all zeros, a spare; -ERR_FORMAT: another version or unknown flags;
 * -ERR_CORRUPT.
 */
MUST_USE int segment_header_decode(const uint8_t block[SEGMENT_HEADER_BYTES],
                                   struct segment_header *out);

uint64_t segment_seed(uint64_t log_id, uint64_t number);

/* The bytes that a payload of `len` bytes takes. */
static inline size_t segment_record_bytes(size_t len)
{
    return (SEGMENT_RECORD_HEADER_BYTES + len + SEGMENT_RECORD_ALIGN - 1) &
           ~(size_t)(SEGMENT_RECORD_ALIGN - 1);
}

/* The running checksum after a record whose sum field is `sum`. */
static inline uint64_t segment_chain(uint64_t chain, uint64_t sum)
{
    const uint64_t le = LE_SWAP64(sum);

    return XXH3_64bits_withSeed(&le, sizeof(le), chain);
}

/*
 * Writes header, padding and sum around a payload that already stands at `at` + 32; `at` has room
 * for segment_record_bytes. Returns the sum.
 */
uint64_t segment_record_encode(uint8_t *at, uint64_t seed, const struct oplog_record *record);

/*
 * Decodes the record with LSN `lsn` at the front of `data`. 0 and its size in `*out_bytes`;
 * -ERR_TRUNCATED: needs `*out_bytes` bytes to tell; -ERR_NOT_FOUND: zeros; -ERR_CORRUPT: anything
 * else. The payload lies within `data`.
 */
MUST_USE int segment_record_decode(struct bytes data, uint64_t seed, uint64_t lsn,
                                   struct oplog_record *out, size_t *out_bytes);

/* --- files --- */

void segment_name(uint64_t number, char out[SEGMENT_NAME_BYTES]);
/* False if `name` is not that of a segment. */
MUST_USE bool segment_name_parse(const char *name, uint64_t *out_number);
/* "<dir>/<name>", to be freed by mem_free. */
MUST_USE char *segment_path(const char *dir, uint64_t number);

/*
 * The numbers of all segment files of the directory, in order, to be freed by mem_free (NULL if
 * there are none). 0, -ENOMEM or -errno.
 */
MUST_USE int segment_list(const char *dir, uint64_t **out, size_t *out_count);

/*
 * Reads the header of an open file. As segment_header_decode, and -ERR_NOT_FOUND also for the
 * header of a lower number (a recycled spare) and for an empty file, -errno.
 */
MUST_USE int segment_header_read(int fd, uint64_t number, struct segment_header *out);

/* Reads the records of one file in order. Memory: one window, grown for a longer record. */
struct segment_reader {
    int fd; /* Borrowed. */
    uint64_t seed;
    uint64_t next_lsn;
    uint64_t chain;  /* After the last record that was read. */
    uint64_t offset; /* Of the next record. */
    uint64_t end;    /* Where records end by the successor's word; UINT64_MAX: not known. */
    /* The window: bytes [window_offset, + window_len) of the file. */
    uint8_t *window;
    size_t window_cap;
    size_t window_len;
    uint64_t window_offset;
};

#define SEGMENT_WINDOW_BYTES (256u << 10)

/* `header` is the file's own. Allocates nothing yet; segment_reader_deinit frees the window. */
void segment_reader_init(struct segment_reader *reader, int fd,
                         const struct segment_header *header);
void segment_reader_deinit(struct segment_reader *reader);

/*
 * The next record; its payload is valid until the next call. 0; -ERR_NOT_FOUND: zeros here, the
 * end of the file, or `end`; -ERR_CORRUPT: something else than the record that should be here;
 * -ENOMEM; -errno. After an error the reader stands where it stood and may be asked again: it then
 * reads the file anew.
 */
MUST_USE int segment_reader_next(struct segment_reader *reader, struct oplog_record *out);

/* What stands beyond a place where no good record is. */
struct segment_survey {
    uint64_t records_count; /* Good records with higher LSNs. */
    uint64_t first_offset;  /* The first of them. */
    uint64_t first_lsn;
    uint64_t last_lsn;    /* The highest. */
    uint64_t durable_lsn; /* The highest that one of them says was durable. */
};

/*
 * Looks for good records beyond the reader's place, up to its `end` or the end of the file. The
 * reader does not move. 0, -ENOMEM or -errno. Reads the whole rest of the file.
 */
MUST_USE int segment_reader_survey(struct segment_reader *reader, struct segment_survey *out);

/* Goes on at a record that a survey found. The running checksum has no meaning from then on. */
void segment_reader_skip(struct segment_reader *reader, uint64_t offset, uint64_t lsn);

#endif
