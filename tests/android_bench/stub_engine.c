/* A stand-in for the engine, for tests of the runner alone: the TfLite C API over models of one line of text.
 *
 *     stub float32 8 3 fail=0        dtype, features, classes, and options:
 *     fail=N      the N-th inference fails          nan=N     the N-th gives NaN
 *     inputs=N    the model says it has N inputs    batch=N   the input's first axis
 *     type=N      the tensors' TfLiteType           lost=1    the tensors have no memory
 *     states=1    a state of the logits' shape, past_sum and next_sum, is added to the logits and becomes them
 *     states=2    the same, but it goes out under another name; states=3: with other bytes
 *
 * Logit c is the sum of the features c, c + classes, c + 2 classes …; int8 saturates.
 */
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int type, features, classes, fail, nan, inputs, batch, lost, states;
} Model;
typedef struct {
    int type, axes, shape[2];
    size_t bytes;
    void *data;
    const char *name;
    int zero_point;
} Tensor;
typedef struct {
    float scale;
    int32_t zero_point;
} QuantizationParams;
typedef struct {
    int32_t num_threads;
    char more[60];
} XnnpackOptions;
typedef struct {
    void *data;
    int (*prepare)(void *, void *, void *);
    void *unused[3];
    int64_t flags;
} DelegateBuilder;
typedef struct {
    int size;
    int data[3];
} Plan;
typedef struct Profiler {
    void *data, *unused[3];
    uint32_t (*begin_op)(struct Profiler *, const char *, int64_t, int64_t);
    void (*end_op)(struct Profiler *, uint32_t);
} Profiler;
typedef struct {
    void (*report)(void *, const char *, va_list);
    int threads, delegated;
    Profiler *profiler;
} Options;
typedef struct {
    Model model;
    Options options;
    Tensor input, output, past, next;
    int invokes;
} Interpreter;

static void complain(const Options *options, const char *format, ...) {
    va_list values;
    va_start(values, format);
    if (options->report) options->report(0, format, values);
    va_end(values);
}

const char *TfLiteVersion(void) { return "0.0.0-stub"; }

static int option(const char *text, const char *name, int otherwise) {
    const char *at = strstr(text, name);
    return at ? atoi(at + strlen(name)) : otherwise;
}

Model *TfLiteModelCreateFromFile(const char *path) {
    char text[256] = "", dtype[16];
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    int read = fgets(text, sizeof text, file) != 0;
    fclose(file);
    Model made = {0};
    if (!read || sscanf(text, "stub %15s %d %d", dtype, &made.features, &made.classes) != 3) return 0;
    if (made.features < 1 || made.features > 1000 || made.classes < 1 || made.classes > 1000) return 0;
    made.type = option(text, "type=", strcmp(dtype, "int8") ? 1 : 9);
    made.fail = option(text, "fail=", 0);
    made.nan = option(text, "nan=", 0);
    made.inputs = option(text, "inputs=", 1);
    made.batch = option(text, "batch=", 1);
    made.lost = option(text, "lost=", 0);
    made.states = option(text, "states=", 0);
    if (made.states) made.inputs = 2;
    Model *model = malloc(sizeof made);
    *model = made;
    return model;
}

Options *TfLiteInterpreterOptionsCreate(void) { return calloc(1, sizeof(Options)); }
void TfLiteInterpreterOptionsSetNumThreads(Options *options, int32_t threads) { options->threads = threads; }
void TfLiteInterpreterOptionsAddDelegate(Options *options, void *delegate) { options->delegated = *(int *)delegate; }
void TfLiteInterpreterOptionsSetErrorReporter(Options *options, void (*report)(void *, const char *, va_list),
                                              void *data) {
    (void)data;
    options->report = report;
}
void TfLiteInterpreterOptionsSetTelemetryProfiler(Options *options, Profiler *profiler) {
    options->profiler = profiler;
}

/* Larger than two registers, so that it comes back through a pointer as the real one does. */
XnnpackOptions TfLiteXNNPackDelegateOptionsDefault(void) { return (XnnpackOptions){.num_threads = 99}; }
void *TfLiteXNNPackDelegateCreate(const XnnpackOptions *options) {
    int *threads = malloc(sizeof *threads);
    *threads = options->num_threads;
    return threads;
}

Interpreter *TfLiteInterpreterCreate(const Model *model, const Options *options) {
    Interpreter *made = calloc(1, sizeof *made);
    made->model = *model;
    made->options = *options;
    return made;
}

static Tensor tensor(const Model *model, int batch, int count) {
    size_t bytes = batch < 0 ? 0 : (size_t)batch * (size_t)count * (model->type == 1 ? 4 : 1);
    return (Tensor){model->type, 2, {batch, count}, bytes, model->lost ? 0 : calloc(1, bytes ? bytes : 1), "", 0};
}

