# What the smoke tests share, read with "." after they have set $server: a server in a directory of
# its own, reached by its Unix socket. There is no port to choose, hence none that is taken.

command -v redis-cli >/dev/null 2>&1 || {
    echo "skipped: there is no redis-cli"
    exit 77
}

dir=$(mktemp -d)
socket=$dir/socket
pid=

stop() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    [ -z "$pid" ] || wait "$pid" || true
    pid=
}
trap 'stop; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

cli() {
    redis-cli -s "$socket" "$@" </dev/null 2>&1
}

# await COMMAND...: until it succeeds. The bound is for what never comes true, not for what is slow.
await() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 2400 ] || return 1
        sleep 0.05
    done
}

# It answers, or has ended.
started() {
    ! kill -0 "$pid" 2>/dev/null || [ "$(cli ping)" = PONG ]
}

# start OPTION...
start() {
    "$server" --port 0 --unixsocket "$socket" --dir "$dir/data" "$@" >>"$dir/log" 2>&1 &
    pid=$!
    if ! await started || ! kill -0 "$pid" 2>/dev/null; then
        echo "the server does not start:"
        cat "$dir/log"
        exit 1
    fi
}

crash() {
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
}
