package org.tensorflow.lite;
public final class Interpreter implements AutoCloseable {
    public static class Options { public Options setNumThreads(int count) { return this; } }
    public Interpreter(java.nio.ByteBuffer model, Options options) {}
    public Tensor getInputTensor(int index) { return null; }
    public void run(Object input, Object output) {}
    public void close() {}
}
