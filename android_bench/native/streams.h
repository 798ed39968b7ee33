/* The states of a model that is run hop by hop: what goes out as `next_x` comes in as `past_x` with the next hop.
 *
 * A model with one input and one output has none, and nothing here is asked of its engine.
 */

#pragma once

#include "arrays.h"
#include "engine.h"

enum { MAX_STATES = 256 };

static struct {
    const char *name; /* without past_ or next_ */
    Tensor *past;
    const Tensor *next;
    size_t bytes;
    int zero; /* the byte that stands for 0.0 */
} states[MAX_STATES];
static int state_count;
static Tensor *input_tensor;
static const Tensor *output_tensor;

/* The name behind `prefix`, null when the tensor's name does not begin so. */
static const char *behind(const Tensor *tensor, const char *prefix) {
    const char *name = TfLiteTensorName(tensor);
    size_t length = strlen(prefix);
    return name && !strncmp(name, prefix, length) ? name + length : 0;
}

static int zero_byte(const Tensor *tensor, const char *name) {
    QuantizationParams quantization = TfLiteTensorQuantizationParams(tensor);
    int type = TfLiteTensorType(tensor);
    if (type == 9 || type == 3) return quantization.zero_point & 0xFF; /* int8, uint8 */
    if (quantization.zero_point)
        fail(INIT, "state '%.200s' has TfLite type %d and zero point %d; expected 0", name, type,
             (int)quantization.zero_point);
    return 0;
}

static void add_state(Tensor *past, const char *name, const Interpreter *interpreter, int outputs) {
    if (state_count == MAX_STATES) fail(INIT, "the model has more than %d states", MAX_STATES);
    const Tensor *next = 0;
    for (int i = 0; i < outputs; i++) {
        const Tensor *tensor = TfLiteInterpreterGetOutputTensor(interpreter, i);
        const char *other = behind(tensor, "next_");
        if (other && !strcmp(other, name)) next = tensor;
    }
    if (!next) fail(INIT, "state '%.200s' comes in and never goes out: the model has no output next_%.200s", name, name);
    size_t bytes = TfLiteTensorByteSize(past);
    if (TfLiteTensorType(past) != TfLiteTensorType(next) || bytes != TfLiteTensorByteSize(next) || bytes == 0 ||
        !TfLiteTensorData(past) || !TfLiteTensorData(next))
        fail(INIT, "state '%.200s' goes out with TfLite type %d and %zu bytes and comes in with type %d and %zu bytes",
             name, TfLiteTensorType(next), TfLiteTensorByteSize(next), TfLiteTensorType(past), bytes);
    if (zero_byte(past, name) != zero_byte(next, name))
        fail(INIT, "state '%.200s' goes out with another zero point than it comes in with", name);
    states[state_count].name = name;
    states[state_count].past = past;
    states[state_count].next = next;
    states[state_count].bytes = bytes;
    states[state_count++].zero = zero_byte(past, name);
}

/* Finds the input, the output and the states between them. */
static void find_tensors(Interpreter *interpreter) {
    int inputs = TfLiteInterpreterGetInputTensorCount(interpreter),
        outputs = TfLiteInterpreterGetOutputTensorCount(interpreter), fed = 0, given = 0;
    int is_stream = inputs == outputs && inputs > 1 && TfLiteTensorName && TfLiteTensorQuantizationParams;
    if (!is_stream && (inputs != 1 || outputs != 1))
        fail(INIT, "the model has %d inputs and %d outputs; expected one of each, or as many and an engine that names them",
             inputs, outputs);
    for (int i = 0; i < inputs; i++) {
        Tensor *tensor = TfLiteInterpreterGetInputTensor(interpreter, i);
        const char *name = is_stream ? behind(tensor, "past_") : 0;
        if (name)
            add_state(tensor, name, interpreter, outputs);
        else
            input_tensor = tensor, fed++;
    }
    for (int i = 0; i < outputs; i++) {
        const Tensor *tensor = TfLiteInterpreterGetOutputTensor(interpreter, i);
        if (!is_stream || !behind(tensor, "next_")) output_tensor = tensor, given++;
    }
    if (fed != 1 || given != 1)
        fail(INIT, "%d inputs and %d outputs are no states (past_… and next_…); expected one of each", fed, given);
}

/* Before the first hop: zeros in real units. */
static void reset_states(void) {
    for (int i = 0; i < state_count; i++) memset(TfLiteTensorData(states[i].past), states[i].zero, states[i].bytes);
}

/* After a hop: what went out comes in next. */
static void carry_states(void) {
    for (int i = 0; i < state_count; i++)
        memcpy(TfLiteTensorData(states[i].past), TfLiteTensorData(states[i].next), states[i].bytes);
}
