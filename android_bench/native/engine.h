/* The engine: what the runner uses of the TfLite C API, declared here and looked up at run time. Types stay opaque. */

#pragma once

#include "libc.h"

typedef struct Model Model;             /* TfLiteModel */
typedef struct Options Options;         /* TfLiteInterpreterOptions */
typedef struct Interpreter Interpreter; /* TfLiteInterpreter */
typedef struct Tensor Tensor;           /* TfLiteTensor */
typedef struct Delegate Delegate;       /* TfLiteDelegate, TfLiteOpaqueDelegate */
typedef struct Context Context;         /* TfLiteOpaqueContext */
typedef struct Node Node;               /* TfLiteOpaqueNode */
typedef struct Operator Operator;       /* TfLiteOperator, formerly TfLiteRegistrationExternal */

typedef struct { /* TfLiteIntArray */
    int size;
    int data[];
} IntArray;

typedef struct { /* TfLiteXNNPackDelegateOptions begins so; returned through a pointer, and grown in every version */
    int32_t num_threads;
    unsigned char rest[1020];
} XnnpackOptions;

typedef struct { /* TfLiteQuantizationParams */
    float scale;
    int32_t zero_point;
} QuantizationParams;

typedef struct { /* TfLiteOpaqueDelegateBuilder */
    void *data;
    int (*prepare)(Context *, Delegate *, void *data);
    void *copy_from_buffer_handle, *copy_to_buffer_handle, *free_buffer_handle;
    int64_t flags;
} DelegateBuilder;

typedef struct Profiler { /* TfLiteTelemetryProfilerStruct */
    void *data;
    void (*event)(struct Profiler *, const char *, uint64_t);
    void (*op_event)(struct Profiler *, const char *, int64_t, int64_t, uint64_t);
    void (*settings)(struct Profiler *, const char *, const void *);
    uint32_t (*begin_op)(struct Profiler *, const char *, int64_t, int64_t);
    void (*end_op)(struct Profiler *, uint32_t);
    void (*finished_op)(struct Profiler *, const char *, uint64_t, int64_t, int64_t);
} Profiler;

enum { ALLOWS_DYNAMIC_TENSORS = 1, BUILTIN_DELEGATE = 51 };

/* Each row: result, name, arguments. */
#define NEEDED(row)                                                                       \
    row(const char *, TfLiteVersion, (void))                                              \
    row(Model *, TfLiteModelCreateFromFile, (const char *))                               \
    row(Options *, TfLiteInterpreterOptionsCreate, (void))                                \
    row(void, TfLiteInterpreterOptionsSetNumThreads, (Options *, int32_t))                \
    row(void, TfLiteInterpreterOptionsAddDelegate, (Options *, Delegate *))               \
    row(void, TfLiteInterpreterOptionsSetErrorReporter,                                   \
        (Options *, void (*)(void *, const char *, va_list), void *))                     \
    row(Interpreter *, TfLiteInterpreterCreate, (const Model *, const Options *))         \
    row(int, TfLiteInterpreterAllocateTensors, (Interpreter *))                           \
    row(int, TfLiteInterpreterInvoke, (Interpreter *))                                    \
    row(int32_t, TfLiteInterpreterGetInputTensorCount, (const Interpreter *))             \
    row(int32_t, TfLiteInterpreterGetOutputTensorCount, (const Interpreter *))            \
    row(Tensor *, TfLiteInterpreterGetInputTensor, (const Interpreter *, int32_t))        \
    row(const Tensor *, TfLiteInterpreterGetOutputTensor, (const Interpreter *, int32_t)) \
    row(int, TfLiteTensorType, (const Tensor *))                                          \
    row(int32_t, TfLiteTensorNumDims, (const Tensor *))                                   \
    row(int32_t, TfLiteTensorDim, (const Tensor *, int32_t))                              \
    row(size_t, TfLiteTensorByteSize, (const Tensor *))                                   \
    row(void *, TfLiteTensorData, (const Tensor *))                                       \
    row(int, TfLiteTensorCopyFromBuffer, (Tensor *, const void *, size_t))                \
    row(int, TfLiteTensorCopyToBuffer, (const Tensor *, void *, size_t))
#define OPTIONAL(row)                                                                           \
    row(XnnpackOptions, TfLiteXNNPackDelegateOptionsDefault, (void))                            \
    row(Delegate *, TfLiteXNNPackDelegateCreate, (const XnnpackOptions *))                      \
    row(void, TfLiteInterpreterOptionsSetTelemetryProfiler, (Options *, Profiler *))            \
    row(Delegate *, TfLiteOpaqueDelegateCreate, (const DelegateBuilder *))                      \
    row(int, TfLiteInterpreterModifyGraphWithDelegate, (Interpreter *, Delegate *))             \
    row(const char *, TfLiteTensorName, (const Tensor *))                                       \
    row(QuantizationParams, TfLiteTensorQuantizationParams, (const Tensor *))                   \
    row(int, TfLiteOpaqueContextGetExecutionPlan, (Context *, IntArray **))                     \
    row(int, TfLiteOpaqueContextGetNodeAndRegistration, (Context *, int, Node **, Operator **)) \
    row(int, TfLiteOperatorGetBuiltInCode, (const Operator *))                                  \
    row(int, TfLiteRegistrationExternalGetBuiltInCode, (const Operator *))

#define DECLARE(result, name, arguments) static result(*name) arguments;
NEEDED(DECLARE)
OPTIONAL(DECLARE)
