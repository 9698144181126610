/*
 * The profile: how RocksDB is set up. Reasons and measurements: README.md of this folder.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/store/store_rocksdb.h"

#define MIB ((size_t)1 << 20)

/*
 * The write buffers share memtable_bytes: one is filled, two are flushed into one file, and one is
 * there to go on with.
 */
#define MEMTABLE_COUNT       4
#define MEMTABLE_MERGE       2
#define MEMTABLE_BYTES_MIN   ((size_t)256 << 10)
#define MEMTABLE_BLOOM_RATIO 0.02

/* Files of level 0: the more, the fewer bytes are written and the more filters a read asks. */
#define LEVEL0_FILES      8
#define LEVEL0_FILES_SLOW 56
#define LEVEL0_FILES_STOP 72

#define FILE_BYTES_MIN (8 * MIB)
#define FILE_BYTES_MAX (64 * MIB)

#define BLOCK_BYTES    4096
#define METADATA_BYTES 4096
#define BLOOM_BITS     10.0
#define INFO_LOG_BYTES (4 * MIB)
#define INFO_LOGS      3
#define MANIFEST_BYTES (64 * MIB)
/* Of each input of a compaction, and there are as many as level 0 has files. */
#define READAHEAD_SHARE     64 /* Of all write buffers. */
#define READAHEAD_BYTES_MIN (MIB / 16)
#define READAHEAD_BYTES_MAX (2 * MIB)
#define SYNC_BYTES          MIB

/* Options without a setter of their own. */
#define UNSETTABLE                      \
    "avoid_flush_during_shutdown=true;" \
    "memtable_insert_with_hint_prefix_extractor=rocksdb.CappedPrefix.0;"

/* Enumerations that the C header leaves without names. */
#define CHECKSUM_XXH3       4
#define RECOVERY_TOLERATE   rocksdb_tolerate_corrupted_tail_records_recovery
#define HEADER_LEVEL        5
#define READ_TIER_MEMORY    1
#define READ_TIER_PERSISTED 2

struct store_cache {
    rocksdb_cache_t *cache;
};

struct store_cache *store_cache_create(size_t bytes)
{
    struct store_cache *cache = mem_alloc(sizeof(*cache));

    cache->cache = rocksdb_cache_create_lru(bytes);
    return cache;
}

void store_cache_destroy(struct store_cache *cache)
{
    if (cache == NULL)
        return;
    rocksdb_cache_destroy(cache->cache);
    mem_free(cache);
}

void store_cache_set_bytes(struct store_cache *cache, size_t bytes)
{
    rocksdb_cache_set_capacity(cache->cache, bytes);
}

size_t store_cache_usage(const struct store_cache *cache)
{
    return rocksdb_cache_get_usage(cache->cache);
}

static void profile_tables(struct store_rocksdb *rs)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();

    rocksdb_block_based_options_set_block_cache(t, rs->cache);
    rocksdb_block_based_options_set_block_size(t, BLOCK_BYTES);
    rocksdb_block_based_options_set_checksum(t, CHECKSUM_XXH3);
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom(BLOOM_BITS));
    rocksdb_block_based_options_set_whole_key_filtering(t, 1);
    rocksdb_block_based_options_set_index_type(
        t, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(t, 1);
    rocksdb_block_based_options_set_metadata_block_size(t, METADATA_BYTES);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(t, 1);
    rocksdb_options_set_block_based_table_factory(rs->profile, t);
    rocksdb_block_based_options_destroy(t);
}

static void profile_levels(struct store_rocksdb *rs)
{
    const struct store_options *o = &rs->options;
    rocksdb_options_t *p = rs->profile;
    const size_t total = size_max(o->memtable_bytes, MEMTABLE_COUNT * MEMTABLE_BYTES_MIN);

    rocksdb_options_set_write_buffer_size(p, total / MEMTABLE_COUNT);
    rocksdb_options_set_max_write_buffer_number(p, MEMTABLE_COUNT);
    rocksdb_options_set_min_write_buffer_number_to_merge(p, MEMTABLE_MERGE);
    rocksdb_options_set_db_write_buffer_size(p, total);
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(p, MEMTABLE_BLOOM_RATIO);
    rocksdb_options_set_memtable_whole_key_filtering(p, 1);
    rocksdb_options_set_compaction_style(p, rocksdb_level_compaction);
    rocksdb_options_set_num_levels(p, STORE_LEVELS_MAX);
    rocksdb_options_set_level0_file_num_compaction_trigger(p, LEVEL0_FILES);
    rocksdb_options_set_level0_slowdown_writes_trigger(p, LEVEL0_FILES_SLOW);
    rocksdb_options_set_level0_stop_writes_trigger(p, LEVEL0_FILES_STOP);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(p, 1);
    /* As much as level 0 holds when its files are merged down. */
    rocksdb_options_set_max_bytes_for_level_base(p, total / MEMTABLE_COUNT * MEMTABLE_MERGE *
                                                        LEVEL0_FILES);
    rocksdb_options_set_max_bytes_for_level_multiplier(p, 10);
    rocksdb_options_set_target_file_size_base(
        p, size_min(size_max(total / MEMTABLE_COUNT, FILE_BYTES_MIN), FILE_BYTES_MAX));
}

static int profile_compression(enum store_compression compression)
{
    switch (compression) {
    case STORE_COMPRESSION_LZ4:
        return rocksdb_lz4_compression;
    case STORE_COMPRESSION_ZSTD:
        return rocksdb_zstd_compression;
    case STORE_COMPRESSION_DEFAULT:
    case STORE_COMPRESSION_NONE:
    default:
        return rocksdb_no_compression;
    }
}

