/*
 * tierra-bench: load generator for servers that speak the Redis protocol. The order of things:
 * options, connection, preload, measurement, report.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "bench/load/bench_options.h"
#include "bench/load/bench_report.h"
#include "bench/load/bench_request.h"
#include "bench/load/bench_run.h"
#include "bench/load/bench_server.h"

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_USAGE = 1,
    EXIT_CODE_CONNECTION = 2,
    EXIT_CODE_ERRORS = 3,
    EXIT_CODE_WRONG = 4,
    EXIT_CODE_INTERRUPTED = 130,
};

static enum exit_code judge(const struct bench_result *result)
{
    if (result->interrupted)
        return EXIT_CODE_INTERRUPTED;
    if (result->failed)
        return EXIT_CODE_CONNECTION;
    if (bench_stats_wrong(&result->stats) > 0)
        return EXIT_CODE_WRONG;
    return bench_stats_errors(&result->stats) > 0 ? EXIT_CODE_ERRORS : EXIT_CODE_OK;
}

/* Runs one phase and prints its table. */
static enum exit_code run_phase(const struct bench_plan *plan, struct bench_report *report,
                                bool load, struct bench_result *result, FILE *out)
{
    const int err = bench_run(plan, report->server, load, result);

    if (err != 0) {
        fprintf(stderr, "tierra-bench: %s\n", result->failure.text);
        return EXIT_CODE_CONNECTION;
    }
    if (load)
        report->load = result;
    else
        report->run = result;
    bench_report_phase(report, result, out);
    return judge(result);
}

static enum exit_code run_phases(const struct bench_plan *plan, struct bench_report *report,
                                 struct bench_result results[2], FILE *out)
{
    const struct bench_options *options = plan->options;
    enum exit_code code = EXIT_CODE_OK;

    bench_report_header(report, out);
    if (options->preload)
        code = run_phase(plan, report, true, &results[0], out);
    const bool go_on = code == EXIT_CODE_OK || (code == EXIT_CODE_ERRORS && options->keep_going);
    if (!options->preload_only && go_on)
        return run_phase(plan, report, false, &results[1], out);
    if (!options->preload_only)
        fprintf(out, "The preload did not succeed: nothing was measured (see --keep-going).\n");
    return code;
}

static enum exit_code bench(const struct bench_options *options)
{
    const bool json_to_stdout = options->json_path != NULL && strcmp(options->json_path, "-") == 0;
    struct bench_server server;
    struct bench_error error;
    struct bench_plan plan;

    bench_run_setup();
    if (bench_server_open(&server, options, &error) != 0) {
        fprintf(stderr, "tierra-bench: %s\n", error.text);
        return EXIT_CODE_CONNECTION;
    }
    struct bench_result *results = mem_zalloc_array(2, sizeof(*results));
    struct bench_report report = {.options = options, .server = &server};
    bench_plan_init(&plan, options);
    enum exit_code code = run_phases(&plan, &report, results, json_to_stdout ? stderr : stdout);
    if (options->json_path != NULL) {
        const int err = bench_report_json(&report, options->json_path);
        if (err != 0) {
            fprintf(stderr, "tierra-bench: %s: %s\n", options->json_path, err_str(err));
            code = EXIT_CODE_USAGE;
        }
    }
    bench_plan_deinit(&plan);
    bench_result_deinit(&results[0]);
    bench_result_deinit(&results[1]);
    mem_free(results);
    bench_server_close(&server);
    return code;
}

int main(int argc, char **argv)
{
    struct bench_options options;

    switch (bench_options_parse(argc, argv, &options)) {
    case BENCH_OPTIONS_RUN:
        return (int)bench(&options);
    case BENCH_OPTIONS_HELP:
        return EXIT_CODE_OK;
    default:
        fprintf(stderr, "Try tierra-bench --help.\n");
        return EXIT_CODE_USAGE;
    }
}
