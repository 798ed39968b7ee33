/* The native runner: one process, one model, measured through the TfLite C API. README.md beside it is its protocol.
 *
 *     ./runner engine=libLiteRt.so model=… stages=golden,latency golden_input=… golden_output=…
 *
 * C11 and one translation unit, without framework headers: build it with `cc -O2 runner.c -ldl`.
 * Read it from the end: main, run_stages, then the stages.
 */

#include "libc.h"

#include "arguments.h"
#include "arrays.h"
#include "engine.h"
#include "output.h"
#include "probe.h"
#include "processor.h"
#include "profiler.h"
#include "streams.h"

enum { PROTOCOL = 1, EVAL_CLIPS_PER_LINE = 64, PROBES = 2000 };

#ifdef __ANDROID__
#define RUNNER "native-bionic"
#else
#define RUNNER "native-glibc"
#endif

/* ---- model ----------------------------------------------------------------------------------------------------- */

static Interpreter *interpreter;
static Spec input, output;
static unsigned char *output_copy;
static int nodes = -1, delegated_nodes = -1;
static int (*builtin_code)(const Operator *);

static void keep_message(void *data, const char *format, va_list values) {
    (void)data;
    size_t length = strlen(engine_message);
    if (length + 3 > sizeof engine_message) return;
    if (length) length += (size_t)snprintf(engine_message + length, 3, "; ");
    vsnprintf(engine_message + length, sizeof engine_message - length, format, values);
    length = strlen(engine_message);
    if (length && engine_message[length - 1] == '\n') engine_message[length - 1] = 0;
}

