"""Load generators as child processes: redis-benchmark and tierra-bench, each with a time limit."""
import csv
import io
import json
import os
import subprocess
import tempfile

from server import child_setup


class LoadError(Exception):
    """The generator failed or took too long; the message says which."""


def run(words, timeout_s, cpus=None):
    """Standard output and exit status; stderr is kept for the error text."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, preexec_fn=child_setup(cpus))
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{os.path.basename(words[0])} took more than {timeout_s:.0f} s") from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return out.decode(errors="replace"), err.decode(errors="replace"), process.returncode


def redis_benchmark(port, arguments, timeout_s, cpus=None):
    """ops/s, p50 and p99 in ms of the last test in the output of redis-benchmark --csv."""
    words = ["redis-benchmark", "-p", str(port), "--csv"] + arguments
    out, err, code = run(words, timeout_s, cpus)
    rows = [row for row in csv.reader(io.StringIO(out)) if len(row) >= 8 and row[0] != "test"]
    if code != 0 or not rows:
        text = (err.strip() or out.strip()).splitlines()
        raise LoadError("redis-benchmark: " + (text[-1] if text else f"exit {code}"))
    return {"ops_per_s": float(rows[-1][1]), "p50_ms": float(rows[-1][4]),
            "p99_ms": float(rows[-1][6])}


ERROR_REPLIES = 3  # Exit status of tierra-bench.


def tierra_bench(binary, port, arguments, timeout_s, cpus=None, refusals=False):
    """
    The JSON document of a run. Wrong values are an error, and so are error replies unless
    `refusals`: then the document counts them.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        words = [binary, "--port", str(port), "--json", file.name] + arguments
        out, err, code = run(words, timeout_s, cpus)
        if code != 0 and not (refusals and code == ERROR_REPLIES):
            text = [line for line in (out + err).splitlines()
                    if line.startswith(("error", "FAILED", "verified", "tierra-bench:"))]
            raise LoadError(f"tierra-bench: exit {code}: " + "; ".join(text[-2:]))
        return json.load(file)