static void profile_io(struct store_rocksdb *rs)
{
    const struct store_options *o = &rs->options;
    rocksdb_options_t *p = rs->profile;

    rocksdb_options_set_max_background_flushes(p, (int)o->flush_threads);
    rocksdb_options_set_max_background_compactions(p, (int)o->compaction_threads);
    rocksdb_options_set_max_open_files(p, o->read_only ? -1 : (int)o->open_files_max);
    rocksdb_options_compaction_readahead_size(
        p, size_min(size_max(o->memtable_bytes / READAHEAD_SHARE, READAHEAD_BYTES_MIN),
                    READAHEAD_BYTES_MAX));
    rocksdb_options_set_bytes_per_sync(p, SYNC_BYTES);
    rocksdb_options_set_advise_random_on_open(p, 1);
    rocksdb_options_set_avoid_unnecessary_blocking_io(p, 1);
    rocksdb_options_set_skip_stats_update_on_db_open(p, 1);
    rocksdb_options_set_allow_concurrent_memtable_write(p, 0);
    rocksdb_options_set_enable_write_thread_adaptive_yield(p, 0);
    rocksdb_options_set_paranoid_checks(p, 1);
    rocksdb_options_set_wal_recovery_mode(p, RECOVERY_TOLERATE);
    rocksdb_options_set_max_manifest_file_size(p, MANIFEST_BYTES);
    /* RocksDB's own report, LOG: with assertions, a second write to it after an error aborts. */
    rocksdb_options_set_info_log_level(p, HEADER_LEVEL);
    rocksdb_options_set_max_log_file_size(p, INFO_LOG_BYTES);
    rocksdb_options_set_keep_log_file_num(p, INFO_LOGS);
    rocksdb_options_set_stats_dump_period_sec(p, 0);
    rocksdb_options_set_stats_persist_period_sec(p, 0);
    rocksdb_options_set_compression(p, profile_compression(o->compression));
    if (o->compression == STORE_COMPRESSION_DEFAULT)
        rocksdb_options_set_bottommost_compression(p, rocksdb_lz4_compression);
}

/*
 * What the C API has no setter for, and the caller's experiments. A prefix of no bytes makes one
 * place of all insertions: each starts its search where the last one ended (store_batch_sort.h).
 */
static int profile_text(struct store_rocksdb *rs, struct store_fault *fault)
{
    char text[STORE_WHY_BYTES];
    char *error = NULL;
    rocksdb_options_t *tuned = rocksdb_options_create();
    const char *paranoid = rs->options.paranoid ? "paranoid_file_checks=true;" : "";
    const char *tuning = rs->tuning == NULL ? "" : rs->tuning;
    const int len = snprintf(text, sizeof(text), "%s%s%s", UNSETTABLE, paranoid, tuning);

    if (len < 0 || (size_t)len >= sizeof(text)) {
        rocksdb_options_destroy(tuned);
        return store_fault_set(fault, -ERR_CONFIG, "the tuning text is too long");
    }
    rocksdb_get_options_from_string(rs->profile, text, tuned, &error);
    if (error != NULL) {
        (void)store_fault_set(fault, -ERR_CONFIG, "tuning: %s", error);
        rocksdb_free(error);
        rocksdb_options_destroy(tuned);
        return -ERR_CONFIG;
    }
    rocksdb_options_destroy(rs->profile);
    rs->profile = tuned;
    return 0;
}

static void profile_calls(struct store_rocksdb *rs)
{
    for (size_t i = 0; i < READ_COUNT; i++)
        rs->reads[i] = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(rs->reads[READ_NO_FILL], 0);
    rocksdb_readoptions_set_read_tier(rs->reads[READ_MEMORY], READ_TIER_MEMORY);
    rocksdb_readoptions_set_read_tier(rs->reads[READ_PERSISTED], READ_TIER_PERSISTED);

    rs->write_wait = rocksdb_writeoptions_create();
    rs->write_no_wait = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(rs->write_wait, 1);
    rocksdb_writeoptions_disable_WAL(rs->write_no_wait, 1);
    rocksdb_writeoptions_set_no_slowdown(rs->write_no_wait, 1);
}

int rocksdb_profile_create(struct store_rocksdb *rs, struct store_fault *fault)
{
    struct store_options *o = &rs->options;

    if (o->block_cache_bytes == 0)
        o->block_cache_bytes = STORE_BLOCK_CACHE_BYTES_DEFAULT;
    if (o->memtable_bytes == 0)
        o->memtable_bytes = STORE_MEMTABLE_BYTES_DEFAULT;
    if (o->open_files_max == 0)
        o->open_files_max = STORE_OPEN_FILES_MAX_DEFAULT;
    o->flush_threads = o->flush_threads == 0 ? 1 : o->flush_threads;
    o->compaction_threads = o->compaction_threads == 0 ? 1 : o->compaction_threads;

    rs->cache = o->cache != NULL ? o->cache->cache : rocksdb_cache_create_lru(o->block_cache_bytes);
    rs->profile = rocksdb_options_create();
    profile_tables(rs);
    profile_levels(rs);
    profile_io(rs);
    rocksdb_merge_install(rs);
    profile_calls(rs);
    return profile_text(rs, fault);
}

void rocksdb_profile_destroy(struct store_rocksdb *rs)
{
    for (size_t i = 0; i < READ_COUNT; i++)
        rocksdb_readoptions_destroy(rs->reads[i]);
    rocksdb_writeoptions_destroy(rs->write_wait);
    rocksdb_writeoptions_destroy(rs->write_no_wait);
    rocksdb_options_destroy(rs->profile);
    if (rs->options.cache == NULL)
        rocksdb_cache_destroy(rs->cache);
}
