package org.tensorflow.lite;
public final class Interpreter implements AutoCloseable {
    public static class Options { public Options setNumThreads(int count) { return this; } }
    public Interpreter(java.nio.ByteBuffer model, Options options) {}
    public int getInputTensorCount() { return 0; }
    public int getOutputTensorCount() { return 0; }
    public Tensor getInputTensor(int index) { return null; }
    public Tensor getOutputTensor(int index) { return null; }
    public void run(Object input, Object output) {}
    public void runForMultipleInputsOutputs(Object[] inputs, java.util.Map<Integer, Object> outputs) {}
    public void close() {}
}
