package tkd.keywords

import android.content.Context
import java.io.Closeable

/** The model of this module: audio in, one probability a label out. Used by one thread at a time. */
class KeywordModel(context: Context) : Closeable {
    private val interpreter = interpreterOf(context)
    private val window = Window()
    private val input = direct(Settings.SAMPLES * Settings.INPUT_BYTES)
    private val output = direct(Settings.LABELS.size * Settings.OUTPUT_BYTES)

    init {
        val shape = interpreter.getInputTensor(0).shape()
        require(shape.contentEquals(intArrayOf(1, Settings.SAMPLES))) {
            "the model takes ${shape.contentToString()}; expected [1, ${Settings.SAMPLES}]: export the module again"
        }
    }

    /** Takes the next hop of the microphone; the probability of each label in the window that ends with it. */
    fun hear(hop: ShortArray): FloatArray? {
        window.push(hop)
        return probabilities(window.samples)
    }

    /** What the model says of [samples]: mono audio at [Settings.SAMPLE_RATE_HZ] in [-1, 1), no other length. */
    fun logits(samples: FloatArray): FloatArray {
        require(samples.size == Settings.SAMPLES) { "${samples.size} samples; expected ${Settings.SAMPLES}" }
        input.rewind()
        for (sample in samples) input.putFloat(sample)
        run()
        return logitsIn(output)
    }

    /** The probability of each label, in the order of [Settings.LABELS]. */
    fun probabilities(samples: FloatArray): FloatArray = probabilitiesOf(logits(samples))

    /** The output as the model stores it, for stored input: what the golden vectors hold. */
    internal fun stored(samples: ByteArray): ByteArray {
        input.rewind()
        input.put(samples)
        run()
        return ByteArray(output.capacity()).also { output.get(it) }
    }

    private fun run() {
        input.rewind()
        output.rewind()
        interpreter.run(input, output)
        output.rewind()
    }

    override fun close() = interpreter.close()
}
