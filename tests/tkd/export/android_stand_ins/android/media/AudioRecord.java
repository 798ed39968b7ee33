package android.media;
public class AudioRecord {
    public static final int STATE_INITIALIZED = 1;
    public AudioRecord(int source, int rate, int channels, int encoding, int bytes) {}
    public static int getMinBufferSize(int rate, int channels, int encoding) { return 0; }
    public int getState() { return 0; }
    public void startRecording() {}
    public int read(short[] samples, int offset, int count) { return 0; }
    public void release() {}
}
