package tkd.keywords

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/** This phone computes what the model computed where it was exported: audio in, logits out. */
@RunWith(AndroidJUnit4::class)
class GoldenTest {
    private val instrumentation = InstrumentationRegistry.getInstrumentation()

    private fun asset(name: String): ByteArray = instrumentation.context.assets.open(name).use { it.readBytes() }

    @Test
    fun theGoldenOutputsComeBack() {
        val inputs = asset("golden_input.bin")
        val outputs = asset("golden_output.bin")
        val inputBytes = Settings.SAMPLES * Settings.INPUT_BYTES
        val outputBytes = Settings.LABELS.size * Settings.OUTPUT_BYTES
        KeywordModel(instrumentation.targetContext).use { model ->
            for (example in 0 until inputs.size / inputBytes) {
                val seen = model.stored(inputs.copyOfRange(example * inputBytes, (example + 1) * inputBytes))
                val expected = outputs.copyOfRange(example * outputBytes, (example + 1) * outputBytes)
                assertTrue("example $example differs", isNear(expected, seen))
            }
        }
    }

    /** One step where outputs are int8; a ten-thousandth of the largest where they are float. */
    private fun isNear(expected: ByteArray, seen: ByteArray): Boolean {
        if (Settings.OUTPUT_IS_INT8) return expected.indices.all { abs(expected[it] - seen[it]) <= 1 }
        val ours = floats(expected)
        val theirs = floats(seen)
        var largest = 0f
        for (value in ours) largest = maxOf(largest, abs(value))
        return ours.indices.all { abs(ours[it] - theirs[it]) <= 1e-4f * largest }
    }

    private fun floats(bytes: ByteArray): FloatArray {
        val buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
        return FloatArray(bytes.size / 4) { buffer.getFloat(4 * it) }
    }
}
