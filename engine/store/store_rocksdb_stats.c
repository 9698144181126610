/*
 * Figures of RocksDB, read from its properties.
 */
#include <string.h>

#include "engine/base/attr.h"
#include "engine/base/num.h"

#include "engine/store/store_rocksdb.h"

struct stats_property {
    const char *name;
    size_t offset; /* In struct store_stats. */
};

#define PROPERTY(name_, field)                                                  \
    {                                                                           \
        .name = "rocksdb." name_, .offset = offsetof(struct store_stats, field) \
    }

static const struct stats_property stats_properties[] = {
    PROPERTY("live-sst-files-size", live_sst_bytes),
    PROPERTY("total-sst-files-size", total_sst_bytes),
    PROPERTY("size-all-mem-tables", memtable_bytes),
    PROPERTY("num-immutable-mem-table", memtables_waiting),
    PROPERTY("block-cache-usage", block_cache_bytes),
    PROPERTY("block-cache-pinned-usage", block_cache_pinned_bytes),
    PROPERTY("estimate-table-readers-mem", table_readers_bytes),
    PROPERTY("estimate-num-keys", keys_estimate),
    PROPERTY("estimate-live-data-size", live_data_bytes_estimate),
    PROPERTY("estimate-pending-compaction-bytes", pending_compaction_bytes),
    PROPERTY("num-running-flushes", running_flushes),
    PROPERTY("num-running-compactions", running_compactions),
    PROPERTY("is-write-stopped", write_stopped),
    PROPERTY("actual-delayed-write-rate", delayed_write_bytes_sec),
    PROPERTY("background-errors", background_errors),
};

static void stats_levels(const struct store_rocksdb *rs, struct store_stats *out)
{
    rocksdb_column_family_metadata_t *all = rocksdb_get_column_family_metadata_cf(rs->db, rs->cf);
    const size_t n =
        size_min(rocksdb_column_family_metadata_get_level_count(all), STORE_LEVELS_MAX);

    for (size_t i = 0; i < n; i++) {
        rocksdb_level_metadata_t *level = rocksdb_column_family_metadata_get_level_metadata(all, i);
        out->level_files[i] = rocksdb_level_metadata_get_file_count(level);
        out->level_bytes[i] = rocksdb_level_metadata_get_size(level);
        rocksdb_level_metadata_destroy(level);
    }
    rocksdb_column_family_metadata_destroy(all);
}

/* The number after `label` in a text that counts GiB, as bytes; 0 if it is not there. */
static uint64_t stats_gib(const char *text, const char *label)
{
    const char *at = strstr(text, label);
    double gib;

    if (at == NULL)
        return 0;
    at += strlen(label);
    const struct bytes number = bytes_of(at, strspn(at, "0123456789."));
    return num_parse_double(number, &gib) ? (uint64_t)(gib * 0x1.0p30) : 0;
}

/* The C API gives these as part of a report for people only. */
static void stats_written(const struct store_rocksdb *rs, struct store_stats *out)
{
    char *text = rocksdb_property_value_cf(rs->db, rs->cf, "rocksdb.cfstats-no-file-histogram");

    if (text == NULL)
        return;
    out->flushed_bytes = stats_gib(text, "Flush(GB): cumulative ");
    /* RocksDB counts flushes as compactions into level 0. */
    const uint64_t all = stats_gib(text, "Cumulative compaction: ");
    out->compacted_bytes = all > out->flushed_bytes ? all - out->flushed_bytes : 0;
    rocksdb_free(text);
}

void rocksdb_stats(struct store *store, struct store_stats *out)
{
    const struct store_rocksdb *rs = rocksdb_of(store);

    for (size_t i = 0; i < ARRAY_COUNT(stats_properties); i++) {
        uint64_t value = 0;
        if (rocksdb_property_int_cf(rs->db, rs->cf, stats_properties[i].name, &value) == 0)
            memcpy((uint8_t *)out + stats_properties[i].offset, &value, sizeof(value));
    }
    stats_levels(rs, out);
    stats_written(rs, out);
}

/* One property that RocksDB gives as text or number. */
static uint64_t debt_property(const struct store_rocksdb *rs, const char *name)
{
    uint64_t value = 0;

    return rocksdb_property_int_cf(rs->db, rs->cf, name, &value) == 0 ? value : 0;
}

void rocksdb_debt(struct store *store, struct store_debt *out)
{
    const struct store_rocksdb *rs = rocksdb_of(store);
    uint64_t files = 0;

    char *text = rocksdb_property_value_cf(rs->db, rs->cf, "rocksdb.num-files-at-level0");
    if (text != NULL) {
        if (!num_parse_u64(bytes_of(text, strlen(text)), &files))
            files = 0;
        rocksdb_free(text);
    }
    *out = (struct store_debt){
        .level0_files = files,
        .memtables_waiting = debt_property(rs, "rocksdb.num-immutable-mem-table"),
        .pending_compaction_bytes = debt_property(rs, "rocksdb.estimate-pending-compaction-bytes"),
    };
}
