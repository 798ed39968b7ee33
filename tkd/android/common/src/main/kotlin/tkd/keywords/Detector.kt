package tkd.keywords

/** One keyword that was heard: its label, its smoothed probability, and when, in samples since the start. */
data class Detection(val label: String, val probability: Float, val atSample: Long)

/**
 * Turns probabilities, one array a hop, into detections: the mean of the last [smoothedHops] hops has to reach
 * [threshold], and after a detection nothing is reported for [refractorySamples]. No Android in here.
 */
class Detector(
    private val labels: List<String> = Settings.LABELS,
    private val threshold: Float = Settings.THRESHOLD,
    private val smoothedHops: Int = Settings.SMOOTHED_HOPS,
    private val refractorySamples: Int = Settings.REFRACTORY_SAMPLES
) {
    private val history = ArrayList<FloatArray>()
    private var silentUntil = 0L

    init {
        require(smoothedHops >= 1) { "smoothedHops is $smoothedHops; expected 1 or more" }
        require(threshold > 0 && threshold <= 1) { "threshold is $threshold; expected above 0 and at most 1" }
    }

    /** The detection of the hop that ended at [atSample], or null. */
    fun add(probabilities: FloatArray, atSample: Long): Detection? {
        require(probabilities.size == labels.size) { "${probabilities.size} probabilities for ${labels.size} labels" }
        history.add(probabilities)
        if (history.size > smoothedHops) history.removeAt(0)
        if (history.size < smoothedHops || atSample < silentUntil) return null
        val means = FloatArray(labels.size) { label -> history.map { it[label] }.sum() / history.size }
        var best = -1
        for (label in means.indices) {
            if (isKeyword(labels[label]) && (best < 0 || means[label] > means[best])) best = label
        }
        if (best < 0 || means[best] < threshold) return null
        silentUntil = atSample + refractorySamples
        history.clear()
        return Detection(labels[best], means[best], atSample)
    }

    /** Forgets what was heard, as after a pause of the recording. */
    fun reset() {
        history.clear()
        silentUntil = 0L
    }

    private fun isKeyword(label: String): Boolean = !label.startsWith("_")
}
