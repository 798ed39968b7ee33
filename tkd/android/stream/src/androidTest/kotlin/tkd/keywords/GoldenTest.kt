package tkd.keywords

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/** This phone computes what the model computed where it was exported: hops in, logits out, states carried on. */
@RunWith(AndroidJUnit4::class)
class GoldenTest {
    private val instrumentation = InstrumentationRegistry.getInstrumentation()

    private fun asset(name: String): ByteArray = instrumentation.context.assets.open(name).use { it.readBytes() }

    @Test
    fun theGoldenLogitsComeBackHopByHop() {
        val hops = asset("golden_input.bin")
        val outputs = asset("golden_output.bin")
        var largest = 0f
        if (!Settings.OUTPUT_IS_INT8) for (logit in floats(outputs)) largest = maxOf(largest, abs(logit))
        val hopBytes = Settings.HOP_SAMPLES * Settings.INPUT_BYTES
        val outputBytes = Settings.LABELS.size * Settings.OUTPUT_BYTES
        KeywordModel(instrumentation.targetContext).use { model ->
            for (hop in 0 until hops.size / hopBytes) {
                val seen = model.stored(hops.copyOfRange(hop * hopBytes, (hop + 1) * hopBytes))
                val expected = outputs.copyOfRange(hop * outputBytes, (hop + 1) * outputBytes)
                assertTrue("hop $hop differs", isNear(expected, seen, largest))
            }
        }
    }

    /** One step where outputs are int8; a share of the [largest] logit of all hops where they are float. */
    private fun isNear(expected: ByteArray, seen: ByteArray, largest: Float): Boolean {
        if (Settings.OUTPUT_IS_INT8) return expected.indices.all { abs(expected[it] - seen[it]) <= 1 }
        val ours = floats(expected)
        val theirs = floats(seen)
        return ours.indices.all { abs(ours[it] - theirs[it]) <= Settings.GOLDEN_SHARE * largest }
    }

    private fun floats(bytes: ByteArray): FloatArray {
        val buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
        return FloatArray(bytes.size / 4) { buffer.getFloat(4 * it) }
    }
}
