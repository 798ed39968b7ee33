package tkd.keywords

import android.content.Context
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter

/** The engine with the model of this module, on one thread. */
internal fun interpreterOf(context: Context): Interpreter =
    Interpreter(mapped(context), Interpreter.Options().setNumThreads(1))

/** A buffer that the engine reads and writes as it is. */
internal fun direct(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

/** The logits in a buffer that the model wrote. */
internal fun logitsIn(output: ByteBuffer) = FloatArray(Settings.LABELS.size) { label ->
    if (Settings.OUTPUT_IS_INT8) (output.get(label) - Settings.OUTPUT_ZERO_POINT) * Settings.OUTPUT_SCALE
    else output.getFloat(4 * label)
}

private fun mapped(context: Context): ByteBuffer = context.assets.openFd(Settings.MODEL_ASSET).use { file ->
    FileInputStream(file.fileDescriptor).channel.use {
        it.map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
    }
}
