#!/bin/sh
# tierra-ctl and tierra-inspect on a small node: beside it, after its end, and what they refuse.
# Usage: smoke_inspect.sh tierra-server tierra-inspect tierra-ctl
set -eu

server=$1
base=$(mktemp -d)
inspect="$2 --dir $base/data"
ctl="$3 -t 600 -s $base/socket"
export TIERRA_AUTH=secret
failed=0

cleanup() {
    kill "$pid" 2>/dev/null || true
    rm -rf "$base"
}

# expect STATUS TEXT COMMAND...: the exit status, and a text in the output.
expect() {
    want=$1
    text=$2
    shift 2
    status=0
    output=$("$@" 2>&1) || status=$?
    case $output in
    *"$text"*) ;;
    *) status="$status, without \"$text\"" ;;
    esac
    if [ "$status" != "$want" ]; then
        echo "FAILED: $*: exit $status, want $want:"
        echo "$output"
        failed=1
    fi
}

start() {
    "$server" --port 0 --unixsocket "$base/socket" --dir "$base/data" --requirepass secret \
        >>"$base/log" 2>&1 &
    pid=$!
    tries=0
    until $ctl ping >/dev/null 2>&1 || ! kill -0 "$pid" || [ $tries -eq 1200 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
}

pid=
trap cleanup EXIT
start

expect 0 PONG $ctl ping
expect 0 result=clean $inspect verify
expect 0 OK $ctl exec set text 'hello world'
expect 0 OK $ctl exec set short-lived x ex 1000
expect 0 "(integer) 3" $ctl exec hset hash f1 v1 f2 v2 f3 v3
expect 0 "(integer) 2" $ctl exec sadd set a b
expect 0 ') "f1"' $ctl exec hkeys hash
expect 0 '"maxmemory"' $ctl config get maxmemory
expect 0 OK $ctl config set maxmemory 64mb
expect 0 tierra_version $ctl info server
expect 0 records_to_replay $ctl status
expect 0 '"records_to_replay"' $ctl --json status
expect 1 "(error) ERR" $ctl exec no-such-command
expect 2 "unknown command" $ctl frobnicate
expect 3 "No such file" "$3" -s "$base/none" ping
expect 1 WRONGPASS "$3" -s "$base/socket" -a wrong ping

# The log alone has them, then the store, then both.
expect 0 "log" $inspect key text
expect 0 OK $ctl save
expect 0 "tier                 store" $inspect key text
expect 0 "(integer) 1" $ctl exec hset hash f4 v4
expect 0 "store+log" $inspect key hash
expect 0 'field="f4"' $inspect key hash --log
expect 0 'field="f1"' $inspect key hash --elements 10
expect 0 '"expire_left_ms"' $inspect --json key short-lived
expect 0 absent $inspect key no-such-key
expect 0 "server_running       yes" $inspect shards
expect 0 "result=clean" $inspect verify --deep
expect 0 'key="hash" type=hash' $inspect keys --largest 1 --type hash
expect 0 "keys keys=1 " $inspect keys --pattern 'te*'
expect 0 "from_seconds=" $inspect keys
expect 0 "state=ok" $inspect oplog ls
expect 0 'kind=set key="text"' $inspect oplog cat --key text --limit 5
expect 0 "problems=0" $inspect oplog verify
expect 0 "level=0 files=1" $inspect store --files

expect 0 "" $ctl shutdown
wait "$pid" || failed=1
expect 0 "server_running       no" $inspect shards
expect 0 "state                clean" $inspect shards
expect 0 "result=clean" $inspect verify --deep
find "$base/data" -printf '%p %i %s %T@ %C@\n' >"$base/before"
$inspect shards >"$base/out"
$inspect verify --deep >>"$base/out"
find "$base/data" -printf '%p %i %s %T@ %C@\n' >"$base/after"
cmp "$base/before" "$base/after" || failed=1

# Sequence numbers go on where nothing was replayed.
start
expect 0 OK $ctl exec set after-the-end x
expect 0 "" $ctl shutdown
wait "$pid" || failed=1
expect 0 "result=clean" $inspect verify --deep

for copy in "$base"/data/checkpoints/*/; do
    expect 0 "saved copy" "$2" --dir "$copy" shards
    expect 0 "result=clean" "$2" --dir "$copy" verify
done
expect 2 "which command" "$2" --dir "$base/data"
expect 2 "unknown command" $inspect frobnicate
expect 2 "no shard" $inspect --shard 7 shards
expect 3 FORMAT "$2" --dir "$base" shards
exit $failed
