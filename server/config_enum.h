/*
 * The options that take one of several words: the words and their constants.
 */
#ifndef TIERRA_SERVER_CONFIG_ENUM_H
#define TIERRA_SERVER_CONFIG_ENUM_H

/* clang-format off */
#define CONFIG_MAXMEMORY_POLICY(E)                                                                 \
    E(POLICY_VOLATILE_LRU, "volatile-lru") E(POLICY_VOLATILE_LFU, "volatile-lfu")                  \
    E(POLICY_VOLATILE_RANDOM, "volatile-random") E(POLICY_VOLATILE_TTL, "volatile-ttl")            \
    E(POLICY_ALLKEYS_LRU, "allkeys-lru") E(POLICY_ALLKEYS_LFU, "allkeys-lfu")                      \
    E(POLICY_ALLKEYS_RANDOM, "allkeys-random") E(POLICY_NOEVICTION, "noeviction")
#define CONFIG_APPENDFSYNC(E)                                                                      \
    E(APPENDFSYNC_EVERYSEC, "everysec") E(APPENDFSYNC_ALWAYS, "always") E(APPENDFSYNC_NO, "no")
#define CONFIG_LOGLEVEL(E)                                                                         \
    E(LOGLEVEL_DEBUG, "debug") E(LOGLEVEL_VERBOSE, "verbose") E(LOGLEVEL_NOTICE, "notice")         \
    E(LOGLEVEL_WARNING, "warning")
#define CONFIG_CLUSTERING(E)                                                                       \
    E(CLUSTERING_NONE, "none") E(CLUSTERING_ENTERPRISE, "enterprise") E(CLUSTERING_OSS, "oss")
#define CONFIG_ENDPOINT(E)                                                                         \
    E(ENDPOINT_IP, "ip") E(ENDPOINT_HOSTNAME, "hostname") E(ENDPOINT_UNKNOWN, "unknown-endpoint")
#define CONFIG_IO_BACKEND(E)                                                                       \
    E(IO_BACKEND_AUTO, "auto") E(IO_BACKEND_URING, "io_uring") E(IO_BACKEND_EPOLL, "epoll")
#define CONFIG_ALLOWED(E)                                                                          \
    E(ALLOWED_NO, "no") E(ALLOWED_YES, "yes") E(ALLOWED_LOCAL, "local")
#define CONFIG_SANITIZE(E)                                                                         \
    E(SANITIZE_NO, "no") E(SANITIZE_YES, "yes") E(SANITIZE_CLIENTS, "clients")
#define CONFIG_CHANNELS(E)                                                                         \
    E(CHANNELS_ALL, "allchannels") E(CHANNELS_RESET, "resetchannels")
#define CONFIG_OOM_SCORE(E)                                                                        \
    E(OOM_SCORE_NO, "no") E(OOM_SCORE_RELATIVE, "yes") E(OOM_SCORE_RELATIVE_TOO, "relative")       \
    E(OOM_SCORE_ABSOLUTE, "absolute")
#define CONFIG_DISKLESS_LOAD(E)                                                                    \
    E(DISKLESS_LOAD_NO, "disabled") E(DISKLESS_LOAD_EMPTY, "on-empty-db")                          \
    E(DISKLESS_LOAD_SWAP, "swapdb")
#define CONFIG_SHUTDOWN(E)                                                                         \
    E(SHUTDOWN_DEFAULT, "default") E(SHUTDOWN_SAVE, "save") E(SHUTDOWN_NOSAVE, "nosave")           \
    E(SHUTDOWN_NOW, "now") E(SHUTDOWN_FORCE, "force")
/* clang-format on */

#define CONFIG_ENUM_CONSTANT(constant, name) constant,
enum config_maxmemory_policy {
    CONFIG_MAXMEMORY_POLICY(CONFIG_ENUM_CONSTANT)
};
enum config_appendfsync {
    CONFIG_APPENDFSYNC(CONFIG_ENUM_CONSTANT)
};
enum config_loglevel {
    CONFIG_LOGLEVEL(CONFIG_ENUM_CONSTANT)
};
enum config_clustering {
    CONFIG_CLUSTERING(CONFIG_ENUM_CONSTANT)
};
enum config_endpoint {
    CONFIG_ENDPOINT(CONFIG_ENUM_CONSTANT)
};
enum config_io_backend {
    CONFIG_IO_BACKEND(CONFIG_ENUM_CONSTANT)
};
enum config_allowed {
    CONFIG_ALLOWED(CONFIG_ENUM_CONSTANT)
};
enum config_sanitize {
    CONFIG_SANITIZE(CONFIG_ENUM_CONSTANT)
};
enum config_channels {
    CONFIG_CHANNELS(CONFIG_ENUM_CONSTANT)
};
enum config_oom_score {
    CONFIG_OOM_SCORE(CONFIG_ENUM_CONSTANT)
};
enum config_diskless_load {
    CONFIG_DISKLESS_LOAD(CONFIG_ENUM_CONSTANT)
};
/* Bit numbers: shutdown-on-sig* take several of these words. */
enum config_shutdown {
    CONFIG_SHUTDOWN(CONFIG_ENUM_CONSTANT)
};
#undef CONFIG_ENUM_CONSTANT

#endif
