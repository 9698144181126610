#!/bin/sh
# Starts the server in a directory of its own and asks it what operators ask:
# INFO, CONFIG, CLIENT, MEMORY, SLOWLOG, LATENCY, DEBUG, saves, SHUTDOWN, and a start after it.
#
# usage: smoke_server.sh SERVER
# Exit: 0 passed, 1 failed, 77 skipped because redis-cli is missing.
set -u

server=$1
. "$(dirname "$0")/smoke_lib.sh"
failed=0

# A field of INFO.
info() {
    cli info everything | tr -d '\r' | sed -n "s/^$1://p"
}

# shows FIELD WANTED
shows() {
    [ "$(info "$1")" = "$2" ]
}

# is WHAT WANTED GOT
is() {
    [ "$2" = "$3" ] && return
    echo "$1: expected \"$2\", got \"$3\""
    failed=1
}

# has WHAT WANTED-PART GOT
has() {
    case $3 in
    *"$2"*) ;;
    *)
        echo "$1: expected \"$2\" in \"$3\""
        failed=1
        ;;
    esac
}

options="--enable-debug-command yes --maxmemory 256mb"
start $options

# INFO: all sections, each on its own, and fields that follow what happens.
for section in Server Clients Memory Persistence Stats Replication CPU Modules Commandstats \
    Errorstats Latencystats Cluster Keyspace Tiering; do
    has "INFO everything" "# $section" "$(cli info everything)"
    has "INFO $section" "# $section" "$(cli info "$section")"
done
has "INFO of two sections" "# Keyspace" "$(cli info cpu keyspace)"
is "INFO of an unknown section" "" "$(cli info nothing)"
is "set" OK "$(cli set k v)"
is "keys" "keys=1,expires=0,avg_ttl=0" "$(info db0)"
cli get k >/dev/null
cli get absent >/dev/null
is "hits" 1 "$(info keyspace_hits)"
is "misses" 1 "$(info keyspace_misses)"
cli lpush >/dev/null
is "errors" "count=1" "$(info errorstat_ERR)"
has "command statistics" "calls=2" "$(info cmdstat_get)"
is "hot keys" 1 "$(info hot_keys)"
is "RESETSTAT" OK "$(cli config resetstat)"
is "hits after RESETSTAT" 0 "$(info keyspace_hits)"

# CONFIG: what is set is shown, and acts.
is "CONFIG SET" OK "$(cli config set maxmemory 300mb appendfsync always)"
is "CONFIG GET" 314572800 "$(cli config get maxmemory | tail -1)"
is "the budget follows" 314572800 "$(info budget_maxmemory)"
is "a write that is synced" OK "$(cli set k w)"
is "durable" "$(info applied_lsn)" "$(info durable_lsn)"
has "CONFIG SET, all or nothing" "CONFIG SET failed" "$(cli config set maxmemory 1mb appendfsync x)"
is "nothing" 314572800 "$(cli config get maxmemory | tail -1)"
is "a budget below what the process needs" OK "$(cli config set maxmemory 1mb)"
has "no writes" "OOM" "$(cli set k x)"
is "but reads" w "$(cli get k)"
is "and deletes" 0 "$(cli del nothing)"
has "and says so" "maxmemory is too small" "$(cat "$dir/log")"
is "until it is enough" OK "$(cli config set maxmemory 300mb)"
is "writes again" OK "$(cli set k w)"