int TfLiteInterpreterAllocateTensors(Interpreter *interpreter) {
    if (interpreter->options.delegated && interpreter->options.delegated != interpreter->options.threads) {
        complain(&interpreter->options, "the delegate has %d threads, not %d", interpreter->options.delegated,
                 interpreter->options.threads);
        return 1;
    }
    interpreter->input = tensor(&interpreter->model, interpreter->model.batch, interpreter->model.features);
    interpreter->output = tensor(&interpreter->model, 1, interpreter->model.classes);
    interpreter->past = tensor(&interpreter->model, 1, interpreter->model.classes);
    interpreter->next = tensor(&interpreter->model, 1, interpreter->model.classes + (interpreter->model.states == 3));
    interpreter->past.name = "past_sum";
    interpreter->next.name = interpreter->model.states == 2 ? "next_other" : "next_sum";
    return 0;
}

int TfLiteInterpreterInvoke(Interpreter *interpreter) {
    const Model *model = &interpreter->model;
    if (++interpreter->invokes == model->fail) {
        complain(&interpreter->options, "node %d failed: \"%s\"", 7, "by request\xff");
        return 1;
    }
    Profiler *profiler = interpreter->options.profiler;
    uint32_t handle = profiler ? profiler->begin_op(profiler, "SUM", 0, 0) : 0;
    for (int c = 0; c < model->classes; c++) {
        float sum = interpreter->invokes == model->nan ? NAN : 0;
        for (int f = c; f < model->features; f += model->classes)
            sum += model->type == 1 ? ((float *)interpreter->input.data)[f] : ((int8_t *)interpreter->input.data)[f];
        if (model->states)
            sum += model->type == 1 ? ((float *)interpreter->past.data)[c] : ((int8_t *)interpreter->past.data)[c];
        if (model->type == 1)
            ((float *)interpreter->output.data)[c] = sum;
        else
            ((int8_t *)interpreter->output.data)[c] = (int8_t)(sum > 127 ? 127 : sum < -128 ? -128 : sum);
    }
    if (model->states) memcpy(interpreter->next.data, interpreter->output.data, interpreter->output.bytes);
    if (profiler) profiler->end_op(profiler, handle);
    return 0;
}

int32_t TfLiteInterpreterGetInputTensorCount(const Interpreter *interpreter) { return interpreter->model.inputs; }
int32_t TfLiteInterpreterGetOutputTensorCount(const Interpreter *interpreter) {
    return interpreter->model.states ? 2 : 1;
}
Tensor *TfLiteInterpreterGetInputTensor(Interpreter *interpreter, int32_t i) {
    return interpreter->model.states && i == 0 ? &interpreter->past : &interpreter->input;
}
const Tensor *TfLiteInterpreterGetOutputTensor(Interpreter *interpreter, int32_t i) {
    return interpreter->model.states && i == 1 ? &interpreter->next : &interpreter->output;
}
const char *TfLiteTensorName(const Tensor *tensor) { return tensor->name; }
QuantizationParams TfLiteTensorQuantizationParams(const Tensor *tensor) {
    return (QuantizationParams){1, tensor->zero_point};
}
int TfLiteTensorType(const Tensor *tensor) { return tensor->type; }
int32_t TfLiteTensorNumDims(const Tensor *tensor) { return tensor->axes; }
int32_t TfLiteTensorDim(const Tensor *tensor, int32_t axis) { return tensor->shape[axis]; }
size_t TfLiteTensorByteSize(const Tensor *tensor) { return tensor->bytes; }
void *TfLiteTensorData(const Tensor *tensor) { return tensor->data; }
int TfLiteTensorCopyFromBuffer(Tensor *tensor, const void *data, size_t bytes) {
    if (bytes != tensor->bytes) return 1;
    memcpy(tensor->data, data, bytes);
    return 0;
}
int TfLiteTensorCopyToBuffer(const Tensor *tensor, void *data, size_t bytes) {
    if (bytes != tensor->bytes) return 1;
    memcpy(data, tensor->data, bytes);
    return 0;
}

/* Three nodes, of which the second is a delegate's. */
void *TfLiteOpaqueDelegateCreate(const DelegateBuilder *builder) { return (void *)builder; }
int TfLiteInterpreterModifyGraphWithDelegate(Interpreter *interpreter, const DelegateBuilder *builder) {
    return builder->prepare(interpreter, 0, builder->data);
}
int TfLiteOpaqueContextGetExecutionPlan(void *context, Plan **plan) {
    static Plan three = {3, {0, 1, 2}};
    (void)context;
    *plan = &three;
    return 0;
}
int TfLiteOpaqueContextGetNodeAndRegistration(void *context, int node, void **found, int **code) {
    static int codes[] = {9, 51, 22};
    (void)context;
    *found = 0;
    *code = &codes[node];
    return 0;
}
int TfLiteOperatorGetBuiltInCode(const int *code) { return *code; }