static void load_engine(void) {
    void *library = dlopen(args.engine, RTLD_NOW);
    if (!library) fail(INIT, "cannot open the engine: %s", dlerror());
#define LOOK_UP(result, name, arguments) *(void **)&name = dlsym(library, #name);
    NEEDED(LOOK_UP)
    OPTIONAL(LOOK_UP)
#define CHECK(result, name, arguments) \
    if (!name) fail(INIT, "the engine %.500s has no " #name ": expected the TfLite C API", args.engine);
    NEEDED(CHECK)
}

static Spec spec_of(const Tensor *tensor, const char *what) {
    Spec spec = {.axes = TfLiteTensorNumDims(tensor), .bytes = TfLiteTensorByteSize(tensor)};
    for (size_t i = 0; i < sizeof DTYPES / sizeof DTYPES[0]; i++)
        if (DTYPES[i].type == TfLiteTensorType(tensor)) spec.dtype = &DTYPES[i];
    if (!spec.dtype)
        fail(INIT, "the %s has TfLite type %d, which this runner does not know", what, TfLiteTensorType(tensor));
    if (spec.axes < 1 || spec.axes > MAX_AXES)
        fail(INIT, "the %s has %d axes; expected 1 to %d", what, spec.axes, MAX_AXES);
    size_t bytes = spec.dtype->bytes;
    for (int i = 0; i < spec.axes; i++) {
        spec.shape[i] = TfLiteTensorDim(tensor, i);
        bytes *= (size_t)spec.shape[i];
    }
    if (spec.shape[0] != 1 || bytes != spec.bytes || bytes == 0 || bytes > INT32_MAX || !TfLiteTensorData(tensor))
        fail(INIT, "the %s has a batch of %lld and %zu bytes; expected a fixed shape with a batch of 1", what,
             (long long)spec.shape[0], spec.bytes);
    return spec;
}

/* A delegate that takes nothing: it reads the plan that the other delegate left, which no other call of the API tells.
 */
static int count_nodes(Context *context, Delegate *delegate, void *data) {
    (void)delegate, (void)data;
    IntArray *plan;
    if (TfLiteOpaqueContextGetExecutionPlan(context, &plan)) return 0;
    nodes = plan->size;
    delegated_nodes = 0;
    for (int i = 0; i < plan->size; i++) {
        Node *node;
        Operator *operator;
        if (TfLiteOpaqueContextGetNodeAndRegistration(context, plan->data[i], &node, &operator)) continue;
        delegated_nodes += builtin_code(operator) == BUILTIN_DELEGATE;
    }
    return 0;
}

static void read_nodes(void) {
    builtin_code = TfLiteOperatorGetBuiltInCode;
    if (!builtin_code) builtin_code = TfLiteRegistrationExternalGetBuiltInCode; /* its name until TensorFlow 2.15 */
    if (!builtin_code || !TfLiteOpaqueDelegateCreate || !TfLiteInterpreterModifyGraphWithDelegate ||
        !TfLiteOpaqueContextGetExecutionPlan || !TfLiteOpaqueContextGetNodeAndRegistration)
        return;
    static const DelegateBuilder reader = {.prepare = count_nodes, .flags = ALLOWS_DYNAMIC_TENSORS};
    TfLiteInterpreterModifyGraphWithDelegate(interpreter, TfLiteOpaqueDelegateCreate(&reader));
}

static Options *make_options(Profiler *profiler) {
    Options *options = TfLiteInterpreterOptionsCreate();
    TfLiteInterpreterOptionsSetNumThreads(options, (int32_t)args.threads);
    TfLiteInterpreterOptionsSetErrorReporter(options, keep_message, 0);
    if (profiler) {
        if (!TfLiteInterpreterOptionsSetTelemetryProfiler)
            fail(INIT, "this engine cannot profile: it has no telemetry profiler");
        TfLiteInterpreterOptionsSetTelemetryProfiler(options, profiler);
    }
    if (!strcmp(args.delegate, "xnnpack")) {
        if (!TfLiteXNNPackDelegateOptionsDefault || !TfLiteXNNPackDelegateCreate)
            fail(INIT, "the engine %.500s has no XNNPACK; delegate=none runs without it", args.engine);
        XnnpackOptions xnnpack = TfLiteXNNPackDelegateOptionsDefault();
        xnnpack.num_threads = (int32_t)args.threads;
        Delegate *delegate = TfLiteXNNPackDelegateCreate(&xnnpack);
        if (!delegate) fail(INIT, "the engine could not create its XNNPACK delegate: %s", engine_message);
        TfLiteInterpreterOptionsAddDelegate(options, delegate);
    }
    return options;
}

static void say_spec(const char *name, const Spec *spec) {
    say(",\"%s\":{\"shape\":[", name);
    for (int i = 0; i < spec->axes; i++) say("%s%lld", i ? "," : "", (long long)spec->shape[i]);
    say("],\"dtype\":\"%s\"}", spec->dtype->name);
}

/* Says `null` for what the engine cannot tell. */
static void say_count(const char *name, int count) {
    if (count < 0)
        say(",\"%s\":null", name);
    else
        say(",\"%s\":%d", name, count);
}

static void load_model(Profiler *profiler) {
    int file = open(args.model, O_RDONLY);
    if (file < 0) fail(READING, "no model at %.500s: %s", args.model, strerror(errno));
    close(file);
    mark(REGION_INIT, 0, BEGIN);
    int64_t before = now_ns();
    Model *model = TfLiteModelCreateFromFile(args.model);
    if (!model) fail(INIT, "the engine refused %.500s: it is no TFLite model", args.model);
    interpreter = TfLiteInterpreterCreate(model, make_options(profiler));
    if (!interpreter || TfLiteInterpreterAllocateTensors(interpreter))
        fail(INIT, "the engine refused %.500s: %s", args.model, engine_message);
    int64_t init_ns = now_ns() - before;
    mark(REGION_INIT, 0, END);

    find_tensors(interpreter);
    reset_states();
    input = spec_of(input_tensor, "input");
    output = spec_of(output_tensor, "output");
    output_copy = reserve(output.bytes, "an output");
    read_nodes();
    say("{\"event\":\"init\",\"init_ns\":%lld", (long long)init_ns);
    say_count("nodes", nodes);
    say_count("delegated_nodes", delegated_nodes);
    say(",\"invoke_path\":\"c_api\"");
    say_spec("input", &input);
    say_spec("output", &output);
    say(",\"states\":%d", state_count);
    end_line();
}

static void set_input(const Array *array, int64_t example) {
    if (TfLiteTensorCopyFromBuffer(input_tensor, array->data + (size_t)example * input.bytes, input.bytes))
        fail(INFERENCE, "the engine did not take input %lld: %s", (long long)example, engine_message);
}

/* One inference; of a stream one hop, whose states are carried on. */
static void invoke(Stage stage) {
    if (TfLiteInterpreterInvoke(interpreter)) fail(stage, "an inference failed: %s", engine_message);
    carry_states();
}

/* The output for one example; valid until the next call. */
static const unsigned char *answer(const Array *array, int64_t example, Stage stage) {
    set_input(array, example);
    invoke(stage);
    if (TfLiteTensorCopyToBuffer(output_tensor, output_copy, output.bytes))
        fail(stage, "the engine gave no output for example %lld: %s", (long long)example, engine_message);
    return output_copy;
}

/* ---- stages ---------------------------------------------------------------------------------------------------- */

static void empty_call(void) {}

static int by_size(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static void say_hello(void) {
    static int64_t timer[PROBES], call[PROBES];
    void (*volatile nothing)(void) = empty_call;
    for (int i = 0; i < PROBES; i++) {
        int64_t before = now_ns();
        timer[i] = now_ns() - before;
        before = now_ns();
        nothing();
        call[i] = now_ns() - before;
    }
    qsort(timer, PROBES, sizeof timer[0], by_size);
    qsort(call, PROBES, sizeof call[0], by_size);
    char processor[65];
    processor_sha256(processor);
    say("{\"event\":\"hello\",\"protocol\":%d,\"runner\":\"" RUNNER "\",\"engine\":", PROTOCOL);
    char engine[256] = "none";
    if (TfLiteVersion) {
        const char *name = args.engine;
        for (const char *slash; (slash = strchr(name, '/'));) name = slash + 1;
        snprintf(engine, sizeof engine, "TensorFlow Lite %.50s (%.150s)", TfLiteVersion(), name);
    }
    say_text(engine);
    uint64_t affinity = 0; /* processors beyond the 64th are left out */
    sched_getaffinity(0, sizeof affinity, (void *)&affinity);
    say(",\"affinity\":\"%llx\"", (unsigned long long)affinity);
    say(",\"threads\":%lld,\"delegate\":\"%s\",\"timer_overhead_ns\":%lld,\"call_overhead_ns\":%lld,\"processor_"
        "sha256\":\"%s\"",
        (long long)args.threads, args.delegate, (long long)timer[PROBES / 2], (long long)call[PROBES / 2], processor);
    end_line();
}

static void first_inference(const Array *inputs) {
    set_input(inputs, 0);
    mark(REGION_FIRST, 0, BEGIN);
    int64_t before = now_ns();
    invoke(INFERENCE);
    int64_t first_ns = now_ns() - before;
    mark(REGION_FIRST, 0, END);
    say("{\"event\":\"first\",\"first_ns\":%lld", (long long)first_ns);
    end_line();
}

static void prove_golden(const Array *inputs, const Array *expected) {
    double error = 0, largest = 0;
    size_t numbers = output.bytes / output.dtype->bytes;
    reset_states();
    for (int64_t i = 0; i < inputs->examples; i++) {
        const unsigned char *seen = answer(inputs, i, INFERENCE);
        for (size_t j = 0; j < numbers; j++) {
            double wanted_value = number(output.dtype, expected->data + (size_t)i * output.bytes, j);
            double difference = number(output.dtype, seen, j) - wanted_value;
            if (difference < 0) difference = -difference;
            if (wanted_value < 0) wanted_value = -wanted_value;
            if (!(difference <= error)) error = is_finite(difference) ? difference : 1e300; /* JSON has no NaN */
            if (wanted_value > largest) largest = wanted_value;
        }
    }
    int floating = is_floating(output.dtype);
    if (floating && largest > 0 && error < 1e300) error /= largest;
    const char *unit = floating ? "relative" : "lsb";
    double bound = floating ? (double)args.golden_bound_ppm / 1e6 : 1;
    int ok = error <= bound;
    say("{\"event\":\"golden\",\"ok\":%s,\"examples\":%lld,\"max_error\":%.9g,\"bound\":%g,\"unit\":\"%s\"",
        ok ? "true" : "false", (long long)inputs->examples, error, bound, unit);
    end_line();
    if (!ok)
        fail(GOLDEN,
             "the outputs differ from the golden ones by %.3g %s, expected at most %g: this device computes another "
             "function",
             error, unit, bound);
}

static void measure_latency(const Array *inputs) {
    int64_t *samples = reserve((size_t)args.max_runs * sizeof samples[0], "samples");
    memset(samples, 0, (size_t)args.max_runs * sizeof samples[0]); /* its pages are there before the clock runs */
    set_input(inputs, 0);
    int64_t warm_ups = 0, start = now_ns(), elapsed;
    do {
        invoke(INFERENCE);
        warm_ups++;
        elapsed = now_ns() - start;
    } while (warm_ups < args.warmup_runs || elapsed < args.warmup_ms * 1000000);

    int64_t runs = 0, after, cpu_before = cpu_ns();
    start = now_ns();
    const int64_t enough = start + args.min_timed_ms * 1000000;
    do {
        int64_t before = now_ns();
        int failed = TfLiteInterpreterInvoke(interpreter);
        carry_states();
        after = now_ns();
        if (failed) fail(INFERENCE, "an inference failed: %s", engine_message);
        samples[runs++] = after - before;
    } while (runs < args.max_runs && (runs < args.min_runs || after < enough));
    int64_t cpu = cpu_ns() - cpu_before;

    say("{\"event\":\"warmup\",\"runs\":%lld,\"total_ns\":%lld", (long long)warm_ups, (long long)elapsed);
    end_line();
    say("{\"event\":\"samples\",\"ns\":[");
    for (int64_t i = 0; i < runs; i++) say("%s%lld", i ? "," : "", (long long)samples[i]);
    say("],\"wall_ns\":%lld,\"cpu_ns\":%lld", (long long)(after - start), (long long)cpu);
    end_line();
}

static void wait_until(int64_t due_ns) {
    for (int64_t left; (left = due_ns - now_ns()) > 0;) {
        struct timespec rest = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        nanosleep(&rest, 0);
    }
}

/* Hops as they come in use: one every hop_us, each with its input set, and rest between them. */
static void sustain(const Array *inputs) {
    int64_t wanted_hops = args.sustain_ms * 1000 / args.hop_us, hop_ns = args.hop_us * 1000, late = 0;
    int64_t *samples = reserve((size_t)wanted_hops * sizeof samples[0], "samples");
    memset(samples, 0, (size_t)wanted_hops * sizeof samples[0]);
    reset_states();
    int64_t start = now_ns(), cpu_before = cpu_ns();
    for (int64_t i = 0; i < wanted_hops; i++) {
        wait_until(start + i * hop_ns);
        int64_t before = now_ns();
        set_input(inputs, i % inputs->examples);
        invoke(INFERENCE);
        int64_t after = now_ns();
        samples[i] = after - before;
        late += after > start + (i + 1) * hop_ns;
    }
    int64_t cpu = cpu_ns() - cpu_before, wall = now_ns() - start;
    say("{\"event\":\"sustained\",\"hop_us\":%lld,\"late\":%lld,\"cpu_ns\":%lld,\"wall_ns\":%lld,\"ns\":[",
        (long long)args.hop_us, (long long)late, (long long)cpu, (long long)wall);
    for (int64_t i = 0; i < wanted_hops; i++) say("%s%lld", i ? "," : "", (long long)samples[i]);
    say("]");
    end_line();
}

static void count_instructions(const Array *inputs) {
    set_input(inputs, 0);
    for (int i = 0; i < (int)args.count_warmups; i++) invoke(INFERENCE);
    for (int i = 0; i < (int)args.count_runs; i++) {
        mark(REGION_INFERENCE, i, BEGIN);
        invoke(INFERENCE);
        mark(REGION_INFERENCE, i, END);
    }
    say("{\"event\":\"counted\",\"runs\":%lld", (long long)args.count_runs);
    end_line();
}

/* A reading of /proc/self/status in kB. */
static long long status_kb(const char *field) {
    size_t length;
    char *status = read_file("/proc/self/status", &length), *at = status ? strstr(status, field) : 0;
    if (!at) fail(MEMORY, "/proc/self/status has no %s", field);
    long long value = 0;
    for (at += strlen(field); *at == ' ' || *at == '\t' || *at == ':'; at++) {
    }
    for (; *at >= '0' && *at <= '9'; at++) value = 10 * value + (*at - '0');
    return value;
}

static int reset_peak(void) { /* proc(5), clear_refs */
    int file = open("/proc/self/clear_refs", O_WRONLY);
    if (file < 0) return 0;
    int done = write(file, "5", 1) == 1;
    close(file);
    return done;
}

static void evaluate(const Array *inputs) {
    if (state_count) fail(EVAL, "the model has %d states: it hears hops, and eval feeds clips", state_count);
    size_t numbers = output.bytes / output.dtype->bytes;
    for (int64_t i = 0; i < inputs->examples; i++) {
        if (i % EVAL_CLIPS_PER_LINE == 0) say("{\"event\":\"eval\",\"first\":%lld,\"outputs\":[", (long long)i);
        const unsigned char *row = answer(inputs, i, EVAL);
        for (size_t j = 0; j < numbers; j++) {
            double value = number(output.dtype, row, j);
            if (!is_finite(value)) fail(EVAL, "the output for clip %lld is not a finite number", (long long)i);
            say("%s%.*g", j ? "," : i % EVAL_CLIPS_PER_LINE ? ",[" : "[", output.dtype->type == 1 ? 9 : 17, value);
        }
        say("]");
        if ((i + 1) % EVAL_CLIPS_PER_LINE == 0 || i + 1 == inputs->examples) {
            say("]");
            end_line();
        }
    }
}

static void profile(const Array *inputs) {
    set_input(inputs, 0);
    int64_t start = now_ns(), runs = 0;
    do invoke(INFERENCE);
    while (now_ns() - start < args.warmup_ms * 1000000);
    profiling = 1;
    start = now_ns();
    do {
        invoke(INFERENCE);
        runs++;
    } while (runs < args.max_runs && (runs < args.min_runs || now_ns() - start < args.min_timed_ms * 1000000));
    profiling = 0;
    say("{\"event\":\"profile\",\"runs\":%lld", (long long)runs);
    say_ops(say_times);
    end_line();
}

/* Where the instructions of one inference go; the profiler's own are among them. */
static void count_operators(const Array *inputs) {
    set_input(inputs, 0);
    for (int i = 0; i < (int)args.count_warmups; i++) invoke(INFERENCE);
    profiling = 1;
    mark(REGION_OPERATORS, 0, BEGIN);
    invoke(INFERENCE);
    mark(REGION_OPERATORS, 0, END);
    profiling = 0;
    say("{\"event\":\"operators\"");
    say_ops(say_row);
    end_line();
}

/* ---- main ------------------------------------------------------------------------------------------------------ */

/* `memory` reads its array before the model is opened, so that what grows between two readings is the model's. */
static void run_memory(void) {
    int peak_is_ours = reset_peak();
    Npy npy = read_npy(args.golden_input);
    long long start_kb = status_kb("VmRSS");
    load_model(0);
    long long init_kb = status_kb("VmRSS");
    Array inputs = fitting(&npy, &input);
    first_inference(&inputs);
    for (int64_t i = 0; i < args.memory_runs; i++) invoke(INFERENCE);
    say("{\"event\":\"memory\",\"start_kb\":%lld,\"init_kb\":%lld,\"overall_kb\":%lld,\"peak_kb\":%lld,\"peak_is_"
        "ours\":%s",
        start_kb, init_kb, status_kb("VmRSS"), status_kb("VmHWM"), peak_is_ours ? "true" : "false");
    end_line();
}

static void run_stages(void) {
    load_model(wants("profile") || wants("operators") ? &profiler : 0);
    int only_eval = !strcmp(args.stages, "eval");
    if (!only_eval) {
        Array inputs = read_array(args.golden_input, &input), expected = read_array(args.golden_output, &output);
        if (inputs.examples != expected.examples)
            fail(READING, "%lld golden inputs and %lld golden outputs; expected as many of both",
                 (long long)inputs.examples, (long long)expected.examples);
        first_inference(&inputs);
        if (wants("golden")) prove_golden(&inputs, &expected);
        if (wants("latency")) measure_latency(&inputs);
        if (wants("count")) count_instructions(&inputs);
        if (wants("sustain")) sustain(&inputs);
        if (wants("profile")) profile(&inputs);
        if (wants("operators")) count_operators(&inputs);
    }
    if (wants("eval")) {
        Array inputs = read_array(args.eval_inputs, &input);
        evaluate(&inputs);
    }
}

int main(int count, char **words) {
    int64_t started = now_ns();
    take_arguments(count, words);
    makes_marks = wants("count") || wants("operators");
    if (!probing) load_engine();
    say_hello();
    if (probing)
        probe();
    else if (wants("memory"))
        run_memory();
    else
        run_stages();
    say("{\"event\":\"done\",\"wall_ns\":%lld", (long long)(now_ns() - started));
    end_line();
    _exit(0); /* the engine's own clean-up is not ours to wait for */
}