# COMMAND, CLIENT, MEMORY, SLOWLOG, LATENCY, FUNCTION.
has "COMMAND DOCS" "summary" "$(cli command docs get)"
has "CLIENT LIST" "cmd=client|list" "$(cli client list)"
has "CLIENT LIST, its own bytes" " qbuf=26 " "$(cli client list)"
has "CLIENT LIST, nothing waits" " omem=0 " "$(cli client list)"
is "CLIENT SETNAME" OK "$(cli client setname me)"
has "CLIENT SETINFO" "unknown subcommand" "$(cli client setinfo lib-name x)"
is "CLIENT PAUSE" OK "$(cli client pause 600000 write)"
is "reads while paused" w "$(cli get k)"
cli set k paused >"$dir/paused" &
writer=$!
await shows blocked_clients 1
is "a paused writer" 1 "$(info blocked_clients)"
is "it has not written" w "$(cli get k)"
is "CLIENT UNPAUSE" OK "$(cli client unpause)"
wait $writer
is "it has written" OK "$(cat "$dir/paused")"
is "nobody waits any more" 0 "$(info blocked_clients)"
# redis-server 7.0.15 takes this, and does not pause.
has "CLIENT PAUSE beyond time" "timeout is out of range" "$(cli client pause 9223372036854775807)"
has "writes likewise" "timeout is out of range" "$(cli client pause 9223372036854775000 write)"
is "which does not pause" OK "$(cli set k paused)"
is "CLIENT PAUSE for ever, nearly" OK "$(cli client pause 9223370000000000000 write)"
is "CLIENT UNPAUSE" OK "$(cli client unpause)"
is "which ends it" OK "$(cli set k paused)"
# What expires meanwhile is hidden, goes when the pause has ended, and counts then.
expired=$(info expired_keys)
printf 'multi\nset gone x px 1\nclient pause 600000 write\nexec\n' |
    redis-cli -s "$socket" >/dev/null
gone() {
    [ "$(cli exists gone)" = 0 ]
}
await gone
is "expired, and there while paused" "$expired" "$(info expired_keys)"
is "CLIENT UNPAUSE" OK "$(cli client unpause)"
await shows expired_keys $((expired + 1))
is "reclaimed" $((expired + 1)) "$(info expired_keys)"
is "MEMORY USAGE of nothing" "" "$(cli memory usage absent)"
[ "$(cli memory usage k)" -gt 0 ] || failed=1
is "a threshold" OK "$(cli config set latency-monitor-threshold 10 slowlog-log-slower-than 40000)"
is "SLOWLOG RESET" OK "$(cli slowlog reset)"
is "DEBUG SLEEP" OK "$(cli debug sleep 0.05)"
has "LATENCY LATEST" command "$(cli latency latest)"
# On a busy machine other commands may have been slow too.
[ "$(cli slowlog len)" -ge 1 ] || failed=1
has "SLOWLOG GET" sleep "$(cli slowlog get -1)"
is "FUNCTION FLUSH" OK "$(cli function flush)"

# Everything to flash and back.
is "DEBUG RELOAD" OK "$(cli debug reload)"
is "cold keys" 1 "$(info cold_keys)"
hits=$(info flash_hits)
is "read from flash" paused "$(cli get k)"
is "flash hits" $((hits + 1)) "$(info flash_hits)"

# FLUSHALL of more than is removed key by key, most of it cold.
many() {
    seq "$1" | sed 's/.*/SET many:& &\r/' | redis-cli -s "$socket" --pipe >/dev/null
}
many 2000
is "DEBUG RELOAD of many" OK "$(cli debug reload)"
is "many keys" 2001 "$(cli dbsize)"
# With a change that no flush has seen: what the new store covers begins there.
is "a change before FLUSHALL" OK "$(cli set late x)"
is "FLUSHALL" OK "$(cli flushall)"
is "no key" 0 "$(cli dbsize)"
is "SET after FLUSHALL" OK "$(cli set k paused)"
# More than one batch of write-back.
many 9000
await shows dirty_rows 0
is "rows written after FLUSHALL" 0 "$(info dirty_rows)"
is "failures" 0 "$(info flush_failures)"

# Saves and the end.
is "SAVE" OK "$(cli save)"
is "changes since" 0 "$(info rdb_changes_since_last_save)"
is "BGSAVE" "Background saving started" "$(cli bgsave)"
await shows rdb_bgsave_in_progress 0
is "saves" 2 "$(info rdb_saves)"
kept() {
    [ "$(ls "$dir/data/checkpoints" | wc -l)" -eq 1 ]
}
await kept || failed=1
has "SHUTDOWN of both kinds" "syntax error" "$(cli shutdown save nosave)"
cli shutdown >/dev/null
wait "$pid"
is "exit code" 0 $?
start $options
is "after a restart" paused "$(cli get k)"

# The checkpoint is a data directory.
cli shutdown >/dev/null
wait "$pid"
mv "$dir"/data/checkpoints/* "$dir/checkpoint"
rm -rf "$dir/data"
mv "$dir/checkpoint" "$dir/data"
start $options --accept-loss yes
is "on the checkpoint" paused "$(cli get k)"

[ $failed -eq 0 ] && echo "all replies are right"
exit $failed
