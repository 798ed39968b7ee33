package tkd.keywords

/** The last [Settings.SAMPLES] samples, zeros before the first. */
internal class Window {
    val samples = FloatArray(Settings.SAMPLES)

    /** Samples pushed since the start. */
    var pushed = 0L
        private set

    fun push(hop: ShortArray) {
        require(hop.size <= samples.size) { "a hop of ${hop.size} samples is longer than the window" }
        val kept = samples.size - hop.size
        System.arraycopy(samples, hop.size, samples, 0, kept)
        for (place in hop.indices) samples[kept + place] = hop[place] * Settings.FROM_INT16
        pushed += hop.size
    }
}
