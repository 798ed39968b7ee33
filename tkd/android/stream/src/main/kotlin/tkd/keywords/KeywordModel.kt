package tkd.keywords

import android.content.Context
import java.io.Closeable

/**
 * The model of this module: a hop of audio and its own states in, one probability a label and the next states out.
 * Tensors are found by name: runtimes and converters reorder them. Used by one thread at a time.
 */
class KeywordModel(context: Context) : Closeable {
    private val interpreter = interpreterOf(context)
    private val states = States()
    private val hop = direct(Settings.HOP_SAMPLES * Settings.INPUT_BYTES)
    private val output = direct(Settings.LABELS.size * Settings.OUTPUT_BYTES)
    private val inputNames = (0 until interpreter.inputTensorCount).map { interpreter.getInputTensor(it).name() }
    private val outputNames = (0 until interpreter.outputTensorCount).map { interpreter.getOutputTensor(it).name() }
    private var heard = 0

    init {
        val missing = Settings.STATES.filter { it.input !in inputNames || it.output !in outputNames }
        require(missing.isEmpty()) { "the model has no states $missing: export the module again" }
        val shape = interpreter.getInputTensor(inputNames.indexOf(Settings.HOP_INPUT)).shape()
        require(shape.contentEquals(intArrayOf(1, Settings.HOP_SAMPLES))) {
            "the model takes ${shape.contentToString()}; expected [1, ${Settings.HOP_SAMPLES}]: export the module again"
        }
    }

    /** Takes the next hop of the microphone; the probability of each label, or null until the window is full. */
    fun hear(samples: ShortArray): FloatArray? {
        require(samples.size == Settings.HOP_SAMPLES) { "${samples.size} samples; expected ${Settings.HOP_SAMPLES}" }
        hop.rewind()
        for (sample in samples) hop.putFloat(sample * Settings.FROM_INT16)
        run()
        if (heard < Settings.WARM_UP_HOPS) heard += 1
        if (heard < Settings.WARM_UP_HOPS) return null
        return probabilitiesOf(logitsIn(output))
    }

    /** Forgets what was heard, as after a pause of the recording. */
    fun reset() {
        states.reset()
        heard = 0
    }

    /** The logits as the model stores them, for a stored hop: what the golden vectors hold. */
    internal fun stored(samples: ByteArray): ByteArray {
        hop.rewind()
        hop.put(samples)
        run()
        return ByteArray(output.capacity()).also { output.get(it) }
    }

    private fun run() {
        hop.rewind()
        output.rewind()
        val read = states.read()
        val written = states.written()
        val inputs = Array<Any>(inputNames.size) { read[inputNames[it]] ?: hop }
        val outputs = HashMap<Int, Any>()
        for ((place, name) in outputNames.withIndex()) outputs[place] = written[name] ?: output
        interpreter.runForMultipleInputsOutputs(inputs, outputs)
        states.advance()
        output.rewind()
    }

    override fun close() = interpreter.close()
}
